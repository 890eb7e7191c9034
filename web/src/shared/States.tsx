// How a page looks while it waits, has nothing, was refused or failed. Every page goes through `Loaded`, so that none
// of these is forgotten.

import { Alert, Box, Button, Code, Group, Paper, Skeleton, Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { asProblem, type Problem } from '../api/problem';
import { CopyButton } from './CopyButton';
import { Icon, type IconName } from './Icon';

/** Grey bars of the final shape; they come only where the wait is long enough to be seen. */
export function Waiting({ rows = 4, height = 44 }: { rows?: number; height?: number }) {
  const { t } = useTranslation();
  return (
    <Stack gap="xs" className="late" role="status" aria-label={t('common.loading')}>
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height={height} radius="md" />
      ))}
    </Stack>
  );
}

/** The sentence for a problem: the gateway's own, but where the way to it failed. */
export function useSentence(): (problem: Problem) => string {
  const { t } = useTranslation();
  return (problem) => {
    switch (problem.code) {
      case 'network':
        return t('problem.network');
      case 'forbidden':
        return t('problem.forbidden', { detail: problem.message });
      case 'too_many_requests':
        return problem.retryAfter
          ? t('problem.tooMany', { seconds: problem.retryAfter })
          : t('problem.tooManySoon');
      case 'position_not_reached':
        return t('problem.trailing');
      case 'stream_broken':
        return t('problem.streamBroken');
      case 'passkey_cancelled':
        return t('problem.passkeyCancelled');
      case 'passkey_known':
        return t('problem.passkeyKnown');
      default:
        return problem.message;
    }
  };
}

export function ProblemAlert({
  error,
  retry,
  title,
}: {
  error: unknown;
  retry?: () => void;
  title?: string;
}) {
  const { t } = useTranslation();
  const sentence = useSentence();
  const problem = asProblem(error);
  const refused = problem.status === 403;
  const trailing = problem.code === 'position_not_reached';
  return (
    <Alert
      role="alert"
      color={trailing ? 'yellow' : refused ? 'gray' : 'red'}
      variant="outline"
      icon={<Icon name={refused ? 'shield' : 'alert'} />}
      title={
        title ??
        (refused ? t('problem.refusedTitle') : trailing ? t('problem.trailingTitle') : t('problem.title'))
      }
    >
      <Text size="sm">{sentence(problem)}</Text>
      <Group gap="xs" mt="xs">
        <Text size="xs">
          {t('problem.code')} <Code>{problem.code}</Code>
        </Text>
        {problem.requestId && (
          <Group gap={4}>
            <Text size="xs">
              {t('problem.request')} <Code>{problem.requestId}</Code>
            </Text>
            <CopyButton text={problem.requestId} label={t('problem.copyRequest')} />
          </Group>
        )}
      </Group>
      {retry && !refused && (
        <Button variant="default" mt="xs" onClick={retry}>
          {t('common.retry')}
        </Button>
      )}
    </Alert>
  );
}

/** Nothing is there: why, and what to do about it. */
export function Empty({
  icon = 'list',
  title,
  children,
  action,
  alone = false,
}: {
  icon?: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  /** It is all that the page says, and so has the page's one `h1`. */
  alone?: boolean;
}) {
  return (
    <Paper withBorder p="xl" className="empty">
      <Stack align="center" gap="xs">
        <Box c="dimmed">
          <Icon name={icon} size={36} />
        </Box>
        <Title order={alone ? 1 : 2} size="h3">
          {title}
        </Title>
        {children && (
          <Text c="dimmed" ta="center" maw={460}>
            {children}
          </Text>
        )}
        {action && <Box mt="sm">{action}</Box>}
      </Stack>
    </Paper>
  );
}

export interface Query<T> {
  data: T | undefined;
  error: unknown;
  isPending: boolean;
  isFetching: boolean;
  isPlaceholderData?: boolean;
  refetch: () => unknown;
}

/** What a query has come to: waits, fails with a way to try again, or shows its data; old data stays, dimmed. */
export function Loaded<T>({
  query,
  waiting,
  children,
}: {
  query: Query<T>;
  waiting?: ReactNode;
  children: (data: T) => ReactNode;
}) {
  if (query.data === undefined) {
    return query.error ? (
      <ProblemAlert error={query.error} retry={() => query.refetch()} />
    ) : (
      (waiting ?? <Waiting />)
    );
  }
  return (
    <div
      className={query.isPlaceholderData ? 'stale' : undefined}
      aria-busy={query.isPlaceholderData || undefined}
    >
      {query.error ? (
        <Box mb="md">
          <ProblemAlert error={query.error} retry={() => query.refetch()} />
        </Box>
      ) : null}
      {children(query.data)}
    </div>
  );
}
