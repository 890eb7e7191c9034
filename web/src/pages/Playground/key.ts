// The key that the playground calls with. It is in the memory of this tab and nowhere else: a reload forgets it.

import { useSyncExternalStore } from 'react';
import { api, ok, type Schemas } from '../../api/client';

/** By this name the playground knows its own key, so that it has one and not a new one each day. */
export const NAME = 'Playground';
const LIFE_MS = 24 * 3_600_000;

let held: string | null = null;
const listeners = new Set<() => void>();

export function hold(key: string | null) {
  held = key;
  for (const tell of listeners) tell();
}

export function useHeldKey(): string | null {
  return useSyncExternalStore(
    (tell) => {
      listeners.add(tell);
      return () => listeners.delete(tell);
    },
    () => held,
  );
}

/** Makes the playground's key, for a day and with this budget; an earlier one gets a new secret and these limits. */
export async function smallKey(credits: string, keys: Schemas['KeyView'][]): Promise<string> {
  const limits = {
    budget: { credits, period: 'day' as const },
    expires_at: new Date(Date.now() + LIFE_MS).toISOString(),
  };
  const before = keys.find((it) => it.name === NAME && !it.leaked_at);
  if (!before) return (await ok(api.POST('/api/user/keys', { body: { name: NAME, ...limits } }))).secret;
  const path = { id: before.id };
  await ok(api.PATCH('/api/user/keys/{id}', { params: { path }, body: { ...limits, status: 'active' } }));
  return (await ok(api.POST('/api/user/keys/{id}/rotate', { params: { path }, body: {} }))).secret;
}
