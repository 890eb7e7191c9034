// Channels' bills beside orders and ledger: days compared, what differs, and who sees to it.

import {
  Alert,
  Button,
  Checkbox,
  FileButton,
  Group,
  NativeSelect,
  Stack,
  Text,
  TextInput,
} from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { allowanceQuery, listing, selfQuery } from '../../../api/queries';
import { type Column, DataTable } from '../../../shared/DataTable';
import { count, dateBefore } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { ReasonDialog } from '../../../shared/ReasonDialog';
import { Section } from '../../../shared/Section';
import { Empty, Loaded, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Person } from '../Person';
import { TabBar } from '../TabBar';

const route = getRouteApi('/shell/admin/reconciliation');
export const RECON_TABS = ['days', 'differences', 'bills', 'ages'] as const;
export const CLASSES = [
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
export const DIFFERENCE_STATES = ['open', 'assigned', 'proposed', 'resolved', 'cleared'] as const;
const ACTS = ['credited', 'refunded', 'adjusted', 'provider_corrected', 'accepted', 'other'] as const;
const LOOKS = {
  open: 'failed',
  assigned: 'pending',
  proposed: 'pending',
  resolved: 'completed',
  cleared: 'completed',
} as const;
type Run = Schemas['RunView'];

/** What became of a file that was sent. */
const taken = {
  new: 'recon.taken',
  stands_again: 'recon.standsAgain',
  known: 'recon.known',
  kept: 'recon.known',
} as const satisfies Record<Schemas['ImportView']['outcome'], string>;
type Difference = Schemas['BillDifferenceView'];

export function ReconciliationPage() {
  const { t } = useTranslation('admin');
  const { tab = 'days' } = route.useSearch();
  const navigate = useNavigate();
  return (
    <Guarded right="books:read">
      <PageTitle title={t('recon.title')} lead={t('recon.lead')} />
      <TabBar
        label={t('recon.title')}
        value={tab}
        options={RECON_TABS}
        name={(it) => t(`recon.tabs.${it}`)}
        choose={(it) =>
          navigate({ to: '/admin/reconciliation', search: { tab: it === 'days' ? undefined : it } })
        }
      />
      {tab === 'days' ? (
        <Days />
      ) : tab === 'differences' ? (
        <Differences />
      ) : tab === 'bills' ? (
        <Bills />
      ) : (
        <Ages />
      )}
    </Guarded>
  );
}

function Days() {
  const { t } = useTranslation('admin');
  const { channel, cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayRun = useMay('money:write');
  const [wanted, setWanted] = useState({ channel: channel ?? '', day: dateBefore(1), download: false });
  const runs = useQuery({
    queryKey: ['admin', 'recon', 'runs', channel, cursor],
    queryFn: () =>
      ok(api.GET('/api/admin/reconciliation/runs', { params: { query: { channel, cursor, limit: 50 } } })),
    ...listing,
  });
  const start = useMutation({
    mutationFn: () =>
      ok(
        api.POST('/api/admin/reconciliation/runs', {
          body: { ...wanted, channel: wanted.channel.trim() },
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'recon'] }),
  });
  const send = useMutation({
    mutationFn: ({ file, kind }: { file: File; kind: 'trades' | 'funds' }) =>
      ok(
        api.POST('/api/admin/reconciliation/bills', {
          params: { query: { channel: wanted.channel.trim(), day: wanted.day, kind, name: file.name } },
          body: file as never,
          bodySerializer: (it: unknown) => it as Blob,
          headers: { 'Content-Type': 'application/octet-stream' },
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'recon'] }),
  });
  const columns: Column<Run>[] = [
    {
      key: 'day',
      title: t('recon.day'),
      head: true,
      cell: (row) => (
        <>
          {row.day}
          {row.is_preliminary && (
            <Text size="xs" c="dimmed">
              {t('recon.preliminary')}
            </Text>
          )}
        </>
      ),
    },
    { key: 'channel', title: t('inbox.channel'), cell: (row) => row.channel },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => (
        <Outcome
          state={row.open === 0 ? 'completed' : 'failed'}
          label={row.open === 0 ? t('recon.clean') : t('recon.openCount', { count: row.open })}
        />
      ),
    },
    { key: 'matched', title: t('recon.matched'), right: true, cell: (row) => count(row.matched) },
    { key: 'found', title: t('recon.found'), right: true, cell: (row) => count(row.differences) },
    {
      key: 'sums',
      title: t('recon.sums'),
      right: true,
      cell: (row) =>
        row.totals.map((it) => (
          <div key={it.currency} className="amount">
            {it.payments} / {it.ledger_payments} {it.currency}
            {it.unexplained && it.unexplained.replace(/[0.]/g, '') !== '' && (
              <Text size="xs" c="red">
                {t('recon.unexplained', { amount: it.unexplained })}
              </Text>
            )}
          </div>
        )),
    },
    { key: 'at', title: t('recon.ran'), cell: (row) => <When at={row.started_at} relative /> },
  ];
  const named = wanted.channel.trim() !== '' && wanted.day !== '';
  return (
    <Stack gap="lg">
      {mayRun && (
        <Section id="run" title={t('recon.run')}>
          <Stack>
            <Group align="flex-end">
              <TextInput
                label={t('inbox.channel')}
                placeholder="alipay"
                value={wanted.channel}
                onChange={(event) => setWanted({ ...wanted, channel: event.currentTarget.value })}
              />
              <TextInput
                type="date"
                label={t('recon.day')}
                value={wanted.day}
                onChange={(event) => setWanted({ ...wanted, day: event.currentTarget.value })}
              />
              <Checkbox
                mb={10}
                label={t('recon.download')}
                checked={wanted.download}
                onChange={(event) => setWanted({ ...wanted, download: event.currentTarget.checked })}
              />
              <Button disabled={!named} loading={start.isPending} onClick={() => start.mutate()}>
                {t('recon.start')}
              </Button>
              {(['trades', 'funds'] as const).map((kind) => (
                <FileButton key={kind} onChange={(file) => file && send.mutate({ file, kind })}>
                  {(props) => (
                    <Button {...props} variant="default" disabled={!named} loading={send.isPending}>
                      {t(`recon.send.${kind}`)}
                    </Button>
                  )}
                </FileButton>
              ))}
            </Group>
            {start.error ? <ProblemAlert error={start.error} /> : null}
            {send.error ? <ProblemAlert error={send.error} /> : null}
            <div role="status">
              {send.data && (
                <Alert variant="outline" color="teal" title={t(taken[send.data.outcome])}>
                  <Text size="sm">{t('recon.rows', { count: send.data.bill.rows })}</Text>
                </Alert>
              )}
            </div>
          </Stack>
        </Section>
      )}
      <List
        query={runs}
        caption={t('recon.tabs.days')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="book" title={t('recon.noDays')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/reconciliation', search: { channel, cursor: to } })}
      />
    </Stack>
  );
}

type Deed = { row: Difference; what: 'resolve' | 'approve' | 'reject' };

function Differences() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayAct = useMay('money:write');
  const self = useQuery(selfQuery);
  const alone = useQuery({ ...allowanceQuery, enabled: mayAct }).data?.alone === true;
  const { state, kind, channel, cursor } = search;
  const [deed, setDeed] = useState<Deed | null>(null);
  const [how, setHow] = useState<(typeof ACTS)[number]>('accepted');
  const query = { channel, class: kind, state };
  const differences = useQuery({
    queryKey: ['admin', 'recon', 'differences', query, cursor],
    queryFn: () =>
      ok(
        api.GET('/api/admin/reconciliation/differences', {
          params: { query: { ...query, cursor, limit: 50 } },
        }),
      ),
    ...listing,
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin', 'recon'] });
  const take = useMutation({
    mutationFn: (id: string) =>
      ok(
        api.POST('/api/admin/reconciliation/differences/{id}/assign', {
          params: { path: { id } },
          body: { owner: self.data?.id ?? '' },
        }),
      ),
    onSettled: refresh,
  });
  const act = useMutation({
    mutationFn: ({ row, what, reason }: Deed & { reason: string }) => {
      const params = { path: { id: row.id } };
      const note = reason || undefined;
      switch (what) {
        case 'resolve':
          return ok(
            api.POST('/api/admin/reconciliation/differences/{id}/resolve', {
              params,
              body: { act: how, reason },
            }),
          );
        case 'approve':
          return ok(
            api.POST('/api/admin/reconciliation/differences/{id}/approve', { params, body: { note } }),
          );
        case 'reject':
          return ok(
            api.POST('/api/admin/reconciliation/differences/{id}/reject', { params, body: { note } }),
          );
      }
    },
    onSuccess: () => setDeed(null),
    onSettled: refresh,
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/admin/reconciliation', search: { ...search, cursor: undefined, ...change } });
  const ask = (row: Difference, what: Deed['what']) => {
    act.reset();
    setDeed({ row, what });
  };
  const isOwn = (row: Difference) => row.resolved_by === self.data?.id;
  const columns: Column<Difference>[] = [
    { key: 'day', title: t('recon.day'), head: true, cell: (row) => row.day },
    { key: 'class', title: t('recon.class'), cell: (row) => t(`recon.classes.${row.class}`) },
    { key: 'channel', title: t('inbox.channel'), cell: (row) => row.channel },
    { key: 'order', title: t('inbox.order'), cell: (row) => row.order_number ?? row.provider_txn ?? '–' },
    {
      key: 'ours',
      title: t('recon.ours'),
      right: true,
      cell: (row) => (row.ledger_amount ? `${row.ledger_amount} ${row.currency ?? ''}` : '–'),
    },
    {
      key: 'theirs',
      title: t('recon.theirs'),
      right: true,
      cell: (row) =>
        row.provider_amount ? `${row.provider_amount} ${row.provider_currency ?? row.currency ?? ''}` : '–',
    },
    { key: 'detail', title: t('inbox.detail'), cell: (row) => row.detail },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => (
        <>
          <Outcome
            state={LOOKS[row.state as keyof typeof LOOKS]}
            label={t(`recon.states.${row.state as keyof typeof LOOKS}`)}
          />
          <Text size="xs" c="dimmed" component="div">
            {t('recon.age', { days: row.age_days })} {row.reason}
          </Text>
        </>
      ),
    },
    { key: 'owner', title: t('recon.owner'), cell: (row) => <Person id={row.owner} /> },
    {
      key: 'acts',
      title: '',
      right: true,
      cell: (row) => {
        if (!mayAct) return null;
        const stands = String(row.state);
        const refused = isOwn(row) && !alone;
        return (
          <Group gap="xs" justify="flex-end" wrap="nowrap">
            {stands === 'open' && (
              <Button size="xs" variant="default" onClick={() => take.mutate(row.id)}>
                {t('recon.take')}
              </Button>
            )}
            {(stands === 'open' || stands === 'assigned') && (
              <Button size="xs" variant="default" onClick={() => ask(row, 'resolve')}>
                {t('recon.acts.resolve')}
              </Button>
            )}
            {stands === 'proposed' && (
              <>
                <Button
                  size="xs"
                  disabled={refused}
                  title={refused ? t('approvals.ownNote') : undefined}
                  onClick={() => ask(row, 'approve')}
                >
                  {t('recon.acts.approve')}
                </Button>
                <Button size="xs" variant="default" onClick={() => ask(row, 'reject')}>
                  {t('recon.acts.reject')}
                </Button>
              </>
            )}
          </Group>
        );
      },
    },
  ];
  const file = new URLSearchParams(
    Object.entries(query).filter((it): it is [string, NonNullable<(typeof it)[1]>] => it[1] !== undefined),
  );
  return (
    <>
      <div className="filters">
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={state}
          options={DIFFERENCE_STATES}
          name={(it) => t(`recon.states.${it}`)}
          choose={(it) => filter({ state: it })}
        />
        <Choice
          label={t('recon.class')}
          all={t('all')}
          value={kind}
          options={CLASSES}
          name={(it) => t(`recon.classes.${it}`)}
          choose={(it) => filter({ kind: it })}
        />
        <Button component="a" variant="default" download href={`/api/admin/reconciliation/export?${file}`}>
          {t('recon.export')}
        </Button>
      </div>
      {take.error ? <ProblemAlert error={take.error} /> : null}
      <List
        query={differences}
        caption={t('recon.tabs.differences')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="check" title={t('recon.noDifferences')} />}
        cursor={cursor}
        go={(to) => filter({ cursor: to })}
      />
      <ReasonDialog
        opened={deed !== null}
        close={() => setDeed(null)}
        title={deed ? t(`recon.acts.${deed.what}`) : ''}
        verb={deed ? t(`recon.acts.${deed.what}`) : ''}
        // Who agrees with themselves says why.
        optional={deed?.what === 'reject' || (deed?.what === 'approve' && !isOwn(deed.row))}
        act={(reason) => deed && act.mutate({ ...deed, reason })}
        busy={act.isPending}
        error={act.error}
      >
        <Text>{deed?.row.detail}</Text>
        {deed?.what === 'resolve' && (
          <NativeSelect
            label={t('recon.how')}
            description={t('recon.howNote')}
            value={how}
            onChange={(event) => setHow(ACTS.find((it) => it === event.currentTarget.value) ?? 'accepted')}
            data={ACTS.map((it) => ({ value: it, label: t(`recon.hows.${it}`) }))}
          />
        )}
      </ReasonDialog>
    </>
  );
}

function Bills() {
  const { t } = useTranslation('admin');
  const { channel, cursor } = route.useSearch();
  const navigate = useNavigate();
  const bills = useQuery({
    queryKey: ['admin', 'recon', 'bills', channel, cursor],
    queryFn: () =>
      ok(api.GET('/api/admin/reconciliation/bills', { params: { query: { channel, cursor, limit: 50 } } })),
    ...listing,
  });
  const columns: Column<Schemas['BillView']>[] = [
    { key: 'day', title: t('recon.day'), head: true, cell: (row) => row.day },
    { key: 'channel', title: t('inbox.channel'), cell: (row) => row.channel },
    { key: 'kind', title: t('recon.kind'), cell: (row) => t(`recon.kinds.${row.kind}`) },
    { key: 'name', title: t('recon.file'), cell: (row) => row.name },
    { key: 'rows', title: t('recon.lines'), right: true, cell: (row) => count(row.rows) },
    { key: 'by', title: t('models.author'), cell: (row) => <Person id={row.imported_by} /> },
    { key: 'at', title: t('recon.imported'), cell: (row) => <When at={row.imported_at} /> },
  ];
  return (
    <List
      query={bills}
      caption={t('recon.tabs.bills')}
      columns={columns}
      rowKey={(row) => row.id}
      empty={<Empty icon="bill" title={t('recon.noBills')} />}
      cursor={cursor}
      go={(to) => navigate({ to: '/admin/reconciliation', search: { tab: 'bills', channel, cursor: to } })}
    />
  );
}

function Ages() {
  const { t } = useTranslation('admin');
  const ages = useQuery({
    queryKey: ['admin', 'recon', 'ages'],
    queryFn: () => ok(api.GET('/api/admin/reconciliation/ageing')),
  });
  const spans = ['under_1_day', 'under_3_days', 'under_7_days', 'under_30_days', 'older', 'total'] as const;
  return (
    <Loaded query={ages}>
      {(it) =>
        it.items.length === 0 ? (
          <Empty icon="check" title={t('recon.noDifferences')} />
        ) : (
          <DataTable
            caption={t('recon.tabs.ages')}
            rows={it.items}
            rowKey={(row) => `${row.channel} ${row.class}`}
            columns={[
              {
                key: 'class',
                title: t('recon.class'),
                head: true,
                cell: (row) => `${row.channel}: ${t(`recon.classes.${row.class}`)}`,
              },
              ...spans.map((name) => ({
                key: name,
                title: t(`recon.spans.${name}`),
                right: true,
                cell: (row: Schemas['AgeView']) => count(row[name]),
              })),
            ]}
          />
        )
      }
    </Loaded>
  );
}
