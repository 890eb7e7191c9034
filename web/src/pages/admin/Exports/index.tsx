// Files for the books: made by the gateway in the background, kept for a while, each with its sum.

import {
  Button,
  Code,
  Group,
  NativeSelect,
  Progress,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
} from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import type { Column } from '../../../shared/DataTable';
import { compact, count, dateBefore, zone } from '../../../shared/format';
import { List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Section } from '../../../shared/Section';
import { Empty, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded } from '../Guarded';

const route = getRouteApi('/shell/admin/exports');
const KINDS = [
  'journal',
  'trial_balance',
  'billing',
  'usage',
  'deferred_revenue',
  'margin',
  'unmatched',
] as const;
const FORMATS = ['csv', 'xlsx', 'parquet', 'beancount'] as const;
const LOOKS = {
  queued: 'pending',
  running: 'pending',
  done: 'completed',
  failed: 'failed',
  cancelled: 'void',
  expired: 'expired',
} as const;
type Export = Schemas['ExportView'];

export function ExportsPage() {
  return (
    <Guarded right="books:export">
      <Exports />
    </Guarded>
  );
}

function Exports() {
  const { t } = useTranslation('admin');
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [kind, setKind] = useState<(typeof KINDS)[number]>('journal');
  const [format, setFormat] = useState<(typeof FORMATS)[number]>('csv');
  const [from, setFrom] = useState(() => dateBefore(29));
  const [to, setTo] = useState(() => dateBefore(0));
  const exports = useQuery({
    queryKey: ['admin', 'exports', cursor],
    queryFn: () => ok(api.GET('/api/admin/exports', { params: { query: { cursor, limit: 50 } } })),
    refetchInterval: (it) =>
      it.state.data?.items.some((one) => one.state === 'queued' || one.state === 'running') ? 1_500 : 30_000,
    ...listing,
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin', 'exports'] });
  const make = useMutation({
    mutationFn: () => ok(api.POST('/api/admin/exports', { body: { kind, format, from, to } })),
    onSettled: refresh,
  });
  const remove = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/admin/exports/{id}', { params: { path: { id } } })),
    onSettled: refresh,
  });
  const columns: Column<Export>[] = [
    {
      key: 'at',
      title: t('approvals.asked', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    {
      key: 'what',
      title: t('exports.what'),
      cell: (row) => `${t(`exports.kinds.${row.kind}`)} (${row.format.toUpperCase()})`,
    },
    {
      key: 'days',
      title: t('exports.days'),
      cell: (row) => (row.month ? row.month : `${row.from} – ${row.to} (${row.time_zone})`),
    },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => (
        <>
          <Outcome state={LOOKS[row.state]} label={t(`exports.states.${row.state}`)} />
          {row.state === 'running' && row.rows_expected ? (
            <Progress
              mt={4}
              value={(row.rows_done * 100) / row.rows_expected}
              aria-label={t('exports.rows', { count: row.rows_done })}
            />
          ) : null}
          {row.error && (
            <Text size="xs" c="dimmed">
              {row.error}
            </Text>
          )}
        </>
      ),
    },
    { key: 'rows', title: t('exports.lines'), right: true, cell: (row) => count(row.rows_done) },
    {
      key: 'size',
      title: t('exports.size'),
      right: true,
      cell: (row) => (row.bytes ? `${compact(row.bytes)}B` : '–'),
    },
    {
      key: 'sum',
      title: 'SHA-256',
      cell: (row) => (row.sha256 ? <Code title={row.sha256}>{row.sha256.slice(0, 12)}…</Code> : '–'),
    },
    {
      key: 'acts',
      title: '',
      right: true,
      cell: (row) => (
        <Group gap="xs" justify="flex-end" wrap="nowrap">
          {row.state === 'done' && (
            <Button component="a" size="xs" download href={`/api/admin/exports/${row.id}/file`}>
              {t('exports.download')}
            </Button>
          )}
          <Button
            size="xs"
            variant="default"
            aria-label={t('exports.removeNamed', { name: row.file_name })}
            onClick={() => remove.mutate(row.id)}
          >
            {t('exports.remove')}
          </Button>
        </Group>
      ),
    },
  ];
  return (
    <>
      <PageTitle title={t('exports.title')} lead={t('exports.lead')} />
      <Stack gap="lg">
        <Section id="new-export" title={t('exports.make')}>
          <form
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              make.mutate();
            }}
          >
            <Stack>
              <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }}>
                <NativeSelect
                  label={t('exports.what')}
                  value={kind}
                  onChange={(event) =>
                    setKind(KINDS.find((it) => it === event.currentTarget.value) ?? 'journal')
                  }
                  data={KINDS.map((it) => ({ value: it, label: t(`exports.kinds.${it}`) }))}
                />
                <NativeSelect
                  label={t('exports.format')}
                  value={format}
                  onChange={(event) =>
                    setFormat(FORMATS.find((it) => it === event.currentTarget.value) ?? 'csv')
                  }
                  data={FORMATS.filter((it) => it !== 'beancount' || kind === 'journal')}
                />
                <TextInput
                  type="date"
                  label={t('exports.from')}
                  value={from}
                  onChange={(event) => setFrom(event.currentTarget.value)}
                />
                <TextInput
                  type="date"
                  label={t('exports.to')}
                  value={to}
                  onChange={(event) => setTo(event.currentTarget.value)}
                />
              </SimpleGrid>
              {make.error ? <ProblemAlert error={make.error} /> : null}
              <Group>
                <Button type="submit" loading={make.isPending}>
                  {t('exports.make')}
                </Button>
              </Group>
            </Stack>
          </form>
        </Section>
        {remove.error ? <ProblemAlert error={remove.error} /> : null}
        <List
          query={exports}
          caption={t('exports.title')}
          columns={columns}
          rowKey={(row) => row.id}
          empty={<Empty icon="bill" title={t('exports.none')} />}
          cursor={cursor}
          go={(to) => navigate({ to: '/admin/exports', search: { cursor: to } })}
        />
      </Stack>
    </>
  );
}
