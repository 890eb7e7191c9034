import { Button, Code, Group, Stack, Text } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { money } from '../../money/format';
import { Balance } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { Dialog } from '../../shared/Dialog';
import { Icon } from '../../shared/Icon';
import { ProblemAlert, Waiting } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { PayAction } from './PayAction';
import { type Action, type Order, useCountdown, useOrder } from './useOrder';

export interface Payment {
  order: string;
  action: Action | null;
  /** What the channel is called. */
  title: string;
}

/** Leads through one payment and watches it. Closing it loses nothing. */
export function PaymentModal({
  payment,
  close,
  again,
}: {
  payment: Payment | null;
  close: () => void;
  again: () => void;
}) {
  const { t } = useTranslation();
  return (
    <Dialog opened={payment !== null} onClose={close} title={t('pay.title')} closeOnClickOutside={false}>
      {payment && <Watched key={payment.order} payment={payment} close={close} again={again} />}
    </Dialog>
  );
}

function Watched({ payment, close, again }: { payment: Payment; close: () => void; again: () => void }) {
  const { t } = useTranslation();
  const order = useOrder(payment.order);
  if (!order.data) {
    return order.error ? (
      <ProblemAlert error={order.error} retry={() => order.refetch()} />
    ) : (
      <Waiting rows={3} height={60} />
    );
  }
  const it = order.data;
  return (
    <Stack>
      <div role="status">
        <p className="offscreen">{t(`order.states.${it.status}`)}</p>
        {it.status === 'completed' && (
          <Stack align="center" gap="xs">
            <Text c="teal" span>
              <Icon name="check" size={48} />
            </Text>
            <Text size="lg" fw={650}>
              {t('order.paidTitle')}
            </Text>
            <Text>
              {t('order.credited')} <Balance amount={it.credits} />
            </Text>
          </Stack>
        )}
        {(it.status === 'failed' || it.status === 'cancelled') && (
          <Stack align="center" gap="xs">
            <Text size="lg" fw={650}>
              {t(`order.reasons.${reasonOf(it)}`)}
            </Text>
            <Text ta="center">{t('order.lateText')}</Text>
          </Stack>
        )}
      </div>
      {it.status === 'pending' && (
        <Pending
          it={it}
          payment={payment}
          check={() => order.refetch()}
          checking={order.isFetching}
          again={again}
        />
      )}
      <Group justify="space-between">
        <TextLink to="/topup/$order" params={{ order: it.order }} onClick={close}>
          {t('order.details')}
        </TextLink>
        {it.status === 'completed' ? (
          <Button onClick={close}>{t('common.done')}</Button>
        ) : it.status === 'pending' ? null : (
          <Button onClick={again}>{t('pay.again')}</Button>
        )}
      </Group>
    </Stack>
  );
}

export function reasonOf(it: Order): 'failed' | 'cancelled' | 'expired' {
  if (it.close_reason === 'expired') return 'expired';
  return it.status === 'cancelled' ? 'cancelled' : 'failed';
}

function Pending({
  it,
  payment,
  check,
  checking,
  again,
}: {
  it: Order;
  payment: Payment;
  check: () => void;
  checking: boolean;
  again: () => void;
}) {
  const { t } = useTranslation();
  const seconds = useCountdown(it.expires_at);
  const over = seconds === 0;
  const left = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  return (
    <>
      <Text className="amount-due">{money(it.pay.amount, it.pay.currency)}</Text>
      <Text ta="center">
        {t('pay.youGet')} <Balance amount={it.credits} /> {t('common.credits')}
      </Text>
      {payment.action ? (
        <PayAction action={payment.action} over={over} title={payment.title} />
      ) : (
        <Text ta="center">{t('pay.noAction')}</Text>
      )}
      <Group justify="center" gap={6}>
        <Text size="sm" c="dimmed">
          {t('order.number')}
        </Text>
        <Code>{it.number}</Code>
        <CopyButton text={it.number} label={t('order.copyNumber')} />
      </Group>
      <Text ta="center" size="sm" role="timer" aria-live="off">
        {over ? t('pay.expired') : t('pay.left', { left })}
      </Text>
      <Group justify="center">
        <Button variant="default" onClick={check} loading={checking}>
          {t('pay.check')}
        </Button>
        {over && <Button onClick={again}>{t('pay.again')}</Button>}
      </Group>
      <Text size="sm" c="dimmed" ta="center">
        {t('pay.closing')}
      </Text>
    </>
  );
}
