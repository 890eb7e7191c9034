import { Box, Button, Paper, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { getRouteApi, useRouter } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { asProblem } from '../../api/problem';
import { beside } from '../../shared/fields';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { ownPath } from '../../shell/paths';
import { sessionChanged } from '../../shell/session';
import { challengeOf } from './fault';
import { IssuerFault } from './IssuerFault';
import { OtherWays } from './OtherWays';
import { SecondStep } from './SecondStep';

const route = getRouteApi('/door/login');

export function LoginPage() {
  const { t } = useTranslation();
  const search = route.useSearch();
  const router = useRouter();
  const [capsLock, setCapsLock] = useState(false);
  // Another site's login of who has a second factor: the question stands behind the `#`, where no server sees it.
  const [asked, setAsked] = useState(() => challengeOf(window.location.hash));
  const enter = () => {
    sessionChanged();
    router.history.push(ownPath(asked?.back ?? search.return));
  };
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { login: '', password: '' },
    validate: {
      login: (it) => (it.trim() ? null : t('field.required')),
      password: (it) => (it ? null : t('field.required')),
    },
  });
  const login = useMutation({
    mutationFn: (body: { login: string; password: string }) => ok(api.POST('/api/user/login', { body })),
    onSuccess: (answer) => {
      if ('challenge' in answer)
        setAsked({ challenge: answer.challenge, methods: answer.methods, back: search.return ?? null });
      else enter();
    },
    onError: (error) => beside(form, error),
  });
  const unproven = login.error && asProblem(login.error).code === 'email_not_verified';
  if (asked) {
    const { challenge, methods } = asked;
    return <SecondStep challenge={challenge} methods={methods} done={enter} anew={() => setAsked(null)} />;
  }
  return (
    <>
      <PageTitle title={t('login.title')} lead={search.return ? t('login.toReturn') : undefined} />
      <Paper withBorder p="lg">
        {search.error && (
          <Box mb="md">
            <IssuerFault error={search.error} issuer={search.issuer} />
          </Box>
        )}
        <form
          onSubmit={form.onSubmit((values) => login.mutate({ ...values, login: values.login.trim() }))}
          noValidate
        >
          <Stack>
            <TextInput
              label={t('login.login')}
              name="username"
              autoComplete="username"
              autoCapitalize="none"
              spellCheck={false}
              required
              key={form.key('login')}
              {...form.getInputProps('login')}
            />
            <PasswordInput
              label={t('field.password')}
              name="password"
              autoComplete="current-password"
              required
              description={capsLock ? t('field.capsLock') : undefined}
              onKeyUp={(event) => setCapsLock(event.getModifierState('CapsLock'))}
              visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
              key={form.key('password')}
              {...form.getInputProps('password')}
            />
            {login.error ? (
              <ProblemAlert error={login.error} title={unproven ? t('login.unproven') : t('login.failed')} />
            ) : null}
            {unproven && <TextLink to="/verify">{t('login.resend')}</TextLink>}
            <Button type="submit" size="md" loading={login.isPending}>
              {t('login.submit')}
            </Button>
            <TextLink to="/forgot" size="sm">
              {t('login.forgot')}
            </TextLink>
          </Stack>
        </form>
        <OtherWays back={search.return} done={enter} />
      </Paper>
      <Text mt="md" ta="center">
        {t('login.new')}{' '}
        <TextLink to="/register" underline="always">
          {t('login.register')}
        </TextLink>
      </Text>
    </>
  );
}
