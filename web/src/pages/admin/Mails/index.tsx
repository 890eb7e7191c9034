import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import type { Column } from '../../../shared/DataTable';
import { count, zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';

const route = getRouteApi('/shell/admin/mails');
const STATES = ['queued', 'sending', 'sent', 'failed'] as const;
type Mail = Schemas['Mail'];

export function MailsPage() {
  return (
    <Guarded right="users:read">
      <Mails />
    </Guarded>
  );
}

function Mails() {
  const { t } = useTranslation('admin');
  const { state, cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayRetry = useMay('settings:write');
  const mails = useQuery({
    queryKey: ['admin', 'mails', state, cursor],
    queryFn: () => ok(api.GET('/api/admin/mails', { params: { query: { state, cursor, limit: 50 } } })),
    ...listing,
  });
  const retry = useMutation({
    mutationFn: (id: string) => ok(api.POST('/api/admin/mails/{id}/retry', { params: { path: { id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'mails'] }),
  });
  const columns: Column<Mail>[] = [
    {
      key: 'at',
      title: t('users.created', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'to', title: t('mails.to'), cell: (row) => row.to },
    { key: 'subject', title: t('mails.subject'), cell: (row) => row.subject ?? row.kind },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => <Outcome state={row.state} label={t(`mails.states.${row.state}`)} />,
    },
    { key: 'tries', title: t('mails.tries'), right: true, cell: (row) => count(row.attempts) },
    { key: 'error', title: t('mails.error'), cell: (row) => row.last_error ?? '–' },
    ...(mayRetry
      ? [
          {
            key: 'retry',
            title: '',
            right: true,
            cell: (row: Mail) =>
              row.state === 'failed' || row.state === 'queued' ? (
                <Button
                  variant="default"
                  size="xs"
                  aria-label={t('mails.retryNamed', { to: row.to })}
                  loading={retry.isPending && retry.variables === row.id}
                  onClick={() => retry.mutate(row.id)}
                >
                  {t('mails.retry')}
                </Button>
              ) : null,
          },
        ]
      : []),
  ];
  return (
    <>
      <PageTitle title={t('mails.title')} lead={t('mails.lead')} />
      <div className="filters">
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={state}
          options={STATES}
          name={(it) => t(`mails.states.${it}`)}
          choose={(it) =>
            navigate({
              to: '/admin/mails',
              search: { state: it },
            })
          }
        />
      </div>
      {retry.error ? <ProblemAlert error={retry.error} /> : null}
      <List
        query={mails}
        caption={t('mails.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="mail" title={t('mails.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/mails', search: { state, cursor: to } })}
      />
    </>
  );
}
