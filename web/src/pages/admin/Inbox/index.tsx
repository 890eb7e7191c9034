// Payment channels' callbacks as they came, what was judged of them, and judging one again.

import { Alert, Button, Code, Group, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { Confirm } from '../../../shared/Confirm';
import type { Column } from '../../../shared/DataTable';
import { Side } from '../../../shared/Dialog';
import { count, zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, Loaded } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { Evidence } from './Evidence';

const route = getRouteApi('/shell/admin/inbox');
type Note = Schemas['CallbackNote'];

export function InboxPage() {
  return (
    <Guarded right="money:read">
      <Inbox />
    </Guarded>
  );
}

function Inbox() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const { channel, order, kept, open, cursor } = search;
  const callbacks = useQuery({
    queryKey: ['admin', 'inbox', channel, order, kept, cursor],
    queryFn: () =>
      ok(
        api.GET('/api/admin/payments/inbox', {
          params: {
            query: { channel, order, quarantined: kept === 'yes' ? true : undefined, cursor, limit: 50 },
          },
        }),
      ),
    ...listing,
  });
  const quarantine = useQuery({
    queryKey: ['admin', 'inbox', 'quarantine'],
    queryFn: () => ok(api.GET('/api/admin/payments/quarantine')),
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/admin/inbox', search: { ...search, cursor: undefined, open: undefined, ...change } });
  const columns: Column<Note>[] = [
    {
      key: 'at',
      title: t('audit.at', { zone: zone() }),
      head: true,
      cell: (row) => (
        <TextLink to="/admin/inbox" search={{ ...search, open: String(row.inbox) }} resetScroll={false}>
          <When at={row.at} />
        </TextLink>
      ),
    },
    { key: 'channel', title: t('inbox.channel'), cell: (row) => row.channel },
    {
      key: 'verdict',
      title: t('inbox.verdict'),
      cell: (row) => <Outcome state={row.verdict} label={row.verdict} />,
    },
    { key: 'order', title: t('inbox.order'), cell: (row) => <Code>{row.order_number ?? '–'}</Code> },
    { key: 'detail', title: t('inbox.detail'), cell: (row) => row.detail },
  ];
  return (
    <>
      <PageTitle title={t('inbox.title')} lead={t('inbox.lead')} />
      {(quarantine.data?.total ?? 0) > 0 && quarantine.data && (
        <Alert color="yellow" variant="outline" mb="md" title={t('inbox.quarantined')}>
          <Text size="sm">
            {quarantine.data.by.map((it) => `${it.channel}: ${it.verdict} × ${count(it.count)}`).join(', ')}
          </Text>
        </Alert>
      )}
      <div className="filters">
        {(['channel', 'order'] as const).map((name) => (
          <TextInput
            key={name}
            type="search"
            label={t(`inbox.${name}`)}
            defaultValue={search[name] ?? ''}
            onBlur={(event) => filter({ [name]: event.currentTarget.value.trim() || undefined })}
          />
        ))}
        <Choice
          label={t('inbox.which')}
          all={t('all')}
          value={kept}
          options={['yes'] as const}
          name={() => t('inbox.kept')}
          choose={(it) => filter({ kept: it })}
        />
      </div>
      <List
        query={callbacks}
        caption={t('inbox.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="mail" title={t('inbox.none')} />}
        cursor={cursor}
        go={(to) => filter({ cursor: to })}
      />
      <Side
        opened={open !== undefined}
        onClose={() => navigate({ to: '/admin/inbox', search: { ...search, open: undefined } })}
        title={t('inbox.one', { number: open ?? '' })}
      >
        {open && <Stored key={open} number={open} />}
      </Side>
    </>
  );
}

function Stored({ number }: { number: string }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const mayReplay = useMay('money:write');
  const [asking, setAsking] = useState(false);
  // Positions of INBOX are counts of messages: they fit.
  const seq = JSON.parse(number);
  const stored = useQuery({
    queryKey: ['admin', 'inbox', 'one', number],
    queryFn: () => ok(api.GET('/api/admin/payments/inbox/{seq}', { params: { path: { seq } } })),
  });
  const replay = useMutation({
    mutationFn: () => ok(api.POST('/api/admin/payments/inbox/{seq}/replay', { params: { path: { seq } } })),
    onSuccess: () => {
      setAsking(false);
      void client.invalidateQueries({ queryKey: ['admin'] });
    },
  });
  return (
    <Loaded query={stored}>
      {(it) => (
        <Stack>
          {mayReplay && (
            <Group>
              <Button variant="default" onClick={() => setAsking(true)}>
                {t('inbox.replay')}
              </Button>
            </Group>
          )}
          <div role="status">
            {replay.data && (
              <Alert variant="outline" title={replay.data.verdict}>
                <Text size="sm">
                  {replay.data.detail} (HTTP {replay.data.status})
                </Text>
              </Alert>
            )}
          </div>
          <Evidence it={it} />
          <section>
            <Title order={3} size="h4" mb={4}>
              {t('inbox.judgements')}
            </Title>
            {it.judgements.map((note) => (
              <Text key={note.id} size="sm">
                <When at={note.at} />: {note.verdict}. {note.detail}
              </Text>
            ))}
          </section>
          <Confirm
            opened={asking}
            close={() => setAsking(false)}
            title={t('inbox.replay')}
            verb={t('inbox.replay')}
            act={() => replay.mutate()}
            busy={replay.isPending}
            error={replay.error}
          >
            {t('inbox.replayText')}
          </Confirm>
        </Stack>
      )}
    </Loaded>
  );
}
