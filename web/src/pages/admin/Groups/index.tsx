import { Button, Group, Paper, Stack, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../../api/client';
import { typed } from '../../../money/decimal';
import { beside } from '../../../shared/fields';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, ProblemAlert } from '../../../shared/States';
import { Guarded, useMay } from '../Guarded';

export function GroupsPage() {
  return (
    <Guarded right="catalogue:read">
      <Groups />
    </Guarded>
  );
}

function Groups() {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const mayChange = useMay('catalogue:write');
  const groups = useQuery({ queryKey: ['admin', 'groups'], queryFn: () => ok(api.GET('/api/admin/groups')) });
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { name: '', multiplier: '1' },
    validate: {
      name: (it) => (it.trim() ? null : t('groups.nameRule')),
      multiplier: (it) => (typed(it) || it.trim() === '0' ? null : t('groups.multiplierRule')),
    },
  });
  const put = useMutation({
    mutationFn: (values: { name: string; multiplier: string }) =>
      ok(
        api.PUT('/api/admin/groups/{name}', {
          params: { path: { name: values.name.trim() } },
          body: { multiplier: values.multiplier.trim() },
        }),
      ),
    onSuccess: () => {
      form.reset();
      notifications.show({ message: t('saved'), color: 'teal' });
      void client.invalidateQueries({ queryKey: ['admin', 'groups'] });
    },
    onError: (error) => beside(form, error),
  });
  return (
    <>
      <PageTitle title={t('groups.title')} lead={t('groups.lead')} />
      <Stack gap="lg" maw={760}>
        <List
          query={groups}
          caption={t('groups.title')}
          rowKey={(row) => row.name}
          empty={<Empty icon="users" title={t('groups.none')} />}
          columns={[
            { key: 'name', title: t('groups.name'), head: true, cell: (row) => row.name },
            {
              key: 'multiplier',
              title: t('groups.multiplier'),
              right: true,
              cell: (row) => <span className="amount">× {row.multiplier}</span>,
            },
            ...(mayChange
              ? [
                  {
                    key: 'change',
                    title: '',
                    right: true,
                    cell: (row: { name: string; multiplier: string }) => (
                      <Button
                        variant="default"
                        size="xs"
                        aria-label={t('groups.changeNamed', { name: row.name })}
                        onClick={() => form.setValues(row)}
                      >
                        {t('change')}
                      </Button>
                    ),
                  },
                ]
              : []),
          ]}
        />
        {mayChange && (
          <Paper withBorder p="lg" component="section" aria-labelledby="group-form">
            <Title order={2} id="group-form" mb="md">
              {t('groups.form')}
            </Title>
            <form onSubmit={form.onSubmit((values) => put.mutate(values))} noValidate>
              <Stack>
                <Group align="flex-start">
                  <TextInput
                    label={t('groups.name')}
                    key={form.key('name')}
                    {...form.getInputProps('name')}
                  />
                  <TextInput
                    label={t('groups.multiplier')}
                    description={t('groups.multiplierNote')}
                    inputMode="decimal"
                    key={form.key('multiplier')}
                    {...form.getInputProps('multiplier')}
                  />
                </Group>
                {put.error ? <ProblemAlert error={put.error} /> : null}
                <Group>
                  <Button type="submit" loading={put.isPending}>
                    {t('save')}
                  </Button>
                </Group>
              </Stack>
            </form>
          </Paper>
        )}
      </Stack>
    </>
  );
}
