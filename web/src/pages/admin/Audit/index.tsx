import { Anchor, Code, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded } from '../Guarded';

const route = getRouteApi('/shell/admin/audit');
type Act = Schemas['ActView'];

export function AuditPage() {
  return (
    <Guarded right="audit:read">
      <Acts />
    </Guarded>
  );
}

function Acts() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const { actor, act, subject, cursor } = search;
  const acts = useQuery({
    queryKey: ['admin', 'audit', search],
    queryFn: () =>
      ok(api.GET('/api/admin/audit', { params: { query: { actor, act, subject, cursor, limit: 50 } } })),
    ...listing,
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({ to: '/admin/audit', search: { ...search, cursor: undefined, ...change } });
  const columns: Column<Act>[] = [
    { key: 'at', title: t('audit.at', { zone: zone() }), head: true, cell: (row) => <When at={row.at} /> },
    { key: 'actor', title: t('audit.actor'), cell: (row) => `${row.actor_kind} ${row.actor.slice(-12)}` },
    { key: 'act', title: t('audit.act'), cell: (row) => <Code>{row.act}</Code> },
    { key: 'subject', title: t('audit.subject'), cell: (row) => row.subject },
    { key: 'change', title: t('audit.change'), cell: (row) => <Change act={row} /> },
  ];
  return (
    <>
      <PageTitle title={t('audit.title')} lead={t('audit.lead')} />
      <div className="filters">
        {(['actor', 'act', 'subject'] as const).map((name) => (
          <TextInput
            key={name}
            type="search"
            label={t(`audit.${name}`)}
            defaultValue={search[name] ?? ''}
            onBlur={(event) => filter({ [name]: event.currentTarget.value.trim() || undefined })}
            onKeyDown={(event) => {
              if (event.key === 'Enter')
                void filter({ [name]: event.currentTarget.value.trim() || undefined });
            }}
          />
        ))}
      </div>
      <List
        query={acts}
        caption={t('audit.title')}
        columns={columns}
        rowKey={(row) => String(row.sequence)}
        empty={<Empty icon="shield" title={t('audit.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/audit', search: { ...search, cursor: to } })}
      />
    </>
  );
}

/** What differs, field by field. */
export function differences(
  before: unknown,
  after: unknown,
): { field: string; before: string; after: string }[] {
  const fields = (it: unknown) =>
    typeof it === 'object' && it !== null ? (it as Record<string, unknown>) : {};
  const [old, now] = [fields(before), fields(after)];
  const text = (it: unknown) => (it === undefined ? '–' : typeof it === 'string' ? it : JSON.stringify(it));
  return [...new Set([...Object.keys(old), ...Object.keys(now)])]
    .map((field) => ({ field, before: text(old[field]), after: text(now[field]) }))
    .filter((it) => it.before !== it.after);
}

function Change({ act }: { act: Act }) {
  const { t } = useTranslation('admin');
  const [open, setOpen] = useState(false);
  const changed = differences(act.before, act.after);
  if (changed.length === 0) return '–';
  const shown = open ? changed : changed.slice(0, 2);
  return (
    <div>
      {shown.map((it) => (
        <div key={it.field}>
          {it.field}: {it.before} → {it.after}
        </div>
      ))}
      {changed.length > 2 && (
        <Anchor
          component="button"
          type="button"
          size="sm"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          {open ? t('audit.less') : t('audit.more', { count: changed.length - 2 })}
        </Anchor>
      )}
    </div>
  );
}
