import { Button, Group, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../api/client';
import { newPasskey, passkeysWork } from '../../api/passkey';
import { secondFactorQuery } from '../../api/queries';
import { Confirm } from '../../shared/Confirm';
import { type Column, DataTable } from '../../shared/DataTable';
import { FormDialog } from '../../shared/FormDialog';
import { Icon } from '../../shared/Icon';
import { Secret } from '../../shared/Secret';
import { Loaded } from '../../shared/States';
import { When } from '../../shared/When';

type Passkey = Schemas['Passkey'];

/** Keys that a phone, a computer or a security key holds, instead of a password and a code. */
export function Passkeys() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [naming, setNaming] = useState<Passkey | 'new' | null>(null);
  const [name, setName] = useState('');
  const [removing, setRemoving] = useState<Passkey | null>(null);
  const [codes, setCodes] = useState<string | null>(null);
  const passkeys = useQuery({ queryKey: ['passkeys'], queryFn: () => ok(api.GET('/api/user/passkeys')) });
  const refresh = () => {
    void client.invalidateQueries({ queryKey: ['passkeys'] });
    void client.invalidateQueries({ queryKey: secondFactorQuery.queryKey });
  };
  const save = useMutation({
    mutationFn: async (it: { which: Passkey | 'new'; name: string }) => {
      if (it.which !== 'new') {
        const { id } = it.which;
        await ok(api.PATCH('/api/user/passkeys/{id}', { params: { path: { id } }, body: { name: it.name } }));
        return [];
      }
      const answer = await newPasskey();
      const added = await ok(api.POST('/api/user/passkeys', { body: { ...answer, name: it.name } }));
      return added.recovery_codes;
    },
    onSuccess: (fresh) => {
      setNaming(null);
      if (fresh.length > 0) setCodes(fresh.join('\n'));
      refresh();
    },
    gcTime: 0,
  });
  const remove = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/user/passkeys/{id}', { params: { path: { id } } })),
    onSuccess: () => {
      setRemoving(null);
      refresh();
    },
  });
  const ask = (which: Passkey | 'new') => {
    save.reset();
    setName(which === 'new' ? '' : which.name);
    setNaming(which);
  };
  const columns: Column<Passkey>[] = [
    {
      key: 'name',
      title: t('passkeys.name'),
      head: true,
      cell: (row) => (
        <>
          {row.name}
          {row.regressed_at && (
            <Text size="xs" c="red">
              {t('passkeys.regressed')} <When at={row.regressed_at} />
            </Text>
          )}
        </>
      ),
    },
    { key: 'made', title: t('keys.createdPlain'), cell: (row) => <When at={row.created_at} /> },
    {
      key: 'used',
      title: t('keys.lastUsed'),
      cell: (row) => (row.last_used_at ? <When at={row.last_used_at} relative /> : t('keys.never')),
    },
    {
      key: 'acts',
      title: '',
      right: true,
      cell: (row) => (
        <Group gap="xs" justify="flex-end">
          <Button
            variant="default"
            size="xs"
            aria-label={t('passkeys.renameNamed', { name: row.name })}
            onClick={() => ask(row)}
          >
            {t('passkeys.rename')}
          </Button>
          <Button
            variant="default"
            size="xs"
            aria-label={t('passkeys.removeNamed', { name: row.name })}
            onClick={() => {
              remove.reset();
              setRemoving(row);
            }}
          >
            {t('passkeys.remove')}
          </Button>
        </Group>
      ),
    },
  ];
  return (
    <Stack>
      <Text>{t('passkeys.text')}</Text>
      <Loaded query={passkeys}>
        {(page) =>
          page.items.length === 0 ? null : (
            <DataTable
              caption={t('passkeys.title')}
              columns={columns}
              rows={page.items}
              rowKey={(row) => row.id}
            />
          )
        }
      </Loaded>
      <Group>
        <Button
          leftSection={<Icon name="fingerprint" />}
          disabled={!passkeysWork()}
          onClick={() => ask('new')}
        >
          {t('passkeys.add')}
        </Button>
        {!passkeysWork() && <Text size="sm">{t('passkeys.noneHere')}</Text>}
      </Group>
      <FormDialog
        opened={naming !== null}
        close={() => setNaming(null)}
        title={naming === 'new' ? t('passkeys.add') : t('passkeys.rename')}
        verb={naming === 'new' ? t('passkeys.go') : t('common.save')}
        submit={(event) => {
          event.preventDefault();
          if (naming && name.trim()) save.mutate({ which: naming, name: name.trim() });
        }}
        busy={save.isPending}
        error={save.error}
        ready={name.trim() !== ''}
      >
        <TextInput
          label={t('passkeys.name')}
          description={t('passkeys.nameNote')}
          maxLength={100}
          data-autofocus
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
      </FormDialog>
      <Secret
        secret={codes}
        title={t('factor.codesTitle')}
        note={t('factor.codesNote')}
        copy={t('factor.copyCodes')}
        close={() => setCodes(null)}
      />
      <Confirm
        opened={removing !== null}
        close={() => setRemoving(null)}
        title={t('passkeys.removeNamed', { name: removing?.name ?? '' })}
        verb={t('passkeys.remove')}
        act={() => removing && remove.mutate(removing.id)}
        busy={remove.isPending}
        error={remove.error}
      >
        {t('passkeys.removeText')}
      </Confirm>
    </Stack>
  );
}
