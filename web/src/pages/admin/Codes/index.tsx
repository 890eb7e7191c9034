import { Button, Code, SimpleGrid, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { counted, typed } from '../../../money/decimal';
import { Balance } from '../../../shared/Amount';
import { Confirm } from '../../../shared/Confirm';
import type { Column } from '../../../shared/DataTable';
import { FormDialog } from '../../../shared/FormDialog';
import { beside, isoOf } from '../../../shared/fields';
import { count, zone } from '../../../shared/format';
import { Icon } from '../../../shared/Icon';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Secret } from '../../../shared/Secret';
import { Empty } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';

const route = getRouteApi('/shell/admin/codes');
type Batch = Schemas['BatchView'];

export function CodesPage() {
  return (
    <Guarded right="money:read">
      <Codes />
    </Guarded>
  );
}

function Codes() {
  const { t } = useTranslation('admin');
  const { cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayMake = useMay('money:write');
  const [making, setMaking] = useState(false);
  const [secrets, setSecrets] = useState<string | null>(null);
  const [voiding, setVoiding] = useState<Batch | null>(null);
  const batches = useQuery({
    queryKey: ['admin', 'codes', cursor],
    queryFn: () => ok(api.GET('/api/admin/redemption-codes', { params: { query: { cursor, limit: 20 } } })),
    ...listing,
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin', 'codes'] });
  const take = useMutation({
    mutationFn: (id: string) =>
      ok(api.DELETE('/api/admin/redemption-codes/{id}', { params: { path: { id } } })),
    onSuccess: () => {
      setVoiding(null);
      void refresh();
    },
  });
  const columns: Column<Batch>[] = [
    { key: 'name', title: t('codes.name'), head: true, cell: (row) => row.name },
    {
      key: 'credits',
      title: t('codes.credits'),
      right: true,
      cell: (row) => <Balance amount={row.credits} focusable />,
    },
    { key: 'codes', title: t('codes.count'), right: true, cell: (row) => count(row.codes) },
    { key: 'redeemed', title: t('codes.redeemed'), right: true, cell: (row) => count(row.redeemed) },
    { key: 'open', title: t('codes.open'), right: true, cell: (row) => count(row.open) },
    { key: 'voided', title: t('codes.voided'), right: true, cell: (row) => count(row.voided) },
    { key: 'expires', title: t('codes.expires'), cell: (row) => <When at={row.expires_at} /> },
    {
      key: 'created',
      title: t('users.created', { zone: zone() }),
      cell: (row) => <When at={row.created_at} />,
    },
    ...(mayMake
      ? [
          {
            key: 'void',
            title: '',
            right: true,
            cell: (row: Batch) => (
              <Button
                variant="default"
                size="xs"
                disabled={row.open === 0}
                aria-label={t('codes.voidNamed', { name: row.name })}
                onClick={() => setVoiding(row)}
              >
                {t('codes.void')}
              </Button>
            ),
          },
        ]
      : []),
  ];
  const make = mayMake && (
    <Button leftSection={<Icon name="gift" />} onClick={() => setMaking(true)}>
      {t('codes.make')}
    </Button>
  );
  return (
    <>
      <PageTitle title={t('codes.title')} lead={t('codes.lead')} actions={make} />
      <List
        query={batches}
        caption={t('codes.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="gift" title={t('codes.none')} action={make} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/codes', search: { cursor: to } })}
      />
      <MakeCodes
        opened={making}
        close={() => setMaking(false)}
        made={(it) => {
          setMaking(false);
          setSecrets(it.join('\n'));
          void refresh();
        }}
      />
      <Secret secret={secrets} title={t('codes.madeTitle')} close={() => setSecrets(null)} />
      <Confirm
        opened={voiding !== null}
        close={() => setVoiding(null)}
        title={t('codes.voidTitle', { name: voiding?.name ?? '' })}
        verb={t('codes.void')}
        act={() => voiding && take.mutate(voiding.id)}
        busy={take.isPending}
        error={take.error}
      >
        {t('codes.voidText', { open: count(voiding?.open ?? 0) })}
      </Confirm>
    </>
  );
}

function MakeCodes({
  opened,
  close,
  made,
}: {
  opened: boolean;
  close: () => void;
  made: (secrets: string[]) => void;
}) {
  const { t } = useTranslation('admin');
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { name: '', credits: '', count: '10', expires_at: '' },
    validate: {
      name: (it) => (it.trim() ? null : t('codes.nameRule')),
      credits: (it) => (typed(it) ? null : t('codes.creditsRule')),
      count: (it) => (counted(it) ? null : t('codes.countRule')),
    },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) =>
      ok(
        api.POST('/api/admin/redemption-codes', {
          body: {
            name: values.name.trim(),
            credits: typed(values.credits) ?? '',
            count: counted(values.count) ?? 0,
            expires_at: isoOf(values.expires_at),
          },
        }),
      ),
    onSuccess: (answer) => {
      form.reset();
      made((answer as Schemas['MadeCodes']).secrets);
    },
    onError: (error) => beside(form, error),
    gcTime: 0,
  });
  return (
    <FormDialog
      opened={opened}
      close={close}
      title={t('codes.make')}
      verb={t('codes.make')}
      submit={form.onSubmit((values) => save.mutate(values))}
      busy={save.isPending}
      error={save.error}
      size="lg"
    >
      <TextInput
        label={t('codes.name')}
        description={t('codes.nameNote')}
        data-autofocus
        key={form.key('name')}
        {...form.getInputProps('name')}
      />
      <SimpleGrid cols={{ base: 1, xs: 2 }}>
        <TextInput
          label={t('codes.credits')}
          inputMode="decimal"
          key={form.key('credits')}
          {...form.getInputProps('credits')}
        />
        <TextInput
          label={t('codes.count')}
          inputMode="numeric"
          key={form.key('count')}
          {...form.getInputProps('count')}
        />
      </SimpleGrid>
      <TextInput
        type="datetime-local"
        label={t('codes.expires')}
        key={form.key('expires_at')}
        {...form.getInputProps('expires_at')}
      />
      <Text size="sm" c="dimmed">
        {t('codes.onceNote')} <Code>POST /api/admin/redemption-codes?format=csv</Code>
      </Text>
    </FormDialog>
  );
}
