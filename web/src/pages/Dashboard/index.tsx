import {
  Button,
  Group,
  NativeSelect,
  Paper,
  SegmentedControl,
  SimpleGrid,
  Stack,
  Text,
  Title,
} from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Schemas } from '../../api/client';
import { balanceQuery, keysQuery } from '../../api/queries';
import { compare } from '../../money/decimal';
import { balance as cut } from '../../money/format';
import { Balance, Charge } from '../../shared/Amount';
import { AsOf } from '../../shared/AsOf';
import { type Column, DataTable } from '../../shared/DataTable';
import { compact, count, DASH, dateBefore, duration, rate, zone } from '../../shared/format';
import { Icon } from '../../shared/Icon';
import { Later } from '../../shared/Later';
import { PageTitle } from '../../shared/PageTitle';
import { Loaded, Waiting } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { Tile } from '../../shared/Tile';
import { anyCallQuery, lastCallsQuery, monthQuery, statsQuery, todayQuery } from '../../shell/first';

const BarsByDay = lazy(() => import('../../shared/BarsByDay'));

type Stats = Schemas['UsageStats'];
type Group_ = 'model' | 'key';

/** The middle and the slow end of the last calls: enough to see whether something is wrong right now. */
export function latency(calls: { duration_ms: number }[]): { median: number | null; p95: number | null } {
  const sorted = calls.map((call) => call.duration_ms).sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
  return { median: at(0.5), p95: at(0.95) };
}

export function DashboardPage() {
  const { t } = useTranslation();
  return (
    <>
      <PageTitle
        title={t('dashboard.title')}
        actions={
          <Button component={Link} to="/topup" leftSection={<Icon name="wallet" />}>
            {t('nav.topup')}
          </Button>
        }
      />
      <Stack gap="lg">
        <FirstSteps />
        <Figures />
        <Later height={380}>
          <ByDay />
          <ByThing />
        </Later>
      </Stack>
    </>
  );
}

/** Three steps that tick off by themselves; gone once all are done. */
function FirstSteps() {
  const { t } = useTranslation();
  const balance = useQuery(balanceQuery);
  const keys = useQuery(keysQuery);
  const calls = useQuery({
    ...anyCallQuery,
    refetchInterval: (query) => (query.state.data?.items.length ? false : 10_000),
  });
  if (!balance.data || !keys.data || !calls.data) return null;
  const called = calls.data.items.length > 0;
  const steps = [
    { done: called || compare(balance.data.total, '0') === 1, to: '/topup', name: t('first.topup') },
    { done: called || keys.data.length > 0, to: '/keys', name: t('first.key') },
    { done: called, to: '/models', name: t('first.call') },
  ] as const;
  if (steps.every((step) => step.done)) return null;
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="first-steps">
      <Title order={2} id="first-steps" mb="sm">
        {t('first.title')}
      </Title>
      <SimpleGrid cols={{ base: 1, sm: 3 }}>
        {steps.map((step, index) => (
          <Group key={step.to} gap="sm" wrap="nowrap">
            <Text span fw={700} c={step.done ? 'teal' : undefined} aria-hidden="true">
              {step.done ? <Icon name="check" /> : index + 1}
            </Text>
            {step.done ? (
              <Text c="dimmed">
                {step.name} <span className="offscreen">{t('first.done')}</span>
              </Text>
            ) : (
              <TextLink to={step.to}>{step.name}</TextLink>
            )}
          </Group>
        ))}
      </SimpleGrid>
    </Paper>
  );
}

