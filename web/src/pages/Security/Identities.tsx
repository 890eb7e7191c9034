import { Button, Group, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { identitiesQuery, loginMethodsQuery } from '../../api/queries';
import { Confirm } from '../../shared/Confirm';
import { type Column, DataTable } from '../../shared/DataTable';
import { Loaded, ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { When } from '../../shared/When';

type Identity = Schemas['IdentityView'];

/** Other sites by which one can log in. */
export function Identities() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [removing, setRemoving] = useState<Identity | null>(null);
  const identities = useQuery(identitiesQuery);
  const methods = useQuery(loginMethodsQuery);
  const link = useMutation({
    mutationFn: (issuer: string) =>
      ok(api.POST('/api/user/identities', { body: { issuer, return: '/security' } })),
    onSuccess: (it) => window.location.assign(it.url),
  });
  const remove = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/user/identities/{id}', { params: { path: { id } } })),
    onSuccess: () => {
      setRemoving(null);
      void client.invalidateQueries({ queryKey: identitiesQuery.queryKey });
    },
  });
  const columns: Column<Identity>[] = [
    { key: 'site', title: t('identities.site'), head: true, cell: (row) => row.name },
    { key: 'label', title: t('identities.label'), cell: (row) => row.label },
    { key: 'made', title: t('identities.linked'), cell: (row) => <When at={row.created_at} /> },
    { key: 'used', title: t('keys.lastUsed'), cell: (row) => <When at={row.last_used_at} relative /> },
    {
      key: 'remove',
      title: '',
      right: true,
      cell: (row) => (
        <Button
          variant="default"
          size="xs"
          aria-label={t('identities.removeNamed', { name: row.name })}
          onClick={() => {
            remove.reset();
            setRemoving(row);
          }}
        >
          {t('identities.remove')}
        </Button>
      ),
    },
  ];
  return (
    <Loaded query={identities}>
      {(it) => {
        const linked = new Set(it.items.map((one) => one.issuer));
        const open = (methods.data?.issuers ?? []).filter((one) => !linked.has(one.id));
        return (
          <Stack>
            {!it.has_password && (
              <Text>
                {t('identities.noPassword')}{' '}
                <TextLink to="/forgot" underline="always">
                  {t('identities.setOne')}
                </TextLink>
              </Text>
            )}
            {it.items.length > 0 ? (
              <DataTable
                caption={t('identities.title')}
                columns={columns}
                rows={it.items}
                rowKey={(row) => row.id}
              />
            ) : (
              <Text>{open.length > 0 ? t('identities.none') : t('identities.noSites')}</Text>
            )}
            <Group>
              {open.map((one) => (
                <Button
                  key={one.id}
                  variant="default"
                  loading={link.isPending && link.variables === one.id}
                  onClick={() => link.mutate(one.id)}
                >
                  {t('identities.link', { site: one.name })}
                </Button>
              ))}
            </Group>
            {link.error ? <ProblemAlert error={link.error} /> : null}
            <Confirm
              opened={removing !== null}
              close={() => setRemoving(null)}
              title={t('identities.removeNamed', { name: removing?.name ?? '' })}
              verb={t('identities.remove')}
              act={() => removing && remove.mutate(removing.id)}
              busy={remove.isPending}
              error={remove.error}
            >
              {t('identities.removeText')}
            </Confirm>
          </Stack>
        );
      }}
    </Loaded>
  );
}
