import { Button, Code, Group, NativeSelect, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, idempotencyKey, ok, type Schemas } from '../../../api/client';
import { parse } from '../../../money/decimal';
import { full, money } from '../../../money/format';
import { Balance } from '../../../shared/Amount';
import { Confirm } from '../../../shared/Confirm';
import { CopyButton } from '../../../shared/CopyButton';
import { DataTable } from '../../../shared/DataTable';
import { Facts } from '../../../shared/Facts';
import { beside } from '../../../shared/fields';
import { Outcome } from '../../../shared/Outcome';
import { PageTitle } from '../../../shared/PageTitle';
import { Loaded, ProblemAlert } from '../../../shared/States';
import { TextLink } from '../../../shared/TextLink';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';
import { ROLES } from '.';

const route = getRouteApi('/shell/admin/users/$id');
type User = Schemas['User'];

export function UserPage() {
  const { id } = route.useParams();
  const user = useQuery({
    queryKey: ['admin', 'user', id],
    queryFn: () => ok(api.GET('/api/admin/users/{id}', { params: { path: { id } } })),
  });
  return (
    <Guarded right="users:read">
      <Loaded query={user}>{(it) => <Shown it={it} />}</Loaded>
    </Guarded>
  );
}

function Shown({ it }: { it: User }) {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const mayChange = useMay('users:write');
  const mayPay = useMay('money:write');
  const seesMoney = useMay('money:read');
  const [asking, setAsking] = useState(false);
  const groups = useQuery({ queryKey: ['admin', 'groups'], queryFn: () => ok(api.GET('/api/admin/groups')) });
  const orders = useQuery({
    queryKey: ['admin', 'orders', { user: it.id }],
    queryFn: () => ok(api.GET('/api/admin/orders', { params: { query: { user: it.id, limit: 10 } } })),
    enabled: seesMoney,
  });
  const change = useMutation({
    mutationFn: (body: Schemas['ChangeUser']) =>
      ok(api.PATCH('/api/admin/users/{id}', { params: { path: { id: it.id } }, body })),
    onSuccess: () => {
      setAsking(false);
      notifications.show({ message: t('saved'), color: 'teal' });
      void client.invalidateQueries({ queryKey: ['admin'] });
    },
  });
  return (
    <>
      <PageTitle
        title={it.username}
        lead={<TextLink to="/admin/users">{t('users.back')}</TextLink>}
        actions={
          mayChange && (
            <Button
              variant="default"
              onClick={() => (it.status === 'active' ? setAsking(true) : change.mutate({ status: 'active' }))}
            >
              {it.status === 'active' ? t('users.suspend') : t('users.restore')}
            </Button>
          )
        }
      />
      <Stack gap="lg">
        {change.error && !asking ? <ProblemAlert error={change.error} /> : null}
        <Paper withBorder p="lg">
          <Facts
            items={[
              [
                t('users.id'),
                <Group key="i" gap={4} wrap="nowrap">
                  <Code>{it.id}</Code>
                  <CopyButton text={it.id} label={t('users.copyId')} />
                </Group>,
              ],
              [t('users.email'), `${it.email}${it.email_verified ? '' : ` (${t('users.unproven')})`}`],
              [
                t('users.status'),
                <Outcome key="s" state={it.status} label={t(`users.states.${it.status}`)} />,
              ],
              [t('users.createdPlain'), <When key="c" at={it.created_at} />],
              [t('users.lastLogin'), <When key="l" at={it.last_login_at} />],
              [
                t('users.inLedger'),
                <TextLink key="e" to="/admin/ledger" search={{ account: it.id }}>
                  {t('users.events')}
                </TextLink>,
              ],
            ]}
          />
          {mayChange && (
            <Group mt="md" align="flex-end">
              <NativeSelect
                label={t('users.role')}
                value={it.role}
                disabled={change.isPending}
                onChange={(event) =>
                  change.mutate({ role: ROLES.find((role) => role === event.currentTarget.value) })
                }
                data={ROLES.map((role) => ({ value: role, label: t(`users.roles.${role}`) }))}
              />
              <NativeSelect
                label={t('users.group')}
                value={it.group}
                disabled={change.isPending}
                onChange={(event) => change.mutate({ group: event.currentTarget.value })}
                data={[...new Set([it.group, ...(groups.data?.items.map((group) => group.name) ?? [])])]}
              />
            </Group>
          )}
        </Paper>
        {mayPay && <Correct id={it.id} name={it.username} />}
        {seesMoney && (
          <Paper withBorder p="lg" component="section" aria-labelledby="user-orders">
            <Group justify="space-between" mb="md">
              <Title order={2} id="user-orders">
                {t('users.orders')}
              </Title>
              <TextLink to="/admin/orders" search={{ user: it.id }}>
                {t('users.allOrders')}
              </TextLink>
            </Group>
            <Loaded query={orders}>
              {(page) =>
                page.items.length === 0 ? (
                  <Text c="dimmed">{t('orders.none')}</Text>
                ) : (
                  <DataTable
                    caption={t('users.orders')}
                    rows={page.items}
                    rowKey={(row) => row.order}
                    columns={[
                      {
                        key: 'at',
                        title: t('app:order.created'),
                        head: true,
                        cell: (row) => <When at={row.created_at} />,
                      },
                      {
                        key: 'pay',
                        title: t('app:order.pay'),
                        right: true,
                        cell: (row) => money(row.pay.amount, row.pay.currency),
                      },
                      {
                        key: 'credits',
                        title: t('app:order.credits'),
                        right: true,
                        cell: (row) => <Balance amount={row.credits} focusable />,
                      },
                      {
                        key: 'state',
                        title: t('app:order.state'),
                        cell: (row) => (
                          <Outcome state={row.status} label={t(`app:order.states.${row.status}`)} />
                        ),
                      },
                    ]}
                  />
                )
              }
            </Loaded>
          </Paper>
        )}
      </Stack>
      <Confirm
        opened={asking}
        close={() => setAsking(false)}
        title={t('users.suspendTitle', { name: it.username })}
        verb={t('users.suspend')}
        act={() => change.mutate({ status: 'disabled' })}
        busy={change.isPending}
        error={change.error}
      >
        {t('users.suspendText')}
      </Confirm>
    </>
  );
}

