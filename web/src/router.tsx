// The routes: each page is fetched when it is first visited; the operators' pages and words stay out of everybody's first
// view. What a page filters by is read from the address, checked, and left out where it is the default.

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from '@tanstack/react-router';
import type { Schemas } from './api/client';
import { asProblem } from './api/problem';
import { onSessionEnd, queryClient, selfQuery } from './api/queries';
import { wantAdminWords } from './i18n';
import { Broken, Missing } from './shell/Broken';
import { Door } from './shell/Door';
import { askFirst } from './shell/first';
import { Layout } from './shell/Layout';
import { ownPath } from './shell/paths';
import { onOtherTab } from './shell/session';

type Raw = Record<string, unknown>;

function text(raw: Raw, name: string): string | undefined {
  const it = raw[name];
  return typeof it === 'string' && it !== '' && it.length <= 300 ? it : undefined;
}

function oneOf<T extends string>(raw: Raw, name: string, words: readonly T[]): T | undefined {
  return words.find((word) => word === raw[name]);
}

export const RANGES = ['today', '7d', '30d', '90d', 'all'] as const;
export type Range = (typeof RANGES)[number];
const OUTCOMES = ['completed', 'client_gone', 'provider_error', 'interrupted', 'refused'] as const;
const BILLING_TYPES = ['topup', 'consumption', 'refund', 'grant', 'adjustment'] as const;
const STATES = ['pending', 'completed', 'failed', 'cancelled'] as const;
const ROLES = ['user', 'support', 'finance', 'auditor', 'admin', 'owner'] as const;

const root = createRootRoute({ component: Outlet, notFoundComponent: Missing });

const door = createRoute({ getParentRoute: () => root, id: 'door', component: Door });

const login = createRoute({
  getParentRoute: () => door,
  path: '/login',
  validateSearch: (raw: Raw): { return?: string; error?: string; issuer?: string } => {
    const path = ownPath(raw.return);
    return {
      return: path === '/' ? undefined : path,
      error: text(raw, 'error'),
      issuer: text(raw, 'issuer'),
    };
  },
  component: lazyRouteComponent(() => import('./pages/Login'), 'LoginPage'),
});
const register = createRoute({
  getParentRoute: () => door,
  path: '/register',
  validateSearch: (raw: Raw): { invite?: string } => ({ invite: text(raw, 'invite') }),
  component: lazyRouteComponent(() => import('./pages/Register'), 'RegisterPage'),
});
const verify = createRoute({
  getParentRoute: () => door,
  path: '/verify',
  component: lazyRouteComponent(() => import('./pages/Verify'), 'VerifyPage'),
});
const forgot = createRoute({
  getParentRoute: () => door,
  path: '/forgot',
  component: lazyRouteComponent(() => import('./pages/Reset'), 'ForgotPage'),
});
const reset = createRoute({
  getParentRoute: () => door,
  path: '/reset',
  component: lazyRouteComponent(() => import('./pages/Reset'), 'ResetPage'),
});

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  beforeLoad: async ({ location }) => {
    try {
      return { self: await queryClient.ensureQueryData(selfQuery) };
    } catch (error) {
      if (asProblem(error).status !== 401) throw error;
      const path = ownPath(location.href);
      throw redirect({ to: '/login', search: path === '/' ? {} : { return: path } });
    }
  },
  component: Layout,
});

