import { Alert, Button, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../../api/client';
import { duration } from '../../../shared/format';
import { ProblemAlert } from '../../../shared/States';

/** A call to a provider that costs next to nothing, to see whether it answers. */
export function useTrial(id: string) {
  return useMutation({
    mutationFn: () => ok(api.POST('/api/admin/providers/{id}/test', { params: { path: { id } } })),
  });
}

type Trial = ReturnType<typeof useTrial>;

export function TrialButton({ trial, label, small }: { trial: Trial; label?: string; small?: boolean }) {
  const { t } = useTranslation('admin');
  return (
    <Button
      variant="default"
      {...(small ? { size: 'xs' } : {})}
      {...(label ? { 'aria-label': label } : {})}
      loading={trial.isPending}
      onClick={() => trial.mutate()}
    >
      {t('providers.test')}
    </Button>
  );
}

/** What came of it. */
export function TrialResult({ trial }: { trial: Trial }) {
  const { t } = useTranslation('admin');
  const it = trial.data;
  return (
    <>
      <div role="status">
        {it && (
          <Alert
            mt="xs"
            color={it.ok ? 'teal' : 'red'}
            variant="outline"
            title={it.ok ? t('providers.testOk') : t('providers.testFailed')}
          >
            <Text size="sm">
              {t('providers.testText', { latency: duration(it.latency_ms), status: it.status ?? '–' })}{' '}
              {it.error}
            </Text>
          </Alert>
        )}
      </div>
      {trial.error ? <ProblemAlert error={trial.error} /> : null}
    </>
  );
}
