import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { Balance } from '../../../shared/Amount';
import type { Column } from '../../../shared/DataTable';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded } from '../Guarded';
import { Person } from '../Person';

const route = getRouteApi('/shell/admin/referrals');
export const REFERRAL_STATES = ['waiting', 'earned', 'capped', 'refused', 'missed', 'lapsed'] as const;

export function ReferralsPage() {
  return (
    <Guarded right="money:read">
      <Referrals />
    </Guarded>
  );
}

function Referrals() {
  const { t } = useTranslation('admin');
  const { state, cursor } = route.useSearch();
  const navigate = useNavigate();
  const referrals = useQuery({
    queryKey: ['admin', 'referrals', state, cursor],
    queryFn: () => ok(api.GET('/api/admin/referrals', { params: { query: { state, cursor, limit: 50 } } })),
    ...listing,
  });
  const columns: Column<Schemas['ReferralView']>[] = [
    {
      key: 'at',
      title: t('users.created', { zone: zone() }),
      head: true,
      cell: (row) => <When at={row.created_at} />,
    },
    { key: 'who', title: t('referrals.who'), cell: (row) => <Person id={row.user_id} /> },
    { key: 'by', title: t('referrals.by'), cell: (row) => <Person id={row.referrer_id} /> },
    {
      key: 'reward',
      title: t('referrals.reward'),
      right: true,
      cell: (row) => <Balance amount={row.reward} focusable />,
    },
    {
      key: 'welcome',
      title: t('referrals.welcome'),
      right: true,
      cell: (row) => <Balance amount={row.welcome} focusable />,
    },
    {
      key: 'state',
      title: t('users.status'),
      cell: (row) => <Outcome state={row.state} label={t(`referrals.states.${row.state}`)} />,
    },
  ];
  return (
    <>
      <PageTitle title={t('referrals.title')} lead={t('referrals.lead')} />
      <div className="filters">
        <Choice
          label={t('users.status')}
          all={t('all')}
          value={state}
          options={REFERRAL_STATES}
          name={(it) => t(`referrals.states.${it}`)}
          choose={(it) => navigate({ to: '/admin/referrals', search: { state: it } })}
        />
      </div>
      <List
        query={referrals}
        caption={t('referrals.title')}
        columns={columns}
        rowKey={(row) => row.user_id}
        empty={<Empty icon="users" title={t('referrals.none')} />}
        cursor={cursor}
        go={(to) => navigate({ to: '/admin/referrals', search: { state, cursor: to } })}
      />
    </>
  );
}
