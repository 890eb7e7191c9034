import { Button, Paper, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { language } from '../../i18n';
import { beside } from '../../shared/fields';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { sessionChanged } from '../../shell/session';
import { AskForMail } from '../Verify';

const route = getRouteApi('/door/register');

interface Values {
  username: string;
  email: string;
  password: string;
  invite: string;
}

/** Registers; answers whether one may come in at once, or has to look for a mail. */
async function registered(values: Values): Promise<'in' | 'mail'> {
  const answer = api.POST('/api/user/register', {
    body: {
      username: values.username.trim(),
      email: values.email.trim(),
      password: values.password,
      invite: values.invite.trim() || undefined,
      language: language(),
    },
  });
  await ok(answer);
  if ((await answer).response.status === 202) return 'mail';
  await ok(
    api.POST('/api/user/login', { body: { login: values.username.trim(), password: values.password } }),
  );
  return 'in';
}

export function RegisterPage() {
  const { t } = useTranslation();
  const { invite = '' } = route.useSearch();
  const navigate = useNavigate();
  const form = useForm<Values>({
    mode: 'uncontrolled',
    initialValues: { username: '', email: '', password: '', invite },
    validate: {
      username: (it) => (/^[\w-]{3,32}$/.test(it.trim()) ? null : t('field.usernameRule')),
      email: (it) => (/^\S+@\S+$/.test(it.trim()) ? null : t('field.emailRule')),
      password: (it) => (it.length >= 8 ? null : t('field.passwordRule')),
    },
    validateInputOnBlur: true,
  });
  const register = useMutation({
    mutationFn: registered,
    onSuccess: (next) => {
      if (next === 'mail') return;
      sessionChanged();
      void navigate({ to: '/' });
    },
    onError: (error) => beside(form, error),
  });
  if (register.data === 'mail') {
    return <AskForMail email={form.getValues().email.trim()} alreadySent />;
  }
  return (
    <>
      <PageTitle title={t('register.title')} lead={t('register.lead')} />
      <Paper withBorder p="lg">
        <form onSubmit={form.onSubmit((values) => register.mutate(values))} noValidate>
          <Stack>
            <TextInput
              label={t('field.username')}
              description={t('field.usernameRule')}
              name="username"
              autoComplete="username"
              autoCapitalize="none"
              spellCheck={false}
              required
              key={form.key('username')}
              {...form.getInputProps('username')}
            />
            <TextInput
              label={t('field.email')}
              type="email"
              name="email"
              autoComplete="email"
              required
              key={form.key('email')}
              {...form.getInputProps('email')}
            />
            <PasswordInput
              label={t('field.password')}
              description={t('field.passwordRule')}
              name="password"
              autoComplete="new-password"
              required
              visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
              key={form.key('password')}
              {...form.getInputProps('password')}
            />
            <TextInput
              label={t('register.invite')}
              description={t('register.inviteNote')}
              autoComplete="off"
              key={form.key('invite')}
              {...form.getInputProps('invite')}
            />
            {register.error ? <ProblemAlert error={register.error} title={t('register.failed')} /> : null}
            <Button type="submit" size="md" loading={register.isPending}>
              {t('register.submit')}
            </Button>
          </Stack>
        </form>
      </Paper>
      <Text mt="md" ta="center">
        {t('register.known')}{' '}
        <TextLink to="/login" underline="always">
          {t('login.submit')}
        </TextLink>
      </Text>
    </>
  );
}
