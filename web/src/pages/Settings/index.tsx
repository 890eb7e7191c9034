import {
  Button,
  Group,
  NativeSelect,
  Paper,
  PasswordInput,
  Stack,
  Text,
  TextInput,
  Title,
} from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { type Self, selfQuery, settingsQuery, topUpOptionsQuery } from '../../api/queries';
import { setLanguage } from '../../i18n';
import { typed } from '../../money/decimal';
import { Confirm } from '../../shared/Confirm';
import { type Column, DataTable } from '../../shared/DataTable';
import { beside } from '../../shared/fields';
import { PageTitle } from '../../shared/PageTitle';
import { Loaded, ProblemAlert } from '../../shared/States';
import { When } from '../../shared/When';
import { sessionChanged } from '../../shell/session';
import { SecondFactor } from './SecondFactor';

function Section({ id, title, children }: { id: string; title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby={id}>
      <Title order={2} id={id} mb="md">
        {title}
      </Title>
      {children}
    </Paper>
  );
}

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
        <Section id="password" title={t('settings.password')}>
          <Password />
        </Section>
        <Section id="factor" title={t('factor.title')}>
          <SecondFactor />
        </Section>
        <Section id="sessions" title={t('settings.sessions')}>
          <Sessions />
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

function Password() {
  const { t } = useTranslation();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { old_password: '', new_password: '' },
    validate: {
      old_password: (it) => (it ? null : t('field.required')),
      new_password: (it) => (it.length >= 8 ? null : t('field.passwordRule')),
    },
  });
  const save = useMutation({
    mutationFn: (body: Schemas['ChangePassword']) => ok(api.PUT('/api/user/password', { body })),
    onSuccess: () => {
      form.reset();
      notifications.show({ message: t('settings.passwordSet'), color: 'teal' });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack maw={480}>
        <PasswordInput
          label={t('settings.oldPassword')}
          autoComplete="current-password"
          visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
          key={form.key('old_password')}
          {...form.getInputProps('old_password')}
        />
        <PasswordInput
          label={t('reset.password')}
          description={`${t('field.passwordRule')} ${t('settings.passwordNote')}`}
          autoComplete="new-password"
          visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
          key={form.key('new_password')}
          {...form.getInputProps('new_password')}
        />
        {save.error ? <ProblemAlert error={save.error} /> : null}
        <Group>
          <Button type="submit" loading={save.isPending}>
            {t('reset.submit')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** A browser's name for itself is long; what people know it by is short. */
export function device(agent: string): string {
  const program = /(Edg|OPR|Firefox|MicroMessenger|Chrome|Safari|curl)\//.exec(agent)?.[1];
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1];
  const names: Record<string, string> = {
    Edg: 'Edge',
    OPR: 'Opera',
    MicroMessenger: 'WeChat',
    'Mac OS X': 'macOS',
  };
  const words = [program, system].filter((it) => it !== undefined).map((it) => names[it] ?? it);
  return words.length > 0 ? words.join(' · ') : agent.slice(0, 60) || '–';
}

function Sessions() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  const sessions = useQuery({
    queryKey: ['sessions'],
    queryFn: () => ok(api.GET('/api/user/sessions')),
  });
  const end = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/user/sessions/{id}', { params: { path: { id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['sessions'] }),
  });
  const endAll = useMutation({
    mutationFn: () => ok(api.POST('/api/user/logout-everywhere')),
    onSuccess: async () => {
      await navigate({ to: '/login', search: {} });
      sessionChanged();
    },
  });
  const columns: Column<Schemas['SessionView']>[] = [
    {
      key: 'device',
      title: t('settings.device'),
      head: true,
      cell: (row) => (
        <span title={row.user_agent}>
          {device(row.user_agent)}
          {row.current && ` (${t('settings.thisOne')})`}
        </span>
      ),
    },
    { key: 'address', title: t('settings.address'), cell: (row) => row.address ?? '–' },
    { key: 'seen', title: t('settings.seen'), cell: (row) => <When at={row.last_seen_at} relative /> },
    { key: 'opened', title: t('settings.opened'), cell: (row) => <When at={row.created_at} /> },
    {
      key: 'end',
      title: '',
      cell: (row) =>
        row.current ? null : (
          <Button
            variant="default"
            size="xs"
            loading={end.isPending && end.variables === row.id}
            aria-label={t('settings.endNamed', { device: device(row.user_agent) })}
            onClick={() => end.mutate(row.id)}
          >
            {t('settings.end')}
          </Button>
        ),
    },
  ];
  return (
    <Stack>
      {end.error ? <ProblemAlert error={end.error} /> : null}
      <Loaded query={sessions}>
        {(page) => (
          <DataTable
            caption={t('settings.sessions')}
            columns={columns}
            rows={page.items}
            rowKey={(row) => row.id}
          />
        )}
      </Loaded>
      <Group>
        <Button color="red" variant="outline" onClick={() => setAsking(true)}>
          {t('settings.endAll')}
        </Button>
      </Group>
      <Confirm
        opened={asking}
        close={() => setAsking(false)}
        title={t('settings.endAll')}
        verb={t('settings.endAll')}
        act={() => endAll.mutate()}
        busy={endAll.isPending}
        error={endAll.error}
      >
        {t('settings.endAllText', { sessions: sessions.data?.items.length ?? 0 })}
      </Confirm>
    </Stack>
  );
}
