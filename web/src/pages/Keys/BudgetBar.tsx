import { Group, Progress, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { share } from '../../money/decimal';
import { balance } from '../../money/format';

/** Where the budget's period began. Its days and months are UTC. */
export function periodStart(period: Schemas['BudgetPeriod'], now = new Date()): string | undefined {
  switch (period) {
    case 'total':
      return undefined;
    case 'day':
      return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate())).toISOString();
    case 'month':
      return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1)).toISOString();
  }
}

/** How much of a key's budget is used in this period. */
export function BudgetBar({ id, budget }: { id: string; budget: Schemas['Budget'] }) {
  const { t } = useTranslation();
  const from = periodStart(budget.period);
  const stats = useQuery({
    queryKey: ['usage', 'budget', id, from],
    queryFn: () =>
      ok(api.GET('/api/user/keys/{id}/stats', { params: { path: { id }, query: { from, by: 'model' } } })),
    staleTime: 30_000,
  });
  const used = stats.data?.total.paid;
  const percent = used === undefined ? 0 : share(used, budget.credits);
  const text = t(`keys.budgetOf.${budget.period}`, {
    used: used === undefined ? '…' : balance(used),
    limit: balance(budget.credits),
  });
  return (
    <div className="budget">
      <Progress.Root size="md" mb={4}>
        <Progress.Section
          value={percent}
          color={percent >= 100 ? 'red' : percent >= 80 ? 'yellow' : 'teal'}
          aria-label={text}
        />
      </Progress.Root>
      <Group gap={6}>
        <Text size="xs">{text}</Text>
        {percent >= 100 && (
          <Text size="xs" fw={600}>
            {t('keys.spent')}
          </Text>
        )}
      </Group>
    </div>
  );
}
