// Prices that providers publish, as suggestions: chosen, multiplied and published as versions of one's own.

import {
  Alert,
  Button,
  Checkbox,
  Group,
  NativeSelect,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
} from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { typed } from '../../../money/decimal';
import { price } from '../../../money/format';
import type { Column } from '../../../shared/DataTable';
import { isoOf } from '../../../shared/fields';
import { compact } from '../../../shared/format';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Section } from '../../../shared/Section';
import { Empty, ProblemAlert } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { Guarded, useMay } from '../Guarded';

const route = getRouteApi('/shell/admin/catalogue');
type Entry = Schemas['CatalogueEntry'];

export function CataloguePage() {
  return (
    <Guarded right="catalogue:read">
      <Catalogue />
    </Guarded>
  );
}

function Catalogue() {
  const { t } = useTranslation(['admin', 'app']);
  const { q, provider, cursor } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const mayImport = useMay('catalogue:write');
  const [chosen, setChosen] = useState<string[]>([]);
  const [multiplier, setMultiplier] = useState('1');
  const [costsFor, setCostsFor] = useState('');
  const [from, setFrom] = useState('');
  const entries = useQuery({
    queryKey: ['admin', 'catalogue', q, provider, cursor],
    queryFn: () =>
      ok(
        api.GET('/api/admin/price-catalogue', {
          params: { query: { query: q, provider, cursor, limit: 50 } },
        }),
      ),
    ...listing,
  });
  const providers = useQuery({
    queryKey: ['admin', 'providers'],
    queryFn: () => ok(api.GET('/api/admin/providers')),
  });
  const take = useMutation({
    mutationFn: () =>
      ok(
        api.POST('/api/admin/price-catalogue/import', {
          body: {
            items: chosen.map((entry) => ({ entry, multiplier: multiplier.trim() })),
            costs_for: costsFor || undefined,
            effective_from: isoOf(from),
          },
        }),
      ),
    onSuccess: () => {
      setChosen([]);
      void client.invalidateQueries({ queryKey: ['admin'] });
      void client.invalidateQueries({ queryKey: ['models'] });
    },
  });
  const toggle = (entry: string) =>
    setChosen((it) => (it.includes(entry) ? it.filter((one) => one !== entry) : [...it, entry]));
  const columns: Column<Entry>[] = [
    {
      key: 'name',
      title: t('models.model'),
      head: true,
      cell: (row) =>
        mayImport ? (
          <Checkbox
            label={row.name}
            checked={chosen.includes(row.entry)}
            onChange={() => toggle(row.entry)}
          />
        ) : (
          row.name
        ),
    },
    { key: 'provider', title: t('catalogue.provider'), cell: (row) => row.provider },
    { key: 'mode', title: t('catalogue.mode'), cell: (row) => row.mode },
    { key: 'in', title: t('app:models.input'), right: true, cell: (row) => price(row.prices.input) },
    { key: 'out', title: t('app:models.output'), right: true, cell: (row) => price(row.prices.output) },
    {
      key: 'window',
      title: t('catalogue.longest'),
      right: true,
      cell: (row) => (row.max_input ? compact(row.max_input) : '–'),
    },
  ];
  const good = chosen.length > 0 && typed(multiplier) !== null;
  return (
    <>
      <PageTitle
        title={t('catalogue.title')}
        lead={
          entries.data
            ? t('catalogue.lead', { date: entries.data.date, currency: entries.data.currency })
            : undefined
        }
      />
      <div className="filters">
        <TextInput
          type="search"
          label={t('app:models.search')}
          defaultValue={q ?? ''}
          onChange={(event) =>
            navigate({
              to: '/admin/catalogue',
              search: { provider, q: event.currentTarget.value || undefined },
              replace: true,
            })
          }
        />
        <TextInput
          type="search"
          label={t('catalogue.provider')}
          defaultValue={provider ?? ''}
          onBlur={(event) =>
            navigate({
              to: '/admin/catalogue',
              search: { q, provider: event.currentTarget.value.trim() || undefined },
            })
          }
        />
      </div>
      <Stack gap="lg">
        {mayImport && (
          <Section id="import" title={t('catalogue.import', { count: chosen.length })}>
            <form
              noValidate
              onSubmit={(event) => {
                event.preventDefault();
                if (good) take.mutate();
              }}
            >
              <Stack>
                <SimpleGrid cols={{ base: 1, xs: 3 }}>
                  <TextInput
                    label={t('catalogue.multiplier')}
                    description={t('catalogue.multiplierNote')}
                    inputMode="decimal"
                    value={multiplier}
                    error={typed(multiplier) ? undefined : t('groups.multiplierRule')}
                    onChange={(event) => setMultiplier(event.currentTarget.value)}
                  />
                  <NativeSelect
                    label={t('catalogue.costsFor')}
                    description={t('catalogue.costsForNote')}
                    value={costsFor}
                    onChange={(event) => setCostsFor(event.currentTarget.value)}
                    data={[
                      { value: '', label: t('catalogue.nobody') },
                      ...(providers.data?.items ?? []).map((it) => ({ value: it.id, label: it.name })),
                    ]}
                  />
                  <TextInput
                    type="datetime-local"
                    label={t('models.from')}
                    description={t('models.fromNote')}
                    value={from}
                    onChange={(event) => setFrom(event.currentTarget.value)}
                  />
                </SimpleGrid>
                {take.error ? <ProblemAlert error={take.error} /> : null}
                <Group>
                  <Button type="submit" loading={take.isPending} disabled={!good}>
                    {t('models.publish')}
                  </Button>
                  <Text size="sm">{t('catalogue.chosen', { count: chosen.length })}</Text>
                </Group>
              </Stack>
            </form>
            <div role="status">
              {take.data && (
                <Alert color="teal" variant="outline" mt="md" title={t('models.published')}>
                  <Text size="sm">
                    {take.data.items.map((it) => it.version.model).join(', ')}{' '}
                    <TextLink to="/admin/prices" underline="always">
                      {t('models.title')}
                    </TextLink>
                  </Text>
                </Alert>
              )}
            </div>
          </Section>
        )}
        <List
          query={entries}
          caption={t('catalogue.title')}
          columns={columns}
          rowKey={(row) => row.entry}
          empty={<Empty icon="search" title={t('app:empty.filtered')} />}
          cursor={cursor}
          go={(to) => navigate({ to: '/admin/catalogue', search: { q, provider, cursor: to } })}
        />
        {entries.data && (
          <Text size="xs" c="dimmed">
            {entries.data.note} {entries.data.source} · {entries.data.licence}
          </Text>
        )}
      </Stack>
    </>
  );
}
