import { Anchor, Code, Stack, Text, Title } from '@mantine/core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Full } from './Amount';
import { DataTable } from './DataTable';
import { When } from './When';

interface Posting {
  book: string;
  amount: string;
  unit: string;
  event_seq?: number | null;
}

interface Event_ {
  sequence: number;
  type: string;
  at: string;
  data: unknown;
}

/** Where an amount went in the books, and the events that say so. */
export function Postings({ postings, events }: { postings: Posting[]; events: Event_[] }) {
  const { t } = useTranslation();
  return (
    <Stack gap="lg">
      {postings.length > 0 && (
        <section>
          <Title order={2} mb="sm">
            {t('postings.title')}
          </Title>
          <DataTable
            caption={t('postings.title')}
            rows={postings.map((row, index) => ({ ...row, index }))}
            rowKey={(row) => String(row.index)}
            columns={[
              { key: 'book', title: t('postings.book'), head: true, cell: (row) => row.book },
              { key: 'unit', title: t('postings.unit'), cell: (row) => row.unit },
              {
                key: 'amount',
                title: t('postings.amount'),
                right: true,
                cell: (row) => <Full amount={row.amount} />,
              },
            ]}
          />
        </section>
      )}
      {events.length > 0 && (
        <section>
          <Title order={2} mb="sm">
            {t('postings.events')}
          </Title>
          <Stack gap="xs">
            {events.map((event) => (
              <LedgerEvent key={event.sequence} event={event} />
            ))}
          </Stack>
        </section>
      )}
    </Stack>
  );
}

export function LedgerEvent({ event }: { event: Event_ }) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  return (
    <div>
      <Text size="sm">
        <Code>{event.type}</Code> · #{event.sequence} · <When at={event.at} /> ·{' '}
        <Anchor
          underline="always"
          component="button"
          type="button"
          size="sm"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          {open ? t('postings.hide') : t('postings.show')}
        </Anchor>
      </Text>
      {open && (
        <Code block tabIndex={0} className="json" mt={4}>
          {JSON.stringify(event.data, null, 2)}
        </Code>
      )}
    </div>
  );
}
