import { Button, Code, Group, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { counted } from '../../../money/decimal';
import { Full } from '../../../shared/Amount';
import { type Column, DataTable } from '../../../shared/DataTable';
import { count } from '../../../shared/format';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { LedgerEvent } from '../../../shared/Postings';
import { Loaded } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { Guarded } from '../Guarded';

const route = getRouteApi('/shell/admin/ledger');
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function LedgerPage() {
  const { t } = useTranslation('admin');
  return (
    <Guarded right="books:read">
      <PageTitle title={t('ledger.title')} lead={t('ledger.lead')} />
      <Stack gap="lg">
        <TrialBalance />
        <Events />
      </Stack>
    </Guarded>
  );
}

function TrialBalance() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const at = search.day && /^\d{4}-\d\d-\d\d$/.test(search.day) ? search.day : undefined;
  const trial = useQuery({
    queryKey: ['admin', 'trial', at],
    queryFn: () => ok(api.GET('/api/admin/ledger/trial-balance', { params: { query: { at } } })),
  });
  const columns: Column<Schemas['BookView']>[] = [
    { key: 'book', title: t('ledger.book'), head: true, cell: (row) => row.book },
    { key: 'unit', title: t('ledger.unit'), cell: (row) => row.unit },
    { key: 'debit', title: t('ledger.debit'), right: true, cell: (row) => <Full amount={row.debit} /> },
    { key: 'credit', title: t('ledger.credit'), right: true, cell: (row) => <Full amount={row.credit} /> },
    { key: 'balance', title: t('ledger.balance'), right: true, cell: (row) => <Full amount={row.balance} /> },
    { key: 'entries', title: t('ledger.entries'), right: true, cell: (row) => count(row.entries) },
  ];
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="trial">
      <Group justify="space-between" align="flex-end" mb="md">
        <Title order={2} id="trial">
          {t('ledger.trial')}
        </Title>
        <TextInput
          type="date"
          size="sm"
          label={t('ledger.day')}
          value={at ?? trial.data?.day ?? ''}
          onChange={(event) =>
            navigate({
              to: '/admin/ledger',
              search: { ...search, day: event.currentTarget.value || undefined },
            })
          }
        />
      </Group>
      <Loaded query={trial}>
        {(it) => (
          <Stack>
            <Group>
              <Outcome
                state={it.balanced ? 'active' : 'failed'}
                label={it.balanced ? t('ledger.balanced') : t('ledger.unbalanced')}
              />
              <Text size="sm" c="dimmed">
                {t('ledger.asOf', { position: it.position, day: it.day })}
              </Text>
            </Group>
            {it.books.length === 0 ? (
              <Text c="dimmed">{t('ledger.empty')}</Text>
            ) : (
              <DataTable
                caption={t('ledger.trial')}
                columns={columns}
                rows={it.books}
                rowKey={(row) => `${row.book} ${row.unit}`}
              />
            )}
          </Stack>
        )}
      </Loaded>
    </Paper>
  );
}

function Events() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const account = search.account && UUID.test(search.account) ? search.account : undefined;
  const after = search.from ? (counted(search.from) ?? undefined) : undefined;
  const events = useQuery({
    queryKey: ['admin', 'events', account, after],
    queryFn: () =>
      ok(api.GET('/api/admin/ledger/events', { params: { query: { account, after, limit: 20 } } })),
  });
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="events">
      <Title order={2} id="events" mb="md">
        {t('ledger.events')}
      </Title>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          const text = (name: string) => String(form.get(name) ?? '').trim() || undefined;
          void navigate({
            to: '/admin/ledger',
            search: { ...search, account: text('account'), from: text('from') },
          });
        }}
      >
        <TextInput
          key={`a${search.account}`}
          name="account"
          label={t('ledger.account')}
          defaultValue={search.account ?? ''}
          error={search.account && !account ? t('orders.userRule') : undefined}
        />
        <TextInput
          key={`f${search.from}`}
          name="from"
          label={t('ledger.after')}
          inputMode="numeric"
          defaultValue={search.from ?? ''}
        />
        <Button type="submit" variant="default">
          {t('ledger.show')}
        </Button>
      </form>
      <Loaded query={events}>
        {(it) => (
          <Stack>
            {it.items.length === 0 && <Text c="dimmed">{t('ledger.noEvents')}</Text>}
            {it.items.map((row) => {
              const event = row.event as { type?: string };
              return (
                <div key={row.sequence}>
                  <LedgerEvent
                    event={{
                      sequence: row.sequence,
                      type: event.type ?? '?',
                      at: row.stored_at,
                      data: row.event,
                    }}
                  />
                  <Text size="xs" c="dimmed">
                    <Code>{row.subject}</Code> · sha-256 {row.hash.slice(0, 16)}…
                  </Text>
                </div>
              );
            })}
            <Group justify="space-between">
              <Text size="sm" c="dimmed">
                {t('ledger.end', { end: count(it.end) })}
              </Text>
              {it.next_after != null && (
                <TextLink
                  to="/admin/ledger"
                  search={{ ...search, from: String(it.next_after) }}
                  resetScroll={false}
                >
                  {t('ledger.further')}
                </TextLink>
              )}
            </Group>
          </Stack>
        )}
      </Loaded>
    </Paper>
  );
}
