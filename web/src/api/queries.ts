// What is asked for in more than one place, each under one key.

import { keepPreviousData, QueryCache, QueryClient, queryOptions } from '@tanstack/react-query';
import { api, ok, type Schemas } from './client';
import { asProblem } from './problem';

type Left = (path: string) => void;
let leave: Left = () => {};

/** Says what to do once the session has ended. */
export function onSessionEnd(act: Left) {
  leave = act;
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({
    onError(error) {
      if (asProblem(error).status === 401) leave(window.location.pathname + window.location.search);
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What was refused stays refused; what was not reached may be reached now.
      retry: (failures, error) => {
        const { status } = asProblem(error);
        return failures < 2 && (status === 0 || status >= 500);
      },
      retryDelay: (failures) => 500 * 2 ** failures,
    },
  },
});

export type Self = Schemas['User'];

declare global {
  interface Window {
    /** The answer to who is there, which the page asked for before the program was here. */
    selfAhead?: Promise<Response>;
  }
}

/** Sends a request, unless the page has sent it already: its answer is taken once. */
function sendOrTake(request: Request): Promise<Response> {
  const sent = window.selfAhead;
  window.selfAhead = undefined;
  return sent ?? fetch(request);
}

export const selfQuery = queryOptions({
  queryKey: ['self'],
  queryFn: () => ok(api.GET('/api/user/self', { fetch: sendOrTake })),
  staleTime: 60_000,
});

export const balanceQuery = queryOptions({
  queryKey: ['balance'],
  queryFn: () => ok(api.GET('/api/user/balance')),
  // The stream tells as it happens; this is for who hears none, and for what was missed.
  refetchInterval: 30_000,
});

/** How far the tables are; filled by the stream, for who may see the books. */
export const tablesQuery = queryOptions({
  queryKey: ['tables'],
  queryFn: async () => {
    const now = await ok(api.GET('/api/user/events'));
    return typeof now === 'string' ? null : (now.tables ?? null);
  },
  staleTime: 10_000,
});

/** What this gateway is called, and what it offers to everybody. */
export const siteQuery = queryOptions({
  queryKey: ['site'],
  queryFn: () => ok(api.GET('/api/site')),
  staleTime: 300_000,
});

export const offerQuery = queryOptions({
  queryKey: ['models'],
  queryFn: () => ok(api.GET('/api/models')),
  staleTime: 60_000,
});

export const keysQuery = queryOptions({
  queryKey: ['keys', 'all'],
  queryFn: async () => {
    const items: Schemas['KeyView'][] = [];
    let cursor: string | undefined;
    // People have a handful; a list of thousands is read as far as it is of use in a menu.
    for (let page = 0; page < 5; page += 1) {
      const it = await ok(api.GET('/api/user/keys', { params: { query: { limit: 100, cursor } } }));
      items.push(...it.items);
      if (!it.next_cursor) break;
      cursor = it.next_cursor;
    }
    return items;
  },
});

export const settingsQuery = queryOptions({
  queryKey: ['settings'],
  queryFn: () => ok(api.GET('/api/user/settings')),
  staleTime: 60_000,
});

export const secondFactorQuery = queryOptions({
  queryKey: ['second-factor'],
  queryFn: () => ok(api.GET('/api/user/second-factor')),
});

export const loginMethodsQuery = queryOptions({
  queryKey: ['login-methods'],
  queryFn: () => ok(api.GET('/api/user/login-methods')),
  staleTime: 300_000,
});

export const identitiesQuery = queryOptions({
  queryKey: ['identities'],
  queryFn: () => ok(api.GET('/api/user/identities')),
});

export const topUpOptionsQuery = queryOptions({
  queryKey: ['topup', 'options'],
  queryFn: () => ok(api.GET('/api/user/topup/options')),
  staleTime: 60_000,
});

/** What an operator may move alone, and whether they may approve what they asked for themselves. */
export const allowanceQuery = queryOptions({
  queryKey: ['admin', 'approvals', 'allowance'],
  queryFn: () => ok(api.GET('/api/admin/approvals/allowance')),
});

/** Lists keep their old rows, dimmed, while the next ones come. */
export const listing = { placeholderData: keepPreviousData };
