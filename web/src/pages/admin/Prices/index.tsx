import { Button, Group, SimpleGrid, Stack, Text, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { typed } from '../../../money/decimal';
import { price } from '../../../money/format';
import { type Column, DataTable } from '../../../shared/DataTable';
import { Side } from '../../../shared/Dialog';
import { beside } from '../../../shared/fields';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, Loaded, ProblemAlert } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';

const route = getRouteApi('/shell/admin/prices');
type Model = Schemas['ModelView'];
const FIELDS = ['input', 'cache_read', 'cache_write', 'output', 'reasoning', 'per_call'] as const;

export function PricesPage() {
  return (
    <Guarded right="catalogue:read">
      <Prices />
    </Guarded>
  );
}

function Prices() {
  const { t } = useTranslation(['admin', 'app']);
  const { model } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayChange = useMay('catalogue:write');
  const models = useQuery({ queryKey: ['admin', 'models'], queryFn: () => ok(api.GET('/api/admin/models')) });
  const change = useMutation({
    mutationFn: (row: Model) =>
      ok(
        api.PATCH('/api/admin/models', {
          params: { query: { model: row.name } },
          body: { status: row.status === 'active' ? 'disabled' : 'active' },
        }),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'models'] }),
  });
  const columns: Column<Model>[] = [
    {
      key: 'name',
      title: t('models.model'),
      head: true,
      cell: (row) => (
        <TextLink to="/admin/prices" search={{ model: row.name }} resetScroll={false}>
          {row.name}
        </TextLink>
      ),
    },
    {
      key: 'in',
      title: t('app:models.input'),
      right: true,
      cell: (row) => (row.prices ? price(row.prices.input) : '–'),
    },
    {
      key: 'out',
      title: t('app:models.output'),
      right: true,
      cell: (row) => (row.prices ? price(row.prices.output) : '–'),
    },
    {
      key: 'providers',
      title: t('models.providers'),
      cell: (row) => row.providers.join(', ') || t('models.nobody'),
    },
    {
      key: 'status',
      title: t('users.status'),
      cell: (row) =>
        row.prices ? (
          <Outcome state={row.status} label={t(`providers.states.${row.status}`)} />
        ) : (
          <Outcome state="refused" label={t('models.unpriced')} />
        ),
    },
    ...(mayChange
      ? [
          {
            key: 'switch',
            title: '',
            right: true,
            cell: (row: Model) => (
              <Button
                variant="default"
                size="xs"
                aria-label={`${row.status === 'active' ? t('providers.disable') : t('providers.enable')}: ${row.name}`}
                onClick={() => change.mutate(row)}
              >
                {row.status === 'active' ? t('providers.disable') : t('providers.enable')}
              </Button>
            ),
          },
        ]
      : []),
  ];
  return (
    <>
      <PageTitle title={t('models.title')} lead={t('models.lead')} />
      {change.error ? <ProblemAlert error={change.error} /> : null}
      <Loaded query={models}>
        {(it) =>
          it.items.length === 0 ? (
            <Empty
              icon="tag"
              title={t('models.none')}
              action={
                <Button component={Link} to="/admin/providers">
                  {t('providers.add')}
                </Button>
              }
            >
              {t('models.noneText')}
            </Empty>
          ) : (
            <DataTable
              caption={t('models.title')}
              columns={columns}
              rows={it.items}
              rowKey={(row) => row.name}
            />
          )
        }
      </Loaded>
      <Side
        opened={model !== undefined}
        onClose={() => navigate({ to: '/admin/prices', search: {}, resetScroll: false })}
        title={model}
      >
        {model && (
          <Book
            key={model}
            model={model}
            now={models.data?.items.find((it) => it.name === model)?.prices ?? null}
            mayChange={mayChange}
          />
        )}
      </Side>
    </>
  );
}

function Book({
  model,
  now,
  mayChange,
}: {
  model: string;
  now: Schemas['PriceTable'] | null;
  mayChange: boolean;
}) {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const versions = useQuery({
    queryKey: ['admin', 'prices', model],
    queryFn: () => ok(api.GET('/api/admin/prices', { params: { query: { model, limit: 20 } } })),
  });
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: {
      input: now?.input ?? '',
      cache_read: now?.cache_read ?? '',
      cache_write: now?.cache_write ?? '',
      output: now?.output ?? '',
      reasoning: now?.reasoning ?? '',
      per_call: now?.per_call ?? '',
      effective_from: '',
    },
    validate: Object.fromEntries(
      FIELDS.map((name) => [
        name,
        (it: string) => {
          const needed = name === 'input' || name === 'output';
          if (it.trim() === '') return needed ? t('models.priceRule') : null;
          return typed(it) || /^0+(\.0+)?$/.test(it.trim()) ? null : t('models.priceRule');
        },
      ]),
    ),
  });
  const publish = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) => {
      const optional = (text: string) => text.trim() || undefined;
      return ok(
        api.POST('/api/admin/prices', {
          body: {
            model,
            // What this form does not show stays as it is.
            prices: {
              ...now,
              input: values.input.trim(),
              output: values.output.trim(),
              cache_read: optional(values.cache_read),
              cache_write: optional(values.cache_write),
              reasoning: optional(values.reasoning),
              per_call: optional(values.per_call),
            },
            effective_from: values.effective_from ? new Date(values.effective_from).toISOString() : undefined,
          },
        }),
      );
    },
    onSuccess: () => {
      notifications.show({ message: t('models.published'), color: 'teal' });
      void client.invalidateQueries({ queryKey: ['admin'] });
      void client.invalidateQueries({ queryKey: ['models'] });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <Stack gap="lg">
      {mayChange && (
        <form onSubmit={form.onSubmit((values) => publish.mutate(values))} noValidate>
          <Stack>
            <Text size="sm" c="dimmed">
              {t('models.publishNote')}
            </Text>
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              {FIELDS.map((name) => (
                <TextInput
                  key={form.key(name)}
                  label={t(`models.fields.${name}`)}
                  inputMode="decimal"
                  {...form.getInputProps(name)}
                />
              ))}
            </SimpleGrid>
            <TextInput
              type="datetime-local"
              label={t('models.from')}
              description={t('models.fromNote')}
              key={form.key('effective_from')}
              {...form.getInputProps('effective_from')}
            />
            {publish.error ? <ProblemAlert error={publish.error} /> : null}
            <Group>
              <Button type="submit" loading={publish.isPending}>
                {t('models.publish')}
              </Button>
            </Group>
          </Stack>
        </form>
      )}
      <section aria-labelledby="versions">
        <Title order={2} id="versions" mb="sm">
          {t('models.versions')}
        </Title>
        <Loaded query={versions}>
          {(page) =>
            page.items.length === 0 ? (
              <Text c="dimmed">{t('models.noVersions')}</Text>
            ) : (
              <DataTable
                caption={t('models.versions')}
                rows={page.items}
                rowKey={(row) => row.id}
                columns={[
                  {
                    key: 'from',
                    title: t('models.from'),
                    head: true,
                    cell: (row) => <When at={row.effective_from} />,
                  },
                  {
                    key: 'in',
                    title: t('app:models.input'),
                    right: true,
                    cell: (row) => price(row.prices.input),
                  },
                  {
                    key: 'out',
                    title: t('app:models.output'),
                    right: true,
                    cell: (row) => price(row.prices.output),
                  },
                  { key: 'author', title: t('models.author'), cell: (row) => row.author.slice(-12) },
                ]}
              />
            )
          }
        </Loaded>
      </section>
    </Stack>
  );
}