const dashboard = createRoute({
  getParentRoute: () => shell,
  path: '/',
  component: lazyRouteComponent(() => import('./pages/Dashboard'), 'DashboardPage'),
});
const keys = createRoute({
  getParentRoute: () => shell,
  path: '/keys',
  validateSearch: (raw: Raw): { cursor?: string } => ({ cursor: text(raw, 'cursor') }),
  component: lazyRouteComponent(() => import('./pages/Keys'), 'KeysPage'),
});
const key = createRoute({
  getParentRoute: () => shell,
  path: '/keys/$id',
  component: lazyRouteComponent(() => import('./pages/Keys/Detail'), 'KeyPage'),
});
const usage = createRoute({
  getParentRoute: () => shell,
  path: '/usage',
  validateSearch: (
    raw: Raw,
  ): {
    range?: Range;
    key?: string;
    model?: string;
    outcome?: (typeof OUTCOMES)[number];
    open?: string;
    cursor?: string;
  } => ({
    range: oneOf(raw, 'range', RANGES),
    key: text(raw, 'key'),
    model: text(raw, 'model'),
    outcome: oneOf(raw, 'outcome', OUTCOMES),
    open: text(raw, 'open'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/Usage'), 'UsagePage'),
});
const topup = createRoute({
  getParentRoute: () => shell,
  path: '/topup',
  validateSearch: (raw: Raw): { cursor?: string } => ({ cursor: text(raw, 'cursor') }),
  component: lazyRouteComponent(() => import('./pages/TopUp'), 'TopUpPage'),
});
const payment = createRoute({
  getParentRoute: () => shell,
  path: '/topup/$order',
  component: lazyRouteComponent(() => import('./pages/TopUp/PaymentResult'), 'PaymentResultPage'),
});
const billing = createRoute({
  getParentRoute: () => shell,
  path: '/billing',
  validateSearch: (
    raw: Raw,
  ): {
    range?: Range;
    type?: (typeof BILLING_TYPES)[number];
    status?: (typeof STATES)[number];
    open?: string;
    cursor?: string;
  } => ({
    range: oneOf(raw, 'range', RANGES),
    type: oneOf(raw, 'type', BILLING_TYPES),
    status: oneOf(raw, 'status', STATES),
    open: text(raw, 'open'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/Billing'), 'BillingPage'),
});
const models = createRoute({
  getParentRoute: () => shell,
  path: '/models',
  validateSearch: (raw: Raw): { q?: string } => ({ q: text(raw, 'q') }),
  component: lazyRouteComponent(() => import('./pages/Models'), 'ModelsPage'),
});
const redeem = createRoute({
  getParentRoute: () => shell,
  path: '/redeem',
  component: lazyRouteComponent(() => import('./pages/Redeem'), 'RedeemPage'),
});
const settings = createRoute({
  getParentRoute: () => shell,
  path: '/settings',
  component: lazyRouteComponent(() => import('./pages/Settings'), 'SettingsPage'),
});
const playground = createRoute({
  getParentRoute: () => shell,
  path: '/playground',
  validateSearch: (raw: Raw): { model?: string } => ({ model: text(raw, 'model') }),
  component: lazyRouteComponent(() => import('./pages/Playground'), 'PlaygroundPage'),
});
const referral = createRoute({
  getParentRoute: () => shell,
  path: '/referral',
  component: lazyRouteComponent(() => import('./pages/Referral'), 'ReferralPage'),
});
const security = createRoute({
  getParentRoute: () => shell,
  path: '/security',
  validateSearch: (raw: Raw): { error?: string; issuer?: string } => ({
    error: text(raw, 'error'),
    issuer: text(raw, 'issuer'),
  }),
  component: lazyRouteComponent(() => import('./pages/Security'), 'SecurityPage'),
});

const admin = createRoute({
  getParentRoute: () => shell,
  path: '/admin',
  loader: wantAdminWords,
  component: Outlet,
});
const overview = createRoute({
  getParentRoute: () => admin,
  path: '/',
  validateSearch: (raw: Raw): { range?: Range } => ({ range: oneOf(raw, 'range', RANGES) }),
  component: lazyRouteComponent(() => import('./pages/admin/Overview'), 'OverviewPage'),
});
const guide = createRoute({
  getParentRoute: () => admin,
  path: '/guide',
  component: lazyRouteComponent(() => import('./pages/admin/Guide'), 'GuidePage'),
});
const users = createRoute({
  getParentRoute: () => admin,
  path: '/users',
  validateSearch: (
    raw: Raw,
  ): { q?: string; status?: 'active' | 'disabled'; role?: (typeof ROLES)[number]; cursor?: string } => ({
    q: text(raw, 'q'),
    status: oneOf(raw, 'status', ['active', 'disabled'] as const),
    role: oneOf(raw, 'role', ROLES),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Users'), 'UsersPage'),
});
const user = createRoute({
  getParentRoute: () => admin,
  path: '/users/$id',
  component: lazyRouteComponent(() => import('./pages/admin/Users/Detail'), 'UserPage'),
});
const providers = createRoute({
  getParentRoute: () => admin,
  path: '/providers',
  component: lazyRouteComponent(() => import('./pages/admin/Providers'), 'ProvidersPage'),
});
const provider = createRoute({
  getParentRoute: () => admin,
  path: '/providers/$id',
  component: lazyRouteComponent(() => import('./pages/admin/Providers/Detail'), 'ProviderPage'),
});
const prices = createRoute({
  getParentRoute: () => admin,
  path: '/prices',
  validateSearch: (raw: Raw): { model?: string } => ({ model: text(raw, 'model') }),
  component: lazyRouteComponent(() => import('./pages/admin/Prices'), 'PricesPage'),
});
const groups = createRoute({
  getParentRoute: () => admin,
  path: '/groups',
  component: lazyRouteComponent(() => import('./pages/admin/Groups'), 'GroupsPage'),
});
const orders = createRoute({
  getParentRoute: () => admin,
  path: '/orders',
  validateSearch: (raw: Raw): { status?: (typeof STATES)[number]; user?: string; cursor?: string } => ({
    status: oneOf(raw, 'status', STATES),
    user: text(raw, 'user'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Orders'), 'OrdersPage'),
});
const codes = createRoute({
  getParentRoute: () => admin,
  path: '/codes',
  validateSearch: (raw: Raw): { cursor?: string } => ({ cursor: text(raw, 'cursor') }),
  component: lazyRouteComponent(() => import('./pages/admin/Codes'), 'CodesPage'),
});
const ledger = createRoute({
  getParentRoute: () => admin,
  path: '/ledger',
  validateSearch: (raw: Raw): { account?: string; from?: string; day?: string } => ({
    account: text(raw, 'account'),
    from: text(raw, 'from'),
    day: text(raw, 'day'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Ledger'), 'LedgerPage'),
});
const audit = createRoute({
  getParentRoute: () => admin,
  path: '/audit',
  validateSearch: (raw: Raw): { actor?: string; act?: string; subject?: string; cursor?: string } => ({
    actor: text(raw, 'actor'),
    act: text(raw, 'act'),
    subject: text(raw, 'subject'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Audit'), 'AuditPage'),
});
const mails = createRoute({
  getParentRoute: () => admin,
  path: '/mails',
  validateSearch: (raw: Raw): { state?: 'queued' | 'sending' | 'sent' | 'failed'; cursor?: string } => ({
    state: oneOf(raw, 'state', ['queued', 'sending', 'sent', 'failed'] as const),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Mails'), 'MailsPage'),
});

const approvals = createRoute({
  getParentRoute: () => admin,
  path: '/approvals',
  validateSearch: (raw: Raw): { state?: Schemas['ApprovalState']; cursor?: string } => ({
    state: oneOf(raw, 'state', ['pending', 'approved', 'done', 'failed', 'rejected', 'expired'] as const),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Approvals'), 'ApprovalsPage'),
});
const settingsOfGateway = createRoute({
  getParentRoute: () => admin,
  path: '/settings',
  validateSearch: (raw: Raw): { q?: string; source?: Schemas['SettingSource'] } => ({
    q: text(raw, 'q'),
    source: oneOf(raw, 'source', ['default', 'file', 'environment', 'database'] as const),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Settings'), 'GatewaySettingsPage'),
});
const announcements = createRoute({
  getParentRoute: () => admin,
  path: '/announcements',
  component: lazyRouteComponent(() => import('./pages/admin/Announcements'), 'AnnouncementsPage'),
});
const invitations = createRoute({
  getParentRoute: () => admin,
  path: '/invitations',
  validateSearch: (raw: Raw): { cursor?: string } => ({
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Invitations'), 'InvitationsPage'),
});
const limits = createRoute({
  getParentRoute: () => admin,
  path: '/limits',
  component: lazyRouteComponent(() => import('./pages/admin/Limits'), 'LimitsPage'),
});
const catalogue = createRoute({
  getParentRoute: () => admin,
  path: '/catalogue',
  validateSearch: (raw: Raw): { q?: string; provider?: string; cursor?: string } => ({
    q: text(raw, 'q'),
    provider: text(raw, 'provider'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Catalogue'), 'CataloguePage'),
});
const referrals = createRoute({
  getParentRoute: () => admin,
  path: '/referrals',
  validateSearch: (raw: Raw): { state?: Schemas['ReferralState']; cursor?: string } => ({
    state: oneOf(raw, 'state', ['waiting', 'earned', 'capped', 'refused', 'missed', 'lapsed'] as const),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Referrals'), 'ReferralsPage'),
});

const RECON_TABS = ['days', 'differences', 'bills', 'ages'] as const;
const CLASSES = [
  'provider_only',
  'ledger_only',
  'amount',
  'status',
  'timing',
  'duplicate_payment',
  'refund',
  'fee',
  'unknown_row',
] as const;
const DIFFERENCE_STATES = ['open', 'assigned', 'proposed', 'resolved', 'cleared'] as const;

/** A position of a log, as the address holds it. */
function number(raw: Raw, name: string): string | undefined {
  const it = text(raw, name);
  return it && /^[1-9]\d{0,14}$/.test(it) ? it : undefined;
}

const refunds = createRoute({
  getParentRoute: () => admin,
  path: '/refunds',
  validateSearch: (
    raw: Raw,
  ): {
    tab?: 'refunds' | 'differences' | 'disputes';
    status?: Schemas['RefundView']['status'];
    cursor?: string;
  } => ({
    tab: oneOf(raw, 'tab', ['refunds', 'differences', 'disputes'] as const),
    status: oneOf(raw, 'status', ['requested', 'approved', 'completed', 'failed'] as const),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Refunds'), 'RefundsPage'),
});
const suspense = createRoute({
  getParentRoute: () => admin,
  path: '/suspense',
  validateSearch: (
    raw: Raw,
  ): { status?: Schemas['SuspenseView']['status']; open?: string; cursor?: string } => ({
    status: oneOf(raw, 'status', ['open', 'requested', 'claimed', 'returned', 'dismissed'] as const),
    open: number(raw, 'open'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Suspense'), 'SuspensePage'),
});
const inbox = createRoute({
  getParentRoute: () => admin,
  path: '/inbox',
  validateSearch: (
    raw: Raw,
  ): { channel?: string; order?: string; kept?: 'yes'; open?: string; cursor?: string } => ({
    channel: text(raw, 'channel'),
    order: text(raw, 'order'),
    kept: oneOf(raw, 'kept', ['yes'] as const),
    open: number(raw, 'open'),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Inbox'), 'InboxPage'),
});
const reconciliation = createRoute({
  getParentRoute: () => admin,
  path: '/reconciliation',
  validateSearch: (
    raw: Raw,
  ): {
    tab?: (typeof RECON_TABS)[number];
    channel?: string;
    kind?: (typeof CLASSES)[number];
    state?: (typeof DIFFERENCE_STATES)[number];
    cursor?: string;
  } => ({
    tab: oneOf(raw, 'tab', RECON_TABS),
    channel: text(raw, 'channel'),
    kind: oneOf(raw, 'kind', CLASSES),
    state: oneOf(raw, 'state', DIFFERENCE_STATES),
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Reconciliation'), 'ReconciliationPage'),
});
const exports = createRoute({
  getParentRoute: () => admin,
  path: '/exports',
  validateSearch: (raw: Raw): { cursor?: string } => ({
    cursor: text(raw, 'cursor'),
  }),
  component: lazyRouteComponent(() => import('./pages/admin/Exports'), 'ExportsPage'),
});
const periods = createRoute({
  getParentRoute: () => admin,
  path: '/periods',
  component: lazyRouteComponent(() => import('./pages/admin/Periods'), 'PeriodsPage'),
});

/** Plain text in the address: `model=123` is a name and no number. */
export function parseSearch(search: string): Raw {
  return Object.fromEntries(new URLSearchParams(search));
}

export function stringifySearch(search: Raw): string {
  const pairs = Object.entries(search).filter(([, value]) => typeof value === 'string' && value !== '');
  const query = new URLSearchParams(pairs as [string, string][]).toString();
  return query ? `?${query}` : '';
}

export const router = createRouter({
  routeTree: root.addChildren([
    door.addChildren([login, register, verify, forgot, reset]),
    shell.addChildren([
      dashboard,
      keys,
      key,
      usage,
      topup,
      payment,
      billing,
      models,
      redeem,
      playground,
      referral,
      settings,
      security,
      admin.addChildren([
        overview,
        guide,
        users,
        user,
        providers,
        provider,
        prices,
        groups,
        orders,
        codes,
        ledger,
        audit,
        mails,
        refunds,
        suspense,
        inbox,
        reconciliation,
        exports,
        periods,
        approvals,
        settingsOfGateway,
        announcements,
        invitations,
        limits,
        catalogue,
        referrals,
      ]),
    ]),
  ]),
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  defaultErrorComponent: Broken,
  defaultNotFoundComponent: Missing,
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}

/** How long the first view is held back so that it is drawn once: whoever waits longer is shown that the page is coming. */
const FIRST_VIEW_MS = 500;

/**
 * Asks for the first page's data and file at once; the router would find out who is there first, and then do one after the other.
 * Ends when the page can be drawn whole, or after a moment: then it shows that it waits.
 */
export async function startFirstView(): Promise<void> {
  const here = window.location.pathname;
  const data = askFirst(here);
  const route = Object.entries(router.routesByPath).find(([path]) => path === here)?.[1];
  // A file that is missing is found missing once more, by the route itself.
  void (route?.options.component as { preload?: () => Promise<void> } | undefined)?.preload?.();
  const moment = new Promise((done) => setTimeout(done, FIRST_VIEW_MS));
  // What goes wrong here the router finds once more, when it is drawn, and says so.
  const loaded = router.load().catch(() => {});
  await Promise.race([Promise.all([loaded, data]), moment]);
}

onSessionEnd((from) => {
  if (router.state.location.pathname === '/login') return;
  queryClient.clear();
  const path = ownPath(from);
  void router.navigate({ to: '/login', search: path === '/' ? {} : { return: path } });
});

onOtherTab(() => void router.invalidate());