/** Corrects a balance by a difference, with a reason. There is no way to set one. */
function Correct({ id, name }: { id: string; name: string }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const [key, setKey] = useState(idempotencyKey);
  const [wish, setWish] = useState<{ credits: string; reason: string } | null>(null);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { credits: '', reason: '' },
    validate: {
      credits: (it) => {
        const read = parse(it);
        return read && !/^0*$/.test(read.whole + read.fraction) ? null : t('correct.creditsRule');
      },
      reason: (it) => (it.trim() ? null : t('correct.reasonRule')),
    },
    onValuesChange: () => setKey(idempotencyKey()),
  });
  const post = useMutation({
    mutationFn: (body: { credits: string; reason: string }) =>
      ok(
        api.POST('/api/admin/users/{id}/adjustments', {
          params: { path: { id }, header: { 'Idempotency-Key': key } },
          body,
        }),
      ),
    onSuccess: (posted) => {
      setWish(null);
      form.reset();
      // What is more than one person may move is a request: it is not on the ledger yet.
      const waits = 'state' in posted;
      notifications.show({
        message: t(waits ? 'correct.waits' : 'correct.done', { credits: full(posted.credits) }),
        color: waits ? 'yellow' : 'teal',
      });
      void client.invalidateQueries();
    },
    onError: (error) => {
      if (beside(form, error)) setWish(null);
    },
  });
  return (
    <Paper withBorder p="lg" component="section" aria-labelledby="correct">
      <Title order={2} id="correct" mb="md">
        {t('correct.title')}
      </Title>
      <form
        onSubmit={form.onSubmit((values) =>
          setWish({ credits: values.credits.trim(), reason: values.reason.trim() }),
        )}
        noValidate
      >
        <Group align="flex-start">
          <TextInput
            label={t('correct.credits')}
            description={t('correct.creditsNote')}
            inputMode="text"
            key={form.key('credits')}
            {...form.getInputProps('credits')}
          />
          <TextInput
            label={t('correct.reason')}
            description={t('correct.reasonNote')}
            flex={1}
            miw={240}
            key={form.key('reason')}
            {...form.getInputProps('reason')}
          />
        </Group>
        <Button type="submit" mt="md" variant="default">
          {t('correct.preview')}
        </Button>
      </form>
      <Confirm
        opened={wish !== null}
        close={() => setWish(null)}
        title={t('correct.title')}
        verb={t('correct.verb')}
        act={() => wish && post.mutate(wish)}
        busy={post.isPending}
        error={post.error}
      >
        {wish && t('correct.ask', { name, credits: full(wish.credits), reason: wish.reason })}
      </Confirm>
    </Paper>
  );
}
