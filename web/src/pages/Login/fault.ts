// Why another site's login came to nothing, as the address says it.

/** The words that this console has a sentence for; any other is shown as it is. */
export const FAULTS = [
  'denied',
  'issuer_refused',
  'issuer_unavailable',
  'invalid_state',
  'invalid_token',
  'no_verified_email',
  'email_known',
  'email_domain',
  'registration_closed',
  'invitation_needed',
  'invalid_invitation',
  'account_disabled',
  'email_not_verified',
  'identity_taken',
  'too_many_identities',
  'session_ended',
  'too_many_requests',
  'unavailable',
  'internal',
] as const;

export type Fault = (typeof FAULTS)[number];

/** What stands behind the `#` when another site vouched for somebody who has a second factor. */
export function challengeOf(
  hash: string,
): { challenge: string; methods: string[]; back: string | null } | null {
  const parts = new URLSearchParams(hash.replace(/^#/, ''));
  const challenge = parts.get('second_factor');
  if (!challenge) return null;
  return { challenge, methods: (parts.get('methods') ?? '').split(','), back: parts.get('return') };
}
