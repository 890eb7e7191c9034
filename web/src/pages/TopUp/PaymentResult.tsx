import './styles.css';
import { Alert, Button, Code, Group, Paper, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { topUpOptionsQuery } from '../../api/queries';
import { money } from '../../money/format';
import { Full } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { Facts } from '../../shared/Facts';
import { Icon } from '../../shared/Icon';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { Loaded } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';
import { PayAction } from './PayAction';
import { reasonOf } from './PaymentModal';
import { Refunds } from './Refunds';
import { type Order, remembered, useCountdown, useOrder } from './useOrder';

const route = getRouteApi('/shell/topup/$order');

/** Where channels send payers back to. It trusts what the gateway says of the order and nothing in the address. */
export function PaymentResultPage() {
  const { t } = useTranslation();
  const { order } = route.useParams();
  const query = useOrder(order);
  return (
    <>
      <PageTitle title={t('order.title')} lead={<TextLink to="/topup">{t('order.back')}</TextLink>} />
      <Loaded query={query}>
        {(it) => <Shown it={it} check={() => query.refetch()} checking={query.isFetching} />}
      </Loaded>
    </>
  );
}

function Shown({ it, check, checking }: { it: Order; check: () => void; checking: boolean }) {
  const { t } = useTranslation();
  const options = useQuery(topUpOptionsQuery);
  const title = options.data?.channels.find((channel) => channel.name === it.channel)?.title ?? it.channel;
  return (
    <Stack gap="lg" maw={720}>
      <div role="status">
        <Verdict it={it} check={check} checking={checking} title={title} />
      </div>
      <Paper withBorder p="lg">
        <Facts
          items={[
            [t('order.pay'), money(it.pay.amount, it.pay.currency)],
            [t('order.credits'), <Full key="c" amount={it.credits} />],
            [t('order.channel'), title],
            [t('order.state'), <Outcome key="s" state={it.status} label={t(`order.states.${it.status}`)} />],
            [
              t('order.number'),
              <Group key="n" gap={4} wrap="nowrap">
                <Code>{it.number}</Code>
                <CopyButton text={it.number} label={t('order.copyNumber')} />
              </Group>,
            ],
            [t('order.transaction'), it.transaction_id ? <Code key="t">{it.transaction_id}</Code> : '–'],
          ]}
        />
      </Paper>
      <Paper withBorder p="lg" component="section" aria-labelledby="timeline">
        <Title order={2} id="timeline" mb="sm">
          {t('order.timeline')}
        </Title>
        <ol className="timeline">
          <li>
            {t('order.created')} · <When at={it.created_at} />
          </li>
          {it.status === 'completed' ? (
            <>
              <li>
                {t('order.paid')} · <When at={it.completed_at} />
              </li>
              <li>
                {t('order.onLedger', { position: it.event_seq })} · <When at={it.updated_at} />
              </li>
            </>
          ) : it.status === 'pending' ? (
            <li className="waiting">
              {t('order.waiting')} · {t('order.until')} <When at={it.expires_at} />
            </li>
          ) : (
            <li>
              {t(`order.reasons.${reasonOf(it)}`)} · <When at={it.updated_at} />
            </li>
          )}
        </ol>
      </Paper>
      {it.status === 'completed' && <Refunds order={it} />}
    </Stack>
  );
}

function Verdict({
  it,
  check,
  checking,
  title,
}: {
  it: Order;
  check: () => void;
  checking: boolean;
  title: string;
}) {
  const { t } = useTranslation();
  const seconds = useCountdown(it.expires_at);
  const action = remembered(it.order);
  switch (it.status) {
    case 'completed':
      return (
        <Alert color="teal" variant="outline" icon={<Icon name="check" />} title={t('order.paidTitle')}>
          <Text>{t('order.paidText')}</Text>
          <Button component={Link} to="/" variant="default" mt="sm">
            {t('redeem.home')}
          </Button>
        </Alert>
      );
    case 'pending':
      return (
        <Alert color="yellow" variant="outline" icon={<Icon name="wallet" />} title={t('order.pendingTitle')}>
          <Stack gap="sm">
            <Text>{t('order.pendingText')}</Text>
            {action && seconds > 0 && <PayAction action={action} over={false} title={title} />}
            <Group>
              <Button variant="default" loading={checking} onClick={check}>
                {t('pay.check')}
              </Button>
            </Group>
          </Stack>
        </Alert>
      );
    case 'failed':
    case 'cancelled':
      return (
        <Alert
          color="gray"
          variant="outline"
          icon={<Icon name="alert" />}
          title={t(`order.reasons.${reasonOf(it)}`)}
        >
          <Text>{t('order.lateText')}</Text>
          <Group mt="sm">
            <Button component={Link} to="/topup">
              {t('pay.again')}
            </Button>
          </Group>
        </Alert>
      );
  }
}
