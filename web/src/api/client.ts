// The one way to the gateway: its public API, by the types that its own document generates.
//
// Claims: every refusal is thrown as a `Problem`; what was just written is in what is read next.

import createClient, { type Middleware } from 'openapi-fetch';
import { Problem, problemOf } from './problem';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];

// Where the last write of this tab stands on the log. Reads that may trail wait for it, for some time.
let written: { position: string; at: number } | null = null;
const MEMORY_MS = 30_000;
export const TRAILING =
  /^\/api\/user\/(balance|billing|refunds|statements|topup(?!\/options|\/imported)|usage|keys\/[^/]+\/stats)/;

// How far the gateway's clock is ahead of this one, in milliseconds.
let ahead = 0;

/** The moment by the gateway's clock, to about a second: what an order's end is counted by. */
export function serverNow(): number {
  return Date.now() + ahead;
}

const positions: Middleware = {
  onRequest({ request }) {
    if (!written || Date.now() - written.at > MEMORY_MS || request.method !== 'GET') return undefined;
    const url = new URL(request.url);
    if (!TRAILING.test(url.pathname)) return undefined;
    url.searchParams.set('after', written.position);
    return new Request(url, request);
  },
  onResponse({ request, response }) {
    const date = Date.parse(response.headers.get('date') ?? '');
    if (!Number.isNaN(date)) ahead = date - Date.now();
    const position = response.headers.get('x-ledger-position');
    if (position && request.method !== 'GET') written = { position, at: Date.now() };
    // A log that begins anew (a restored backup, another gateway) never reaches the old position.
    if (response.status === 400 && request.url.includes('after=')) written = null;
    return undefined;
  },
};

// What was refused for want of a fresh proof of who is there: asked for once, however many requests wait, and sent again.
type Ask = () => Promise<boolean>;
let ask: Ask | null = null;
let asking: Promise<boolean> | null = null;

/** Says who asks for a fresh proof; answers how to unsay it. */
export function onConfirmation(it: Ask): () => void {
  ask = it;
  return () => {
    if (ask === it) ask = null;
  };
}

const copies = new Map<string, Request>();

const confirmations: Middleware = {
  onRequest({ request, id }) {
    if (request.method !== 'GET') copies.set(id, request.clone());
    return undefined;
  },
  async onResponse({ response, id }) {
    const copy = copies.get(id);
    copies.delete(id);
    if (!copy || !ask || response.status !== 403) return undefined;
    const problem = problemOf(
      await response
        .clone()
        .json()
        .catch(() => null),
      response,
    );
    if (problem.code !== 'confirmation_required') return undefined;
    asking ??= ask().finally(() => {
      asking = null;
    });
    return (await asking) ? fetch(copy) : undefined;
  },
  onError({ id }) {
    copies.delete(id);
    return undefined;
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin });
api.use(positions, confirmations);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of a good answer; anything else is thrown as a `Problem`. */
export async function ok<T>(answer: Promise<Answer<T>>): Promise<T> {
  let it: Answer<T>;
  try {
    it = await answer;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Problem(0, 'network', error instanceof Error ? error.message : 'unreachable');
  }
  if (!it.response.ok) throw problemOf(it.error, it.response);
  return it.data as T;
}

/** A key under which a write is done once, however often it is sent. Made with the form, not with the request. */
export function idempotencyKey(): string {
  // `randomUUID` is missing on plain http, as on a LAN.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
