import './styles.css';
import {
  Alert,
  Button,
  Group,
  NativeSelect,
  Paper,
  Radio,
  Stack,
  Text,
  TextInput,
  Title,
} from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, idempotencyKey, ok, type Schemas, serverNow } from '../../api/client';
import { balanceQuery, listing, topUpOptionsQuery } from '../../api/queries';
import { compare, divided, times, typed } from '../../money/decimal';
import { balance as cut, money } from '../../money/format';
import { Balance } from '../../shared/Amount';
import { AsOf } from '../../shared/AsOf';
import type { Column } from '../../shared/DataTable';
import { zone } from '../../shared/format';
import { List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { Empty, Loaded, ProblemAlert, Waiting } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { Tile } from '../../shared/Tile';
import { When } from '../../shared/When';
import { type Payment, PaymentModal, reasonOf } from './PaymentModal';
import { type Order, remember, remembered } from './useOrder';

const route = getRouteApi('/shell/topup');
type Options = Schemas['TopUpOptions'];

interface Way {
  channel: Schemas['ChannelOption'];
  method: string | undefined;
  title: string;
}

export function TopUpPage() {
  const { t } = useTranslation();
  const options = useQuery(topUpOptionsQuery);
  const balance = useQuery(balanceQuery);
  return (
    <>
      <PageTitle title={t('topup.title')} lead={t('topup.lead')} />
      <Stack gap="lg">
        <Loaded query={balance} waiting={<Waiting rows={1} height={112} />}>
          {(it) => (
            <div className="tiles">
              <Tile name={t('balance.available')} note={<AsOf at={it.as_of} />}>
                <Balance amount={it.available} focusable />
              </Tile>
              <Tile name={t('balance.reserved')} note={t('balance.reservedNote')}>
                <Balance amount={it.reserved} focusable />
              </Tile>
              <Tile name={t('balance.total')} note={t('balance.totalNote')}>
                <Balance amount={it.total} focusable />
              </Tile>
            </div>
          )}
        </Loaded>
        <Loaded query={options} waiting={<Waiting rows={2} height={120} />}>
          {(it) =>
            it.channels.length === 0 ? (
              <Empty icon="wallet" title={t('topup.noChannel')}>
                {t('topup.noChannelText')}
              </Empty>
            ) : (
              <Form options={it} />
            )
          }
        </Loaded>
        <History />
      </Stack>
    </>
  );
}

/** Why an amount cannot be paid; null where it can. */
export function amountFault(
  amount: string | null,
  bounds: { min: string; max: string; decimals: number },
): 'none' | 'decimals' | 'low' | 'high' | null {
  if (amount === null) return 'none';
  if ((amount.split('.')[1] ?? '').length > bounds.decimals) return 'decimals';
  if ((compare(amount, bounds.min) ?? -1) < 0) return 'low';
  if ((compare(amount, bounds.max) ?? 1) > 0) return 'high';
  return null;
}

/** The tier of bonuses that an amount reaches, if any. */
export function bonusTier(
  amount: string,
  tiers: Schemas['BonusOption'][],
): Schemas['BonusOption'] | undefined {
  return tiers.findLast((tier) => (compare(amount, tier.from) ?? -1) >= 0);
}

/** What a tier gives beside so many credits, cut to the nano as the gateway cuts it. */
function bonusOf(credits: string, percent: string): string {
  return divided(times(credits, percent) ?? '0', '100') ?? '0';
}

function Form({ options }: { options: Options }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [currency, setCurrency] = useState(options.currency);
  const [preset, setPreset] = useState(String(options.presets[0] ?? ''));
  const [own, setOwn] = useState('');
  const ways: Way[] = options.channels.flatMap((channel): Way[] =>
    channel.methods.length > 0
      ? channel.methods.map((method) => ({
          channel,
          method: method.name,
          title: `${channel.title} · ${method.title}`,
        }))
      : [{ channel, method: undefined, title: channel.title }],
  );
  const usable = (way: Way) => way.channel.currencies.includes(currency);
  const nameOf = (way: Way) => `${way.channel.name}/${way.method ?? ''}`;
  const [chosen, setChosen] = useState('');
  const way = ways.find((it) => nameOf(it) === chosen && usable(it)) ?? ways.find(usable);
  // One click is one order: the key is kept over retries of the same wish, and a new wish has a new one.
  const [key, setKey] = useState(idempotencyKey);
  const [payment, setPayment] = useState<Payment | null>(null);
  const [touched, setTouched] = useState(false);

  const bounds = options.currencies.find((it) => it.currency === currency) ?? {
    currency,
    decimals: 2,
    rate: options.rates[currency] ?? '1',
    min: options.min,
    max: options.max,
    bonus: [],
  };
  const amount = preset === 'own' ? typed(own) : preset || null;
  const fault = amountFault(amount, bounds);
  const credits = amount && divided(amount, bounds.rate);
  const tier = amount && fault === null ? bonusTier(amount, bounds.bonus) : undefined;
  const faultText =
    fault && (preset !== 'own' || touched || fault !== 'none')
      ? t(`topup.faults.${fault}`, {
          min: money(bounds.min, currency),
          max: money(bounds.max, currency),
          decimals: bounds.decimals,
        })
      : undefined;

  const pending = useQuery({
    queryKey: ['topup', 'list', 'pending'],
    queryFn: () => ok(api.GET('/api/user/topup', { params: { query: { status: 'pending', limit: 20 } } })),
  });
  const same = pending.data?.items.find(
    (it) =>
      amount !== null &&
      it.pay.currency === currency &&
      compare(it.pay.amount, amount) === 0 &&
      new Date(it.expires_at).getTime() > serverNow() &&
      remembered(it.order) !== null,
  );
  const titleOf = (name: string) => options.channels.find((it) => it.name === name)?.title ?? name;

  const open = useMutation({
    mutationFn: () => {
      if (!amount || !way) throw new Error('the form was sent unfinished');
      return ok(
        api.POST('/api/user/topup', {
          params: { header: { 'Idempotency-Key': key } },
          body: { amount, currency, channel: way.channel.name, method: way.method },
        }),
      );
    },
    onSuccess: (it) => {
      remember(it.order, it.action);
      setPayment({ order: it.order, action: it.action, title: titleOf(it.channel) });
      setKey(idempotencyKey());
      void client.invalidateQueries({ queryKey: ['topup', 'list'] });
    },
  });
  const changed = () => {
    setKey(idempotencyKey());
    open.reset();
  };
  return (
    <Paper withBorder p="lg">
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setTouched(true);
          if (!fault && way) open.mutate();
        }}
      >
        <Stack gap="lg">
          {options.currencies.length > 1 && (
            <NativeSelect
              label={t('topup.currency')}
              value={currency}
              maw={240}
              onChange={(event) => {
                setCurrency(event.currentTarget.value);
                changed();
              }}
              data={options.currencies.map((it) => it.currency)}
            />
          )}
          <Radio.Group
            label={t('topup.amount')}
            value={preset}
            onChange={(it) => {
              setPreset(it);
              changed();
            }}
          >
            <div className="presets">
              {options.presets.map((it) => (
                <Radio.Card
                  key={it}
                  value={String(it)}
                  className="preset"
                  aria-label={money(String(it), currency)}
                >
                  <span className="pay">{money(String(it), currency)}</span>
                  <Text size="sm" c="dimmed">
                    ≈ {cut(divided(String(it), bounds.rate) ?? '0')} {t('common.credits')}
                  </Text>
                  <Bonus tier={bonusTier(String(it), bounds.bonus)} />
                </Radio.Card>
              ))}
              <Radio.Card value="own" className="preset">
                <span className="pay">{t('topup.own')}</span>
                <Text size="sm" c="dimmed">
                  {t('topup.ownNote', { min: bounds.min, max: bounds.max })}
                </Text>
              </Radio.Card>
            </div>
          </Radio.Group>
          {preset === 'own' && (
            <TextInput
              label={t('topup.ownLabel', { currency })}
              inputMode="decimal"
              autoComplete="off"
              value={own}
              maw={320}
              onChange={(event) => {
                setOwn(event.currentTarget.value);
                changed();
              }}
              onBlur={() => setTouched(true)}
              error={own !== '' || touched ? faultText : undefined}
            />
          )}
          <Radio.Group
            label={t('topup.method')}
            value={way ? nameOf(way) : ''}
            onChange={(it) => {
              setChosen(it);
              changed();
            }}
          >
            <Stack gap="xs" mt="xs">
              {ways.map((it) => (
                <Radio
                  key={nameOf(it)}
                  value={nameOf(it)}
                  label={it.title}
                  disabled={!usable(it)}
                  description={usable(it) ? undefined : t('topup.notIn', { currency })}
                />
              ))}
            </Stack>
          </Radio.Group>
          {same && !payment && (
            <Alert color="yellow" variant="outline" title={t('topup.sameTitle')}>
              <Text size="sm">{t('topup.sameText')}</Text>
              <Button
                variant="default"
                mt="xs"
                onClick={() =>
                  setPayment({
                    order: same.order,
                    action: remembered(same.order),
                    title: titleOf(same.channel),
                  })
                }
              >
                {t('topup.continue')}
              </Button>
            </Alert>
          )}
          {open.error ? <ProblemAlert error={open.error} title={t('topup.failed')} /> : null}
          <Group justify="space-between" align="center">
            <div>
              {fault === null && credits && amount ? (
                <>
                  <Text>
                    {t('topup.youGet', { pay: money(amount, currency) })}{' '}
                    <strong>
                      <Balance amount={credits} />
                    </strong>{' '}
                    {t('common.credits')}
                    {tier && (
                      <>
                        {' '}
                        {t('topup.andBonus')} <Balance amount={bonusOf(credits, tier.percent)} />
                      </>
                    )}
                  </Text>
                  <Text size="sm" c="dimmed">
                    {t('topup.rate', { rate: money(bounds.rate, currency) })}
                  </Text>
                </>
              ) : (
                preset !== 'own' && <Text>{faultText}</Text>
              )}
            </div>
            <Button type="submit" size="md" loading={open.isPending} disabled={fault !== null || !way}>
              {amount && fault === null
                ? t('topup.submit', { pay: money(amount, currency) })
                : t('topup.submitPlain')}
            </Button>
          </Group>
        </Stack>
      </form>
      <PaymentModal
        payment={payment}
        close={() => {
          setPayment(null);
          void client.invalidateQueries({ queryKey: ['topup', 'list'] });
        }}
        again={() => setPayment(null)}
      />
    </Paper>
  );
}

