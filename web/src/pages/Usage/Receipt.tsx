import { Alert, Code, Group, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { compare } from '../../money/decimal';
import { price } from '../../money/format';
import { Full } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { type Column, DataTable } from '../../shared/DataTable';
import { Facts } from '../../shared/Facts';
import { count, duration } from '../../shared/format';
import { Outcome } from '../../shared/Outcome';
import { Postings } from '../../shared/Postings';
import { Loaded } from '../../shared/States';
import { When } from '../../shared/When';

type Line = Schemas['ReceiptLine'];

/** How a charge follows from its tokens, each line to be checked by hand. */
export function Receipt({ id, keyName }: { id: string; keyName: (id: string) => string }) {
  const receipt = useQuery({
    queryKey: ['usage', 'receipt', id],
    queryFn: () => ok(api.GET('/api/user/usage/{id}', { params: { path: { id } } })),
    staleTime: 60_000,
  });
  return <Loaded query={receipt}>{(it) => <Shown it={it} keyName={keyName} />}</Loaded>;
}

function Shown({ it, keyName }: { it: Schemas['ReceiptDetail']; keyName: (id: string) => string }) {
  const { t, i18n } = useTranslation();
  const className = (name: string) =>
    i18n.exists(`receipt.classes.${name}`) ? t(`receipt.classes.${name}` as 'receipt.classes.input') : name;
  const columns: Column<Line>[] = [
    { key: 'class', title: t('receipt.class'), head: true, cell: (row) => className(row.class) },
    { key: 'quantity', title: t('receipt.quantity'), right: true, cell: (row) => count(row.quantity) },
    {
      key: 'price',
      title: t('receipt.price'),
      right: true,
      cell: (row) => (
        <span className="amount">
          {price(row.unit_price)} / {row.per}
        </span>
      ),
    },
    {
      key: 'amount',
      title: t('receipt.amount'),
      right: true,
      cell: (row) => <span className="amount">{row.amount}</span>,
    },
  ];
  return (
    <Stack gap="lg">
      <Facts
        items={[
          [
            t('receipt.request'),
            <Group key="r" gap={4} wrap="nowrap">
              <Code>{it.id}</Code>
              <CopyButton text={it.id} label={t('receipt.copyRequest')} />
            </Group>,
          ],
          [t('receipt.at'), <When key="a" at={it.at} />],
          [t('usage.model'), it.model],
          [t('usage.key'), keyName(it.key)],
          [t('receipt.endpoint'), `${it.endpoint}${it.stream ? ` · ${t('receipt.stream')}` : ''}`],
          [
            t('usage.outcome'),
            <Group key="o" gap="xs">
              <Outcome state={it.outcome} label={t(`usage.outcomes.${it.outcome}`)} />
              <span>HTTP {it.status}</span>
            </Group>,
          ],
          [
            t('receipt.timing'),
            t('receipt.timingText', { ttft: duration(it.ttft_ms), all: duration(it.duration_ms) }),
          ],
          [t('receipt.source'), t(`receipt.sources.${it.usage_source}`)],
        ]}
      />
      <section aria-labelledby="arithmetic">
        <Title order={2} id="arithmetic" mb="sm">
          {t('receipt.arithmetic')}
        </Title>
        {it.lines.length > 0 ? (
          <DataTable
            caption={t('receipt.arithmetic')}
            columns={columns}
            rows={it.lines}
            rowKey={(row) => row.class}
          />
        ) : (
          <Text c="dimmed">{t('receipt.nothing')}</Text>
        )}
        <Facts
          items={[
            [
              t('receipt.sum'),
              <span key="s" className="amount">
                {it.sum}
              </span>,
            ],
            [
              t('receipt.multiplier'),
              <span key="m" className="amount">
                × {it.multiplier}
              </span>,
            ],
            [
              t('receipt.exact'),
              <span key="e" className="amount">
                {it.exact}
              </span>,
            ],
            [t('receipt.rounded'), <Full key="r" amount={it.rounded} />],
            [
              t('usage.charge'),
              <strong key="c">
                <Full amount={it.charge} />
              </strong>,
            ],
          ]}
        />
        {compare(it.uncovered, '0') === 1 && (
          <Alert color="gray" variant="outline" mt="sm">
            <Text size="sm">
              {t('receipt.uncovered')} <Full amount={it.uncovered} />
            </Text>
          </Alert>
        )}
        <Text size="sm" c="dimmed" mt="xs">
          {t('receipt.note', { version: it.price_version.slice(0, 8) })}
        </Text>
      </section>
      {it.attempts.length > 0 && (
        <section aria-labelledby="attempts">
          <Title order={2} id="attempts" mb="sm">
            {t('receipt.attempts')}
          </Title>
          <DataTable
            caption={t('receipt.attempts')}
            rows={it.attempts.map((row, index) => ({ ...row, number: index + 1 }))}
            rowKey={(row) => String(row.number)}
            columns={[
              { key: 'n', title: '#', head: true, cell: (row) => row.number },
              { key: 'status', title: 'HTTP', cell: (row) => row.status ?? '–' },
              { key: 'error', title: t('receipt.error'), cell: (row) => row.error ?? '–' },
              {
                key: 'time',
                title: t('usage.duration'),
                right: true,
                cell: (row) => duration(row.duration_ms),
              },
            ]}
          />
        </section>
      )}
      <Postings postings={it.postings} events={it.events ?? []} />
    </Stack>
  );
}
