// What the pages that people land on ask for first. It stands apart from them so that it is on its way while their files are.

import { queryOptions } from '@tanstack/react-query';
import { api, ok } from '../api/client';
import { balanceQuery, keysQuery, listing, queryClient, siteQuery, topUpOptionsQuery } from '../api/queries';
import { dateBefore } from '../shared/format';
import { since } from '../shared/range';

function midnight(dayOfMonth?: number): string {
  const now = new Date();
  return new Date(now.getFullYear(), now.getMonth(), dayOfMonth ?? now.getDate()).toISOString();
}

export function statsQuery(
  name: string,
  query: { from: string; by: 'day' | 'model' | 'key'; model?: string; key?: string },
) {
  return queryOptions({
    queryKey: ['usage', 'stats', name, query],
    queryFn: () => ok(api.GET('/api/user/usage/stats', { params: { query } })),
    refetchInterval: 60_000,
  });
}

export const todayQuery = () => statsQuery('today', { from: midnight(), by: 'model' });
export const monthQuery = () => statsQuery('month', { from: midnight(1), by: 'model' });

/** Was there ever a call? */
export const anyCallQuery = queryOptions({
  queryKey: ['usage', 'any'],
  queryFn: () => ok(api.GET('/api/user/usage', { params: { query: { limit: 1 } } })),
});

export const lastCallsQuery = queryOptions({
  queryKey: ['usage', 'last'],
  queryFn: () => ok(api.GET('/api/user/usage', { params: { query: { limit: 100 } } })),
  refetchInterval: 60_000,
});

interface Filters {
  from?: string;
  key?: string;
  model?: string;
}

export function callsQuery(
  filters: Filters,
  outcome?: 'completed' | 'client_gone' | 'provider_error' | 'interrupted' | 'refused',
  cursor?: string,
) {
  return queryOptions({
    queryKey: ['usage', 'list', { ...filters, outcome, cursor }],
    queryFn: () =>
      ok(api.GET('/api/user/usage', { params: { query: { ...filters, outcome, cursor, limit: 50 } } })),
    ...listing,
  });
}

export const overviewQuery = (from: string | undefined) =>
  queryOptions({
    queryKey: ['admin', 'overview', from],
    queryFn: () => ok(api.GET('/api/admin/overview', { params: { query: { from } } })),
    refetchInterval: 30_000,
  });

export const marginByDayQuery = () =>
  queryOptions({
    queryKey: ['admin', 'margin', 'day'],
    queryFn: () =>
      ok(api.GET('/api/admin/usage/margin', { params: { query: { from: dateBefore(29), by: 'day' } } })),
  });

/** What stands on every page, and each page's own, most important first: some browsers send six at a time. */
const FIRST: Record<string, () => Promise<unknown>[]> = {
  '/': () => [
    queryClient.prefetchQuery(keysQuery),
    queryClient.prefetchQuery(anyCallQuery),
    queryClient.prefetchQuery(todayQuery()),
    queryClient.prefetchQuery(monthQuery()),
    queryClient.prefetchQuery(lastCallsQuery),
  ],
  '/topup': () => [queryClient.prefetchQuery(topUpOptionsQuery)],
  '/usage': () => [
    queryClient.prefetchQuery(callsQuery({ from: since('7d') })),
    queryClient.prefetchQuery(keysQuery),
  ],
  '/admin': () => [
    queryClient.prefetchQuery(overviewQuery(since('today'))),
    queryClient.prefetchQuery(marginByDayQuery()),
  ],
};

/**
 * Asks for what a page shows first, as soon as it is known that somebody is there, and before the page is. Ends when all of it
 * is here or has failed: the page tells how.
 */
export async function askFirst(path: string): Promise<void> {
  const page = FIRST[path];
  if (!page || window.location.search) return;
  const self = await window.selfAhead?.catch(() => undefined);
  if (!self?.ok) return;
  await Promise.all([
    queryClient.prefetchQuery(balanceQuery),
    ...page(),
    queryClient.prefetchQuery(siteQuery),
  ]);
}
