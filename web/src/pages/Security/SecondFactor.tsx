import { Alert, Button, Code, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { secondFactorQuery } from '../../api/queries';
import { Confirm } from '../../shared/Confirm';
import { CopyButton } from '../../shared/CopyButton';
import { FormDialog } from '../../shared/FormDialog';
import { Qr } from '../../shared/Qr';
import { Secret } from '../../shared/Secret';
import { Loaded, ProblemAlert } from '../../shared/States';
import { When } from '../../shared/When';

/** An authenticator app beside the password, and the codes for the day when it is lost. */
export function SecondFactor() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const factor = useQuery(secondFactorQuery);
  const [totp, setTotp] = useState<Schemas['NewTotp'] | null>(null);
  const [code, setCode] = useState('');
  const [codes, setCodes] = useState<string | null>(null);
  const [removing, setRemoving] = useState(false);
  const refresh = () => client.invalidateQueries({ queryKey: secondFactorQuery.queryKey });
  const shown = (it: Schemas['RecoveryCodes']) => {
    if (it.recovery_codes.length > 0) setCodes(it.recovery_codes.join('\n'));
    void refresh();
  };
  const begin = useMutation({
    mutationFn: () => ok(api.POST('/api/user/totp')),
    onSuccess: (it) => {
      setCode('');
      setTotp(it);
    },
    gcTime: 0,
  });
  const finish = useMutation({
    mutationFn: (it: string) =>
      ok(api.POST('/api/user/totp/confirm', { body: { code: it.replace(/\s/g, '') } })),
    onSuccess: (it) => {
      setTotp(null);
      shown(it);
    },
    gcTime: 0,
  });
  const anew = useMutation({
    mutationFn: () => ok(api.POST('/api/user/recovery-codes')),
    onSuccess: shown,
    gcTime: 0,
  });
  const remove = useMutation({
    mutationFn: () => ok(api.DELETE('/api/user/totp')),
    onSuccess: () => {
      setRemoving(false);
      void refresh();
    },
  });
  return (
    <Loaded query={factor}>
      {(it) => (
        <Stack>
          {it.required && !it.enabled && (
            <Alert color="yellow" variant="outline" title={t('factor.requiredTitle')}>
              <Text size="sm">{t('factor.requiredText')}</Text>
            </Alert>
          )}
          {it.totp_since ? (
            <>
              <Text>
                {t('factor.on')} <When at={it.totp_since} />.{' '}
                {t('factor.codesLeft', { left: it.recovery_codes })}
              </Text>
              <Group>
                <Button variant="default" loading={anew.isPending} onClick={() => anew.mutate()}>
                  {t('factor.newCodes')}
                </Button>
                <Button variant="outline" color="red" onClick={() => setRemoving(true)}>
                  {t('factor.remove')}
                </Button>
              </Group>
            </>
          ) : (
            <>
              <Text>{t('factor.off')}</Text>
              <Group>
                <Button loading={begin.isPending} onClick={() => begin.mutate()}>
                  {t('factor.setUp')}
                </Button>
              </Group>
            </>
          )}
          {begin.error ? <ProblemAlert error={begin.error} /> : null}
          {anew.error ? <ProblemAlert error={anew.error} /> : null}
          <FormDialog
            opened={totp !== null}
            close={() => setTotp(null)}
            title={t('factor.setUp')}
            verb={t('factor.switchOn')}
            submit={(event) => {
              event.preventDefault();
              finish.mutate(code);
            }}
            busy={finish.isPending}
            error={finish.error}
            ready={code.trim() !== ''}
          >
            {totp && (
              <>
                <Text>{t('factor.scan')}</Text>
                <Qr content={totp.otpauth_uri} title={t('factor.qr')} />
                <Group gap={6} justify="center">
                  <Code>{totp.secret}</Code>
                  <CopyButton text={totp.secret} label={t('factor.copySecret')} />
                </Group>
              </>
            )}
            <TextInput
              label={t('factor.sixDigits')}
              inputMode="numeric"
              autoComplete="one-time-code"
              data-autofocus
              value={code}
              onChange={(event) => setCode(event.currentTarget.value)}
            />
          </FormDialog>
          <Secret
            secret={codes}
            title={t('factor.codesTitle')}
            note={t('factor.codesNote')}
            copy={t('factor.copyCodes')}
            close={() => setCodes(null)}
          />
          <Confirm
            opened={removing}
            close={() => setRemoving(false)}
            title={t('factor.remove')}
            verb={t('factor.remove')}
            act={() => remove.mutate()}
            busy={remove.isPending}
            error={remove.error}
          >
            {t('factor.removeText')}
          </Confirm>
        </Stack>
      )}
    </Loaded>
  );
}
