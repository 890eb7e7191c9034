import { Button, Group, Stack, Text, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { Full } from '../../shared/Amount';
import { Facts } from '../../shared/Facts';
import { clock, zone } from '../../shared/format';
import { Section } from '../../shared/Section';
import { Loaded } from '../../shared/States';

const FORMATS = ['pdf', 'xlsx', 'csv'] as const;

/** This month, as a month field writes it. */
export function thisMonth(now = new Date()): string {
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, '0')}`;
}

/** A month's statement: its sums here, the lines in a file that says the same. */
export function Statement() {
  const { t } = useTranslation();
  const [month, setMonth] = useState(thisMonth);
  const good = /^\d{4}-\d{2}$/.test(month);
  const statement = useQuery({
    queryKey: ['billing', 'statement', month],
    queryFn: async () => {
      const it = await ok(api.GET('/api/user/statements', { params: { query: { month } } }));
      if (typeof it === 'string') throw new Error('a statement that is no JSON');
      return it;
    },
    enabled: good,
  });
  return (
    <Section id="statement" title={t('statement.title')}>
      <Stack>
        <Group align="flex-end">
          <TextInput
            type="month"
            label={t('billing.month')}
            value={month}
            max={thisMonth()}
            onChange={(event) => setMonth(event.currentTarget.value)}
          />
          {FORMATS.map((format) => (
            <Button
              key={format}
              component="a"
              variant="default"
              download
              href={`/api/user/statements?month=${encodeURIComponent(month)}&format=${format}`}
            >
              {t('statement.download', { format: format.toUpperCase() })}
            </Button>
          ))}
        </Group>
        <Loaded query={statement}>
          {(it) => (
            <>
              <Facts
                items={[
                  [t('statement.opening'), <Full key="o" amount={it.opening} />],
                  [t('statement.credits'), <Full key="c" amount={it.credits} />],
                  [t('statement.charges'), <Full key="u" amount={it.charges} />],
                  [t('statement.refunds'), <Full key="r" amount={it.refunds} />],
                  [t('statement.other'), <Full key="x" amount={it.adjustments} />],
                  [t('statement.closing'), <Full key="e" amount={it.closing} />],
                ]}
              />
              <Text size="sm" c="dimmed">
                {t(it.complete ? 'statement.over' : 'statement.running', {
                  zone: it.time_zone,
                  time: clock(it.as_of),
                  here: zone(),
                  position: it.position,
                })}
              </Text>
            </>
          )}
        </Loaded>
      </Stack>
    </Section>
  );
}
