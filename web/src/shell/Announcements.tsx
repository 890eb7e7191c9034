import { Alert, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../api/client';

const COLOURS = { info: 'blue', warning: 'yellow', critical: 'red' };

/** What the operator announces. A failure shows nothing: the page is about something else. */
export function Announcements() {
  const { t } = useTranslation();
  const { data } = useQuery({
    queryKey: ['announcements'],
    queryFn: () => ok(api.GET('/api/announcements')),
    staleTime: 60_000,
    refetchInterval: 300_000,
  });
  return (
    <>
      {data?.items.map((it) => (
        <Alert
          key={it.id}
          color={COLOURS[it.level]}
          variant="outline"
          mb="md"
          title={`${t(`announcement.${it.level}`)}: ${it.title}`}
        >
          {/* Text, never markup. */}
          <Text size="sm" className="announcement">
            {it.body}
          </Text>
        </Alert>
      ))}
    </>
  );
}
