import { Button, Group, Paper, PasswordInput, SegmentedControl, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { keysQuery } from '../../api/queries';
import { typed } from '../../money/decimal';
import { ProblemAlert } from '../../shared/States';
import { hold, NAME, smallKey, useHeldKey } from './key';

/** Which key pays: a small one made for this, or one's own. Either is kept until the tab is reloaded and no longer. */
export function KeyChoice() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const key = useHeldKey();
  const keys = useQuery(keysQuery);
  const [way, setWay] = useState<'small' | 'own'>('small');
  const [budget, setBudget] = useState('1');
  const [own, setOwn] = useState('');
  const make = useMutation({
    mutationFn: (credits: string) => smallKey(credits, keys.data ?? []),
    onSuccess: (secret) => {
      hold(secret);
      void client.invalidateQueries({ queryKey: ['keys'] });
    },
    gcTime: 0,
  });
  if (key) {
    return (
      <Paper withBorder p="md">
        <Text size="sm">
          {t('playground.uses')} <span className="amount">{`${key.slice(0, 7)}…${key.slice(-4)}`}</span>
        </Text>
        <Text size="xs" c="dimmed">
          {t('playground.memory')}
        </Text>
        <Button variant="default" size="xs" mt="xs" onClick={() => hold(null)}>
          {t('playground.otherKey')}
        </Button>
      </Paper>
    );
  }
  return (
    <Paper withBorder p="md" component="section" aria-label={t('playground.key')}>
      <Stack gap="sm">
        <SegmentedControl
          value={way}
          onChange={(it) => setWay(it === 'own' ? 'own' : 'small')}
          data={[
            { value: 'small', label: t('playground.small') },
            { value: 'own', label: t('playground.own') },
          ]}
        />
        {way === 'small' ? (
          <form
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              const credits = typed(budget);
              if (credits && keys.data) make.mutate(credits);
            }}
          >
            <Stack gap="xs">
              <TextInput
                label={t('playground.budget')}
                description={t('playground.smallNote', { name: NAME })}
                inputMode="decimal"
                value={budget}
                error={typed(budget) ? undefined : t('field.amountRule')}
                onChange={(event) => setBudget(event.currentTarget.value)}
              />
              {make.error ? <ProblemAlert error={make.error} /> : null}
              <Group>
                <Button type="submit" loading={make.isPending} disabled={!keys.data}>
                  {t('playground.make')}
                </Button>
              </Group>
            </Stack>
          </form>
        ) : (
          <form
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              if (own.trim()) hold(own.trim());
              setOwn('');
            }}
          >
            <Stack gap="xs">
              <PasswordInput
                label={t('playground.ownKey')}
                description={t('playground.memory')}
                autoComplete="off"
                placeholder="sk-…"
                visibilityToggleButtonProps={{ 'aria-label': t('field.showPassword') }}
                value={own}
                onChange={(event) => setOwn(event.currentTarget.value)}
              />
              <Group>
                <Button type="submit" disabled={!own.trim()}>
                  {t('playground.use')}
                </Button>
              </Group>
            </Stack>
          </form>
        )}
      </Stack>
    </Paper>
  );
}
