import { Checkbox, Divider, Group, NativeSelect, SimpleGrid, Text, Textarea, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { offerQuery } from '../../api/queries';
import { counted, typed } from '../../money/decimal';
import { FormDialog } from '../../shared/FormDialog';
import { beside, localOf } from '../../shared/fields';
import type { Key } from '.';

export interface Values {
  name: string;
  expires_at: string;
  models: string[];
  ip_allow: string;
  budget: string;
  period: Schemas['BudgetPeriod'];
  rpm: string;
  tpm: string;
  concurrency: string;
}

const NOTHING: Values = {
  name: '',
  expires_at: '',
  models: [],
  ip_allow: '',
  budget: '',
  period: 'month',
  rpm: '',
  tpm: '',
  concurrency: '',
};

export function valuesOf(key: Key): Values {
  return {
    name: key.name,
    expires_at: localOf(key.expires_at),
    models: key.models ?? [],
    ip_allow: key.ip_allow.join('\n'),
    budget: key.budget?.credits ?? '',
    period: key.budget?.period ?? 'month',
    rpm: String(key.rpm ?? ''),
    tpm: String(key.tpm ?? ''),
    concurrency: String(key.concurrency ?? ''),
  };
}

/** The form as the API takes it; null takes a limit away. */
export function bodyOf(values: Values): Schemas['CreateKey'] {
  const budget = typed(values.budget);
  const networks = values.ip_allow.split(/[\s,，]+/).filter(Boolean);
  return {
    name: values.name.trim(),
    expires_at: values.expires_at ? new Date(values.expires_at).toISOString() : null,
    models: values.models.length > 0 ? values.models : null,
    ip_allow: networks,
    budget: budget ? { credits: budget, period: values.period } : null,
    rpm: counted(values.rpm),
    tpm: counted(values.tpm),
    concurrency: counted(values.concurrency),
  };
}

/** Makes a key, or changes `key`. */
export function KeyForm({
  opened,
  close,
  made,
  of,
}: {
  opened: boolean;
  close: () => void;
  made: (secret: string) => void;
  of?: Key;
}) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const offer = useQuery(offerQuery);
  const optional = (it: string) => (it.trim() === '' || counted(it) !== null ? null : t('field.wholeRule'));
  const form = useForm<Values>({
    mode: 'uncontrolled',
    initialValues: of ? valuesOf(of) : NOTHING,
    validate: {
      name: (it) => (it.trim() && it.trim().length <= 100 ? null : t('keys.nameRule')),
      budget: (it) => (it.trim() === '' || typed(it) ? null : t('field.amountRule')),
      expires_at: (it) =>
        it && new Date(it).getTime() <= Date.now() && it !== localOf(of?.expires_at) ? t('keys.past') : null,
      rpm: optional,
      tpm: optional,
      concurrency: optional,
    },
  });
  const save = useMutation({
    mutationFn: async (values: Values): Promise<string | null> => {
      const body = bodyOf(values);
      if (of) {
        await ok(api.PATCH('/api/user/keys/{id}', { params: { path: { id: of.id } }, body }));
        return null;
      }
      return (await ok(api.POST('/api/user/keys', { body }))).secret;
    },
    onSuccess: (secret) => {
      void client.invalidateQueries({ queryKey: ['keys'] });
      if (secret) made(secret);
      else close();
    },
    onError: (error) => beside(form, error),
    // The answer holds a secret: it lives in the page's state and not in the cache.
    gcTime: 0,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: each opening starts from what the key is now.
  useEffect(() => {
    if (!opened) return;
    form.setInitialValues(of ? valuesOf(of) : NOTHING);
    form.reset();
    save.reset();
  }, [opened]);
  return (
    <FormDialog
      opened={opened}
      close={close}
      title={of ? t('keys.change') : t('keys.make')}
      verb={of ? t('common.save') : t('keys.makeIt')}
      submit={form.onSubmit((values) => save.mutate(values))}
      busy={save.isPending}
      error={save.error}
      size="lg"
    >
      <TextInput
        label={t('keys.name')}
        description={t('keys.nameNote')}
        required
        data-autofocus
        maxLength={100}
        key={form.key('name')}
        {...form.getInputProps('name')}
      />
      <SimpleGrid cols={{ base: 1, xs: 2 }}>
        <TextInput
          label={t('keys.budget')}
          description={t('keys.budgetNote')}
          inputMode="decimal"
          placeholder={t('keys.unlimited')}
          key={form.key('budget')}
          {...form.getInputProps('budget')}
        />
        <NativeSelect
          label={t('keys.period')}
          description={t('keys.periodNote')}
          data={(['month', 'day', 'total'] as const).map((it) => ({
            value: it,
            label: t(`keys.periods.${it}`),
          }))}
          key={form.key('period')}
          {...form.getInputProps('period')}
        />
      </SimpleGrid>
      <TextInput
        type="datetime-local"
        label={t('keys.expires')}
        description={t('keys.expiresNote')}
        key={form.key('expires_at')}
        {...form.getInputProps('expires_at')}
      />
      {(offer.data?.items.length ?? 0) > 0 && (
        <Checkbox.Group
          label={t('keys.models')}
          description={t('keys.modelsNote')}
          key={form.key('models')}
          {...form.getInputProps('models')}
        >
          <Group mt="xs" gap="md">
            {offer.data?.items.map((it) => (
              <Checkbox key={it.name} value={it.name} label={it.name} />
            ))}
          </Group>
        </Checkbox.Group>
      )}
      <Divider label={t('keys.limits')} />
      <SimpleGrid cols={{ base: 1, xs: 3 }}>
        {(['rpm', 'tpm', 'concurrency'] as const).map((name) => (
          <TextInput
            key={form.key(name)}
            label={t(`keys.${name}`)}
            inputMode="numeric"
            placeholder={t('keys.unlimited')}
            {...form.getInputProps(name)}
          />
        ))}
      </SimpleGrid>
      <Textarea
        label={t('keys.ipAllow')}
        description={t('keys.ipAllowNote')}
        autosize
        minRows={2}
        maxRows={6}
        size="md"
        spellCheck={false}
        key={form.key('ip_allow')}
        {...form.getInputProps('ip_allow')}
      />
      {!of && (
        <Text size="sm" c="dimmed">
          {t('keys.onceNote')}
        </Text>
      )}
    </FormDialog>
  );
}
