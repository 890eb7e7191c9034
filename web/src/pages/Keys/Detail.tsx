import { Alert, Button, Group, NativeSelect, Paper, SimpleGrid, Stack, Text, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { counted } from '../../money/decimal';
import { Charge } from '../../shared/Amount';
import { Confirm } from '../../shared/Confirm';
import { type Column, DataTable } from '../../shared/DataTable';
import { Dialog } from '../../shared/Dialog';
import { Facts } from '../../shared/Facts';
import { count, dateBefore, rate } from '../../shared/format';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { Secret } from '../../shared/Secret';
import { Loaded, ProblemAlert, Waiting } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';
import { type Key, keyState } from '.';
import { BudgetBar } from './BudgetBar';
import { KeyForm } from './KeyForm';

const route = getRouteApi('/shell/keys/$id');

export function KeyPage() {
  const { id } = route.useParams();
  const key = useQuery({
    queryKey: ['keys', 'one', id],
    queryFn: () => ok(api.GET('/api/user/keys/{id}', { params: { path: { id } } })),
  });
  return <Loaded query={key}>{(it) => <Shown it={it} />}</Loaded>;
}

function Shown({ it }: { it: Key }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [dialog, setDialog] = useState<'none' | 'change' | 'rotate' | 'delete'>('none');
  const [secret, setSecret] = useState<string | null>(null);
  const [overlap, setOverlap] = useState('3600');
  const path = { id: it.id };
  const refresh = () => client.invalidateQueries({ queryKey: ['keys'] });
  const close = () => setDialog('none');

  const status = useMutation({
    mutationFn: (to: Schemas['KeyStatus']) =>
      ok(api.PATCH('/api/user/keys/{id}', { params: { path }, body: { status: to } })),
    onSettled: refresh,
  });
  const remove = useMutation({
    mutationFn: () => ok(api.DELETE('/api/user/keys/{id}', { params: { path } })),
    onSuccess: async () => {
      await navigate({ to: '/keys', search: {} });
      await refresh();
    },
  });
  const rotate = useMutation({
    mutationFn: async () => {
      const body = { overlap_seconds: counted(overlap) ?? 0 };
      return (await ok(api.POST('/api/user/keys/{id}/rotate', { params: { path }, body }))).secret;
    },
    onSuccess: (made) => {
      close();
      setSecret(made);
      void refresh();
    },
    gcTime: 0,
  });
  const stats = useQuery({
    queryKey: ['usage', 'key', it.id],
    queryFn: () =>
      ok(
        api.GET('/api/user/keys/{id}/stats', {
          params: { path, query: { from: dateBefore(29), by: 'model' } },
        }),
      ),
  });
  const today = useQuery({
    queryKey: ['usage', 'key', it.id, 'today'],
    queryFn: () =>
      ok(
        api.GET('/api/user/keys/{id}/stats', {
          params: { path, query: { from: dateBefore(0), by: 'model' } },
        }),
      ),
  });
  const state = keyState(it);
  const columns: Column<Schemas['UsageStatView']>[] = [
    { key: 'model', title: t('usage.model'), head: true, cell: (row) => row.bucket },
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
    <>
      <PageTitle
        title={it.name}
        lead={<TextLink to="/keys">{t('keys.back')}</TextLink>}
        actions={
          <>
            <Button variant="default" onClick={() => setDialog('change')}>
              {t('keys.change')}
            </Button>
            <Button variant="default" onClick={() => setDialog('rotate')}>
              {t('keys.rotate')}
            </Button>
            <Button
              variant="default"
              loading={status.isPending}
              onClick={() => status.mutate(it.status === 'active' ? 'disabled' : 'active')}
            >
              {it.status === 'active' ? t('keys.disable') : t('keys.enable')}
            </Button>
            <Button color="red" variant="outline" onClick={() => setDialog('delete')}>
              {t('keys.delete')}
            </Button>
          </>
        }
      />
      <Stack gap="lg">
        {status.error ? <ProblemAlert error={status.error} /> : null}
        {it.leaked_at && (
          <Alert color="red" variant="outline" title={t('keys.leakedTitle')}>
            <Text size="sm">{t('keys.leakedText')}</Text>
          </Alert>
        )}
        {it.previous_until && (
          <Alert color="yellow" variant="outline">
            <Text size="sm">
              {t('keys.previousUntil')} <When at={it.previous_until} />
            </Text>
          </Alert>
        )}
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <Paper withBorder p="lg">
            <Facts
              items={[
                [t('keys.prefix'), <span key="p">{it.prefix}</span>],
                [
                  t('keys.state'),
                  <Outcome
                    key="s"
                    state={state === 'expiring' ? 'pending' : state}
                    label={t(`keys.states.${state}`)}
                  />,
                ],
                [
                  t('keys.lastUsed'),
                  it.last_used_at ? <When key="u" at={it.last_used_at} /> : t('keys.never'),
                ],
                [t('keys.expires'), it.expires_at ? <When key="e" at={it.expires_at} /> : t('keys.never')],
                [t('keys.createdPlain'), <When key="c" at={it.created_at} />],
              ]}
            />
          </Paper>
          <Paper withBorder p="lg">
            <Facts
              items={[
                [
                  t('keys.budget'),
                  it.budget ? <BudgetBar key="b" id={it.id} budget={it.budget} /> : t('keys.unlimited'),
                ],
                [t('keys.models'), it.models?.join(', ') ?? t('keys.allModels')],
                [t('keys.ipAllow'), it.ip_allow.length > 0 ? it.ip_allow.join(', ') : t('keys.anywhere')],
                [t('keys.rpm'), it.rpm ? count(it.rpm) : t('keys.unlimited')],
                [t('keys.tpm'), it.tpm ? count(it.tpm) : t('keys.unlimited')],
                [t('keys.concurrency'), it.concurrency ? count(it.concurrency) : t('keys.unlimited')],
              ]}
            />
          </Paper>
        </SimpleGrid>
        <Paper withBorder p="lg" component="section" aria-labelledby="key-usage">
          <Group justify="space-between" mb="md">
            <Title order={2} id="key-usage">
              {t('keys.usage30')}
            </Title>
            <TextLink to="/usage" search={{ key: it.id, range: '30d' }}>
              {t('keys.allCalls')}
            </TextLink>
          </Group>
          <Loaded query={stats} waiting={<Waiting rows={3} />}>
            {(found) =>
              found.items.length === 0 ? (
                <Text c="dimmed">{t('keys.noCalls')}</Text>
              ) : (
                <DataTable
                  caption={t('keys.usage30')}
                  columns={columns}
                  rows={[...found.items, found.total].map((row) =>
                    row.bucket === 'total' ? { ...row, bucket: t('table.total') } : row,
                  )}
                  rowKey={(row) => row.bucket}
                />
              )
            }
          </Loaded>
        </Paper>
      </Stack>
      <KeyForm opened={dialog === 'change'} close={close} made={() => {}} of={it} />
      <Dialog opened={dialog === 'rotate'} onClose={close} title={t('keys.rotateTitle', { name: it.name })}>
        <Stack>
          <Text>{t('keys.rotateText')}</Text>
          <NativeSelect
            label={t('keys.overlap')}
            value={overlap}
            onChange={(event) => setOverlap(event.currentTarget.value)}
            data={[
              { value: '0', label: t('keys.overlaps.none') },
              { value: '3600', label: t('keys.overlaps.hour') },
              { value: '86400', label: t('keys.overlaps.day') },
              { value: '604800', label: t('keys.overlaps.week') },
            ]}
          />
          {rotate.error ? <ProblemAlert error={rotate.error} /> : null}
          <Group justify="flex-end">
            <Button variant="default" onClick={close} data-autofocus>
              {t('common.cancel')}
            </Button>
            <Button loading={rotate.isPending} onClick={() => rotate.mutate()}>
              {t('keys.rotate')}
            </Button>
          </Group>
        </Stack>
      </Dialog>
      <Confirm
        opened={dialog === 'delete'}
        close={close}
        title={t('keys.deleteTitle', { name: it.name })}
        verb={t('keys.delete')}
        act={() => remove.mutate()}
        busy={remove.isPending}
        error={remove.error}
      >
        {t('keys.deleteText', { calls: today.data ? count(today.data.total.calls) : '…' })}
      </Confirm>
      <Secret secret={secret} title={t('keys.rotatedTitle')} close={() => setSecret(null)}>
        {it.previous_until && (
          <Text size="sm">
            {t('keys.previousUntil')} <When at={it.previous_until} />
          </Text>
        )}
      </Secret>
    </>
  );
}
