import { Button, Paper, Stack, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { asProblem } from '../../api/problem';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';

/** The second step of a login. Six digits are sent as soon as they are there, typed or pasted. */
export function SecondStep({
  challenge,
  done,
  anew,
}: {
  challenge: string;
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
            <Text>{t('second.text')}</Text>
            <TextInput
              label={t('confirm.code')}
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
          </Stack>
        </form>
      </Paper>
    </>
  );
}