function Bonus({ tier }: { tier: Schemas['BonusOption'] | undefined }) {
  const { t } = useTranslation();
  return (
    tier && (
      <Text size="sm" c="teal">
        {t('topup.bonus', { percent: tier.percent })}
      </Text>
    )
  );
}

function History() {
  const { t } = useTranslation();
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const orders = useQuery({
    queryKey: ['topup', 'list', 'page', cursor],
    queryFn: () => ok(api.GET('/api/user/topup', { params: { query: { cursor, limit: 10 } } })),
    ...listing,
  });
  const columns: Column<Order>[] = [
    {
      key: 'created',
      title: t('order.createdAt', { zone: zone() }),
      head: true,
      cell: (row) => (
        <TextLink to="/topup/$order" params={{ order: row.order }}>
          <When at={row.created_at} />
        </TextLink>
      ),
    },
    {
      key: 'pay',
      title: t('order.pay'),
      right: true,
      cell: (row) => money(row.pay.amount, row.pay.currency),
    },
    {
      key: 'credits',
      title: t('order.credits'),
      right: true,
      cell: (row) => <Balance amount={row.credits} focusable />,
    },
    { key: 'channel', title: t('order.channel'), cell: (row) => row.channel },
    {
      key: 'state',
      title: t('order.state'),
      cell: (row) => (
        <Outcome
          state={row.status}
          label={
            row.status === 'failed' || row.status === 'cancelled'
              ? t(`order.reasons.${reasonOf(row)}`)
              : t(`order.states.${row.status}`)
          }
        />
      ),
    },
  ];
  return (
    <section aria-labelledby="history">
      <Title order={2} id="history" mb="sm">
        {t('topup.history')}
      </Title>
      <List
        query={orders}
        caption={t('topup.history')}
        columns={columns}
        rowKey={(row) => row.order}
        empty={<Text c="dimmed">{t('topup.noHistory')}</Text>}
        cursor={cursor}
        go={(to) => navigate({ to: '/topup', search: { cursor: to } })}
      />
    </section>
  );
}
