import { ActionIcon, Alert, AppShell, Box, Burger, Button, Divider, Group, Menu, Text } from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, Outlet, useLocation, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../api/client';
import { balanceQuery, type Self, selfQuery, siteQuery } from '../api/queries';
import { Balance } from '../shared/Amount';
import { Icon } from '../shared/Icon';
import { Announcements } from './Announcements';
import { Confirmation } from './Confirmation';
import { startListening } from './live';
import { type NavPage, OPERATOR_PAGES, USER_PAGES } from './nav';
import { may } from './rights';
import { Switches } from './Switches';
import { sessionChanged } from './session';

const Palette = lazy(() => import('./Palette'));

export function Brand() {
  return (
    <Link to="/" className="brand">
      <img src="/favicon.svg" width={28} height={28} alt="" />
      NexusRoute
    </Link>
  );
}

export function SkipLink() {
  const { t } = useTranslation();
  return (
    <a href="#main" className="skip">
      {t('shell.skip')}
    </a>
  );
}

function BalanceLink() {
  const { t } = useTranslation();
  const balance = useQuery(balanceQuery);
  return (
    <Button component={Link} to="/topup" variant="default" px="sm">
      <Group gap={6} wrap="nowrap">
        <Icon name="wallet" size={16} />
        <span className="offscreen">{t('shell.balance')}</span>
        {balance.data ? <Balance amount={balance.data.available} /> : '…'}
        <span className="offscreen">{t('shell.toTopUp')}</span>
      </Group>
    </Button>
  );
}

function UserMenu({ self }: { self: Self }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const logout = useMutation({
    mutationFn: () => ok(api.POST('/api/user/logout')),
    // Whatever the gateway said, this browser forgets.
    onSettled: async () => {
      await navigate({ to: '/login', search: {} });
      sessionChanged();
    },
  });
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          px={10}
          mih={44}
          aria-label={t('shell.account', { name: self.username })}
        >
          <Icon name="person" size={20} />
          <Text span ml={6} size="sm" visibleFrom="sm">
            {self.username}
          </Text>
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{self.email}</Menu.Label>
        <Menu.Item leftSection={<Icon name="gear" />} component={Link} to="/settings">
          {t('nav.settings')}
        </Menu.Item>
        <Menu.Item leftSection={<Icon name="out" />} onClick={() => logout.mutate()}>
          {t('shell.logout')}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function isAt(path: string, page: string): boolean {
  if (page === '/' || page === '/admin') return path === page;
  return path === page || path.startsWith(`${page}/`);
}

/** Plain links: on a slow phone three dozen of the library's own lines of a menu take long to be drawn. */
function Entries({ pages, at }: { pages: readonly NavPage[]; at: string }) {
  const { t } = useTranslation();
  return pages.map((page) => (
    <Link
      key={page.to}
      to={page.to}
      activeOptions={{ exact: true }}
      className="entry"
      aria-current={isAt(at, page.to) ? 'page' : undefined}
    >
      <Icon name={page.icon} />
      {t(page.name)}
    </Link>
  ));
}

export function Layout() {
  const { t } = useTranslation();
  const [opened, { toggle, close }] = useDisclosure(false);
  const { pathname } = useLocation();
  const self = useQuery(selfQuery);
  const site = useQuery(siteQuery);
  const [finding, setFinding] = useState(false);
  useHotkeys([['mod+K', () => setFinding(true)]], []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the menu closes with each change of the page.
  useEffect(() => close(), [pathname]);
  useEffect(startListening, []);
  if (!self.data) return null;
  const role = self.data.role;
  // Nothing is offered that is not given here.
  const pages = USER_PAGES.filter((page) => page.to !== '/referral' || site.data?.referral);
  const office = OPERATOR_PAGES.filter((page) => may(role, page.right));
  return (
    <>
      <SkipLink />
      <Confirmation />
      <Suspense>{finding && <Palette close={() => setFinding(false)} />}</Suspense>
      <AppShell
        header={{ height: 60 }}
        navbar={{ width: 232, breakpoint: 'sm', collapsed: { mobile: !opened } }}
        padding="md"
      >
        <AppShell.Header>
          <Group h="100%" px="md" justify="space-between" wrap="nowrap" gap="xs">
            <Group gap="xs" wrap="nowrap">
              <Burger
                opened={opened}
                onClick={toggle}
                hiddenFrom="sm"
                size="sm"
                aria-label={opened ? t('shell.closeMenu') : t('shell.openMenu')}
                aria-expanded={opened}
              />
              <Box visibleFrom="xs">
                <Brand />
              </Box>
            </Group>
            <Group gap={4} wrap="nowrap">
              <BalanceLink />
              <ActionIcon
                variant="subtle"
                color="gray"
                size={44}
                aria-label={t('shell.find')}
                onClick={() => setFinding(true)}
              >
                <Icon name="search" size={20} />
              </ActionIcon>
              <Switches />
              <UserMenu self={self.data} />
            </Group>
          </Group>
        </AppShell.Header>
        <AppShell.Navbar p="sm" aria-label={t('shell.menu')}>
          <AppShell.Section grow className="menu">
            <Entries pages={pages} at={pathname} />
            {office.length > 0 && <Divider my="sm" label={t('nav.operator')} />}
            <Entries pages={office} at={pathname} />
          </AppShell.Section>
        </AppShell.Navbar>
        <AppShell.Main id="main" tabIndex={-1}>
          <div className="content">
            <Announcements />
            {!self.data.email_verified && role === 'user' && <Unproven email={self.data.email} />}
            <Outlet />
          </div>
        </AppShell.Main>
      </AppShell>
    </>
  );
}

function Unproven({ email }: { email: string }) {
  const { t } = useTranslation();
  const resend = useMutation({
    mutationFn: () => ok(api.POST('/api/user/resend-verification', { body: { email } })),
  });
  return (
    <Alert color="yellow" variant="outline" mb="md" title={t('unproven.title')}>
      <Text size="sm">
        {resend.isSuccess ? t('unproven.sent', { email }) : t('unproven.text', { email })}
      </Text>
      {!resend.isSuccess && (
        <Button variant="default" mt="xs" loading={resend.isPending} onClick={() => resend.mutate()}>
          {t('unproven.resend')}
        </Button>
      )}
    </Alert>
  );
}
