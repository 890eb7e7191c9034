// Money on its way back: refunds that wait for a decision, what channels say of refunds that differs, and disputes.

import { Button, Checkbox, Code, Group, NativeSelect, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, idempotencyKey, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { money } from '../../../money/format';
import { Balance } from '../../../shared/Amount';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { ReasonDialog } from '../../../shared/ReasonDialog';
import { Empty, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { REFUND_LOOKS } from '../../TopUp/Refunds';
import { Guarded, useMay } from '../Guarded';
import { Person } from '../Person';
import { TabBar } from '../TabBar';
import { Waits } from '../Waits';

const route = getRouteApi('/shell/admin/refunds');
export const REFUND_TABS = ['refunds', 'differences', 'disputes'] as const;
const STATES = ['requested', 'approved', 'completed', 'failed'] as const;
type Refund = Schemas['AdminRefundView'];

export function RefundsPage() {
  const { t } = useTranslation('admin');
  const { tab = 'refunds' } = route.useSearch();
  const navigate = useNavigate();
  return (
    <Guarded right="money:read">
      <PageTitle title={t('refunds.title')} lead={t('refunds.lead')} />
      <TabBar
        label={t('refunds.title')}
        value={tab}
        options={REFUND_TABS}
        name={(it) => t(`refunds.tabs.${it}`)}
        choose={(it) =>
          navigate({ to: '/admin/refunds', search: { tab: it === 'refunds' ? undefined : it } })
        }
      />
      {tab === 'refunds' ? <Refunds /> : tab === 'differences' ? <Differences /> : <Disputes />}
    </Guarded>
  );
}

type Act = { row: Refund; what: 'approve' | 'reject' | 'retry' | 'settle'; key: string };

function Refunds() {
  const { t } = useTranslation(['admin', 'app']);
  const { status, cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayAct = useMay('money:write');
  const [act, setAct] = useState<Act | null>(null);
  const [outcome, setOutcome] = useState<'completed' | 'failed'>('completed');
  const [reference, setReference] = useState('');
  const refunds = useQuery({
    queryKey: ['admin', 'refunds', status, cursor],
    queryFn: () => ok(api.GET('/api/admin/refunds', { params: { query: { status, cursor, limit: 50 } } })),
    refetchInterval: 15_000,
    ...listing,
  });
  const doIt = useMutation({
    /** Answers whether a second person has to approve. */
    mutationFn: async ({ row, what, key, reason }: Act & { reason: string }): Promise<boolean> => {
      const params = { path: { id: row.id } };
      switch (what) {
        case 'approve': {
          // Above what one person may move alone it is a request.
          const it = await ok(api.POST('/api/admin/refunds/{id}/approve', { params }));
          return 'requested_by' in it && it.state === 'pending';
        }
        case 'reject':
          await ok(api.POST('/api/admin/refunds/{id}/reject', { params, body: { reason } }));
          return false;
        case 'retry':
          await ok(api.POST('/api/admin/refunds/{id}/retry', { params }));
          return false;
        case 'settle':
          await ok(
            api.POST('/api/admin/refunds/{id}/settle', {
              params: { ...params, header: { 'Idempotency-Key': key } },
              body: { outcome, reference: reference.trim() || undefined, reason },
            }),
          );
          return true;
      }
    },
    onSuccess: () => setAct(null),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin'] }),
  });
  const ask = (row: Refund, what: Act['what']) => {
    doIt.reset();
    setOutcome('completed');
    setReference('');
    setAct({ row, what, key: idempotencyKey() });
  };
  const columns: Column<Refund>[] = [
    {
      key: 'at',
      title: t('approvals.asked', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'user', title: t('orders.user'), cell: (row) => <Person id={row.user_id} /> },
    {
      key: 'pay',
      title: t('app:refund.pay'),
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
    { key: 'reason', title: t('app:reason.label'), cell: (row) => row.reason },
    {
      key: 'status',
      title: t('users.status'),
      cell: (row) => (
        <>
          <Outcome state={REFUND_LOOKS[row.status]} label={t(`app:refund.states.${row.status}`)} />
          {row.call && row.call.state !== 'done' && (
            <Text size="xs" c="dimmed">
              {t(`refunds.calls.${row.call.state}`)} {row.call.last_error}
            </Text>
          )}
          {row.failure && (
            <Text size="xs" c="dimmed">
              {row.failure}
            </Text>
          )}
        </>
      ),
    },
    {
      key: 'acts',
      title: '',
      right: true,
      cell: (row) => {
        if (!mayAct) return null;
        const stuck = ['unknown', 'refused', 'abnormal'].includes(row.call?.state ?? '');
        return (
          <Group gap="xs" justify="flex-end" wrap="nowrap">
            {row.status === 'requested' && (
              <>
                <Button size="xs" onClick={() => ask(row, 'approve')}>
                  {t('approvals.approve')}
                </Button>
                <Button size="xs" variant="default" onClick={() => ask(row, 'reject')}>
                  {t('approvals.reject')}
                </Button>
              </>
            )}
            {row.status === 'approved' && stuck && (
              <Button size="xs" variant="default" onClick={() => ask(row, 'retry')}>
                {t('refunds.retry')}
              </Button>
            )}
            {row.status === 'approved' && (stuck || row.call?.state === 'pending') && (
              <Button size="xs" variant="default" onClick={() => ask(row, 'settle')}>
                {t('refunds.settle')}
              </Button>
            )}
          </Group>
        );
      },
    },
  ];
  return (
    <>
      <div className="filters">
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={status}
          options={STATES}
          name={(it) => t(`app:refund.states.${it}`)}
          choose={(it) => navigate({ to: '/admin/refunds', search: { status: it } })}
        />
      </div>
      {doIt.data && <Waits />}
      <List
        query={refunds}
        caption={t('refunds.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="wallet" title={t('refunds.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/refunds', search: { status, cursor: to } })}
      />
      <ReasonDialog
        opened={act !== null}
        close={() => setAct(null)}
        title={act ? t(`refunds.acts.${act.what}`) : ''}
        verb={act ? t(`refunds.acts.${act.what}`) : ''}
        danger={act?.what === 'reject'}
        // Approving and asking again say by themselves why.
        optional={act?.what === 'approve' || act?.what === 'retry'}
        act={(reason) => act && doIt.mutate({ ...act, reason })}
        busy={doIt.isPending}
        error={doIt.error}
      >
        {act && (
          <Text>
            {money(act.row.pay.amount, act.row.pay.currency)} · {act.row.channel} · {act.row.reason}
          </Text>
        )}
        {act?.what === 'settle' && (
          <>
            <Text size="sm">{t('refunds.settleNote')}</Text>
            <NativeSelect
              label={t('refunds.outcome')}
              description={t('refunds.outcomeNote')}
              value={outcome}
              onChange={(event) =>
                setOutcome(event.currentTarget.value === 'failed' ? 'failed' : 'completed')
              }
              data={(['completed', 'failed'] as const).map((it) => ({
                value: it,
                label: t(`app:refund.states.${it}`),
              }))}
            />
            <TextInput
              label={t('refunds.reference')}
              value={reference}
              onChange={(event) => setReference(event.currentTarget.value)}
            />
          </>
        )}
      </ReasonDialog>
    </>
  );
}

type Difference = Schemas['OutsideRefundView'];

function Differences() {
  const { t } = useTranslation(['admin', 'app']);
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayAct = useMay('money:write');
  const [row, setRow] = useState<Difference | null>(null);
  const [takes, setTakes] = useState(false);
  const differences = useQuery({
    queryKey: ['admin', 'outside-refunds', cursor],
    queryFn: () => ok(api.GET('/api/admin/outside-refunds', { params: { query: { cursor, limit: 50 } } })),
    ...listing,
  });
  const resolve = useMutation({
    mutationFn: ({ id, reason }: { id: string; reason: string }) =>
      ok(
        api.POST('/api/admin/outside-refunds/{id}/resolve', {
          params: { path: { id } },
          body: { reason, take_credits: takes },
        }),
      ),
    onSuccess: () => setRow(null),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'outside-refunds'] }),
  });
  const columns: Column<Difference>[] = [
    {
      key: 'at',
      title: t('audit.at', { zone: zone() }),
      head: true,
      cell: (it) => <When at={it.created_at} />,
    },
    { key: 'what', title: t('refunds.what'), cell: (it) => it.what },
    { key: 'user', title: t('orders.user'), cell: (it) => <Person id={it.user_id} /> },
    { key: 'channel', title: t('app:order.channel'), cell: (it) => it.channel },
    { key: 'order', title: t('app:order.number'), cell: (it) => <Code>{it.order_number ?? '–'}</Code> },
    {
      key: 'amount',
      title: t('app:refund.pay'),
      right: true,
      cell: (it) => money(it.amount.amount, it.amount.currency),
    },
    {
      key: 'state',
      title: t('users.status'),
      cell: (it) => (
        <>
          <Outcome
            state={it.state === 'open' ? 'pending' : 'completed'}
            label={t(`refunds.differences.${it.state === 'open' ? 'open' : 'resolved'}`)}
          />
          {it.note && (
            <Text size="xs" c="dimmed">
              {it.note}
            </Text>
          )}
        </>
      ),
    },
    {
      key: 'act',
      title: '',
      right: true,
      cell: (it) =>
        mayAct && it.state === 'open' ? (
          <Button
            size="xs"
            variant="default"
            onClick={() => {
              resolve.reset();
              setTakes(false);
              setRow(it);
            }}
          >
            {t('refunds.resolve')}
          </Button>
        ) : null,
    },
  ];
  return (
    <>
      <List
        query={differences}
        caption={t('refunds.tabs.differences')}
        columns={columns}
        rowKey={(it) => it.id}
        empty={<Empty icon="check" title={t('refunds.noDifferences')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/refunds', search: { tab: 'differences', cursor: to } })}
      />
      <ReasonDialog
        opened={row !== null}
        close={() => setRow(null)}
        title={t('refunds.resolve')}
        verb={t('refunds.resolve')}
        act={(reason) => row && resolve.mutate({ id: row.id, reason })}
        busy={resolve.isPending}
        error={resolve.error}
      >
        <Text>{row?.what}</Text>
        <Checkbox
          checked={takes}
          onChange={(event) => setTakes(event.currentTarget.checked)}
          label={t('refunds.takeCredits')}
        />
      </ReasonDialog>
    </>
  );
}

type Dispute = Schemas['DisputeView'];
const LOOKS = { inquiry: 'pending', open: 'failed', won: 'completed', lost: 'refused' } as const;

function Disputes() {
  const { t } = useTranslation(['admin', 'app']);
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayAct = useMay('money:write');
  const [closing, setClosing] = useState<{ row: Dispute; outcome: 'won' | 'lost' } | null>(null);
  const [opening, setOpening] = useState(false);
  const [order, setOrder] = useState('');
  const [reference, setReference] = useState('');
  const disputes = useQuery({
    queryKey: ['admin', 'disputes', cursor],
    queryFn: () => ok(api.GET('/api/admin/disputes', { params: { query: { cursor, limit: 50 } } })),
    ...listing,
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin', 'disputes'] });
  const close = useMutation({
    mutationFn: ({ row, outcome, reason }: { row: Dispute; outcome: 'won' | 'lost'; reason: string }) =>
      ok(
        api.POST('/api/admin/disputes/{id}/close', {
          params: { path: { id: row.id } },
          body: { outcome, reason },
        }),
      ),
    onSuccess: () => setClosing(null),
    onSettled: refresh,
  });
  const open = useMutation({
    mutationFn: (reason: string) =>
      ok(
        api.POST('/api/admin/disputes', {
          body: { order: order.trim(), reference: reference.trim(), reason },
        }),
      ),
    onSuccess: () => setOpening(false),
    onSettled: refresh,
  });
  const columns: Column<Dispute>[] = [
    {
      key: 'at',
      title: t('audit.at', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'user', title: t('orders.user'), cell: (row) => <Person id={row.user_id} /> },
    { key: 'channel', title: t('app:order.channel'), cell: (row) => row.channel },
    { key: 'reference', title: t('refunds.reference'), cell: (row) => <Code>{row.reference}</Code> },
    {
      key: 'amount',
      title: t('app:refund.pay'),
      right: true,
      cell: (row) => money(row.amount.amount, row.amount.currency),
    },
    { key: 'what', title: t('refunds.what'), cell: (row) => row.what },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => <Outcome state={LOOKS[row.state]} label={t(`refunds.disputes.${row.state}`)} />,
    },
    {
      key: 'acts',
      title: '',
      right: true,
      cell: (row) =>
        mayAct && (row.state === 'open' || row.state === 'inquiry') ? (
          <Group gap="xs" justify="flex-end" wrap="nowrap">
            {(['won', 'lost'] as const).map((outcome) => (
              <Button
                key={outcome}
                size="xs"
                variant="default"
                onClick={() => {
                  close.reset();
                  setClosing({ row, outcome });
                }}
              >
                {t(`refunds.disputes.${outcome}`)}
              </Button>
            ))}
          </Group>
        ) : null,
    },
  ];
  return (
    <>
      {mayAct && (
        <Group mb="md">
          <Button
            variant="default"
            onClick={() => {
              open.reset();
              setOrder('');
              setReference('');
              setOpening(true);
            }}
          >
            {t('refunds.openDispute')}
          </Button>
        </Group>
      )}
      {close.error && !closing ? <ProblemAlert error={close.error} /> : null}
      <List
        query={disputes}
        caption={t('refunds.tabs.disputes')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="check" title={t('refunds.noDisputes')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/refunds', search: { tab: 'disputes', cursor: to } })}
      />
      <ReasonDialog
        opened={closing !== null}
        close={() => setClosing(null)}
        title={closing ? t(`refunds.disputes.${closing.outcome}`) : ''}
        verb={closing ? t(`refunds.disputes.${closing.outcome}`) : ''}
        act={(reason) => closing && close.mutate({ ...closing, reason })}
        busy={close.isPending}
        error={close.error}
      />
      <ReasonDialog
        opened={opening}
        close={() => setOpening(false)}
        title={t('refunds.openDispute')}
        verb={t('refunds.openDispute')}
        danger
        ready={order.trim() !== '' && reference.trim() !== ''}
        act={(reason) => open.mutate(reason)}
        busy={open.isPending}
        error={open.error}
      >
        <TextInput
          label={t('refunds.order')}
          value={order}
          onChange={(event) => setOrder(event.currentTarget.value)}
        />
        <TextInput
          label={t('refunds.reference')}
          value={reference}
          onChange={(event) => setReference(event.currentTarget.value)}
        />
      </ReasonDialog>
    </>
  );
}
