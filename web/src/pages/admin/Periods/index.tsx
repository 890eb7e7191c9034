// Months that are closed: their sums are fixed, signed, and each names the one before.

import { Button, Code, Group, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { Confirm } from '../../../shared/Confirm';
import { CopyButton } from '../../../shared/CopyButton';
import type { Column } from '../../../shared/DataTable';
import { count, zone } from '../../../shared/format';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Section } from '../../../shared/Section';
import { Empty } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Person } from '../Person';

type Period = Schemas['PeriodView'];

export function PeriodsPage() {
  return (
    <Guarded right="books:read">
      <Months />
    </Guarded>
  );
}

function Months() {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const mayClose = useMay('books:close');
  const [asking, setAsking] = useState<string | null>(null);
  const periods = useQuery({
    queryKey: ['admin', 'periods'],
    queryFn: () => ok(api.GET('/api/admin/periods')),
  });
  const close = useMutation({
    mutationFn: (month: string) => ok(api.POST('/api/admin/periods', { body: { month } })),
    onSuccess: () => setAsking(null),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'periods'] }),
  });
  const columns: Column<Period>[] = [
    { key: 'month', title: t('periods.month'), head: true, cell: (row) => row.month },
    {
      key: 'closed',
      title: t('periods.closed', { zone: zone() }),
      cell: (row) => <When at={row.closed_at} />,
    },
    { key: 'by', title: t('models.author'), cell: (row) => <Person id={row.closed_by} /> },
    { key: 'entries', title: t('ledger.entries'), right: true, cell: (row) => count(row.entries) },
    { key: 'position', title: t('periods.position'), right: true, cell: (row) => `#${row.position}` },
    {
      key: 'digest',
      title: t('periods.digest'),
      cell: (row) => (
        <Group gap={4} wrap="nowrap">
          <Code title={row.digest}>{row.digest.slice(0, 12)}…</Code>
          <CopyButton text={row.digest} label={t('periods.copy', { month: row.month })} />
        </Group>
      ),
    },
  ];
  const next = periods.data?.next;
  return (
    <>
      <PageTitle title={t('periods.title')} lead={t('periods.lead')} />
      <Stack gap="lg">
        {mayClose && periods.data && (
          <Section id="close" title={t('periods.next')}>
            {next ? (
              <Group>
                <Text>{t('periods.ready', { month: next, zone: periods.data.time_zone })}</Text>
                <Button
                  onClick={() => {
                    close.reset();
                    setAsking(next);
                  }}
                >
                  {t('periods.close', { month: next })}
                </Button>
              </Group>
            ) : (
              <Text c="dimmed">{t('periods.nothing')}</Text>
            )}
          </Section>
        )}
        <List
          query={periods}
          caption={t('periods.title')}
          columns={columns}
          rowKey={(row) => row.month}
          empty={<Empty icon="book" title={t('periods.none')} />}
        />
      </Stack>
      <Confirm
        opened={asking !== null}
        close={() => setAsking(null)}
        title={t('periods.close', { month: asking ?? '' })}
        verb={t('periods.verb')}
        act={() => asking && close.mutate(asking)}
        busy={close.isPending}
        error={close.error}
      >
        {t('periods.text')}
      </Confirm>
    </>
  );
}
