import { Alert, Button, NativeSelect, Paper, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { offerQuery, tablesQuery } from '../../../api/queries';
import { balance as cut } from '../../../money/format';
import { RANGES, type Range } from '../../../router';
import { Balance } from '../../../shared/Amount';
import { type Column, DataTable } from '../../../shared/DataTable';
import { compact, count, duration, rate } from '../../../shared/format';
import { Icon } from '../../../shared/Icon';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { since } from '../../../shared/range';
import { Loaded, Waiting } from '../../../shared/States';
import { Tile } from '../../../shared/Tile';
import { marginByDayQuery, overviewQuery } from '../../../shell/first';
import { Guarded, useMay } from '../Guarded';

const BarsByDay = lazy(() => import('../../../shared/BarsByDay'));
const route = getRouteApi('/shell/admin/');

export function OverviewPage() {
  return (
    <Guarded right="books:read">
      <Overview />
    </Guarded>
  );
}

function Overview() {
  const { t } = useTranslation(['admin', 'app']);
  const { range = 'today' } = route.useSearch();
  const navigate = useNavigate();
  const from = since(range === 'all' ? '90d' : range);
  const overview = useQuery(overviewQuery(from));
  const byDay = useQuery(marginByDayQuery());
  const byModel = useQuery({
    queryKey: ['admin', 'margin', 'model', from],
    queryFn: () => ok(api.GET('/api/admin/usage/margin', { params: { query: { from, by: 'model' } } })),
  });
  const columns: Column<Schemas['MarginView']>[] = [
    { key: 'model', title: t('app:usage.model'), head: true, cell: (row) => row.bucket },
    { key: 'calls', title: t('app:usage.calls'), right: true, cell: (row) => count(row.calls) },
    {
      key: 'paid',
      title: t('overview.revenue'),
      right: true,
      cell: (row) => <Balance amount={row.paid} focusable />,
    },
    {
      key: 'cost',
      title: t('overview.cost'),
      right: true,
      cell: (row) => <Balance amount={row.cost} focusable />,
    },
    {
      key: 'margin',
      title: t('overview.margin'),
      right: true,
      cell: (row) => <Balance amount={row.margin} focusable />,
    },
    {
      key: 'uncovered',
      title: t('overview.uncovered'),
      right: true,
      cell: (row) => <Balance amount={row.uncovered} focusable />,
    },
  ];
  return (
    <>
      <PageTitle
        title={t('overview.title')}
        actions={
          <NativeSelect
            aria-label={t('app:usage.range')}
            value={range}
            onChange={(event) =>
              navigate({ to: '/admin', search: { range: event.currentTarget.value as Range } })
            }
            data={RANGES.filter((it) => it !== 'all').map((it) => ({
              value: it,
              label: t(`app:range.${it}`),
            }))}
          />
        }
      />
      <Stack gap="lg">
        <NotYet />
        <Health />
        <Loaded query={overview} waiting={<Waiting rows={2} height={112} />}>
          {(it) => (
            <div className="tiles">
              <Tile name={t('overview.revenue')} note={t('overview.revenueNote')}>
                <Balance amount={it.total.revenue} focusable />
              </Tile>
              <Tile name={t('overview.cost')}>
                <Balance amount={it.total.cost} focusable />
              </Tile>
              <Tile
                name={t('overview.margin')}
                note={t('overview.uncoveredNote', { amount: cut(it.total.uncovered) })}
              >
                <Balance amount={it.total.margin} focusable />
              </Tile>
              <Tile
                name={t('app:usage.calls')}
                note={t('overview.errors', {
                  errors: count(it.total.errors),
                  rate: rate(it.total.errors, it.total.calls),
                })}
              >
                <span title={count(it.total.calls)}>{compact(it.total.calls)}</span>
              </Tile>
              <Tile
                name="Token"
                note={t('app:dashboard.tokensNote', {
                  input: count(it.total.input_tokens),
                  output: count(it.total.output_tokens),
                })}
              >
                {compact(it.total.input_tokens + it.total.output_tokens)}
              </Tile>
              <Tile
                name={t('overview.latency')}
                note={t('overview.latencyNote', {
                  p95: duration(it.latency.duration_p95_ms),
                  ttft: duration(it.latency.ttft_p50_ms),
                })}
              >
                {duration(it.latency.duration_p50_ms)}
              </Tile>
              <Lag />
            </div>
          )}
        </Loaded>
        <Paper withBorder p="lg" component="section" aria-labelledby="revenue">
          <Title order={2} id="revenue" mb="md">
            {t('overview.byDay')}
          </Title>
          <Loaded query={byDay} waiting={<Waiting rows={1} height={240} />}>
            {(it) =>
              it.items.length === 0 ? (
                <Text c="dimmed">{t('app:dashboard.noCalls')}</Text>
              ) : (
                <Suspense fallback={<Waiting rows={1} height={240} />}>
                  <BarsByDay
                    name={t('overview.revenue')}
                    bars={it.items.map((row) => ({ label: row.bucket.slice(5, 10), amount: row.paid }))}
                    summary={t('app:dashboard.summary', {
                      charge: cut(it.total.paid),
                      calls: count(it.total.calls),
                    })}
                  />
                </Suspense>
              )
            }
          </Loaded>
        </Paper>
        <Paper withBorder p="lg" component="section" aria-labelledby="margins">
          <Title order={2} id="margins" mb="md">
            {t('overview.byModel')}
          </Title>
          <Loaded query={byModel}>
            {(it) =>
              it.items.length === 0 ? (
                <Text c="dimmed">{t('overview.noCalls')}</Text>
              ) : (
                <DataTable
                  caption={t('overview.byModel')}
                  columns={columns}
                  rows={it.items}
                  rowKey={(row) => row.bucket}
                />
              )
            }
          </Loaded>
        </Paper>
      </Stack>
    </>
  );
}

/** Which providers calls are kept from, right now. */
function Health() {
  const { t } = useTranslation('admin');
  const allowed = useMay('providers:read');
  const health = useQuery({
    queryKey: ['admin', 'health'],
    queryFn: () => ok(api.GET('/api/admin/providers/health')),
    refetchInterval: 15_000,
    enabled: allowed,
  });
  const ill = health.data?.items.filter((it) => it.state !== 'closed') ?? [];
  if (!allowed || !health.data) return null;
  return (
    <Paper withBorder p="md">
      {ill.length === 0 ? (
        <Outcome state="active" label={t('overview.allWell')} />
      ) : (
        <Stack gap={4}>
          {ill.map((it) => (
            <div key={`${it.provider} ${it.key} ${it.model}`}>
              <Outcome
                state={it.state === 'open' ? 'failed' : it.state}
                label={t(`providers.circuit.${it.state}`)}
              />{' '}
              {it.provider} {it.model} {it.last_failure && `: ${it.last_failure}`}
            </div>
          ))}
        </Stack>
      )}
    </Paper>
  );
}

/** How far the tables are behind the log, told as it changes. */
function Lag() {
  const { t } = useTranslation('admin');
  const { data: tables } = useQuery({ ...tablesQuery, refetchInterval: 15_000 });
  return (
    <Tile name={t('overview.lag')} note={tables && t('overview.lagNote', { applied: count(tables.applied) })}>
      {tables?.lag === null || tables?.lag === undefined ? '–' : count(tables.lag)}
    </Tile>
  );
}

/** A gateway without a model that can be called says what to do about it. */
function NotYet() {
  const { t } = useTranslation(['admin', 'app']);
  const mayAdd = useMay('providers:write');
  const { data } = useQuery(offerQuery);
  if (!mayAdd || !data || data.items.length > 0) return null;
  return (
    <Alert variant="outline" color="blue" title={t('guide.banner')} icon={<Icon name="flag" />}>
      <Text size="sm" mb="xs">
        {t('guide.bannerText')}
      </Text>
      <Button component={Link} to="/admin/guide">
        {t('app:nav.guide')}
      </Button>
    </Alert>
  );
}
