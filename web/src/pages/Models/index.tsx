import { Anchor, Badge, Code, Group, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Schemas } from '../../api/client';
import { offerQuery } from '../../api/queries';
import { divided, plus, times } from '../../money/decimal';
import { price } from '../../money/format';
import { Charge } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { type Column, DataTable } from '../../shared/DataTable';
import { count } from '../../shared/format';
import { PageTitle } from '../../shared/PageTitle';
import { Snippet } from '../../shared/Snippet';
import { Empty, Loaded } from '../../shared/States';

const route = getRouteApi('/shell/models');
type Model = Schemas['OfferedModel'];

/** What a call of 1,000 tokens in and 500 out costs at these prices, before the group's multiplier. */
export function example(prices: Schemas['PriceTable']): string | null {
  const input = times(prices.input, '1000');
  const output = times(prices.output, '500');
  const tokens = input && output ? plus(input, output) : null;
  const perCall = tokens && divided(tokens, '1000000', 12);
  return perCall && plus(perCall, prices.per_call ?? '0');
}

export function ModelsPage() {
  const { t } = useTranslation();
  const { q = '' } = route.useSearch();
  const navigate = useNavigate();
  const offer = useQuery(offerQuery);
  const [shown, setShown] = useState<string | null>(null);
  const columns: Column<Model>[] = [
    {
      key: 'name',
      title: t('models.name'),
      head: true,
      cell: (row) => (
        <span>
          <Group gap={4} wrap="nowrap">
            <Code>{row.name}</Code>
            <CopyButton text={row.name} label={t('models.copy', { name: row.name })} />
          </Group>
          {row.display_name !== row.name && (
            <Text size="sm" c="dimmed" component="span">
              {row.display_name}
            </Text>
          )}
        </span>
      ),
    },
    { key: 'input', title: t('models.input'), right: true, cell: (row) => <Price it={row.prices.input} /> },
    {
      key: 'cache',
      title: t('models.cacheRead'),
      right: true,
      cell: (row) => <Price it={row.prices.cache_read ?? row.prices.input} />,
    },
    {
      key: 'output',
      title: t('models.output'),
      right: true,
      cell: (row) => <Price it={row.prices.output} />,
    },
    {
      key: 'example',
      title: t('models.example'),
      right: true,
      cell: (row) => {
        const it = example(row.prices);
        return it ? <Charge amount={it} focusable /> : '–';
      },
    },
    {
      key: 'more',
      title: t('models.more'),
      cell: (row) => (
        <Group gap={6} justify="flex-end">
          {row.prices.per_call && (
            <Badge color="gray">{t('models.perCall', { price: price(row.prices.per_call) })}</Badge>
          )}
          {row.prices.per_image && (
            <Badge color="gray">{t('models.perImage', { price: price(row.prices.per_image) })}</Badge>
          )}
          {row.prices.per_audio_minute && (
            <Badge color="gray">{t('models.perMinute', { price: price(row.prices.per_audio_minute) })}</Badge>
          )}
          {(row.prices.tiers?.length ?? 0) > 0 && (
            <Badge color="gray">
              {t('models.tiers', { above: count(row.prices.tiers?.[0]?.above_input ?? 0) })}
            </Badge>
          )}
          <Anchor component="button" type="button" size="sm" onClick={() => setShown(row.name)}>
            {t('models.use')}
          </Anchor>
        </Group>
      ),
    },
  ];
  return (
    <>
      <PageTitle title={t('models.title')} lead={t('models.lead')} />
      <Loaded query={offer}>
        {({ items }) => {
          const wanted = q.toLowerCase();
          const rows = items.filter(
            (it) => it.name.toLowerCase().includes(wanted) || it.display_name.toLowerCase().includes(wanted),
          );
          if (items.length === 0)
            return (
              <Empty icon="cube" title={t('models.none')}>
                {t('models.noneText')}
              </Empty>
            );
          const chosen = shown ?? rows[0]?.name;
          return (
            <Stack gap="lg">
              <div>
                <div className="filters">
                  <TextInput
                    type="search"
                    label={t('models.search')}
                    defaultValue={q}
                    onChange={(event) =>
                      navigate({
                        to: '/models',
                        search: { q: event.currentTarget.value || undefined },
                        replace: true,
                      })
                    }
                  />
                </div>
                {rows.length === 0 ? (
                  <Empty icon="search" title={t('empty.filtered')}>
                    {t('models.noMatch', { q })}
                  </Empty>
                ) : (
                  <DataTable
                    caption={t('models.title')}
                    columns={columns}
                    rows={rows}
                    rowKey={(row) => row.name}
                  />
                )}
                <Text size="sm" c="dimmed" mt="xs">
                  {t('models.note')}
                </Text>
              </div>
              {chosen && (
                <Paper withBorder p="lg" component="section" aria-labelledby="how">
                  <Title order={2} id="how" mb="sm">
                    {t('models.how', { name: chosen })}
                  </Title>
                  <Snippet key={chosen} model={chosen} />
                </Paper>
              )}
            </Stack>
          );
        }}
      </Loaded>
    </>
  );
}

function Price({ it }: { it: string }) {
  return <span className="amount">{price(it)}</span>;
}
