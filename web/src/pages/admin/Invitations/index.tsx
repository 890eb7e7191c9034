import { Button, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing, siteQuery } from '../../../api/queries';
import { counted } from '../../../money/decimal';
import type { Column } from '../../../shared/DataTable';
import { FormDialog } from '../../../shared/FormDialog';
import { beside, isoOf } from '../../../shared/fields';
import { count, zone } from '../../../shared/format';
import { Icon } from '../../../shared/Icon';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Secret } from '../../../shared/Secret';
import { Empty, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Person } from '../Person';

const route = getRouteApi('/shell/admin/invitations');
type Invitation = Schemas['Invitation'];

export function InvitationsPage() {
  return (
    <Guarded right="settings:read">
      <Invitations />
    </Guarded>
  );
}

function Invitations() {
  const { t } = useTranslation('admin');
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayInvite = useMay('settings:write');
  const site = useQuery(siteQuery);
  const [making, setMaking] = useState(false);
  const [link, setLink] = useState<string | null>(null);
  const invitations = useQuery({
    queryKey: ['admin', 'invitations', cursor],
    queryFn: () => ok(api.GET('/api/admin/invitations', { params: { query: { cursor, limit: 50 } } })),
    ...listing,
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin', 'invitations'] });
  const remove = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/admin/invitations/{id}', { params: { path: { id } } })),
    onSettled: refresh,
  });
  const columns: Column<Invitation>[] = [
    {
      key: 'at',
      title: t('users.created', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'note', title: t('invitations.note'), cell: (row) => row.note || '–' },
    {
      key: 'uses',
      title: t('invitations.uses'),
      right: true,
      cell: (row) => t('invitations.of', { uses: count(row.uses), max: count(row.max_uses) }),
    },
    { key: 'ends', title: t('codes.expires'), cell: (row) => <When at={row.expires_at} /> },
    { key: 'by', title: t('models.author'), cell: (row) => <Person id={row.created_by} /> },
    ...(mayInvite
      ? [
          {
            key: 'remove',
            title: '',
            right: true,
            cell: (row: Invitation) => (
              <Button
                variant="default"
                size="xs"
                aria-label={t('invitations.removeNamed', { note: row.note || row.id.slice(-8) })}
                loading={remove.isPending && remove.variables === row.id}
                onClick={() => remove.mutate(row.id)}
              >
                {t('announcements.remove')}
              </Button>
            ),
          },
        ]
      : []),
  ];
  const make = mayInvite && (
    <Button leftSection={<Icon name="mail" />} onClick={() => setMaking(true)}>
      {t('invitations.make')}
    </Button>
  );
  return (
    <>
      <PageTitle
        title={t('invitations.title')}
        lead={
          <>
            {t('invitations.lead')} {site.data && t(`invitations.modes.${site.data.registration}`)}
          </>
        }
        actions={make}
      />
      {remove.error ? <ProblemAlert error={remove.error} /> : null}
      <List
        query={invitations}
        caption={t('invitations.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="mail" title={t('invitations.none')} action={make} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/invitations', search: { cursor: to } })}
      />
      <Make
        opened={making}
        close={() => setMaking(false)}
        made={(code) => {
          setMaking(false);
          setLink(`${site.data?.public_url ?? window.location.origin}/register?invite=${code}`);
          void refresh();
        }}
      />
      <Secret
        secret={link}
        title={t('invitations.madeTitle')}
        note={t('invitations.onceNote')}
        copy={t('invitations.copy')}
        close={() => setLink(null)}
      />
    </>
  );
}

function Make({ opened, close, made }: { opened: boolean; close: () => void; made: (code: string) => void }) {
  const { t } = useTranslation(['admin', 'app']);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { note: '', max_uses: '1', expires_at: '' },
    validate: { max_uses: (it) => (counted(it) ? null : t('app:field.wholeRule')) },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) =>
      ok(
        api.POST('/api/admin/invitations', {
          body: {
            note: values.note.trim() || undefined,
            max_uses: counted(values.max_uses),
            expires_at: isoOf(values.expires_at),
          },
        }),
      ),
    onSuccess: (it) => {
      form.reset();
      made(it.code);
    },
    onError: (error) => beside(form, error),
    gcTime: 0,
  });
  return (
    <FormDialog
      opened={opened}
      close={close}
      title={t('invitations.make')}
      verb={t('invitations.make')}
      submit={form.onSubmit((values) => save.mutate(values))}
      busy={save.isPending}
      error={save.error}
    >
      <TextInput
        label={t('invitations.note')}
        maxLength={200}
        data-autofocus
        key={form.key('note')}
        {...form.getInputProps('note')}
      />
      <TextInput
        label={t('invitations.max')}
        inputMode="numeric"
        key={form.key('max_uses')}
        {...form.getInputProps('max_uses')}
      />
      <TextInput
        type="datetime-local"
        label={t('codes.expires')}
        key={form.key('expires_at')}
        {...form.getInputProps('expires_at')}
      />
    </FormDialog>
  );
}
