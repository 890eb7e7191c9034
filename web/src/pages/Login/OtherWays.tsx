import { Button, Divider, Stack } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { passkeysWork, signedByPasskey } from '../../api/passkey';
import { loginMethodsQuery } from '../../api/queries';
import { Icon } from '../../shared/Icon';
import { ProblemAlert } from '../../shared/States';

/** A passkey, and the other sites that the operator trusts to say who somebody is. */
export function OtherWays({ back, done }: { back: string | undefined; done: () => void }) {
  const { t } = useTranslation();
  const methods = useQuery(loginMethodsQuery);
  const passkey = useMutation({
    mutationFn: async () => ok(api.POST('/api/user/login/passkey', { body: await signedByPasskey() })),
    onSuccess: done,
    gcTime: 0,
  });
  const issuers = methods.data?.issuers ?? [];
  if (!passkeysWork() && issuers.length === 0) return null;
  return (
    <Stack gap="sm">
      <Divider label={t('login.or')} />
      {passkeysWork() && (
        <Button
          variant="default"
          size="md"
          leftSection={<Icon name="fingerprint" />}
          loading={passkey.isPending}
          onClick={() => passkey.mutate()}
        >
          {t('login.passkey')}
        </Button>
      )}
      {passkey.error ? <ProblemAlert error={passkey.error} title={t('login.failed')} /> : null}
      {issuers.map((it) => (
        // A whole page of another site: no route of this one.
        <Button
          key={it.id}
          component="a"
          href={`${it.start}${back ? `?return=${encodeURIComponent(back)}` : ''}`}
          variant="default"
          size="md"
        >
          {it.label}
        </Button>
      ))}
    </Stack>
  );
}
