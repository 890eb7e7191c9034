import { Button, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, idempotencyKey, ok, type Schemas } from '../../api/client';
import { listing } from '../../api/queries';
import { typed } from '../../money/decimal';
import { money } from '../../money/format';
import { Balance } from '../../shared/Amount';
import type { Column } from '../../shared/DataTable';
import { zone } from '../../shared/format';
import { List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { ReasonDialog } from '../../shared/ReasonDialog';
import { Section } from '../../shared/Section';
import { When } from '../../shared/When';
import type { Order } from './useOrder';

/** What was asked back of a paid order, and the way to ask. */
export function Refunds({ order }: { order: Order }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [asking, setAsking] = useState<string | null>(null);
  const [amount, setAmount] = useState('');
  const refunds = useQuery({
    queryKey: ['topup', 'refunds', order.order],
    queryFn: () => ok(api.GET('/api/user/refunds', { params: { query: { order: order.order, limit: 50 } } })),
    refetchInterval: (it) =>
      it.state.data?.items.some((one) => one.status === 'requested' || one.status === 'approved')
        ? 10_000
        : false,
    ...listing,
  });
  const ask = useMutation({
    mutationFn: ({ reason, key }: { reason: string; key: string }) =>
      ok(
        api.POST('/api/user/refunds', {
          params: { header: { 'Idempotency-Key': key } },
          body: { order: order.order, amount: typed(amount) ?? undefined, reason },
        }),
      ),
    onSuccess: () => {
      setAsking(null);
      void client.invalidateQueries({ queryKey: ['topup'] });
      void client.invalidateQueries({ queryKey: ['balance'] });
      void client.invalidateQueries({ queryKey: ['billing'] });
    },
  });
  const columns: Column<Schemas['RefundView']>[] = [
    {
      key: 'at',
      title: t('refund.at', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    {
      key: 'pay',
      title: t('refund.pay'),
      right: true,
      cell: (row) => money(row.pay.amount, row.pay.currency),
    },
    {
      key: 'credits',
      title: t('order.credits'),
      right: true,
      cell: (row) => <Balance amount={row.credits} focusable />,
    },
    { key: 'reason', title: t('reason.label'), cell: (row) => row.reason },
    {
      key: 'status',
      title: t('order.state'),
      cell: (row) => (
        <>
          <Outcome state={REFUND_LOOKS[row.status]} label={t(`refund.states.${row.status}`)} />
          {row.failure && (
            <Text size="xs" c="dimmed">
              {row.failure}
            </Text>
          )}
        </>
      ),
    },
  ];
  const rule = amount.trim() !== '' && !typed(amount);
  return (
    <Section id="refunds" title={t('refund.title')}>
      <Stack>
        <List
          query={refunds}
          caption={t('refund.title')}
          columns={columns}
          rowKey={(row) => row.id}
          empty={<Text c="dimmed">{t('refund.none')}</Text>}
        />
        <Group>
          <Button
            variant="default"
            onClick={() => {
              ask.reset();
              setAmount('');
              setAsking(idempotencyKey());
            }}
          >
            {t('refund.ask')}
          </Button>
        </Group>
      </Stack>
      <ReasonDialog
        opened={asking !== null}
        close={() => setAsking(null)}
        title={t('refund.ask')}
        verb={t('refund.send')}
        ready={!rule}
        act={(reason) => asking && ask.mutate({ reason, key: asking })}
        busy={ask.isPending}
        error={ask.error}
      >
        <Text>{t('refund.text')}</Text>
        <TextInput
          label={t('refund.amount', { currency: order.pay.currency })}
          description={t('refund.amountNote')}
          inputMode="decimal"
          value={amount}
          error={rule ? t('field.amountRule') : undefined}
          onChange={(event) => setAmount(event.currentTarget.value)}
        />
      </ReasonDialog>
    </Section>
  );
}

/** How each state of a refund looks. */
export const REFUND_LOOKS = {
  requested: 'pending',
  approved: 'pending',
  completed: 'completed',
  failed: 'failed',
} as const;
