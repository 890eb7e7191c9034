// The one table. On a phone each row becomes a card of labelled lines; the markup stays a table. What a cell holds is
// one block: beside its label it stands as in the column.

import { Button, Group, Table } from '@mantine/core';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';

export interface Column<Row> {
  key: string;
  title: string;
  cell: (row: Row) => ReactNode;
  right?: boolean;
  /** Names the row. One column of a table does. */
  head?: boolean;
}

interface Props<Row> {
  /** What the table holds, for those who do not see it. */
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
}

export function DataTable<Row>({ caption, columns, rows, rowKey }: Props<Row>) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by the keyboard.
    <section className="table-frame" aria-label={caption} tabIndex={0}>
      <Table role="table" verticalSpacing="xs" horizontalSpacing="sm" highlightOnHover className="data-table">
        <caption className="offscreen">{caption}</caption>
        <Table.Thead role="rowgroup">
          <Table.Tr role="row">
            {columns.map((column) => (
              <Table.Th
                key={column.key}
                scope="col"
                role="columnheader"
                className={column.right ? 'right' : undefined}
              >
                {column.title}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody role="rowgroup">
          {rows.map((row) => (
            <Table.Tr key={rowKey(row)} role="row">
              {columns.map((column) => {
                const props = {
                  'data-label': column.title,
                  className: column.right ? 'right' : undefined,
                };
                return column.head ? (
                  <Table.Th key={column.key} scope="row" role="rowheader" {...props}>
                    <div>{column.cell(row)}</div>
                  </Table.Th>
                ) : (
                  <Table.Td key={column.key} role="cell" {...props}>
                    <div>{column.cell(row)}</div>
                  </Table.Td>
                );
              })}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </section>
  );
}

/** Forward by cursor; back is the browser's own button, or the first page at once. */
export function Pager({
  cursor,
  next,
  go,
}: {
  cursor: string | undefined;
  next: string | null | undefined;
  go: (cursor: string | undefined) => void;
}) {
  const { t } = useTranslation();
  if (!cursor && !next) return null;
  return (
    <Group justify="space-between" mt="md" component="nav" aria-label={t('table.pages')}>
      <Button variant="default" disabled={!cursor} onClick={() => go(undefined)}>
        {t('table.first')}
      </Button>
      <Button variant="default" disabled={!next} onClick={() => next && go(next)}>
        {t('table.next')}
      </Button>
    </Group>
  );
}
