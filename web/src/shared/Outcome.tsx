import { Badge } from '@mantine/core';

const colours: Record<string, string> = {
  completed: 'teal',
  active: 'teal',
  sent: 'teal',
  open: 'blue',
  pending: 'yellow',
  queued: 'yellow',
  sending: 'yellow',
  client_gone: 'gray',
  redeemed: 'teal',
  disabled: 'gray',
  cancelled: 'gray',
  void: 'gray',
  expired: 'gray',
  refused: 'orange',
  failed: 'red',
  provider_error: 'red',
  interrupted: 'orange',
  closed: 'teal',
  half_open: 'yellow',
};

/** A state as a word with a dot: the colour says nothing that the word does not. */
export function Outcome({ state, label }: { state: string; label: string }) {
  return <Badge color={colours[state] ?? 'gray'}>{label}</Badge>;
}
