import { Button, Paper, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { beside } from '../../shared/fields';
import { PageTitle } from '../../shared/PageTitle';
import { Empty, ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';

export function ForgotPage() {
  const { t } = useTranslation();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { email: '' },
    validate: { email: (it) => (/^\S+@\S+$/.test(it.trim()) ? null : t('field.emailRule')) },
  });
  const ask = useMutation({
    mutationFn: (email: string) => ok(api.POST('/api/user/password/forgot', { body: { email } })),
  });
  return (
    <>
      <PageTitle title={t('forgot.title')} lead={t('forgot.lead')} />
      <Paper withBorder p="lg">
        {ask.isSuccess ? (
          <Text role="status">{t('forgot.sent')}</Text>
        ) : (
          <form onSubmit={form.onSubmit((values) => ask.mutate(values.email.trim()))} noValidate>
            <Stack>
              <TextInput
                label={t('field.email')}
                type="email"
                autoComplete="email"
                required
                key={form.key('email')}
                {...form.getInputProps('email')}
              />
              {ask.error ? <ProblemAlert error={ask.error} /> : null}
              <Button type="submit" loading={ask.isPending}>
                {t('forgot.submit')}
              </Button>
            </Stack>
          </form>
        )}
      </Paper>
      <Text mt="md" ta="center">
        <TextLink to="/login">{t('verify.login')}</TextLink>
      </Text>
    </>
  );
}

/** The token stands behind the `#` of the address, which no server's log sees. */
function token(): string {
  return new URLSearchParams(window.location.hash.slice(1)).get('token') ?? '';
}

export function ResetPage() {
  const { t } = useTranslation();
  const [secret] = useState(token);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { password: '' },
    validate: { password: (it) => (it.length >= 8 ? null : t('field.passwordRule')) },
  });
  const reset = useMutation({
    mutationFn: (password: string) =>
      ok(api.POST('/api/user/password/reset', { body: { token: secret, password } })),
    onError: (error) => beside(form, error),
  });
  const login = (
    <Button component={Link} to="/login">
      {t('login.submit')}
    </Button>
  );
  if (!secret) {
    return (
      <>
        <PageTitle title={t('reset.title')} />
        <Empty
          icon="mail"
          title={t('reset.noToken')}
          action={
            <Button component={Link} to="/forgot">
              {t('forgot.submit')}
            </Button>
          }
        >
          {t('reset.noTokenText')}
        </Empty>
      </>
    );
  }
  return (
    <>
      <PageTitle title={t('reset.title')} />
      <Paper withBorder p="lg">
        {reset.isSuccess ? (
          <Stack>
            <Text role="status">{t('reset.done')}</Text>
            {login}
          </Stack>
        ) : (
          <form onSubmit={form.onSubmit((values) => reset.mutate(values.password))} noValidate>
            <Stack>
              <PasswordInput
                label={t('reset.password')}
                description={t('field.passwordRule')}
                autoComplete="new-password"
                required
                visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
                key={form.key('password')}
                {...form.getInputProps('password')}
              />
              {reset.error ? <ProblemAlert error={reset.error} title={t('reset.failed')} /> : null}
              <Button type="submit" loading={reset.isPending}>
                {t('reset.submit')}
              </Button>
            </Stack>
          </form>
        )}
      </Paper>
    </>
  );
}
