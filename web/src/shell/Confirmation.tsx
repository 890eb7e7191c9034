import { Button, Group, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, onConfirmation } from '../api/client';
import { passkeysWork, signedByPasskey } from '../api/passkey';
import { identitiesQuery, secondFactorQuery } from '../api/queries';
import { Dialog } from '../shared/Dialog';
import { Icon } from '../shared/Icon';
import { ProblemAlert, Waiting } from '../shared/States';

/** A proof that is not typed. */
const PASSKEY = Symbol('passkey');

/**
 * Asks who is there before what is dear: whichever page sent it, the request that was refused for want of a fresh proof goes
 * out again once there is one.
 */
export function Confirmation() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [asked, setAsked] = useState<((confirmed: boolean) => void) | null>(null);
  const [proof, setProof] = useState('');
  const factor = useQuery({ ...secondFactorQuery, enabled: asked !== null });
  // Who has neither a password nor a second factor proves it by logging in again.
  const identities = useQuery({ ...identitiesQuery, enabled: asked !== null });
  useEffect(
    () =>
      onConfirmation(
        () =>
          new Promise<boolean>((answer) => {
            setProof('');
            setAsked(() => answer);
          }),
      ),
    [],
  );
  const end = (confirmed: boolean) => {
    asked?.(confirmed);
    setAsked(null);
    setProof('');
    confirm.reset();
  };
  const confirm = useMutation({
    mutationFn: async (it: string | typeof PASSKEY) => {
      const body =
        it === PASSKEY
          ? { passkey: await signedByPasskey() }
          : factor.data?.enabled
            ? { code: it.trim() }
            : { password: it };
      return ok(api.POST('/api/user/confirm', { body }));
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: secondFactorQuery.queryKey });
      end(true);
    },
    gcTime: 0,
  });
  return (
    <Dialog opened={asked !== null} onClose={() => end(false)} title={t('confirm.title')} zIndex={400}>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          event.stopPropagation();
          if (proof) confirm.mutate(proof);
        }}
      >
        <Stack>
          <Text>{t('confirm.text')}</Text>
          {!factor.data || !identities.data ? (
            (factor.error ?? identities.error) ? (
              <ProblemAlert
                error={factor.error ?? identities.error}
                retry={() => {
                  void factor.refetch();
                  void identities.refetch();
                }}
              />
            ) : (
              <Waiting rows={1} height={64} />
            )
          ) : factor.data.enabled ? (
            <TextInput
              label={t('confirm.code')}
              autoComplete="one-time-code"
              data-autofocus
              value={proof}
              onChange={(event) => setProof(event.currentTarget.value)}
            />
          ) : !identities.data.has_password ? (
            <Text>{t('confirm.loginAgain')}</Text>
          ) : (
            <PasswordInput
              label={t('settings.currentPassword')}
              autoComplete="current-password"
              visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
              data-autofocus
              value={proof}
              onChange={(event) => setProof(event.currentTarget.value)}
            />
          )}
          {factor.data && factor.data.passkeys > 0 && passkeysWork() && (
            <Button
              variant="default"
              leftSection={<Icon name="fingerprint" />}
              loading={confirm.isPending && confirm.variables === PASSKEY}
              onClick={() => confirm.mutate(PASSKEY)}
            >
              {t('confirm.passkey')}
            </Button>
          )}
          {confirm.error ? <ProblemAlert error={confirm.error} /> : null}
          <Group justify="flex-end">
            <Button variant="default" onClick={() => end(false)}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={confirm.isPending} disabled={!proof}>
              {t('confirm.submit')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Dialog>
  );
}
