// The first steps of an operator, in the order that makes a working call: each says by itself whether it is done.

import {
  Badge,
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
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { balanceQuery, keysQuery, selfQuery } from '../../../api/queries';
import { compare, typed } from '../../../money/decimal';
import { price } from '../../../money/format';
import { Balance } from '../../../shared/Amount';
import { DataTable } from '../../../shared/DataTable';
import { beside } from '../../../shared/fields';
import { PageTitle } from '../../../shared/PageTitle';
import { Secret } from '../../../shared/Secret';
import { Snippet } from '../../../shared/Snippet';
import { Loaded, ProblemAlert } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { KeyForm } from '../../Keys/KeyForm';
import { Password } from '../../Security/Password';
import { Guarded } from '../Guarded';
import { TrialButton, TrialResult, useTrial } from '../Providers/Trial';

export function GuidePage() {
  return (
    <Guarded right="providers:write">
      <Guide />
    </Guarded>
  );
}

function Step({
  number,
  title,
  done,
  children,
}: {
  number: number;
  title: string;
  done: boolean;
  children: ReactNode;
}) {
  const { t } = useTranslation('admin');
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby={`step-${number}`}>
      <Group justify="space-between" mb="sm">
        <Title order={2} id={`step-${number}`}>
          {number}. {title}
        </Title>
        <Badge color={done ? 'teal' : 'gray'}>{done ? t('guide.done') : t('guide.open')}</Badge>
      </Group>
      {children}
    </Paper>
  );
}

function Guide() {
  const { t } = useTranslation(['admin', 'app']);
  const self = useQuery(selfQuery);
  const providers = useQuery({
    queryKey: ['admin', 'providers'],
    queryFn: () => ok(api.GET('/api/admin/providers')),
  });
  const models = useQuery({ queryKey: ['admin', 'models'], queryFn: () => ok(api.GET('/api/admin/models')) });
  const keys = useQuery(keysQuery);
  const balance = useQuery(balanceQuery);
  const actor = self.data?.id;
  const passwords = useQuery({
    queryKey: ['admin', 'audit', 'password', actor],
    // What was done stands in the audit log a moment later.
    refetchInterval: (query) => (query.state.data?.items.length === 0 ? 2000 : false),
    queryFn: () =>
      ok(
        api.GET('/api/admin/audit', {
          params: { query: { act: 'user.set_password', subject: actor, limit: 1 } },
        }),
      ),
    enabled: actor !== undefined,
  });
  const [adding, setAdding] = useState(false);
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  const ready = models.data?.items.find(
    (it) => it.prices && it.providers.length > 0 && it.status === 'active',
  );
  const credits = balance.data && (compare(balance.data.available, '0') ?? 0) > 0;
  return (
    <>
      <PageTitle title={t('guide.title')} lead={t('guide.lead')} />
      <Stack gap="lg" maw={860}>
        <Step number={1} title={t('guide.password')} done={(passwords.data?.items.length ?? 0) > 0}>
          <Text mb="md">{t('guide.passwordText')}</Text>
          {passwords.data?.items.length === 0 && <Password done={() => void passwords.refetch()} />}
          <TextLink to="/security" underline="always" mt="md" display="inline-block">
            {t('guide.factor')}
          </TextLink>
        </Step>
        <Step number={2} title={t('guide.provider')} done={(providers.data?.items.length ?? 0) > 0}>
          <Text mb="md">{t('guide.providerText')}</Text>
          <Loaded query={providers}>
            {(it) => (
              <Stack>
                {it.items.map((one) => (
                  <Tried key={one.id} provider={one} />
                ))}
                {it.items.length === 0 || adding ? (
                  <NewProvider done={() => setAdding(false)} />
                ) : (
                  <Group>
                    <Button variant="default" onClick={() => setAdding(true)}>
                      {t('providers.add')}
                    </Button>
                  </Group>
                )}
              </Stack>
            )}
          </Loaded>
        </Step>
        <Step number={3} title={t('guide.prices')} done={ready !== undefined}>
          <Text mb="md">
            {t('guide.pricesText')}{' '}
            <TextLink to="/admin/catalogue" underline="always">
              {t('guide.import')}
            </TextLink>
          </Text>
          <Loaded query={models}>{(it) => <Unpriced models={it.items} />}</Loaded>
        </Step>
        <Step number={4} title={t('guide.credits')} done={credits === true}>
          <Group>
            <Text>
              {t('guide.creditsText')} {balance.data && <Balance amount={balance.data.available} focusable />}
            </Text>
            <Button component={Link} to="/topup" variant="default">
              {t('app:nav.topup')}
            </Button>
            <Button component={Link} to="/admin/codes" variant="default">
              {t('codes.make')}
            </Button>
          </Group>
        </Step>
        <Step number={5} title={t('guide.key')} done={(keys.data?.length ?? 0) > 0}>
          <Text mb="md">{t('guide.keyText')}</Text>
          <Button onClick={() => setMaking(true)}>{t('app:keys.make')}</Button>
        </Step>
        <Step number={6} title={t('guide.call')} done={false}>
          <Text mb="md">
            {t('guide.callText')}{' '}
            <TextLink to="/playground" underline="always">
              {t('app:nav.playground')}
            </TextLink>
          </Text>
          {ready ? <Snippet model={ready.name} /> : <Text c="dimmed">{t('guide.callWaits')}</Text>}
        </Step>
      </Stack>
      <KeyForm
        opened={making}
        close={() => setMaking(false)}
        made={(it) => {
          setMaking(false);
          setSecret(it);
        }}
      />
      <Secret secret={secret} title={t('app:keys.madeTitle')} close={() => setSecret(null)}>
        <Text size="sm">{t('app:keys.tryIt')}</Text>
        <Snippet model={ready?.name ?? 'MODEL'} secret={secret} />
      </Secret>
    </>
  );
}