function Figures() {
  const { t } = useTranslation();
  const balance = useQuery(balanceQuery);
  const today = useQuery(todayQuery());
  const month = useQuery(monthQuery());
  const last = useQuery(lastCallsQuery);
  const { median, p95 } = latency(last.data?.items ?? []);
  return (
    <div className="tiles">
      <Loaded query={balance} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile name={t('balance.available')} note={<AsOf at={it.as_of} />}>
            <Balance amount={it.available} focusable />
          </Tile>
        )}
      </Loaded>
      <Loaded query={balance} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile name={t('balance.reserved')} note={t('balance.reservedNote')}>
            <Balance amount={it.reserved} focusable />
          </Tile>
        )}
      </Loaded>
      <Loaded query={today} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile name={t('dashboard.today')} note={t('dashboard.since', { zone: zone() })}>
            <Charge amount={it.total.charge} focusable />
          </Tile>
        )}
      </Loaded>
      <Loaded query={month} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile name={t('dashboard.month')} note={t('dashboard.calls', { calls: count(it.total.calls) })}>
            <Charge amount={it.total.charge} focusable />
          </Tile>
        )}
      </Loaded>
      <Loaded query={month} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile
            name={t('dashboard.tokens')}
            note={t('dashboard.tokensNote', {
              input: count(it.total.tokens.input_total),
              output: count(it.total.tokens.output_total),
            })}
          >
            <span title={count(it.total.tokens.input_total + it.total.tokens.output_total)}>
              {compact(it.total.tokens.input_total + it.total.tokens.output_total)}
            </span>
          </Tile>
        )}
      </Loaded>
      <Loaded query={month} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile
            name={t('dashboard.errors')}
            note={t('dashboard.errorsNote', {
              errors: count(it.total.errors),
              calls: count(it.total.calls),
            })}
          >
            {rate(it.total.errors, it.total.calls)}
          </Tile>
        )}
      </Loaded>
      <Loaded query={last} waiting={<Waiting rows={1} height={112} />}>
        {(it) => (
          <Tile
            name={t('dashboard.latency')}
            note={t('dashboard.latencyNote', { p95: duration(p95), calls: it.items.length })}
          >
            {median === null ? DASH : duration(median)}
          </Tile>
        )}
      </Loaded>
    </div>
  );
}

function ByDay() {
  const { t } = useTranslation();
  const [model, setModel] = useState('');
  const [key, setKey] = useState('');
  const [view, setView] = useState<'chart' | 'table'>('chart');
  const keys = useQuery(keysQuery);
  const models = useQuery(statsQuery('by-model', { from: dateBefore(29), by: 'model' }));
  const stats = useQuery(
    statsQuery('days', {
      from: dateBefore(29),
      by: 'day',
      model: model || undefined,
      key: key || undefined,
    }),
  );
  const columns: Column<Schemas['UsageStatView']>[] = [
    { key: 'day', title: t('dashboard.day'), head: true, cell: (row) => row.bucket },
    { key: 'calls', title: t('usage.calls'), right: true, cell: (row) => count(row.calls) },
    { key: 'errors', title: t('dashboard.errors'), right: true, cell: (row) => count(row.errors) },
    {
      key: 'charge',
      title: t('usage.charge'),
      right: true,
      cell: (row) => <Charge amount={row.charge} focusable />,
    },
  ];
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="by-day">
      <Group justify="space-between" mb="md">
        <Title order={2} id="by-day">
          {t('dashboard.byDay')}
        </Title>
        <Group gap="xs">
          <NativeSelect
            size="sm"
            aria-label={t('usage.model')}
            value={model}
            onChange={(event) => setModel(event.currentTarget.value)}
            data={[
              { value: '', label: t('usage.allModels') },
              ...(models.data?.items ?? []).map((it) => ({ value: it.bucket, label: it.bucket })),
            ]}
          />
          <NativeSelect
            size="sm"
            aria-label={t('usage.key')}
            value={key}
            onChange={(event) => setKey(event.currentTarget.value)}
            data={[
              { value: '', label: t('usage.allKeys') },
              ...(keys.data ?? []).map((it) => ({ value: it.id, label: it.name })),
            ]}
          />
          <SegmentedControl
            aria-label={t('chart.view')}
            value={view}
            onChange={(it) => setView(it === 'table' ? 'table' : 'chart')}
            data={[
              { value: 'chart', label: t('chart.chart') },
              { value: 'table', label: t('chart.table') },
            ]}
          />
        </Group>
      </Group>
      <Loaded query={stats} waiting={<Waiting rows={1} height={240} />}>
        {(it: Stats) =>
          it.items.length === 0 ? (
            <Text c="dimmed">{t('dashboard.noCalls')}</Text>
          ) : view === 'table' ? (
            <DataTable
              caption={t('dashboard.byDay')}
              columns={columns}
              rows={it.items}
              rowKey={(row) => row.bucket}
            />
          ) : (
            <Suspense fallback={<Waiting rows={1} height={240} />}>
              <BarsByDay
                name={t('usage.charge')}
                bars={everyDay(it.items)}
                summary={t('dashboard.summary', {
                  charge: cut(it.total.charge),
                  calls: count(it.total.calls),
                })}
              />
            </Suspense>
          )
        }
      </Loaded>
      <Text size="xs" c="dimmed" mt="xs">
        {t('dashboard.dayNote')}
      </Text>
    </Paper>
  );
}

