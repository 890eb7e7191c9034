import { TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded } from '../Guarded';

const route = getRouteApi('/shell/admin/users');
export const ROLES = ['user', 'support', 'finance', 'auditor', 'admin', 'owner'] as const;
const STATES = ['active', 'disabled'] as const;

export function UsersPage() {
  return (
    <Guarded right="users:read">
      <Users />
    </Guarded>
  );
}

function Users() {
  const { t } = useTranslation('admin');
  const search = route.useSearch();
  const navigate = useNavigate();
  const { q, status, role, cursor } = search;
  const users = useQuery({
    queryKey: ['admin', 'users', search],
    queryFn: () =>
      ok(api.GET('/api/admin/users', { params: { query: { q, status, role, cursor, limit: 50 } } })),
    ...listing,
  });
  const filter = (change: Partial<typeof search>) =>
    navigate({
      to: '/admin/users',
      search: { ...search, cursor: undefined, ...change },
      replace: 'q' in change,
    });
  const columns: Column<Schemas['User']>[] = [
    {
      key: 'name',
      title: t('users.name'),
      head: true,
      cell: (row) => (
        <TextLink to="/admin/users/$id" params={{ id: row.id }}>
          {row.username}
        </TextLink>
      ),
    },
    {
      key: 'email',
      title: t('users.email'),
      cell: (row) => `${row.email}${row.email_verified ? '' : ` (${t('users.unproven')})`}`,
    },
    { key: 'role', title: t('users.role'), cell: (row) => t(`users.roles.${row.role}`) },
    { key: 'group', title: t('users.group'), cell: (row) => row.group },
    {
      key: 'status',
      title: t('users.status'),
      cell: (row) => <Outcome state={row.status} label={t(`users.states.${row.status}`)} />,
    },
    {
      key: 'created',
      title: t('users.created', { zone: zone() }),
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'login', title: t('users.lastLogin'), cell: (row) => <When at={row.last_login_at} relative /> },
  ];
  return (
    <>
      <PageTitle title={t('users.title')} />
      <div className="filters">
        <TextInput
          type="search"
          label={t('users.search')}
          defaultValue={q ?? ''}
          onChange={(event) => filter({ q: event.currentTarget.value || undefined })}
        />
        <Choice
          label={t('users.role')}
          all={t('all')}
          value={role}
          options={ROLES}
          name={(it) => t(`users.roles.${it}`)}
          choose={(it) => filter({ role: it })}
        />
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={status}
          options={STATES}
          name={(it) => t(`users.states.${it}`)}
          choose={(it) => filter({ status: it })}
        />
      </div>
      <List
        query={users}
        caption={t('users.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="users" title={t('users.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/users', search: { ...search, cursor: to } })}
      />
    </>
  );
}
