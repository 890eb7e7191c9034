import { Button, Group, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { Confirm } from '../../shared/Confirm';
import type { Column } from '../../shared/DataTable';
import { List } from '../../shared/List';
import { ProblemAlert } from '../../shared/States';
import { When } from '../../shared/When';
import { sessionChanged } from '../../shell/session';

/** A browser's name for itself is long; what people know it by is short. */
export function device(agent: string): string {
  const program = /(Edg|OPR|Firefox|MicroMessenger|Chrome|Safari|curl)\//.exec(agent)?.[1];
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1];
  const names: Record<string, string> = {
    Edg: 'Edge',
    OPR: 'Opera',
    MicroMessenger: 'WeChat',
    'Mac OS X': 'macOS',
  };
  const words = [program, system].filter((it) => it !== undefined).map((it) => names[it] ?? it);
  return words.length > 0 ? words.join(' · ') : agent.slice(0, 60) || '–';
}

export function Sessions() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  const sessions = useQuery({
    queryKey: ['sessions'],
    queryFn: () => ok(api.GET('/api/user/sessions')),
  });
  const end = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/user/sessions/{id}', { params: { path: { id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['sessions'] }),
  });
  const endAll = useMutation({
    mutationFn: () => ok(api.POST('/api/user/logout-everywhere')),
    onSuccess: async () => {
      await navigate({ to: '/login', search: {} });
      sessionChanged();
    },
  });
  const columns: Column<Schemas['SessionView']>[] = [
    {
      key: 'device',
      title: t('settings.device'),
      head: true,
      cell: (row) => (
        <span title={row.user_agent}>
          {device(row.user_agent)}
          {row.current && ` (${t('settings.thisOne')})`}
        </span>
      ),
    },
    { key: 'address', title: t('settings.address'), cell: (row) => row.address ?? '–' },
    { key: 'seen', title: t('settings.seen'), cell: (row) => <When at={row.last_seen_at} relative /> },
    { key: 'opened', title: t('settings.opened'), cell: (row) => <When at={row.created_at} /> },
    {
      key: 'end',
      title: '',
      cell: (row) =>
        row.current ? null : (
          <Button
            variant="default"
            size="xs"
            loading={end.isPending && end.variables === row.id}
            aria-label={t('settings.endNamed', { device: device(row.user_agent) })}
            onClick={() => end.mutate(row.id)}
          >
            {t('settings.end')}
          </Button>
        ),
    },
  ];
  return (
    <Stack>
      {end.error ? <ProblemAlert error={end.error} /> : null}
      <List
        query={sessions}
        caption={t('settings.sessions')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Text c="dimmed">{t('settings.noSessions')}</Text>}
      />
      <Group>
        <Button color="red" variant="outline" onClick={() => setAsking(true)}>
          {t('settings.endAll')}
        </Button>
      </Group>
      <Confirm
        opened={asking}
        close={() => setAsking(false)}
        title={t('settings.endAll')}
        verb={t('settings.endAll')}
        act={() => endAll.mutate()}
        busy={endAll.isPending}
        error={endAll.error}
      >
        {t('settings.endAllText', { sessions: sessions.data?.items.length ?? 0 })}
      </Confirm>
    </Stack>
  );
}