/** Thirty bars, those without calls too: a gap is information. */
function everyDay(items: Schemas['UsageStatView'][]) {
  const known = new Map(items.map((it) => [it.bucket.slice(0, 10), it.charge]));
  const days = Array.from({ length: 30 }, (_, index) => dateBefore(29 - index));
  for (const it of known.keys()) if (!days.includes(it)) days.push(it);
  return days.sort().map((it) => ({ label: it.slice(5), amount: known.get(it) ?? '0' }));
}

function ByThing() {
  const { t } = useTranslation();
  const [by, setBy] = useState<Group_>('model');
  const keys = useQuery(keysQuery);
  const stats = useQuery(statsQuery(`by-${by}`, { from: dateBefore(29), by }));
  const names = new Map((keys.data ?? []).map((key) => [key.id, key.name]));
  const columns: Column<Schemas['UsageStatView']>[] = [
    {
      key: 'bucket',
      title: by === 'model' ? t('usage.model') : t('usage.key'),
      head: true,
      cell: (row) => (
        <TextLink
          to="/usage"
          search={by === 'model' ? { model: row.bucket, range: '30d' } : { key: row.bucket, range: '30d' }}
        >
          {by === 'model' ? row.bucket : (names.get(row.bucket) ?? row.bucket.slice(0, 8))}
        </TextLink>
      ),
    },
    { key: 'calls', title: t('usage.calls'), right: true, cell: (row) => count(row.calls) },
    {
      key: 'tokens',
      title: 'Token',
      right: true,
      cell: (row) => count(row.tokens.input_total + row.tokens.output_total),
    },
    { key: 'errors', title: t('dashboard.errors'), right: true, cell: (row) => rate(row.errors, row.calls) },
    {
      key: 'charge',
      title: t('usage.charge'),
      right: true,
      cell: (row) => <Charge amount={row.charge} focusable />,
    },
  ];
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="by-thing">
      <Group justify="space-between" mb="md">
        <Title order={2} id="by-thing">
          {t('dashboard.where')}
        </Title>
        <SegmentedControl
          aria-label={t('dashboard.where')}
          value={by}
          onChange={(it) => setBy(it === 'key' ? 'key' : 'model')}
          data={[
            { value: 'model', label: t('usage.model') },
            { value: 'key', label: t('usage.key') },
          ]}
        />
      </Group>
      <Loaded query={stats}>
        {(it) =>
          it.items.length === 0 ? (
            <Text c="dimmed">{t('dashboard.noCalls')}</Text>
          ) : (
            <DataTable
              caption={t('dashboard.where')}
              columns={columns}
              rows={it.items}
              rowKey={(row) => row.bucket}
            />
          )
        }
      </Loaded>
    </Paper>
  );
}
