import {
  Button,
  Group,
  NativeSelect,
  Paper,
  PasswordInput,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
  Title,
} from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { typed } from '../../../money/decimal';
import { price } from '../../../money/format';
import { Confirm } from '../../../shared/Confirm';
import { DataTable } from '../../../shared/DataTable';
import { beside } from '../../../shared/fields';
import { duration } from '../../../shared/format';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Loaded, ProblemAlert } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { Guarded, useMay } from '../Guarded';
import { FORMATS, type Provider } from '.';
import { TrialButton, TrialResult, useTrial } from './Trial';

const route = getRouteApi('/shell/admin/providers/$id');

export function ProviderPage() {
  const { id } = route.useParams();
  const provider = useQuery({
    queryKey: ['admin', 'provider', id],
    queryFn: () => ok(api.GET('/api/admin/providers/{id}', { params: { path: { id } } })),
  });
  return (
    <Guarded right="providers:read">
      <Loaded query={provider}>{(it) => <Shown key={it.updated_at} it={it} />}</Loaded>
    </Guarded>
  );
}

function Shown({ it }: { it: Provider }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const navigate = useNavigate();
  const mayChange = useMay('providers:write');
  const [asking, setAsking] = useState(false);
  const path = { id: it.id };
  const refresh = () => client.invalidateQueries({ queryKey: ['admin'] });
  const change = useMutation({
    mutationFn: (body: Schemas['ChangeProvider']) =>
      ok(api.PATCH('/api/admin/providers/{id}', { params: { path }, body })),
    onSuccess: () => {
      notifications.show({ message: t('saved'), color: 'teal' });
      void refresh();
    },
    onError: (error) => beside(form, error),
  });
  const trial = useTrial(it.id);
  const remove = useMutation({
    mutationFn: () => ok(api.DELETE('/api/admin/providers/{id}', { params: { path } })),
    onSuccess: async () => {
      await navigate({ to: '/admin/providers' });
      await refresh();
    },
  });
  const whole = (text: string) => (/^-?\d{1,6}$/.test(text.trim()) ? null : t('providers.numberRule'));
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: {
      name: it.name,
      base_url: it.base_url,
      api_format: it.api_format,
      api_key: '',
      priority: String(it.priority),
      weight: String(it.weight),
    },
    validate: { priority: whole, weight: whole },
  });
  return (
    <>
      <PageTitle
        title={it.name}
        lead={<TextLink to="/admin/providers">{t('providers.back')}</TextLink>}
        actions={
          mayChange && (
            <>
              <TrialButton trial={trial} />
              <Button
                variant="default"
                loading={change.isPending}
                onClick={() => change.mutate({ status: it.status === 'active' ? 'disabled' : 'active' })}
              >
                {it.status === 'active' ? t('providers.disable') : t('providers.enable')}
              </Button>
              <Button variant="outline" color="red" onClick={() => setAsking(true)}>
                {t('providers.remove')}
              </Button>
            </>
          )
        }
      />
      <Stack gap="lg">
        <TrialResult trial={trial} />
        {change.error ? <ProblemAlert error={change.error} /> : null}
        <Health it={it} mayChange={mayChange} />
        <Paper withBorder p="lg" component="section" aria-labelledby="terms">
          <Title order={2} id="terms" mb="md">
            {t('providers.terms')}
          </Title>
          <form
            noValidate
            autoComplete="off"
            onSubmit={form.onSubmit((values) =>
              change.mutate({
                name: values.name.trim(),
                base_url: values.base_url.trim(),
                api_format: values.api_format,
                api_key: values.api_key || undefined,
                priority: JSON.parse(values.priority.trim()),
                weight: JSON.parse(values.weight.trim()),
              }),
            )}
          >
            <Stack>
              <SimpleGrid cols={{ base: 1, sm: 2 }}>
                <TextInput
                  label={t('providers.name')}
                  disabled={!mayChange}
                  key={form.key('name')}
                  {...form.getInputProps('name')}
                />
                <NativeSelect
                  label={t('providers.format')}
                  disabled={!mayChange}
                  data={FORMATS.map((one) => ({ value: one, label: t(`providers.formats.${one}`) }))}
                  key={form.key('api_format')}
                  {...form.getInputProps('api_format')}
                />
                <TextInput
                  label={t('providers.url')}
                  disabled={!mayChange}
                  key={form.key('base_url')}
                  {...form.getInputProps('base_url')}
                />
                <PasswordInput
                  label={t('providers.replaceKey')}
                  placeholder={t('providers.kept')}
                  autoComplete="off"
                  disabled={!mayChange}
                  key={form.key('api_key')}
                  {...form.getInputProps('api_key')}
                />
                <TextInput
                  label={t('providers.priority')}
                  description={t('providers.priorityNote')}
                  disabled={!mayChange}
                  key={form.key('priority')}
                  {...form.getInputProps('priority')}
                />
                <TextInput
                  label={t('providers.weight')}
                  description={t('providers.weightNote')}
                  disabled={!mayChange}
                  key={form.key('weight')}
                  {...form.getInputProps('weight')}
                />
              </SimpleGrid>
              {mayChange && (
                <Group>
                  <Button type="submit" loading={change.isPending}>
                    {t('save')}
                  </Button>
                </Group>
              )}
            </Stack>
          </form>
        </Paper>
        <Served it={it} mayChange={mayChange} />
      </Stack>
      <Confirm
        opened={asking}
        close={() => setAsking(false)}
        title={t('providers.removeTitle', { name: it.name })}
        verb={t('providers.remove')}
        act={() => remove.mutate()}
        busy={remove.isPending}
        error={remove.error}
      >
        {t('providers.removeText')}
      </Confirm>
    </>
  );
}

