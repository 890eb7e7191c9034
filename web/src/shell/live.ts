// What the gateway tells as it happens: balances, orders, how far the tables are.
//
// One stream per browser: the tab that holds the lock listens and passes on what it hears; where there are no locks (plain http on
// a LAN) each tab listens. A hidden tab lets go. Whoever hears nothing asks again and again, as without all of this.
//
// Claims: nothing is shown as newer than it is; a stream that was refused is asked for again soon, then ever more seldom; what
// happened while nobody listened is read anew once somebody does.

import type { Schemas } from '../api/client';
import { balanceQuery, queryClient, selfQuery, tablesQuery } from '../api/queries';

type Told =
  | { kind: 'balance'; data: Schemas['BalanceView'] }
  | { kind: 'order'; data: Schemas['TopUpView'] }
  | { kind: 'tables'; data: Schemas['LagView'] };

/** The pause after a first refusal, and the longest: a gateway that starts is there in a moment, one that has no room is not. */
const PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/** The pause after so many refusals in a row. Tabs that were refused together do not come back together. */
export function pauseMs(refusals: number, chance = Math.random()): number {
  const pause = Math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** (refusals - 1));
  return pause * (0.75 + chance / 4);
}

function take(told: Told) {
  switch (told.kind) {
    case 'balance': {
      const before = queryClient.getQueryData(balanceQuery.queryKey);
      // What a page waited for may be ahead of what the stream saw.
      if (before && before.position > told.data.position) return;
      const same = before && before.total === told.data.total && before.available === told.data.available;
      queryClient.setQueryData(balanceQuery.queryKey, told.data);
      if (before && !same) {
        void queryClient.invalidateQueries({ queryKey: ['billing'] });
        void queryClient.invalidateQueries({ queryKey: ['usage'] });
        // An order that was paid between the page's reading and the stream's first look is not told: its credits are.
        void queryClient.invalidateQueries({ queryKey: ['topup', 'list'] });
      }
      return;
    }
    case 'order':
      queryClient.setQueryData(['topup', 'order', told.data.order], told.data);
      void queryClient.invalidateQueries({ queryKey: ['topup', 'list'] });
      return;
    case 'tables':
      queryClient.setQueryData(tablesQuery.queryKey, told.data);
      return;
  }
}

const KINDS = ['balance', 'order', 'tables'] as const;

/** Listens until `signal`, and comes back by itself when the connection is lost. */
function listen(pass: (told: Told) => void, signal: AbortSignal): Promise<void> {
  return new Promise((end) => {
    let source: EventSource | null = null;
    let timer = 0;
    let refusals = 0;
    let isLost = false;
    const open = () => {
      source = new EventSource('/api/user/events');
      source.onopen = () => {
        refusals = 0;
        if (!isLost) return;
        isLost = false;
        // The stream begins with the balance; orders it tells of from now on.
        void queryClient.invalidateQueries({ queryKey: ['topup'] });
      };
      for (const kind of KINDS) {
        source.addEventListener(kind, (event) => pass({ kind, data: JSON.parse(event.data) } as Told));
      }
      source.onerror = () => {
        isLost = true;
        // It tells no reason. If the session is over, this question finds out and leads to the login.
        void queryClient.invalidateQueries({ queryKey: selfQuery.queryKey });
        // Where only the connection broke off, the browser comes back by itself.
        if (source?.readyState === EventSource.CLOSED) {
          refusals += 1;
          window.clearTimeout(timer);
          timer = window.setTimeout(open, pauseMs(refusals));
        }
      };
    };
    signal.addEventListener(
      'abort',
      () => {
        window.clearTimeout(timer);
        source?.close();
        end();
      },
      { once: true },
    );
    if (signal.aborted) end();
    else open();
  });
}

/** Listens while the page is seen; answers how to stop. */
export function startListening(): () => void {
  if (typeof EventSource === 'undefined') return () => {};
  const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('nexusroute.live');
  channel?.addEventListener('message', (event: MessageEvent<Told>) => take(event.data));
  const pass = (told: Told) => {
    take(told);
    channel?.postMessage(told);
  };
  let control: AbortController | null = null;
  const follow = () => {
    if (document.hidden) {
      control?.abort();
      control = null;
      return;
    }
    if (control) return;
    control = new AbortController();
    const { signal } = control;
    if (!navigator.locks) {
      void listen(pass, signal);
      return;
    }
    // Waiting for the lock ends with the signal, too; that is no fault.
    navigator.locks.request('nexusroute.live', { signal }, () => listen(pass, signal)).catch(() => {});
  };
  document.addEventListener('visibilitychange', follow);
  follow();
  return () => {
    document.removeEventListener('visibilitychange', follow);
    control?.abort();
    channel?.close();
  };
}
