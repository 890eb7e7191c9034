import { Button, Group, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, onConfirmation } from '../api/client';
import { secondFactorQuery } from '../api/queries';
import { Dialog } from '../shared/Dialog';
import { ProblemAlert, Waiting } from '../shared/States';

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
    mutationFn: (it: string) =>
      ok(
        api.POST('/api/user/confirm', {
          body: factor.data?.enabled ? { code: it.trim() } : { password: it },
        }),
      ),
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
          {!factor.data ? (
            factor.error ? (
              <ProblemAlert error={factor.error} retry={() => factor.refetch()} />
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
