import { Button, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { listing, offerQuery } from '../../api/queries';
import type { Column } from '../../shared/DataTable';
import { zone } from '../../shared/format';
import { Icon } from '../../shared/Icon';
import { List } from '../../shared/List';
import { Outcome } from '../../shared/Outcome';
import { PageTitle } from '../../shared/PageTitle';
import { Secret } from '../../shared/Secret';
import { Snippet } from '../../shared/Snippet';
import { Empty } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';
import { BudgetBar } from './BudgetBar';
import { KeyForm } from './KeyForm';

const route = getRouteApi('/shell/keys');
export type Key = Schemas['KeyView'];

const WEEK_MS = 7 * 86_400_000;

/** Active, switched off, over, or over soon. */
export function keyState(
  key: Key,
  now = Date.now(),
): 'active' | 'disabled' | 'expired' | 'expiring' | 'leaked' {
  if (key.leaked_at) return 'leaked';
  if (key.status === 'disabled') return 'disabled';
  if (!key.expires_at) return 'active';
  const left = new Date(key.expires_at).getTime() - now;
  return left <= 0 ? 'expired' : left < WEEK_MS ? 'expiring' : 'active';
}

export function KeysPage() {
  const { t } = useTranslation();
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  const offer = useQuery(offerQuery);
  const keys = useQuery({
    queryKey: ['keys', 'page', cursor],
    queryFn: () => ok(api.GET('/api/user/keys', { params: { query: { cursor, limit: 20 } } })),
    ...listing,
  });
  const columns: Column<Key>[] = [
    {
      key: 'name',
      title: t('keys.name'),
      head: true,
      cell: (row) => (
        <TextLink to="/keys/$id" params={{ id: row.id }}>
          {row.name}
        </TextLink>
      ),
    },
    {
      key: 'prefix',
      title: t('keys.prefix'),
      cell: (row) => <span className="amount">{row.prefix}</span>,
    },
    {
      key: 'state',
      title: t('keys.state'),
      cell: (row) => {
        const state = keyState(row);
        return <Outcome state={state === 'expiring' ? 'pending' : state} label={t(`keys.states.${state}`)} />;
      },
    },
    {
      key: 'budget',
      title: t('keys.budget'),
      cell: (row) => (row.budget ? <BudgetBar id={row.id} budget={row.budget} /> : t('keys.unlimited')),
    },
    {
      key: 'models',
      title: t('keys.models'),
      cell: (row) => {
        if (!row.models) return t('keys.allModels');
        const [first] = row.models;
        return row.models.length === 1
          ? first
          : t('keys.someModels', { first: first ?? '', more: row.models.length - 1 });
      },
    },
    {
      key: 'used',
      title: t('keys.lastUsed'),
      cell: (row) => (row.last_used_at ? <When at={row.last_used_at} relative /> : t('keys.never')),
    },
    {
      key: 'created',
      title: t('keys.created', { zone: zone() }),
      cell: (row) => <When at={row.created_at} />,
    },
  ];
  const make = (
    <Button leftSection={<Icon name="key" />} onClick={() => setMaking(true)}>
      {t('keys.make')}
    </Button>
  );
  return (
    <>
      <PageTitle title={t('keys.title')} lead={t('keys.lead')} actions={make} />
      <List
        query={keys}
        caption={t('keys.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={
          <Empty icon="key" title={t('keys.none')} action={make}>
            {t('keys.noneText')}
          </Empty>
        }
        cursor={cursor}
        go={(to) => navigate({ to: '/keys', search: { cursor: to } })}
      />
      <KeyForm
        opened={making}
        close={() => setMaking(false)}
        made={(it) => {
          setMaking(false);
          setSecret(it);
        }}
      />
      <Secret secret={secret} title={t('keys.madeTitle')} close={() => setSecret(null)}>
        <Stack gap="xs">
          <Text size="sm">{t('keys.tryIt')}</Text>
          <Snippet model={offer.data?.items[0]?.name ?? 'MODEL'} secret={secret} />
        </Stack>
      </Secret>
    </>
  );
}
