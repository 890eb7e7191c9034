import { Button, Checkbox, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import type { Self } from '../../api/queries';
import { Full } from '../../shared/Amount';
import { Dialog } from '../../shared/Dialog';
import { Facts } from '../../shared/Facts';
import { count } from '../../shared/format';
import { Loaded, ProblemAlert } from '../../shared/States';
import { sessionChanged } from '../../shell/session';

/** Deleting the account: what it would mean in numbers, and the name typed before it happens. */
export function Leaving({ self }: { self: Self }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  const [name, setName] = useState('');
  const [forfeit, setForfeit] = useState(false);
  const preview = useQuery({
    queryKey: ['deletion'],
    queryFn: () => ok(api.GET('/api/user/self/deletion')),
    enabled: asking,
    staleTime: 0,
  });
  const leave = useMutation({
    mutationFn: () => ok(api.DELETE('/api/user/self', { body: { forfeit } })),
    onSuccess: async () => {
      await navigate({ to: '/login', search: {} });
      sessionChanged();
    },
  });
  return (
    <Stack>
      <Text>{t('leaving.text')}</Text>
      <Group>
        <Button
          variant="outline"
          color="red"
          onClick={() => {
            setName('');
            setForfeit(false);
            leave.reset();
            setAsking(true);
          }}
        >
          {t('leaving.act')}
        </Button>
      </Group>
      <Dialog opened={asking} onClose={() => setAsking(false)} title={t('leaving.act')} size="lg">
        <Loaded query={preview}>
          {(it) => (
            <Stack>
              <Text>{t('leaving.effect')}</Text>
              <Facts
                items={[
                  [t('balance.available'), <Full key="a" amount={it.available} />],
                  [t('balance.reserved'), <Full key="r" amount={it.reserved} />],
                  [t('leaving.refundable'), <Full key="p" amount={it.refundable} />],
                  [t('leaving.forfeited'), <Full key="f" amount={it.forfeited} />],
                  [t('leaving.orders'), count(it.pending_orders)],
                ]}
              />
              {it.needs_forfeit && (
                <Checkbox
                  checked={forfeit}
                  onChange={(event) => setForfeit(event.currentTarget.checked)}
                  label={t('leaving.forfeit')}
                />
              )}
              <TextInput
                label={t('leaving.type', { name: self.username })}
                autoComplete="off"
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
              />
              {leave.error ? <ProblemAlert error={leave.error} /> : null}
              <Group justify="flex-end">
                <Button variant="default" data-autofocus onClick={() => setAsking(false)}>
                  {t('common.cancel')}
                </Button>
                <Button
                  color="red"
                  loading={leave.isPending}
                  disabled={name.trim() !== self.username || (it.needs_forfeit && !forfeit)}
                  onClick={() => leave.mutate()}
                >
                  {t('leaving.verb')}
                </Button>
              </Group>
            </Stack>
          )}
        </Loaded>
      </Dialog>
    </Stack>
  );
}
