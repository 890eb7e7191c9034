// A list that pages by cursor, and the choice that filters one: how every list page is made.

import { NativeSelect } from '@mantine/core';
import type { ReactNode } from 'react';
import { type Column, DataTable, Pager } from './DataTable';
import { Loaded, type Query } from './States';

interface Props<Row> {
  query: Query<{ items: Row[]; next_cursor?: string | null }>;
  /** What the table holds, for those who do not see it. */
  caption: string;
  columns: Column<Row>[];
  rowKey: (row: Row) => string;
  /** What stands there instead of a table without rows. */
  empty: ReactNode;
  /** The page that one is on, and the way to another; a list without them has one page. */
  cursor?: string | undefined;
  go?: (cursor: string | undefined) => void;
}

/** What a query for a page of rows has come to. */
export function List<Row>({ query, caption, columns, rowKey, empty, cursor, go }: Props<Row>) {
  return (
    <Loaded query={query}>
      {(page) => (
        <>
          {page.items.length === 0 ? (
            empty
          ) : (
            <DataTable caption={caption} columns={columns} rows={page.items} rowKey={rowKey} />
          )}
          {go && <Pager cursor={cursor} next={page.next_cursor} go={go} />}
        </>
      )}
    </Loaded>
  );
}

/** One of some words, or all of them. */
export function Choice<T extends string>({
  label,
  all,
  value,
  options,
  name,
  choose,
}: {
  label: string;
  /** How no choice reads. */
  all: string;
  value: T | undefined;
  options: readonly T[];
  name: (option: T) => string;
  choose: (option: T | undefined) => void;
}) {
  return (
    <NativeSelect
      label={label}
      value={value ?? ''}
      onChange={(event) => choose(options.find((it) => it === event.currentTarget.value))}
      data={[{ value: '', label: all }, ...options.map((it) => ({ value: it, label: name(it) }))]}
    />
  );
}
