// Who sees which pages. The gateway decides what anybody may do (docs/permissions.md); this only keeps links that would be
// refused out of the menu.

import type { Schemas } from '../api/client';

export type Role = Schemas['Role'];

const OFFICES: Role[] = ['support', 'finance', 'auditor', 'admin', 'owner'];

export const RIGHTS = {
  'self:use': ['user', 'support', 'finance', 'admin', 'owner'],
  'users:read': OFFICES,
  'users:write': ['support', 'admin', 'owner'],
  'providers:read': ['support', 'auditor', 'admin', 'owner'],
  'providers:write': ['admin', 'owner'],
  'catalogue:read': OFFICES,
  'catalogue:write': ['admin', 'owner'],
  'money:read': OFFICES,
  'money:write': ['finance', 'admin', 'owner'],
  'books:read': ['finance', 'auditor', 'admin', 'owner'],
  'books:export': ['finance', 'auditor', 'admin', 'owner'],
  'books:close': ['finance', 'admin', 'owner'],
  'settings:read': ['support', 'auditor', 'admin', 'owner'],
  'settings:write': ['admin', 'owner'],
  'audit:read': ['auditor', 'admin', 'owner'],
} as const satisfies Record<string, readonly Role[]>;

export type Right = keyof typeof RIGHTS;

export function may(role: Role, right: Right): boolean {
  return (RIGHTS[right] as readonly Role[]).includes(role);
}
