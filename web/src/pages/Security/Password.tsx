import { Button, Group, PasswordInput, Stack } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { beside } from '../../shared/fields';
import { ProblemAlert } from '../../shared/States';

export function Password({ done }: { done?: () => void }) {
  const { t } = useTranslation();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { old_password: '', new_password: '' },
    validate: {
      old_password: (it) => (it ? null : t('field.required')),
      new_password: (it) => (it.length >= 8 ? null : t('field.passwordRule')),
    },
  });
  const save = useMutation({
    mutationFn: (body: Schemas['ChangePassword']) => ok(api.PUT('/api/user/password', { body })),
    onSuccess: () => {
      form.reset();
      done?.();
      notifications.show({ message: t('settings.passwordSet'), color: 'teal' });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack maw={480}>
        <PasswordInput
          label={t('settings.oldPassword')}
          autoComplete="current-password"
          visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
          key={form.key('old_password')}
          {...form.getInputProps('old_password')}
        />
        <PasswordInput
          label={t('reset.password')}
          description={`${t('field.passwordRule')} ${t('settings.passwordNote')}`}
          autoComplete="new-password"
          visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
          key={form.key('new_password')}
          {...form.getInputProps('new_password')}
        />
        {save.error ? <ProblemAlert error={save.error} /> : null}
        <Group>
          <Button type="submit" loading={save.isPending}>
            {t('reset.submit')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
