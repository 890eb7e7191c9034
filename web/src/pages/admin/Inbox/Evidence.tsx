import { Code, Stack, Text, Title } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import type { Schemas } from '../../../api/client';
import { CopyButton } from '../../../shared/CopyButton';
import { Facts } from '../../../shared/Facts';
import { count } from '../../../shared/format';
import { When } from '../../../shared/When';

/** A callback as it came, secrets masked by the gateway. Everything in it is a stranger's text and is shown as text. */
export function Evidence({ it }: { it: Schemas['Evidence'] }) {
  const { t } = useTranslation('admin');
  const pairs = (title: string, all: { name: string; value: string }[] | null | undefined) =>
    all && all.length > 0 ? (
      <section>
        <Title order={3} size="h4" mb={4}>
          {title}
        </Title>
        <Facts
          items={all.map((pair, at) => [pair.name, <span key={`${at} ${pair.name}`}>{pair.value}</span>])}
        />
      </section>
    ) : null;
  return (
    <Stack>
      <Text size="sm">
        <Code>
          {it.method} {it.path}
        </Code>{' '}
        · <When at={it.received_at} /> · {t('inbox.bytes', { bytes: count(it.bytes) })}
      </Text>
      {pairs(t('inbox.query'), it.query)}
      {pairs(t('inbox.form'), it.form)}
      {it.json !== null && it.json !== undefined && (
        <Code block className="json" tabIndex={0}>
          {JSON.stringify(it.json, null, 2)}
        </Code>
      )}
      {pairs(t('inbox.headers'), it.headers)}
      <Text size="xs" c="dimmed">
        SHA-256 <Code>{it.sha256}</Code> <CopyButton text={it.sha256} label={t('inbox.copySum')} />
      </Text>
    </Stack>
  );
}
