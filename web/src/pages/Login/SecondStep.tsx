import { Button, Paper, Stack, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { passkeysWork, signedByPasskey } from '../../api/passkey';
import { asProblem } from '../../api/problem';
import { Icon } from '../../shared/Icon';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';

/** The second step of a login: a code, or a passkey. Six digits are sent as soon as they are there, typed or pasted. */
export function SecondStep({
  challenge,
  methods,
  done,
  anew,
}: {
  challenge: string;
  methods: readonly string[];
  done: () => void;
  anew: () => void;
}) {
  const { t } = useTranslation();
  const [code, setCode] = useState('');
  const answer = useMutation({
    mutationFn: (it: string) =>
      ok(api.POST('/api/user/login/second-factor', { body: { challenge, code: it.trim() } })),
    onSuccess: done,
    onError: () => setCode(''),
    gcTime: 0,
  });
  // A passkey is both factors at once: it opens a session of its own, and the question is left alone.
  const passkey = useMutation({
    mutationFn: async () => ok(api.POST('/api/user/login/passkey', { body: await signedByPasskey() })),
    onSuccess: done,
    gcTime: 0,
  });
  const app = methods.includes('totp');
  const over = answer.error && asProblem(answer.error).code === 'challenge_over';
  return (
    <>
      <PageTitle title={t('second.title')} />
      <Paper withBorder p="lg">
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            if (code.trim()) answer.mutate(code);
          }}
        >
          <Stack>
            <Text>{app ? t('second.text') : t('second.textRecovery')}</Text>
            <TextInput
              label={app ? t('confirm.code') : t('second.recovery')}
              autoComplete="one-time-code"
              autoFocus
              spellCheck={false}
              value={code}
              onChange={(event) => {
                const typed = event.currentTarget.value;
                setCode(typed);
                const digits = typed.replace(/\s/g, '');
                if (/^\d{6}$/.test(digits) && !answer.isPending) answer.mutate(digits);
              }}
            />
            {answer.error ? <ProblemAlert error={answer.error} title={t('login.failed')} /> : null}
            {over ? (
              <Button onClick={anew}>{t('second.anew')}</Button>
            ) : (
              <Button type="submit" loading={answer.isPending} disabled={!code.trim()}>
                {t('login.submit')}
              </Button>
            )}
            {methods.includes('passkey') && passkeysWork() && (
              <Button
                variant="default"
                leftSection={<Icon name="fingerprint" />}
                loading={passkey.isPending}
                onClick={() => passkey.mutate()}
              >
                {t('login.passkey')}
              </Button>
            )}
            {passkey.error ? <ProblemAlert error={passkey.error} title={t('login.failed')} /> : null}
          </Stack>
        </form>
      </Paper>
    </>
  );
}
