import { Code, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { money } from '../../../money/format';
import { Balance } from '../../../shared/Amount';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded } from '../Guarded';

const route = getRouteApi('/shell/admin/orders');
const STATES = ['pending', 'completed', 'failed', 'cancelled'] as const;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function OrdersPage() {
  return (
    <Guarded right="money:read">
      <Orders />
    </Guarded>
  );
}

function Orders() {
  const { t } = useTranslation(['admin', 'app']);
  const search = route.useSearch();
  const navigate = useNavigate();
  const { status, cursor } = search;
  const user = search.user && UUID.test(search.user) ? search.user : undefined;
  const orders = useQuery({
    queryKey: ['admin', 'orders', search],
    queryFn: () =>
      ok(api.GET('/api/admin/orders', { params: { query: { status, user, cursor, limit: 50 } } })),
    ...listing,
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/admin/orders', search: { ...search, cursor: undefined, ...change } });
  const columns: Column<Schemas['AdminTopUpView']>[] = [
    {
      key: 'at',
      title: t('app:order.createdAt', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    {
      key: 'user',
      title: t('orders.user'),
      cell: (row) => (
        <TextLink to="/admin/users/$id" params={{ id: row.user_id }}>
          {row.user_id.slice(-8)}
        </TextLink>
      ),
    },
    {
      key: 'pay',
      title: t('app:order.pay'),
      right: true,
      cell: (row) => money(row.pay.amount, row.pay.currency),
    },
    {
      key: 'credits',
      title: t('app:order.credits'),
      right: true,
      cell: (row) => <Balance amount={row.credits} focusable />,
    },
    { key: 'channel', title: t('app:order.channel'), cell: (row) => row.channel },
    {
      key: 'state',
      title: t('app:order.state'),
      cell: (row) => <Outcome state={row.status} label={t(`app:order.states.${row.status}`)} />,
    },
    { key: 'number', title: t('app:order.number'), cell: (row) => <Code>{row.number}</Code> },
  ];
  return (
    <>
      <PageTitle title={t('orders.title')} />
      <div className="filters">
        <Choice
          label={t('app:order.state')}
          all={t('all')}
          value={status}
          options={STATES}
          name={(it) => t(`app:order.states.${it}`)}
          choose={(it) => filter({ status: it })}
        />
        <TextInput
          type="search"
          label={t('orders.userId')}
          defaultValue={search.user ?? ''}
          error={search.user && !user ? t('orders.userRule') : undefined}
          onBlur={(event) => filter({ user: event.currentTarget.value.trim() || undefined })}
        />
      </div>
      <List
        query={orders}
        caption={t('orders.title')}
        columns={columns}
        rowKey={(row) => row.order}
        empty={<Empty icon="wallet" title={t('orders.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/orders', search: { ...search, cursor: to } })}
      />
    </>
  );
}
