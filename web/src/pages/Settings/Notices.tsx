import { Button, Checkbox, Group, Stack, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { settingsQuery } from '../../api/queries';
import { DataTable } from '../../shared/DataTable';
import { ProblemAlert } from '../../shared/States';

const KINDS = ['balance', 'security', 'announcements', 'statements'] as const;
const WAYS = ['mail', 'webhook'] as const;
type Choices = Record<(typeof KINDS)[number], Record<(typeof WAYS)[number], boolean>>;

/** As it is where nothing was chosen. */
const USUAL: Choices = {
  balance: { mail: true, webhook: true },
  security: { mail: true, webhook: true },
  announcements: { mail: false, webhook: false },
  statements: { mail: false, webhook: false },
};

/** What one wants to be told of, and how. */
export function Notices({ it }: { it: Schemas['SettingsView'] }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [choices, setChoices] = useState<Choices>(() => {
    const given = it.notifications;
    return Object.fromEntries(KINDS.map((kind) => [kind, { ...USUAL[kind], ...given?.[kind] }])) as Choices;
  });
  const save = useMutation({
    mutationFn: () => ok(api.PUT('/api/user/settings', { body: { ...it, notifications: choices } })),
    onSuccess: (saved) => {
      client.setQueryData(settingsQuery.queryKey, saved);
      notifications.show({ message: t('settings.saved'), color: 'teal' });
    },
  });
  return (
    <Stack>
      <DataTable
        caption={t('notices.title')}
        rows={[...KINDS]}
        rowKey={(kind) => kind}
        columns={[
          { key: 'kind', title: t('notices.what'), head: true, cell: (kind) => t(`notices.kinds.${kind}`) },
          ...WAYS.map((way) => ({
            key: way,
            title: t(`notices.ways.${way}`),
            cell: (kind: (typeof KINDS)[number]) => (
              <Checkbox
                aria-label={`${t(`notices.kinds.${kind}`)}: ${t(`notices.ways.${way}`)}`}
                checked={choices[kind][way]}
                disabled={kind === 'security' && way === 'mail'}
                onChange={(event) =>
                  setChoices({
                    ...choices,
                    [kind]: { ...choices[kind], [way]: event.currentTarget.checked },
                  })
                }
              />
            ),
          })),
        ]}
      />
      <Text size="sm" c="dimmed">
        {t('notices.note')}
      </Text>
      {save.error ? <ProblemAlert error={save.error} /> : null}
      <Group>
        <Button loading={save.isPending} onClick={() => save.mutate()}>
          {t('common.save')}
        </Button>
      </Group>
    </Stack>
  );
}
