import { Box, Button, NativeSelect, Paper, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { listing } from '../../api/queries';
import { money } from '../../money/format';
import { RANGES, type Range } from '../../router';
import { Charge, Full } from '../../shared/Amount';
import { type Column, DataTable } from '../../shared/DataTable';
import { Side } from '../../shared/Dialog';
import { Facts } from '../../shared/Facts';
import { count, zone } from '../../shared/format';
import { Choice, List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { Postings } from '../../shared/Postings';
import { since } from '../../shared/range';
import { Empty, Loaded } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';
import { Statement } from './Statement';

const route = getRouteApi('/shell/billing');
const TYPES = ['topup', 'consumption', 'refund', 'grant', 'adjustment'] as const;
const STATES = ['pending', 'completed', 'failed', 'cancelled'] as const;
type Line = Schemas['BillingView'];

/** The credits of a line as they change the balance: what was used or given back for money goes out. */
export function signed(line: { type: Schemas['BillingType']; quota_amount: string }): string {
  switch (line.type) {
    case 'consumption':
    case 'refund':
      return line.quota_amount.startsWith('-') ? line.quota_amount.slice(1) : `-${line.quota_amount}`;
    case 'topup':
    case 'grant':
    case 'adjustment':
      return line.quota_amount;
  }
}

export function BillingPage() {
  const { t } = useTranslation();
  const search = route.useSearch();
  const navigate = useNavigate();
  const { range = '30d', type, status, open, cursor } = search;
  const from = since(range);
  const lines = useQuery({
    queryKey: ['billing', 'list', { from, type, status, cursor }],
    queryFn: () =>
      ok(api.GET('/api/user/billing', { params: { query: { from, type, status, cursor, limit: 50 } } })),
    ...listing,
  });
  const months = useQuery({
    queryKey: ['billing', 'months'],
    queryFn: () => ok(api.GET('/api/user/billing/stats', { params: { query: { by: 'month' } } })),
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/billing', search: { ...search, cursor: undefined, open: undefined, ...change } });
  const columns: Column<Line>[] = [
    {
      key: 'at',
      title: t('billing.at', { zone: zone() }),
      head: true,
      cell: (row) => (
        <TextLink to="/billing" search={{ ...search, open: row.id }} resetScroll={false}>
          {row.type === 'consumption' ? row.day : <When at={row.created_at} />}
        </TextLink>
      ),
    },
    { key: 'type', title: t('billing.type'), cell: (row) => t(`billing.types.${row.type}`) },
    { key: 'text', title: t('billing.text'), cell: (row) => row.description },
    {
      key: 'state',
      title: t('order.state'),
      cell: (row) => <Outcome state={row.status} label={t(`order.states.${row.status}`)} />,
    },
    {
      key: 'money',
      title: t('billing.money'),
      right: true,
      cell: (row) => (row.amount && row.currency ? money(row.amount, row.currency) : '–'),
    },
    {
      key: 'credits',
      title: t('billing.credits'),
      right: true,
      cell: (row) => <Charge amount={signed(row)} focusable />,
    },
  ];
  const sums: Column<Schemas['BillingStatView']>[] = [
    { key: 'month', title: t('billing.month'), head: true, cell: (row) => row.bucket },
    {
      key: 'topup',
      title: t('billing.types.topup'),
      right: true,
      cell: (row) => <Charge amount={row.topped_up} focusable />,
    },
    {
      key: 'grant',
      title: t('billing.types.grant'),
      right: true,
      cell: (row) => <Charge amount={row.granted} focusable />,
    },
    {
      key: 'used',
      title: t('billing.types.consumption'),
      right: true,
      cell: (row) => <Charge amount={row.consumed} focusable />,
    },
    {
      key: 'refund',
      title: t('billing.types.refund'),
      right: true,
      cell: (row) => <Charge amount={row.refunded} focusable />,
    },
    {
      key: 'adjusted',
      title: t('billing.types.adjustment'),
      right: true,
      cell: (row) => <Charge amount={row.adjusted} focusable />,
    },
    { key: 'calls', title: t('usage.calls'), right: true, cell: (row) => count(row.requests) },
  ];
  const filtered = Boolean(search.range || type || status);
  return (
    <>
      <PageTitle title={t('billing.title')} lead={t('billing.lead')} />
      <Paper withBorder p="lg" mb="lg" component="section" aria-labelledby="months">
        <Title order={2} id="months" mb="sm">
          {t('billing.months')}
        </Title>
        <Loaded query={months}>
          {(it) =>
            it.items.length === 0 ? (
              <Text c="dimmed">{t('billing.none')}</Text>
            ) : (
              <DataTable
                caption={t('billing.months')}
                columns={sums}
                rows={[...it.items, { ...it.total, bucket: t('table.total') }]}
                rowKey={(row) => row.bucket}
              />
            )
          }
        </Loaded>
      </Paper>
      <Box mb="lg">
        <Statement />
      </Box>
      <div className="filters">
        <NativeSelect
          label={t('usage.range')}
          value={range}
          onChange={(event) => {
            const to = event.currentTarget.value as Range;
            void filter({ range: to === '30d' ? undefined : to });
          }}
          data={RANGES.map((it) => ({ value: it, label: t(`range.${it}`) }))}
        />
        <Choice
          label={t('billing.type')}
          all={t('billing.allTypes')}
          value={type}
          options={TYPES}
          name={(it) => t(`billing.types.${it}`)}
          choose={(it) => filter({ type: it })}
        />
        <Choice
          label={t('order.state')}
          all={t('billing.allStates')}
          value={status}
          options={STATES}
          name={(it) => t(`order.states.${it}`)}
          choose={(it) => filter({ status: it })}
        />
      </div>
      <List
        query={lines}
        caption={t('billing.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={
          <Empty
            icon="bill"
            title={filtered ? t('empty.filtered') : t('billing.none')}
            action={
              filtered ? (
                <Button variant="default" onClick={() => navigate({ to: '/billing', search: {} })}>
                  {t('empty.clear')}
                </Button>
              ) : (
                <Button component={Link} to="/topup">
                  {t('nav.topup')}
                </Button>
              )
            }
          >
            {filtered ? t('usage.noMatch') : t('billing.noneText')}
          </Empty>
        }
        cursor={cursor}
        go={(to) => navigate({ to: '/billing', search: { ...search, open: undefined, cursor: to } })}
      />
      <Side
        opened={open !== undefined}
        onClose={() =>
          navigate({ to: '/billing', search: { ...search, open: undefined }, resetScroll: false })
        }
        title={t('billing.detail')}
      >
        {open && <Detail id={open} />}
      </Side>
    </>
  );
}

function Detail({ id }: { id: string }) {
  const { t } = useTranslation();
  const line = useQuery({
    queryKey: ['billing', 'one', id],
    queryFn: () => ok(api.GET('/api/user/billing/{id}', { params: { path: { id } } })),
  });
  return (
    <Loaded query={line}>
      {(it) => (
        <>
          <Facts
            items={[
              [t('billing.type'), t(`billing.types.${it.type}`)],
              [t('billing.text'), it.description],
              [
                t('order.state'),
                <Outcome key="s" state={it.status} label={t(`order.states.${it.status}`)} />,
              ],
              [t('billing.credits'), <Full key="c" amount={signed(it)} />],
              [t('billing.money'), it.amount && it.currency ? money(it.amount, it.currency) : '–'],
              [t('billing.day'), `${it.day} (${it.time_zone})`],
              [t('order.transaction'), it.transaction_id ?? '–'],
              [t('billing.position'), `#${it.event_seq}`],
              ...(it.requests > 0
                ? ([
                    [
                      t('usage.calls'),
                      <TextLink key="u" to="/usage" search={{ range: 'all' }}>
                        {count(it.requests)}
                      </TextLink>,
                    ],
                  ] as [string, React.ReactNode][])
                : []),
            ]}
          />
          <Postings postings={it.postings} events={it.events ?? []} />
        </>
      )}
    </Loaded>
  );
}