function Health({ it, mayChange }: { it: Provider; mayChange: boolean }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const health = useQuery({
    queryKey: ['admin', 'health'],
    queryFn: () => ok(api.GET('/api/admin/providers/health')),
    refetchInterval: 15_000,
  });
  const reset = useMutation({
    mutationFn: () =>
      ok(api.POST('/api/admin/providers/{id}/reset-health', { params: { path: { id: it.id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'health'] }),
  });
  const rows = health.data?.items.filter((row) => row.provider === it.name) ?? [];
  if (rows.length === 0) return null;
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="health">
      <Group justify="space-between" mb="md">
        <Title order={2} id="health">
          {t('providers.health')}
        </Title>
        {mayChange && (
          <Button variant="default" loading={reset.isPending} onClick={() => reset.mutate()}>
            {t('providers.resetHealth')}
          </Button>
        )}
      </Group>
      <DataTable
        caption={t('providers.health')}
        rows={rows}
        rowKey={(row) => `${row.key} ${row.model}`}
        columns={[
          {
            key: 'model',
            title: t('models.model'),
            head: true,
            cell: (row) => row.model ?? t('providers.whole'),
          },
          { key: 'key', title: t('providers.key'), cell: (row) => row.key ?? '–' },
          {
            key: 'state',
            title: t('users.status'),
            cell: (row) => (
              <Outcome
                state={row.state === 'open' ? 'failed' : row.state}
                label={t(`providers.circuit.${row.state}`)}
              />
            ),
          },
          {
            key: 'failures',
            title: t('providers.failures'),
            right: true,
            cell: (row) => `${row.failure_percent} %`,
          },
          {
            key: 'latency',
            title: t('overview.latency'),
            right: true,
            cell: (row) => duration(row.latency_ms),
          },
          { key: 'error', title: t('mails.error'), cell: (row) => row.last_failure ?? '–' },
        ]}
      />
    </Paper>
  );
}

function Served({ it, mayChange }: { it: Provider; mayChange: boolean }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const path = { id: it.id };
  const models = useQuery({
    queryKey: ['admin', 'provider', it.id, 'models'],
    queryFn: () => ok(api.GET('/api/admin/providers/{id}/models', { params: { path } })),
  });
  const refresh = () => client.invalidateQueries({ queryKey: ['admin'] });
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { model_name: '', upstream_name: '', input: '', output: '' },
    validate: {
      model_name: (text) => (text.trim() ? null : t('models.nameRule')),
      input: (text) => (text.trim() === '' || typed(text) ? null : t('models.priceRule')),
      output: (text) => (text.trim() === '' || typed(text) ? null : t('models.priceRule')),
    },
  });
  const add = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) => {
      const [input, output] = [typed(values.input), typed(values.output)];
      return ok(
        api.POST('/api/admin/providers/{id}/models', {
          params: { path },
          body: {
            model_name: values.model_name.trim(),
            upstream_name: values.upstream_name.trim() || undefined,
            cost: input || output ? { input: input ?? '0', output: output ?? '0' } : undefined,
          },
        }),
      );
    },
    onSuccess: () => {
      form.reset();
      void refresh();
    },
    onError: (error) => beside(form, error),
  });
  const remove = useMutation({
    mutationFn: (model: string) =>
      ok(api.DELETE('/api/admin/providers/{id}/models', { params: { path, query: { model } } })),
    onSettled: refresh,
  });
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="served">
      <Title order={2} id="served" mb="md">
        {t('providers.serves')}
      </Title>
      <Stack>
        <Loaded query={models}>
          {(found) =>
            found.items.length === 0 ? (
              <Text c="dimmed">{t('providers.servesNone')}</Text>
            ) : (
              <DataTable
                caption={t('providers.serves')}
                rows={found.items}
                rowKey={(row) => row.model_name}
                columns={[
                  { key: 'name', title: t('models.model'), head: true, cell: (row) => row.model_name },
                  { key: 'upstream', title: t('providers.upstream'), cell: (row) => row.upstream_name },
                  {
                    key: 'in',
                    title: t('providers.costIn'),
                    right: true,
                    cell: (row) => (row.cost ? price(row.cost.input) : '–'),
                  },
                  {
                    key: 'out',
                    title: t('providers.costOut'),
                    right: true,
                    cell: (row) => (row.cost ? price(row.cost.output) : '–'),
                  },
                  ...(mayChange
                    ? [
                        {
                          key: 'remove',
                          title: '',
                          right: true,
                          cell: (row: { model_name: string }) => (
                            <Button
                              variant="default"
                              size="xs"
                              aria-label={t('providers.stopNamed', { name: row.model_name })}
                              onClick={() => remove.mutate(row.model_name)}
                            >
                              {t('providers.stop')}
                            </Button>
                          ),
                        },
                      ]
                    : []),
                ]}
              />
            )
          }
        </Loaded>
        {remove.error ? <ProblemAlert error={remove.error} /> : null}
        {mayChange && (
          <form onSubmit={form.onSubmit((values) => add.mutate(values))} noValidate>
            <Stack>
              <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }}>
                <TextInput
                  label={t('models.model')}
                  key={form.key('model_name')}
                  {...form.getInputProps('model_name')}
                />
                <TextInput
                  label={t('providers.upstream')}
                  placeholder={t('providers.same')}
                  key={form.key('upstream_name')}
                  {...form.getInputProps('upstream_name')}
                />
                <TextInput
                  label={t('providers.costIn')}
                  inputMode="decimal"
                  key={form.key('input')}
                  {...form.getInputProps('input')}
                />
                <TextInput
                  label={t('providers.costOut')}
                  inputMode="decimal"
                  key={form.key('output')}
                  {...form.getInputProps('output')}
                />
              </SimpleGrid>
              {add.error ? <ProblemAlert error={add.error} /> : null}
              <Group>
                <Button type="submit" variant="default" loading={add.isPending}>
                  {t('providers.addModel')}
                </Button>
              </Group>
            </Stack>
          </form>
        )}
      </Stack>
    </Paper>
  );
}
