// Payments that match no order of ours: each ends by a claim, a return or a dismissal, and by two people.

import { Button, Code, Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, idempotencyKey, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { money } from '../../../money/format';
import { type Column, DataTable } from '../../../shared/DataTable';
import { Side } from '../../../shared/Dialog';
import { Facts } from '../../../shared/Facts';
import { count, zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { ReasonDialog } from '../../../shared/ReasonDialog';
import { Section } from '../../../shared/Section';
import { Empty, Loaded } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Evidence } from '../Inbox/Evidence';
import { Person } from '../Person';
import { Waits } from '../Waits';

const route = getRouteApi('/shell/admin/suspense');
const STATES = ['open', 'requested', 'claimed', 'returned', 'dismissed'] as const;
const LOOKS = {
  open: 'failed',
  requested: 'pending',
  claimed: 'completed',
  returned: 'completed',
  dismissed: 'void',
} as const;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
type Payment = Schemas['SuspenseView'];

export function SuspensePage() {
  return (
    <Guarded right="money:read">
      <Payments />
    </Guarded>
  );
}

function Payments() {
  const { t } = useTranslation(['admin', 'app']);
  const search = route.useSearch();
  const navigate = useNavigate();
  const { status, open, cursor } = search;
  const payments = useQuery({
    queryKey: ['admin', 'suspense', status, cursor],
    queryFn: () =>
      ok(api.GET('/api/admin/payments/suspense', { params: { query: { status, cursor, limit: 50 } } })),
    ...listing,
  });
  const summary = useQuery({
    queryKey: ['admin', 'suspense', 'summary'],
    queryFn: () => ok(api.GET('/api/admin/payments/suspense/summary')),
  });
  const columns: Column<Payment>[] = [
    {
      key: 'since',
      title: t('suspense.since', { zone: zone() }),
      head: true,
      cell: (row) => (
        <TextLink to="/admin/suspense" search={{ ...search, open: String(row.payment) }} resetScroll={false}>
          <When at={row.since} />
        </TextLink>
      ),
    },
    { key: 'channel', title: t('app:order.channel'), cell: (row) => row.channel },
    {
      key: 'paid',
      title: t('app:billing.money'),
      right: true,
      cell: (row) => money(row.paid.amount, row.paid.currency),
    },
    { key: 'why', title: t('approvals.why'), cell: (row) => row.why },
    { key: 'order', title: t('app:order.number'), cell: (row) => <Code>{row.order_number}</Code> },
    {
      key: 'status',
      title: t('users.status'),
      cell: (row) => <Outcome state={LOOKS[row.status]} label={t(`suspense.states.${row.status}`)} />,
    },
  ];
  return (
    <>
      <PageTitle title={t('suspense.title')} lead={t('suspense.lead')} />
      <Stack gap="lg">
        <Loaded query={summary}>
          {(it) =>
            it.open === 0 ? (
              <Outcome state="active" label={t('suspense.clear')} />
            ) : (
              <Section id="ages" title={t('suspense.ages', { count: it.open })}>
                <DataTable
                  caption={t('suspense.ages', { count: it.open })}
                  rows={it.by_channel}
                  rowKey={(row) => `${row.channel} ${row.paid.currency}`}
                  columns={[
                    { key: 'channel', title: t('app:order.channel'), head: true, cell: (row) => row.channel },
                    {
                      key: 'paid',
                      title: t('app:billing.money'),
                      right: true,
                      cell: (row) => money(row.paid.amount, row.paid.currency),
                    },
                    ...(['under_1d', 'under_7d', 'under_30d', 'older'] as const).map((name) => ({
                      key: name,
                      title: t(`suspense.age.${name}`),
                      right: true,
                      cell: (row: Schemas['SuspenseSum']) => count(row[name]),
                    })),
                  ]}
                />
              </Section>
            )
          }
        </Loaded>
        <div>
          <div className="filters">
            <Choice
              label={t('users.status')}
              all={t('all')}
              value={status}
              options={STATES}
              name={(it) => t(`suspense.states.${it}`)}
              choose={(it) => navigate({ to: '/admin/suspense', search: { status: it } })}
            />
          </div>
          <List
            query={payments}
            caption={t('suspense.title')}
            columns={columns}
            rowKey={(row) => String(row.payment)}
            empty={<Empty icon="check" title={t('suspense.none')} />}
            cursor={cursor}
            go={(to) => navigate({ to: '/admin/suspense', search: { status, cursor: to } })}
          />
        </div>
      </Stack>
      <Side
        opened={open !== undefined}
        onClose={() => navigate({ to: '/admin/suspense', search: { ...search, open: undefined } })}
        title={t('suspense.one')}
      >
        {open && <Detail key={open} number={open} />}
      </Side>
    </>
  );
}

type What = 'claim' | 'return' | 'dismiss';

function Detail({ number }: { number: string }) {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const mayAct = useMay('money:write');
  const [act, setAct] = useState<{ what: What; key: string } | null>(null);
  const [user, setUser] = useState('');
  const [by, setBy] = useState<'channel' | 'hand'>('channel');
  const [reference, setReference] = useState('');
  const payment = JSON.parse(number);
  const detail = useQuery({
    queryKey: ['admin', 'suspense', 'one', number],
    queryFn: () => ok(api.GET('/api/admin/payments/suspense/{payment}', { params: { path: { payment } } })),
  });
  const request = useMutation({
    mutationFn: ({ what, key, reason }: { what: What; key: string; reason: string }) => {
      const params = { path: { payment }, header: { 'Idempotency-Key': key } };
      switch (what) {
        case 'claim':
          return ok(
            api.POST('/api/admin/payments/suspense/{payment}/claim', {
              params,
              body: { user_id: user.trim(), reason },
            }),
          );
        case 'return':
          return ok(
            api.POST('/api/admin/payments/suspense/{payment}/return', {
              params,
              body: { by, reference: reference.trim() || undefined, reason },
            }),
          );
        case 'dismiss':
          return ok(api.POST('/api/admin/payments/suspense/{payment}/dismiss', { params, body: { reason } }));
      }
    },
    onSuccess: () => {
      setAct(null);
      notifications.show({ message: t('suspense.asked'), color: 'teal' });
    },
    onSettled: () => client.invalidateQueries({ queryKey: ['admin'] }),
  });
  const ask = (what: What, named: string | null | undefined) => {
    request.reset();
    setUser(named ?? '');
    setReference('');
    setAct({ what, key: idempotencyKey() });
  };
  return (
    <Loaded query={detail}>
      {(it) => (
        <Stack>
          <Facts
            items={[
              [t('app:billing.money'), money(it.paid.amount, it.paid.currency)],
              [t('app:order.channel'), it.channel],
              [t('app:order.number'), it.order_number],
              [t('app:order.transaction'), it.transaction],
              [t('approvals.why'), it.why],
              [t('users.status'), t(`suspense.states.${it.status}`)],
              [t('suspense.named'), <Person key="u" id={it.named_user} />],
              ...(it.resolution
                ? ([
                    [t('app:reason.label'), it.resolution.reason],
                    [t('models.author'), it.resolution.resolved_by],
                  ] as [string, string][])
                : []),
            ]}
          />
          {it.status === 'requested' && <Waits />}
          {mayAct && it.status === 'open' && (
            <Group>
              {(['claim', 'return', 'dismiss'] as const).map((what) => (
                <Button key={what} variant="default" onClick={() => ask(what, it.named_user)}>
                  {t(`suspense.acts.${what}`)}
                </Button>
              ))}
            </Group>
          )}
          {it.evidence ? <Evidence it={it.evidence} /> : <Text c="dimmed">{t('suspense.noEvidence')}</Text>}
          <ReasonDialog
            opened={act !== null}
            close={() => setAct(null)}
            title={act ? t(`suspense.acts.${act.what}`) : ''}
            verb={t('suspense.ask')}
            ready={act?.what !== 'claim' || UUID.test(user.trim())}
            act={(reason) => act && request.mutate({ ...act, reason })}
            busy={request.isPending}
            error={request.error}
          >
            <Text>{act && t(`suspense.texts.${act.what}`)}</Text>
            {act?.what === 'claim' && (
              <TextInput
                label={t('orders.userId')}
                spellCheck={false}
                value={user}
                onChange={(event) => setUser(event.currentTarget.value)}
              />
            )}
            {act?.what === 'return' && (
              <>
                <NativeSelect
                  label={t('suspense.by')}
                  value={by}
                  onChange={(event) => setBy(event.currentTarget.value === 'hand' ? 'hand' : 'channel')}
                  data={(['channel', 'hand'] as const).map((one) => ({
                    value: one,
                    label: t(`suspense.ways.${one}`),
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
        </Stack>
      )}
    </Loaded>
  );
}
