import { Button, NativeSelect, PasswordInput, SimpleGrid, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { type Column, DataTable } from '../../../shared/DataTable';
import { FormDialog } from '../../../shared/FormDialog';
import { beside } from '../../../shared/fields';
import { Icon } from '../../../shared/Icon';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, Loaded } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { Guarded, useMay } from '../Guarded';

export type Provider = Schemas['ProviderView'];
export const FORMATS = ['openai', 'claude', 'gemini', 'custom'] as const;

export function ProvidersPage() {
  return (
    <Guarded right="providers:read">
      <Providers />
    </Guarded>
  );
}

/** The worst that calls found: one closed door is what an operator wants to know of. */
export function worst(conditions: Schemas['ProviderCondition'][], name: string): Schemas['CircuitState'] {
  const states = conditions.filter((it) => it.provider === name).map((it) => it.state);
  return states.includes('open') ? 'open' : states.includes('half_open') ? 'half_open' : 'closed';
}

function Providers() {
  const { t } = useTranslation('admin');
  const [adding, setAdding] = useState(false);
  const mayChange = useMay('providers:write');
  const providers = useQuery({
    queryKey: ['admin', 'providers'],
    queryFn: () => ok(api.GET('/api/admin/providers')),
  });
  const health = useQuery({
    queryKey: ['admin', 'health'],
    queryFn: () => ok(api.GET('/api/admin/providers/health')),
    refetchInterval: 15_000,
  });
  const columns: Column<Provider>[] = [
    {
      key: 'name',
      title: t('providers.name'),
      head: true,
      cell: (row) => (
        <TextLink to="/admin/providers/$id" params={{ id: row.id }}>
          {row.name}
        </TextLink>
      ),
    },
    { key: 'format', title: t('providers.format'), cell: (row) => t(`providers.formats.${row.api_format}`) },
    { key: 'url', title: t('providers.url'), cell: (row) => row.base_url },
    {
      key: 'status',
      title: t('users.status'),
      cell: (row) => <Outcome state={row.status} label={t(`providers.states.${row.status}`)} />,
    },
    {
      key: 'health',
      title: t('providers.health'),
      cell: (row) => {
        const state = worst(health.data?.items ?? [], row.name);
        return (
          <Outcome state={state === 'open' ? 'failed' : state} label={t(`providers.circuit.${state}`)} />
        );
      },
    },
    { key: 'priority', title: t('providers.priority'), right: true, cell: (row) => row.priority },
    { key: 'weight', title: t('providers.weight'), right: true, cell: (row) => row.weight },
  ];
  const add = mayChange && (
    <Button leftSection={<Icon name="plug" />} onClick={() => setAdding(true)}>
      {t('providers.add')}
    </Button>
  );
  return (
    <>
      <PageTitle title={t('providers.title')} lead={t('providers.lead')} actions={add} />
      <Loaded query={providers}>
        {(it) =>
          it.items.length === 0 ? (
            <Empty icon="plug" title={t('providers.none')} action={add}>
              {t('providers.noneText')}
            </Empty>
          ) : (
            <DataTable
              caption={t('providers.title')}
              columns={columns}
              rows={it.items}
              rowKey={(row) => row.id}
            />
          )
        }
      </Loaded>
      <Add opened={adding} close={() => setAdding(false)} />
    </>
  );
}

function Add({ opened, close }: { opened: boolean; close: () => void }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const navigate = useNavigate();
  const presets = useQuery({
    queryKey: ['admin', 'presets'],
    queryFn: () => ok(api.GET('/api/admin/providers/presets')),
    enabled: opened,
  });
  const [preset, setPreset] = useState('');
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { name: '', base_url: '', api_key: '', api_format: 'openai' as Schemas['ApiFormat'] },
    validate: {
      name: (it) => (it.trim() ? null : t('providers.nameRule')),
      base_url: (it) => (/^https?:\/\/\S+$/.test(it.trim()) ? null : t('providers.urlRule')),
      api_key: (it) => (it ? null : t('providers.keyRule')),
    },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) =>
      ok(
        api.POST('/api/admin/providers', {
          body: {
            name: values.name.trim(),
            base_url: values.base_url.trim(),
            api_key: values.api_key,
            api_format: values.api_format,
            preset: preset || undefined,
          },
        }),
      ),
    onSuccess: (it) => {
      form.reset();
      close();
      void client.invalidateQueries({ queryKey: ['admin', 'providers'] });
      void navigate({ to: '/admin/providers/$id', params: { id: it.id } });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <FormDialog
      opened={opened}
      close={close}
      title={t('providers.add')}
      verb={t('providers.add')}
      submit={form.onSubmit((values) => save.mutate(values))}
      busy={save.isPending}
      error={save.error}
      size="lg"
    >
      <NativeSelect
        label={t('providers.preset')}
        description={t('providers.presetNote')}
        value={preset}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          setPreset(chosen);
          const it = presets.data?.items.find((one) => one.preset === chosen);
          if (it) form.setValues({ name: it.name, base_url: it.base_url, api_format: it.api_format });
        }}
        data={[
          { value: '', label: t('providers.noPreset') },
          ...(presets.data?.items ?? []).map((it) => ({ value: it.preset, label: it.name })),
        ]}
      />
      <SimpleGrid cols={{ base: 1, xs: 2 }}>
        <TextInput label={t('providers.name')} key={form.key('name')} {...form.getInputProps('name')} />
        <NativeSelect
          label={t('providers.format')}
          data={FORMATS.map((it) => ({ value: it, label: t(`providers.formats.${it}`) }))}
          key={form.key('api_format')}
          {...form.getInputProps('api_format')}
        />
      </SimpleGrid>
      <TextInput
        label={t('providers.url')}
        inputMode="url"
        key={form.key('base_url')}
        {...form.getInputProps('base_url')}
      />
      <PasswordInput
        label={t('providers.key')}
        description={t('providers.keyNote')}
        autoComplete="off"
        key={form.key('api_key')}
        {...form.getInputProps('api_key')}
      />
    </FormDialog>
  );
}
