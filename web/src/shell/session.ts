// The session as this browser's tabs share it: who leaves in one has left in all.

import { queryClient } from '../api/queries';

type Message = 'changed';
const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('nexusroute.session');

/** Forgets everything that was fetched; the other tabs do, too. */
export function sessionChanged() {
  queryClient.clear();
  channel?.postMessage('changed' satisfies Message);
}

/** Acts when another tab has logged in or out. */
export function onOtherTab(act: () => void) {
  channel?.addEventListener('message', () => {
    queryClient.clear();
    act();
  });
}
