import { Button, NativeSelect, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { keysQuery, listing, offerQuery } from '../../api/queries';
import { charge } from '../../money/format';
import { RANGES, type Range } from '../../router';
import { Charge } from '../../shared/Amount';
import type { Column } from '../../shared/DataTable';
import { Side } from '../../shared/Dialog';
import { count, DASH, duration, zone } from '../../shared/format';
import { Choice, List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { since } from '../../shared/range';
import { Empty } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';
import { callsQuery } from '../../shell/first';
import { Receipt } from './Receipt';
import { RequestSearch } from './RequestSearch';

const route = getRouteApi('/shell/usage');
const OUTCOMES = ['completed', 'client_gone', 'provider_error', 'interrupted', 'refused'] as const;

export function UsagePage() {
  const { t } = useTranslation();
  const search = route.useSearch();
  const navigate = useNavigate();
  const { range = '7d', key, model, outcome, open, cursor } = search;
  const keys = useQuery(keysQuery);
  const offer = useQuery(offerQuery);
  const from = since(range);
  const filters = { from, key, model };
  const usage = useQuery(callsQuery(filters, outcome, cursor));
  const sums = useQuery({
    queryKey: ['usage', 'stats', 'list', filters],
    queryFn: () => ok(api.GET('/api/user/usage/stats', { params: { query: { ...filters, by: 'model' } } })),
    ...listing,
  });
  // A filter changes which rows there are: the page that one was on means nothing any more.
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/usage', search: { ...search, cursor: undefined, open: undefined, ...change } });
  const names = new Map((keys.data ?? []).map((it) => [it.id, it.name]));
  const models = new Set([
    ...(offer.data?.items.map((it) => it.name) ?? []),
    ...(sums.data?.items.map((it) => it.bucket) ?? []),
    ...(model ? [model] : []),
  ]);
  const filtered = Boolean(key || model || outcome || search.range);
  const columns: Column<Schemas['UsageView']>[] = [
    {
      key: 'at',
      title: t('usage.at', { zone: zone() }),
      head: true,
      cell: (row) => (
        <TextLink to="/usage" search={{ ...search, open: row.id }} resetScroll={false}>
          <When at={row.at} />
        </TextLink>
      ),
    },
    { key: 'model', title: t('usage.model'), cell: (row) => row.model },
    { key: 'key', title: t('usage.key'), cell: (row) => names.get(row.key) ?? row.key.slice(0, 8) },
    {
      key: 'outcome',
      title: t('usage.outcome'),
      cell: (row) => <Outcome state={row.outcome} label={t(`usage.outcomes.${row.outcome}`)} />,
    },
    { key: 'in', title: t('usage.in'), right: true, cell: (row) => count(row.tokens.input_total) },
    {
      key: 'cached',
      title: t('usage.cached'),
      right: true,
      cell: (row) => (row.tokens.cache_read ? count(row.tokens.cache_read) : DASH),
    },
    { key: 'out', title: t('usage.out'), right: true, cell: (row) => count(row.tokens.output_total) },
    { key: 'ttft', title: t('usage.ttft'), right: true, cell: (row) => duration(row.ttft_ms) },
    { key: 'time', title: t('usage.duration'), right: true, cell: (row) => duration(row.duration_ms) },
    {
      key: 'charge',
      title: t('usage.charge'),
      right: true,
      cell: (row) => (
        <>
          <Charge amount={row.charge} focusable />
          {row.usage_source === 'estimated' && (
            <Text size="xs" c="dimmed">
              {t('usage.estimated')}
            </Text>
          )}
        </>
      ),
    },
  ];
  return (
    <>
      <PageTitle title={t('usage.title')} lead={t('usage.lead')} />
      <div className="filters">
        <NativeSelect
          label={t('usage.range')}
          value={range}
          onChange={(event) => {
            const to = event.currentTarget.value as Range;
            void filter({ range: to === '7d' ? undefined : to });
          }}
          data={RANGES.map((it) => ({ value: it, label: t(`range.${it}`) }))}
        />
        <NativeSelect
          label={t('usage.model')}
          value={model ?? ''}
          onChange={(event) => filter({ model: event.currentTarget.value || undefined })}
          data={[{ value: '', label: t('usage.allModels') }, ...models]}
        />
        <NativeSelect
          label={t('usage.key')}
          value={key ?? ''}
          onChange={(event) => filter({ key: event.currentTarget.value || undefined })}
          data={[
            { value: '', label: t('usage.allKeys') },
            ...(keys.data ?? []).map((it) => ({ value: it.id, label: it.name })),
            ...(key && !names.has(key) ? [{ value: key, label: key.slice(0, 8) }] : []),
          ]}
        />
        <Choice
          label={t('usage.outcome')}
          all={t('usage.allOutcomes')}
          value={outcome}
          options={OUTCOMES}
          name={(it) => t(`usage.outcomes.${it}`)}
          choose={(it) => filter({ outcome: it })}
        />
        <RequestSearch open={(id) => navigate({ to: '/usage', search: { ...search, open: id } })} />
      </div>
      {sums.data && !outcome && sums.data.total.calls > 0 && (
        <Text mb="sm" role="status">
          {t('usage.sums', {
            calls: count(sums.data.total.calls),
            charge: charge(sums.data.total.charge).text,
            tokens: count(sums.data.total.tokens.input_total + sums.data.total.tokens.output_total),
          })}
        </Text>
      )}
      <List
        query={usage}
        caption={t('usage.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={
          filtered || cursor ? (
            <Empty
              icon="search"
              title={t('empty.filtered')}
              action={
                <Button variant="default" onClick={() => navigate({ to: '/usage', search: {} })}>
                  {t('empty.clear')}
                </Button>
              }
            >
              {t('usage.noMatch')}
            </Empty>
          ) : (
            <Empty
              icon="list"
              title={t('usage.none')}
              action={
                <Button component={Link} to="/keys">
                  {t('keys.make')}
                </Button>
              }
            >
              {t('usage.noneText')}
            </Empty>
          )
        }
        cursor={cursor}
        go={(to) => navigate({ to: '/usage', search: { ...search, open: undefined, cursor: to } })}
      />
      <Side
        opened={open !== undefined}
        onClose={() => navigate({ to: '/usage', search: { ...search, open: undefined }, resetScroll: false })}
        title={t('receipt.title')}
      >
        {open && <Receipt id={open} keyName={(id) => names.get(id) ?? id} />}
      </Side>
    </>
  );
}
