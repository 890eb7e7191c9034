import { Button, Group, NativeSelect, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { Confirm } from '../../../shared/Confirm';
import type { Column } from '../../../shared/DataTable';
import { Dialog } from '../../../shared/Dialog';
import { beside, isoOf, localOf } from '../../../shared/fields';
import { zone } from '../../../shared/format';
import { Icon } from '../../../shared/Icon';
import { List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Empty, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';

type Announcement = Schemas['AnnouncementView'];
const LEVELS = ['info', 'warning', 'critical'] as const;

export function AnnouncementsPage() {
  return (
    <Guarded right="settings:read">
      <Announcements />
    </Guarded>
  );
}

function Announcements() {
  const { t } = useTranslation(['admin', 'app']);
  const client = useQueryClient();
  const mayAnnounce = useMay('settings:write');
  const [writing, setWriting] = useState<Announcement | 'new' | null>(null);
  const [removing, setRemoving] = useState<Announcement | null>(null);
  const announcements = useQuery({
    queryKey: ['admin', 'announcements'],
    queryFn: () => ok(api.GET('/api/admin/announcements')),
  });
  const refresh = () => {
    void client.invalidateQueries({ queryKey: ['admin', 'announcements'] });
    void client.invalidateQueries({ queryKey: ['announcements'] });
  };
  const remove = useMutation({
    mutationFn: (id: string) => ok(api.DELETE('/api/admin/announcements/{id}', { params: { path: { id } } })),
    onSuccess: () => {
      setRemoving(null);
      refresh();
    },
  });
  const columns: Column<Announcement>[] = [
    {
      key: 'title',
      title: t('announcements.name'),
      head: true,
      cell: (row) => (
        <>
          {row.title}
          <Text size="xs" c="dimmed" lineClamp={2}>
            {row.body}
          </Text>
        </>
      ),
    },
    { key: 'level', title: t('announcements.level'), cell: (row) => t(`app:announcement.${row.level}`) },
    {
      key: 'from',
      title: t('announcements.from', { zone: zone() }),
      cell: (row) => (row.starts_at ? <When at={row.starts_at} /> : t('announcements.atOnce')),
    },
    {
      key: 'to',
      title: t('announcements.to'),
      cell: (row) => (row.ends_at ? <When at={row.ends_at} /> : t('announcements.noEnd')),
    },
    ...(mayAnnounce
      ? [
          {
            key: 'acts',
            title: '',
            right: true,
            cell: (row: Announcement) => (
              <Group gap="xs" justify="flex-end" wrap="nowrap">
                <Button
                  variant="default"
                  size="xs"
                  aria-label={`${t('change')}: ${row.title}`}
                  onClick={() => setWriting(row)}
                >
                  {t('change')}
                </Button>
                <Button
                  variant="default"
                  size="xs"
                  aria-label={`${t('announcements.remove')}: ${row.title}`}
                  onClick={() => setRemoving(row)}
                >
                  {t('announcements.remove')}
                </Button>
              </Group>
            ),
          },
        ]
      : []),
  ];
  const make = mayAnnounce && (
    <Button leftSection={<Icon name="megaphone" />} onClick={() => setWriting('new')}>
      {t('announcements.make')}
    </Button>
  );
  return (
    <>
      <PageTitle title={t('announcements.title')} lead={t('announcements.lead')} actions={make} />
      <List
        query={announcements}
        caption={t('announcements.title')}
        columns={columns}
        rowKey={(row) => row.id}
        empty={<Empty icon="megaphone" title={t('announcements.none')} action={make} />}
      />
      {writing && (
        <Write
          key={writing === 'new' ? 'new' : writing.id}
          of={writing}
          close={() => setWriting(null)}
          done={refresh}
        />
      )}
      <Confirm
        opened={removing !== null}
        close={() => setRemoving(null)}
        title={`${t('announcements.remove')}: ${removing?.title ?? ''}`}
        verb={t('announcements.remove')}
        act={() => removing && remove.mutate(removing.id)}
        busy={remove.isPending}
        error={remove.error}
      >
        {t('announcements.removeText')}
      </Confirm>
    </>
  );
}

function Write({ of, close, done }: { of: Announcement | 'new'; close: () => void; done: () => void }) {
  const { t } = useTranslation(['admin', 'app']);
  const old = of === 'new' ? null : of;
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: {
      title: old?.title ?? '',
      body: old?.body ?? '',
      level: old?.level ?? ('info' as const),
      starts_at: localOf(old?.starts_at),
      ends_at: localOf(old?.ends_at),
    },
    validate: { title: (it) => (it.trim() ? null : t('app:field.required')) },
  });
  const save = useMutation({
    mutationFn: (values: ReturnType<typeof form.getValues>) => {
      const body: Schemas['Announce'] = {
        title: values.title.trim(),
        body: values.body,
        level: values.level,
        starts_at: isoOf(values.starts_at),
        ends_at: isoOf(values.ends_at),
      };
      return old
        ? ok(api.PUT('/api/admin/announcements/{id}', { params: { path: { id: old.id } }, body }))
        : ok(api.POST('/api/admin/announcements', { body }));
    },
    onSuccess: () => {
      close();
      done();
    },
    onError: (error) => beside(form, error),
  });
  return (
    <Dialog opened onClose={close} title={old ? t('change') : t('announcements.make')} size="lg">
      <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
        <Stack>
          <TextInput
            label={t('announcements.name')}
            maxLength={200}
            data-autofocus
            key={form.key('title')}
            {...form.getInputProps('title')}
          />
          <Textarea
            label={t('announcements.body')}
            description={t('announcements.bodyNote')}
            autosize
            minRows={4}
            maxRows={12}
            maxLength={10_000}
            key={form.key('body')}
            {...form.getInputProps('body')}
          />
          <NativeSelect
            label={t('announcements.level')}
            data={LEVELS.map((it) => ({ value: it, label: t(`app:announcement.${it}`) }))}
            key={form.key('level')}
            {...form.getInputProps('level')}
          />
          <Group grow>
            <TextInput
              type="datetime-local"
              label={t('announcements.from', { zone: zone() })}
              key={form.key('starts_at')}
              {...form.getInputProps('starts_at')}
            />
            <TextInput
              type="datetime-local"
              label={t('announcements.to')}
              key={form.key('ends_at')}
              {...form.getInputProps('ends_at')}
            />
          </Group>
          {save.error ? <ProblemAlert error={save.error} /> : null}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              {t('cancel')}
            </Button>
            <Button type="submit" loading={save.isPending}>
              {old ? t('save') : t('announcements.make')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Dialog>
  );
}
