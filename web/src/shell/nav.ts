// The menu: where each page stands and who sees it. A new page is a line here and a route in `router.tsx`.

import type { IconName } from '../shared/Icon';
import type { Right } from './rights';

export const USER_PAGES = [
  { to: '/', icon: 'home', name: 'nav.dashboard' },
  { to: '/keys', icon: 'key', name: 'nav.keys' },
  { to: '/usage', icon: 'list', name: 'nav.usage' },
  { to: '/topup', icon: 'wallet', name: 'nav.topup' },
  { to: '/billing', icon: 'bill', name: 'nav.billing' },
  { to: '/models', icon: 'cube', name: 'nav.models' },
  { to: '/playground', icon: 'play', name: 'nav.playground' },
  { to: '/redeem', icon: 'gift', name: 'nav.redeem' },
  { to: '/referral', icon: 'users', name: 'nav.referral' },
  { to: '/security', icon: 'shield', name: 'nav.security' },
  { to: '/settings', icon: 'gear', name: 'nav.settings' },
] as const satisfies { to: string; icon: IconName; name: string }[];

export const OPERATOR_PAGES = [
  { to: '/admin', icon: 'chart', name: 'nav.overview', right: 'books:read' },
  { to: '/admin/guide', icon: 'flag', name: 'nav.guide', right: 'providers:write' },
  { to: '/admin/users', icon: 'users', name: 'nav.users', right: 'users:read' },
  { to: '/admin/providers', icon: 'plug', name: 'nav.providers', right: 'providers:read' },
  { to: '/admin/prices', icon: 'tag', name: 'nav.prices', right: 'catalogue:read' },
  { to: '/admin/catalogue', icon: 'tag', name: 'nav.catalogue', right: 'catalogue:read' },
  { to: '/admin/limits', icon: 'gauge', name: 'nav.limits', right: 'catalogue:read' },
  { to: '/admin/groups', icon: 'users', name: 'nav.groups', right: 'catalogue:read' },
  { to: '/admin/orders', icon: 'wallet', name: 'nav.orders', right: 'money:read' },
  { to: '/admin/approvals', icon: 'stamp', name: 'nav.approvals', right: 'money:read' },
  { to: '/admin/refunds', icon: 'wallet', name: 'nav.refunds', right: 'money:read' },
  { to: '/admin/suspense', icon: 'alert', name: 'nav.suspense', right: 'money:read' },
  { to: '/admin/inbox', icon: 'mail', name: 'nav.inbox', right: 'money:read' },
  { to: '/admin/reconciliation', icon: 'check', name: 'nav.recon', right: 'books:read' },
  { to: '/admin/codes', icon: 'gift', name: 'nav.codes', right: 'money:read' },
  { to: '/admin/referrals', icon: 'users', name: 'nav.referrals', right: 'money:read' },
  { to: '/admin/ledger', icon: 'book', name: 'nav.ledger', right: 'books:read' },
  { to: '/admin/exports', icon: 'bill', name: 'nav.exports', right: 'books:export' },
  { to: '/admin/periods', icon: 'book', name: 'nav.periods', right: 'books:read' },
  { to: '/admin/audit', icon: 'shield', name: 'nav.audit', right: 'audit:read' },
  { to: '/admin/mails', icon: 'mail', name: 'nav.mails', right: 'users:read' },
  { to: '/admin/invitations', icon: 'gift', name: 'nav.invitations', right: 'settings:read' },
  { to: '/admin/announcements', icon: 'megaphone', name: 'nav.announcements', right: 'settings:read' },
  { to: '/admin/settings', icon: 'gear', name: 'nav.gateway', right: 'settings:read' },
] as const satisfies { to: string; icon: IconName; name: string; right: Right }[];

export type NavPage = (typeof USER_PAGES)[number] | (typeof OPERATOR_PAGES)[number];
