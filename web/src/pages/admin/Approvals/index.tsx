import { Alert, Button, Group, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { allowanceQuery, listing, selfQuery } from '../../../api/queries';
import { Charge } from '../../../shared/Amount';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { ReasonDialog } from '../../../shared/ReasonDialog';
import { Empty } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Person } from '../Person';

const route = getRouteApi('/shell/admin/approvals');
export const APPROVAL_STATES = ['pending', 'approved', 'done', 'failed', 'rejected', 'expired'] as const;
type Approval = Schemas['ApprovalView'];
type Verdict = 'approve' | 'reject';

export function ApprovalsPage() {
  return (
    <Guarded right="money:read">
      <Approvals />
    </Guarded>
  );
}

function Approvals() {
  const { t } = useTranslation('admin');
  const { state, cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayDecide = useMay('money:write');
  const self = useQuery(selfQuery);
  const [deciding, setDeciding] = useState<{ row: Approval; verdict: Verdict } | null>(null);
  const approvals = useQuery({
    queryKey: ['admin', 'approvals', state, cursor],
    queryFn: () => ok(api.GET('/api/admin/approvals', { params: { query: { state, cursor, limit: 50 } } })),
    refetchInterval: 30_000,
    ...listing,
  });
  const allowance = useQuery(allowanceQuery);
  // A lone operator, where the installation lets one agree with themselves.
  const alone = allowance.data?.alone === true;
  const isOwn = (row: Approval) => row.requested_by === self.data?.id;
  const decide = useMutation({
    mutationFn: ({ row, verdict, note }: { row: Approval; verdict: Verdict; note: string }) => {
      const how = { params: { path: { id: row.id } }, body: note ? { note } : {} };
      return verdict === 'approve'
        ? ok(api.POST('/api/admin/approvals/{id}/approve', how))
        : ok(api.POST('/api/admin/approvals/{id}/reject', how));
    },
    onSuccess: () => setDeciding(null),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin'] }),
  });
  const ask = (row: Approval, verdict: Verdict) => {
    decide.reset();
    setDeciding({ row, verdict });
  };
  const columns: Column<Approval>[] = [
    {
      key: 'at',
      title: t('approvals.asked', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'kind', title: t('approvals.kind'), cell: (row) => t(`approvals.kinds.${row.kind}`) },
    { key: 'user', title: t('orders.user'), cell: (row) => <Person id={row.user_id} /> },
    {
      key: 'credits',
      title: t('approvals.credits'),
      right: true,
      cell: (row) => <Charge amount={row.credits} focusable />,
    },
    { key: 'by', title: t('approvals.by'), cell: (row) => <Person id={row.requested_by} /> },
    {
      key: 'why',
      title: t('approvals.why'),
      cell: (row) => (
        <>
          {row.reason ?? '–'}
          {row.needed && (
            <Text size="xs" c="dimmed">
              {t(`approvals.needs.${row.needed}`)}
            </Text>
          )}
        </>
      ),
    },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => (
        <>
          <Outcome state={row.state} label={t(`approvals.states.${row.state}`)} />
          {(row.failure || row.note) && (
            <Text size="xs" c="dimmed">
              {row.failure ?? row.note}
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
        if (row.state !== 'pending') return <When at={row.decided_at} />;
        if (!mayDecide) return null;
        const own = isOwn(row);
        const aboutOneself = row.user_id !== null && row.user_id === self.data?.id;
        const why = aboutOneself ? t('approvals.accountNote') : own && !alone ? t('approvals.ownNote') : null;
        return (
          <Group gap="xs" justify="flex-end" wrap="nowrap">
            <Button
              size="xs"
              disabled={why !== null}
              title={why ?? undefined}
              onClick={() => ask(row, 'approve')}
            >
              {t('approvals.approve')}
            </Button>
            <Button size="xs" variant="default" onClick={() => ask(row, 'reject')}>
              {own ? t('approvals.takeBack') : t('approvals.reject')}
            </Button>
          </Group>
        );
      },
    },
  ];
  return (
    <>
      <PageTitle
        title={t('approvals.title')}
        lead={
          <>
            {t('approvals.lead')}{' '}
            {allowance.data &&
              t('approvals.allowance', {
                once: allowance.data.at_once,
                day: allowance.data.on_a_day,
                moved: allowance.data.moved_today,
              })}
          </>
        }
      />
      {alone && (
        <Alert variant="outline" color="yellow" mb="md">
          {t('approvals.alone')}
        </Alert>
      )}
      <div className="filters">
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={state}
          options={APPROVAL_STATES}
          name={(it) => t(`approvals.states.${it}`)}
          choose={(it) => navigate({ to: '/admin/approvals', search: { state: it } })}
        />
      </div>
      <List
        query={approvals}
        caption={t('approvals.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="stamp" title={t('approvals.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/approvals', search: { state, cursor: to } })}
      />
      <ReasonDialog
        opened={deciding !== null}
        close={() => setDeciding(null)}
        title={deciding ? t(`approvals.${deciding.verdict}`) : ''}
        verb={deciding ? t(`approvals.${deciding.verdict}`) : ''}
        label={t('approvals.note')}
        danger={deciding?.verdict === 'reject'}
        // Who agrees with themselves says why.
        optional={!(deciding?.verdict === 'approve' && isOwn(deciding.row))}
        act={(note) => deciding && decide.mutate({ ...deciding, note })}
        busy={decide.isPending}
        error={decide.error}
      >
        {deciding && (
          <Text>
            {t(`approvals.kinds.${deciding.row.kind}`)}: <Charge amount={deciding.row.credits} />.{' '}
            {deciding.row.reason}
          </Text>
        )}
      </ReasonDialog>
    </>
  );
}
