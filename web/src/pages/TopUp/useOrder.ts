// An order as the payment dialog and the result page watch it.
//
// Claims: only the gateway's answer says that an order is paid, never an address; what the payer has to do next survives a
// reload of the tab and nothing more.

import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { api, ok, type Schemas, serverNow } from '../../api/client';

export type Order = Schemas['TopUpView'];
export type Action = Schemas['ActionView'];

/** Two seconds while the payer is likely to pay, then five, then fifteen. */
export function pollEvery(watchedMs: number): number {
  return watchedMs < 60_000 ? 2_000 : watchedMs < 300_000 ? 5_000 : 15_000;
}

export function useOrder(order: string) {
  const client = useQueryClient();
  const [since] = useState(() => Date.now());
  const query = useQuery({
    queryKey: ['topup', 'order', order],
    queryFn: () => ok(api.GET('/api/user/topup/{order}', { params: { path: { order } } })),
    // A late payment still arrives at an order that is over; nobody waits for it here.
    refetchInterval: (it) =>
      it.state.data && it.state.data.status !== 'pending' ? false : pollEvery(Date.now() - since),
    // A hidden tab asks when it is looked at again: at once, however fresh the last answer is.
    refetchOnWindowFocus: 'always',
    refetchOnReconnect: 'always',
    staleTime: 0,
  });
  const status = query.data?.status;
  useEffect(() => {
    if (status !== 'completed') return;
    void client.invalidateQueries({ queryKey: ['balance'] });
    void client.invalidateQueries({ queryKey: ['topup', 'list'] });
    void client.invalidateQueries({ queryKey: ['billing'] });
  }, [status, client]);
  return query;
}

/** Seconds until a moment, by the gateway's clock; zero once it is over. */
export function useCountdown(until: string): number {
  const left = () => Math.max(0, Math.ceil((new Date(until).getTime() - serverNow()) / 1000));
  const [seconds, setSeconds] = useState(left);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `left` depends on nothing else.
  useEffect(() => {
    setSeconds(left());
    const timer = window.setInterval(() => setSeconds(left()), 1000);
    return () => window.clearInterval(timer);
  }, [until]);
  return seconds;
}

const STORED = 'nexusroute.payment.';

export function remember(order: string, action: Action) {
  try {
    sessionStorage.setItem(STORED + order, JSON.stringify(action));
  } catch {
    // Then a reload loses the way to the payment page; the order is not lost.
  }
}

export function remembered(order: string): Action | null {
  try {
    return JSON.parse(sessionStorage.getItem(STORED + order) ?? 'null');
  } catch {
    return null;
  }
}