/** A provider, with a button that calls it. */
function Tried({ provider }: { provider: Schemas['ProviderView'] }) {
  const { t } = useTranslation('admin');
  const trial = useTrial(provider.id);
  return (
    <div>
      <Group>
        <TextLink to="/admin/providers/$id" params={{ id: provider.id }}>
          {provider.name}
        </TextLink>
        <TrialButton trial={trial} label={t('guide.testNamed', { name: provider.name })} small />
      </Group>
      <TrialResult trial={trial} />
    </div>
  );
}

/** The least that a provider needs; the models of a known one come along. */
function NewProvider({ done }: { done: () => void }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const presets = useQuery({
    queryKey: ['admin', 'presets'],
    queryFn: () => ok(api.GET('/api/admin/providers/presets')),
  });
  const [preset, setPreset] = useState('');
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { name: '', base_url: '', api_key: '', model: '' },
    validate: {
      name: (it) => (preset || it.trim() ? null : t('providers.nameRule')),
      base_url: (it) => (preset || /^https?:\/\/\S+$/.test(it.trim()) ? null : t('providers.urlRule')),
      api_key: (it) => (it ? null : t('providers.keyRule')),
    },
  });
  const save = useMutation({
    mutationFn: async (values: ReturnType<typeof form.getValues>) => {
      const plain = {
        name: values.name.trim(),
        base_url: values.base_url.trim(),
        api_format: 'openai' as const,
      };
      const it = await ok(
        api.POST('/api/admin/providers', {
          body: { api_key: values.api_key, ...(preset ? { preset } : plain) },
        }),
      );
      const model_name = values.model.trim();
      if (model_name) {
        await ok(
          api.POST('/api/admin/providers/{id}/models', {
            params: { path: { id: it.id } },
            body: { model_name },
          }),
        );
      }
    },
    onSuccess: () => {
      form.reset();
      done();
    },
    onSettled: () => client.invalidateQueries({ queryKey: ['admin'] }),
    onError: (error) => beside(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate autoComplete="off">
      <Stack>
        <NativeSelect
          label={t('providers.preset')}
          description={t('providers.presetNote')}
          value={preset}
          onChange={(event) => setPreset(event.currentTarget.value)}
          data={[
            { value: '', label: t('providers.noPreset') },
            ...(presets.data?.items ?? []).map((it) => ({ value: it.preset, label: it.name })),
          ]}
        />
        {preset === '' && (
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label={t('providers.name')} key={form.key('name')} {...form.getInputProps('name')} />
            <TextInput
              label={t('guide.url')}
              inputMode="url"
              placeholder="https://api.example.com/v1"
              key={form.key('base_url')}
              {...form.getInputProps('base_url')}
            />
          </SimpleGrid>
        )}
        <PasswordInput
          label={t('providers.key')}
          description={t('providers.keyNote')}
          autoComplete="off"
          visibilityToggleButtonProps={{ 'aria-label': t('guide.showKey') }}
          key={form.key('api_key')}
          {...form.getInputProps('api_key')}
        />
        <TextInput
          label={t('guide.model')}
          description={preset ? t('guide.modelPreset') : t('guide.modelNote')}
          key={form.key('model')}
          {...form.getInputProps('model')}
        />
        {save.error ? <ProblemAlert error={save.error} /> : null}
        <Group>
          <Button type="submit" loading={save.isPending}>
            {t('providers.add')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

type Model = Schemas['ModelView'];

/** Models that are served and have no price yet, each with the two prices that it needs. */
function Unpriced({ models }: { models: Model[] }) {
  const { t } = useTranslation(['admin', 'app']);
  const priced = models.filter((it) => it.prices);
  const open = models.filter((it) => !it.prices && it.providers.length > 0);
  return (
    <Stack>
      {models.length === 0 && <Text c="dimmed">{t('models.noneText')}</Text>}
      {priced.length > 0 && (
        <DataTable
          caption={t('guide.prices')}
          rows={priced.slice(0, 8)}
          rowKey={(row) => row.name}
          columns={[
            { key: 'name', title: t('models.model'), head: true, cell: (row) => row.name },
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
          ]}
        />
      )}
      {open.slice(0, 8).map((it) => (
        <PriceOf key={it.name} model={it.name} />
      ))}
      {open.length > 8 && (
        <TextLink to="/admin/prices">{t('guide.more', { count: open.length - 8 })}</TextLink>
      )}
    </Stack>
  );
}

function PriceOf({ model }: { model: string }) {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const rule = (it: string) => (typed(it) || /^0+(\.0+)?$/.test(it.trim()) ? null : t('models.priceRule'));
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { input: '', output: '' },
    validate: { input: rule, output: rule },
  });
  const publish = useMutation({
    mutationFn: (prices: { input: string; output: string }) =>
      ok(
        api.POST('/api/admin/prices', {
          body: { model, prices: { input: prices.input.trim(), output: prices.output.trim() } },
        }),
      ),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['admin'] });
      void client.invalidateQueries({ queryKey: ['models'] });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <form
      noValidate
      aria-label={t('guide.priceOf', { model })}
      onSubmit={form.onSubmit((values) => publish.mutate(values))}
    >
      <Group align="flex-end">
        <Text w={180}>{model}</Text>
        {(['input', 'output'] as const).map((name) => (
          <TextInput
            key={form.key(name)}
            label={t(`models.fields.${name}`)}
            inputMode="decimal"
            w={120}
            {...form.getInputProps(name)}
          />
        ))}
        <Button type="submit" loading={publish.isPending}>
          {t('models.publish')}
        </Button>
      </Group>
      {publish.error ? <ProblemAlert error={publish.error} /> : null}
    </form>
  );
}
