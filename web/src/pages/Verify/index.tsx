import { Button, Paper, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';

const PAUSE_S = 60;

export function VerifyPage() {
  return <AskForMail />;
}

/** "Look for a mail", and another one after a minute. The answer is the same for known and unknown addresses. */
export function AskForMail({ email = '', alreadySent = false }: { email?: string; alreadySent?: boolean }) {
  const { t } = useTranslation();
  const [sent, setSent] = useState(alreadySent);
  const [pause, setPause] = useState(alreadySent ? PAUSE_S : 0);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { email },
    validate: { email: (it) => (/^\S+@\S+$/.test(it.trim()) ? null : t('field.emailRule')) },
  });
  const resend = useMutation({
    mutationFn: (address: string) =>
      ok(api.POST('/api/user/resend-verification', { body: { email: address } })),
    onSuccess: () => {
      setSent(true);
      setPause(PAUSE_S);
    },
  });
  const waits = pause > 0;
  useEffect(() => {
    if (!waits) return undefined;
    const timer = window.setInterval(() => setPause((it) => Math.max(0, it - 1)), 1000);
    return () => window.clearInterval(timer);
  }, [waits]);
  return (
    <>
      <PageTitle title={sent ? t('verify.sentTitle') : t('verify.title')} />
      <Paper withBorder p="lg">
        <form onSubmit={form.onSubmit((values) => resend.mutate(values.email.trim()))} noValidate>
          <Stack>
            <Text role="status">{sent ? t('verify.sent') : t('verify.text')}</Text>
            <TextInput
              label={t('field.email')}
              type="email"
              autoComplete="email"
              required
              key={form.key('email')}
              {...form.getInputProps('email')}
            />
            {resend.error ? <ProblemAlert error={resend.error} /> : null}
            <Button
              type="submit"
              variant={sent ? 'default' : 'filled'}
              loading={resend.isPending}
              disabled={waits}
            >
              {waits ? t('verify.wait', { seconds: pause }) : t('verify.submit')}
            </Button>
          </Stack>
        </form>
      </Paper>
      <Text mt="md" ta="center">
        <TextLink to="/login">{t('verify.login')}</TextLink>
      </Text>
    </>
  );
}
