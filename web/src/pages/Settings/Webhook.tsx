import { Button, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { asProblem } from '../../api/problem';
import { listing } from '../../api/queries';
import { Confirm } from '../../shared/Confirm';
import type { Column } from '../../shared/DataTable';
import { count, zone } from '../../shared/format';
import { List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { Secret } from '../../shared/Secret';
import { Loaded, ProblemAlert } from '../../shared/States';
import { When } from '../../shared/When';

type Delivery = Schemas['Delivery'];

/** The address that notices are posted to, signed; nothing is posted without one. */
async function mine(): Promise<Schemas['Webhook'] | null> {
  try {
    return await ok(api.GET('/api/user/webhook'));
  } catch (error) {
    if (asProblem(error).status === 404) return null;
    throw error;
  }
}

export function Webhook() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [url, setUrl] = useState<string | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const [removing, setRemoving] = useState(false);
  const webhook = useQuery({ queryKey: ['webhook'], queryFn: mine });
  const refresh = () => client.invalidateQueries({ queryKey: ['webhook'] });
  const told = (it: Schemas['SecretWebhook']) => {
    if (it.secret) setSecret(it.secret);
    setUrl(null);
    void refresh();
  };
  const put = useMutation({
    mutationFn: (to: string) => ok(api.PUT('/api/user/webhook', { body: { url: to } })),
    onSuccess: told,
    gcTime: 0,
  });
  const rotate = useMutation({
    mutationFn: () => ok(api.POST('/api/user/webhook/rotate-secret')),
    onSuccess: told,
    gcTime: 0,
  });
  const test = useMutation({
    mutationFn: () => ok(api.POST('/api/user/webhook/test')),
    onSettled: refresh,
  });
  const remove = useMutation({
    mutationFn: () => ok(api.DELETE('/api/user/webhook')),
    onSuccess: () => {
      setRemoving(false);
      void refresh();
    },
  });
  return (
    <Loaded query={webhook}>
      {(it) => (
        <Stack>
          <Text>{t('webhook.text')}</Text>
          <form
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              const to = (url ?? it?.url ?? '').trim();
              if (to) put.mutate(to);
            }}
          >
            <Group align="flex-end">
              <TextInput
                label={t('webhook.url')}
                inputMode="url"
                placeholder="https://"
                w={420}
                maw="100%"
                value={url ?? it?.url ?? ''}
                onChange={(event) => setUrl(event.currentTarget.value)}
              />
              <Button type="submit" loading={put.isPending}>
                {t('common.save')}
              </Button>
            </Group>
          </form>
          {[put, rotate, test].map((act, at) =>
            act.error ? <ProblemAlert key={at} error={act.error} /> : null,
          )}
          {it && (
            <>
              <Group>
                <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
                  {t('webhook.test')}
                </Button>
                <Button variant="default" loading={rotate.isPending} onClick={() => rotate.mutate()}>
                  {t('webhook.rotate')}
                </Button>
                <Button variant="outline" color="red" onClick={() => setRemoving(true)}>
                  {t('webhook.remove')}
                </Button>
              </Group>
              {it.previous_until && (
                <Text size="sm">
                  {t('webhook.both')} <When at={it.previous_until} />
                </Text>
              )}
              <Deliveries />
            </>
          )}
          <Secret
            secret={secret}
            title={t('webhook.secret')}
            note={t('webhook.secretNote')}
            copy={t('webhook.copy')}
            close={() => setSecret(null)}
          />
          <Confirm
            opened={removing}
            close={() => setRemoving(false)}
            title={t('webhook.remove')}
            verb={t('webhook.remove')}
            act={() => remove.mutate()}
            busy={remove.isPending}
            error={remove.error}
          >
            {t('webhook.removeText')}
          </Confirm>
        </Stack>
      )}
    </Loaded>
  );
}

function Deliveries() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const deliveries = useQuery({
    queryKey: ['webhook', 'deliveries'],
    queryFn: () => ok(api.GET('/api/user/webhook/deliveries', { params: { query: { limit: 10 } } })),
    refetchInterval: 10_000,
    ...listing,
  });
  const retry = useMutation({
    mutationFn: (id: string) =>
      ok(api.POST('/api/user/webhook/deliveries/{id}/retry', { params: { path: { id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['webhook'] }),
  });
  const columns: Column<Delivery>[] = [
    {
      key: 'at',
      title: t('usage.at', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'event', title: t('webhook.event'), cell: (row) => row.event },
    {
      key: 'state',
      title: t('order.state'),
      cell: (row) => (
        <Outcome
          state={row.state === 'delivered' ? 'completed' : row.state}
          label={t(`webhook.states.${row.state}`)}
        />
      ),
    },
    { key: 'tries', title: t('webhook.tries'), right: true, cell: (row) => count(row.attempts) },
    { key: 'error', title: t('webhook.answer'), cell: (row) => row.last_error ?? row.last_status ?? '–' },
    {
      key: 'retry',
      title: '',
      right: true,
      cell: (row) =>
        row.state === 'failed' ? (
          <Button variant="default" size="xs" onClick={() => retry.mutate(row.id)}>
            {t('common.retry')}
          </Button>
        ) : null,
    },
  ];
  return (
    <>
      {retry.error ? <ProblemAlert error={retry.error} /> : null}
      <List
        query={deliveries}
        caption={t('webhook.deliveries')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Text c="dimmed">{t('webhook.noDeliveries')}</Text>}
      />
    </>
  );
}
