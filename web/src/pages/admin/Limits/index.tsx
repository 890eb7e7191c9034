import { Button, Group, NativeSelect, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { counted } from '../../../money/decimal';
import type { Column } from '../../../shared/DataTable';
import { beside } from '../../../shared/fields';
import { count } from '../../../shared/format';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Section } from '../../../shared/Section';
import { Empty, ProblemAlert } from '../../../shared/States';
import { Guarded, useMay } from '../Guarded';

const KINDS = ['group', 'model', 'provider'] as const;
const NUMBERS = ['rpm', 'tpm', 'concurrency'] as const;
type Limit = Schemas['RateLimitView'];

export function LimitsPage() {
  return (
    <Guarded right="catalogue:read">
      <Limits />
    </Guarded>
  );
}

function Limits() {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const mayChange = useMay('catalogue:write');
  const limits = useQuery({
    queryKey: ['admin', 'limits'],
    queryFn: () => ok(api.GET('/api/admin/rate-limits')),
  });
  const optional = (it: string) => (it.trim() === '' || counted(it) ? null : t('app:field.wholeRule'));
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { kind: 'group' as Limit['kind'], subject: '', rpm: '', tpm: '', concurrency: '' },
    validate: {
      subject: (it) => (it.trim() ? null : t('app:field.required')),
      rpm: optional,
      tpm: optional,
      concurrency: optional,
    },
  });
  const put = useMutation({
    mutationFn: (body: Limit) => ok(api.PUT('/api/admin/rate-limits', { body })),
    onSuccess: () => {
      form.reset();
      notifications.show({ message: t('saved'), color: 'teal' });
      void client.invalidateQueries({ queryKey: ['admin', 'limits'] });
    },
    onError: (error) => beside(form, error),
  });
  const columns: Column<Limit>[] = [
    { key: 'subject', title: t('limits.subject'), head: true, cell: (row) => row.subject },
    { key: 'kind', title: t('limits.kind'), cell: (row) => t(`limits.kinds.${row.kind}`) },
    ...NUMBERS.map((name) => ({
      key: name,
      title: t(`app:keys.${name}`),
      right: true,
      cell: (row: Limit) => (row[name] ? count(row[name]) : t('app:keys.unlimited')),
    })),
    ...(mayChange
      ? [
          {
            key: 'acts',
            title: '',
            right: true,
            cell: (row: Limit) => (
              <Group gap="xs" justify="flex-end" wrap="nowrap">
                <Button
                  variant="default"
                  size="xs"
                  aria-label={t('groups.changeNamed', { name: row.subject })}
                  onClick={() =>
                    form.setValues({
                      kind: row.kind,
                      subject: row.subject,
                      rpm: String(row.rpm ?? ''),
                      tpm: String(row.tpm ?? ''),
                      concurrency: String(row.concurrency ?? ''),
                    })
                  }
                >
                  {t('change')}
                </Button>
                <Button
                  variant="default"
                  size="xs"
                  aria-label={t('limits.removeNamed', { name: row.subject })}
                  onClick={() => put.mutate({ kind: row.kind, subject: row.subject })}
                >
                  {t('limits.remove')}
                </Button>
              </Group>
            ),
          },
        ]
      : []),
  ];
  return (
    <>
      <PageTitle title={t('limits.title')} lead={t('limits.lead')} />
      <Stack gap="lg" maw={960}>
        <List
          query={limits}
          caption={t('limits.title')}
          columns={columns}
          rowKey={(row) => `${row.kind} ${row.subject}`}
          empty={<Empty icon="gauge" title={t('limits.none')} />}
        />
        {mayChange && (
          <Section id="limit-form" title={t('limits.form')}>
            <form
              noValidate
              onSubmit={form.onSubmit((values) =>
                put.mutate({
                  kind: values.kind,
                  subject: values.subject.trim(),
                  rpm: counted(values.rpm),
                  tpm: counted(values.tpm),
                  concurrency: counted(values.concurrency),
                }),
              )}
            >
              <Stack>
                <SimpleGrid cols={{ base: 1, xs: 2 }}>
                  <NativeSelect
                    label={t('limits.kind')}
                    data={KINDS.map((it) => ({ value: it, label: t(`limits.kinds.${it}`) }))}
                    key={form.key('kind')}
                    {...form.getInputProps('kind')}
                  />
                  <TextInput
                    label={t('limits.subject')}
                    description={t('limits.subjectNote')}
                    key={form.key('subject')}
                    {...form.getInputProps('subject')}
                  />
                </SimpleGrid>
                <SimpleGrid cols={{ base: 1, xs: 3 }}>
                  {NUMBERS.map((name) => (
                    <TextInput
                      key={form.key(name)}
                      label={t(`app:keys.${name}`)}
                      inputMode="numeric"
                      placeholder={t('app:keys.unlimited')}
                      {...form.getInputProps(name)}
                    />
                  ))}
                </SimpleGrid>
                {put.error ? <ProblemAlert error={put.error} /> : null}
                <Group>
                  <Button type="submit" loading={put.isPending}>
                    {t('save')}
                  </Button>
                </Group>
              </Stack>
            </form>
          </Section>
        )}
      </Stack>
    </>
  );
}
