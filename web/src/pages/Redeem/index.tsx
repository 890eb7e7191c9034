import { Alert, Button, Paper, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { balance } from '../../money/format';
import { beside } from '../../shared/fields';
import { Icon } from '../../shared/Icon';
import { PageTitle } from '../../shared/PageTitle';
import { ProblemAlert } from '../../shared/States';

export function RedeemPage() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { code: '' },
    validate: { code: (it) => (it.trim() ? null : t('field.required')) },
  });
  const redeem = useMutation({
    mutationFn: (code: string) => ok(api.POST('/api/user/redeem', { body: { code } })),
    onSuccess: () => {
      form.reset();
      void client.invalidateQueries({ queryKey: ['balance'] });
      void client.invalidateQueries({ queryKey: ['billing'] });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <>
      <PageTitle title={t('redeem.title')} lead={t('redeem.lead')} />
      <Paper withBorder p="lg" maw={520}>
        <form onSubmit={form.onSubmit((values) => redeem.mutate(values.code.trim()))} noValidate>
          <Stack>
            <TextInput
              label={t('redeem.code')}
              description={t('redeem.note')}
              autoComplete="off"
              autoCapitalize="characters"
              spellCheck={false}
              required
              key={form.key('code')}
              {...form.getInputProps('code')}
            />
            {redeem.error ? <ProblemAlert error={redeem.error} title={t('redeem.failed')} /> : null}
            {redeem.data && (
              <Alert color="teal" variant="outline" icon={<Icon name="check" />} role="status">
                <Text>{t('redeem.done', { credits: balance(redeem.data.credits) })}</Text>
                <Button component={Link} to="/" variant="default" mt="sm">
                  {t('redeem.home')}
                </Button>
              </Alert>
            )}
            <Button type="submit" loading={redeem.isPending}>
              {t('redeem.submit')}
            </Button>
          </Stack>
        </form>
      </Paper>
    </>
  );
}
