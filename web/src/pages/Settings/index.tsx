import { Button, Group, NativeSelect, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { type Self, selfQuery, settingsQuery, topUpOptionsQuery } from '../../api/queries';
import { setLanguage } from '../../i18n';
import { typed } from '../../money/decimal';
import { beside } from '../../shared/fields';
import { PageTitle } from '../../shared/PageTitle';
import { Section } from '../../shared/Section';
import { Loaded, ProblemAlert } from '../../shared/States';
import { Leaving } from './Leaving';
import { Notices } from './Notices';
import { Webhook } from './Webhook';

export function SettingsPage() {
  const { t } = useTranslation();
  const self = useQuery(selfQuery);
  const settings = useQuery(settingsQuery);
  return (
    <>
      <PageTitle title={t('settings.title')} />
      <Stack gap="lg" maw={860}>
        <Section id="preferences" title={t('settings.preferences')}>
          <Loaded query={settings}>{(it) => <Preferences it={it} />}</Loaded>
        </Section>
        <Section id="profile" title={t('settings.profile')}>
          <Loaded query={self}>{(it) => <Profile it={it} />}</Loaded>
        </Section>
        <Section id="notices" title={t('notices.title')}>
          <Loaded query={settings}>{(it) => <Notices it={it} />}</Loaded>
        </Section>
        <Section id="webhook" title={t('webhook.title')}>
          <Webhook />
        </Section>
        <Section id="leaving" title={t('leaving.title')}>
          <Loaded query={self}>{(it) => <Leaving self={it} />}</Loaded>
        </Section>
      </Stack>
    </>
  );
}

const ZONES = Array.from({ length: 27 }, (_, index) => {
  const hours = index - 12;
  return `${hours < 0 ? '-' : '+'}${String(Math.abs(hours)).padStart(2, '0')}:00`;
});

function Preferences({ it }: { it: Schemas['SettingsView'] }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const options = useQuery(topUpOptionsQuery);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: {
      language: it.language,
      time_zone: it.time_zone,
      low_balance_alert: it.low_balance_alert ?? '',
      display_currency: it.display_currency ?? '',
    },
    validate: {
      low_balance_alert: (value) => (value.trim() === '' || typed(value) ? null : t('field.amountRule')),
    },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) =>
      ok(
        api.PUT('/api/user/settings', {
          body: {
            language: values.language,
            time_zone: values.time_zone,
            low_balance_alert: typed(values.low_balance_alert),
            display_currency: values.display_currency || null,
            // What this form does not show stays as it is.
            notifications: it.notifications ?? null,
          },
        }),
      ),
    onSuccess: (saved) => {
      client.setQueryData(settingsQuery.queryKey, saved);
      void setLanguage(saved.language);
      notifications.show({ message: t('settings.saved'), color: 'teal' });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack maw={480}>
        <NativeSelect
          label={t('settings.language')}
          description={t('settings.languageNote')}
          data={[
            { value: 'en', label: 'English' },
            { value: 'zh-CN', label: '简体中文' },
          ]}
          key={form.key('language')}
          {...form.getInputProps('language')}
        />
        <NativeSelect
          label={t('settings.zone')}
          description={t('settings.zoneNote')}
          data={[...new Set([it.time_zone, ...ZONES])].map((value) => ({ value, label: `UTC${value}` }))}
          key={form.key('time_zone')}
          {...form.getInputProps('time_zone')}
        />
        <NativeSelect
          label={t('settings.currency')}
          data={[
            { value: '', label: t('common.credits') },
            ...[
              ...new Set([
                ...(options.data?.currencies.map((one) => one.currency) ?? []),
                ...(it.display_currency ? [it.display_currency] : []),
              ]),
            ],
          ]}
          key={form.key('display_currency')}
          {...form.getInputProps('display_currency')}
        />
        <TextInput
          label={t('settings.alert')}
          description={t('settings.alertNote')}
          inputMode="decimal"
          placeholder={t('settings.never')}
          key={form.key('low_balance_alert')}
          {...form.getInputProps('low_balance_alert')}
        />
        {save.error ? <ProblemAlert error={save.error} /> : null}
        <Group>
          <Button type="submit" loading={save.isPending}>
            {t('common.save')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Profile({ it }: { it: Self }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [asked, setAsked] = useState<string | null>(null);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { username: it.username, email: it.email, password: '' },
    validate: {
      username: (value) => (/^[\w-]{3,32}$/.test(value.trim()) ? null : t('field.usernameRule')),
      email: (value) => (/^\S+@\S+$/.test(value.trim()) ? null : t('field.emailRule')),
      password: (value, values) =>
        values.email.trim() !== it.email && !value ? t('settings.passwordForEmail') : null,
    },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) => {
      const email = values.email.trim() === it.email ? undefined : values.email.trim();
      const username = values.username.trim() === it.username ? undefined : values.username.trim();
      return ok(
        api.PATCH('/api/user/self', {
          body: { username, email, password: email ? values.password : undefined },
        }),
      );
    },
    onSuccess: (saved, values) => {
      client.setQueryData(selfQuery.queryKey, saved);
      form.setFieldValue('password', '');
      setAsked(values.email.trim() === it.email ? null : values.email.trim());
      notifications.show({ message: t('settings.saved'), color: 'teal' });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack maw={480}>
        <TextInput
          label={t('field.username')}
          autoComplete="username"
          key={form.key('username')}
          {...form.getInputProps('username')}
        />
        <TextInput
          label={t('field.email')}
          type="email"
          autoComplete="email"
          description={t('settings.emailNote')}
          key={form.key('email')}
          {...form.getInputProps('email')}
        />
        <PasswordInput
          label={t('settings.currentPassword')}
          description={t('settings.currentPasswordNote')}
          autoComplete="current-password"
          visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
          key={form.key('password')}
          {...form.getInputProps('password')}
        />
        {asked && <Text role="status">{t('settings.emailAsked', { email: asked })}</Text>}
        {save.error ? <ProblemAlert error={save.error} /> : null}
        <Group>
          <Button type="submit" loading={save.isPending}>
            {t('common.save')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
