import { Badge, Button, Code, Group, NativeSelect, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok, type Schemas } from '../../../api/client';
import { listing } from '../../../api/queries';
import { type Column, DataTable } from '../../../shared/DataTable';
import { Dialog } from '../../../shared/Dialog';
import { zone } from '../../../shared/format';
import { Choice, List } from '../../../shared/List';
import { PageTitle } from '../../../shared/PageTitle';
import { Section } from '../../../shared/Section';
import { Empty, Loaded, ProblemAlert } from '../../../shared/States';
import { When } from '../../../shared/When';
import { Guarded, useMay } from '../Guarded';

const route = getRouteApi('/shell/admin/settings');
export const SOURCES = ['default', 'file', 'environment', 'database'] as const;
type Setting = Schemas['SettingView'];

export function GatewaySettingsPage() {
  return (
    <Guarded right="settings:read">
      <Settings />
    </Guarded>
  );
}

/** A value as it is read: what is a list or a table is written as JSON. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** What was typed, of the kind that stood there. Throws where it is no JSON and has to be. */
export function read(text: string, before: unknown): unknown {
  if (before === null || before === undefined || typeof before === 'string') return text;
  return JSON.parse(text);
}

function Settings() {
  const { t } = useTranslation('admin');
  const { q = '', source } = route.useSearch();
  const navigate = useNavigate();
  const mayChange = useMay('settings:write');
  const [changing, setChanging] = useState<Setting | null>(null);
  const settings = useQuery({
    queryKey: ['admin', 'settings'],
    queryFn: () => ok(api.GET('/api/admin/settings')),
  });
  const columns: Column<Setting>[] = [
    {
      key: 'key',
      title: t('settings.key'),
      head: true,
      cell: (row) => (
        <>
          <Code>{row.key}</Code>
          <Text size="xs" c="dimmed" maw={420}>
            {row.help}
          </Text>
        </>
      ),
    },
    {
      key: 'value',
      title: t('settings.value'),
      cell: (row) => (row.hidden ? t('settings.hidden') : shown(row.value) || t('settings.unset')),
    },
    {
      key: 'source',
      title: t('settings.source'),
      cell: (row) => (
        <Badge color={row.source === 'default' ? 'gray' : 'blue'}>
          {t(`settings.sources.${row.source}`)}
        </Badge>
      ),
    },
    {
      key: 'change',
      title: '',
      right: true,
      cell: (row) =>
        row.changeable && mayChange ? (
          <Button
            variant="default"
            size="xs"
            aria-label={t('settings.changeNamed', { key: row.key })}
            onClick={() => setChanging(row)}
          >
            {t('change')}
          </Button>
        ) : (
          <Text size="xs" c="dimmed">
            {row.changeable ? '' : t('settings.atStart')}
          </Text>
        ),
    },
  ];
  return (
    <>
      <PageTitle title={t('settings.title')} lead={t('settings.lead')} />
      <div className="filters">
        <TextInput
          type="search"
          label={t('settings.search')}
          defaultValue={q}
          onChange={(event) =>
            navigate({
              to: '/admin/settings',
              search: { source, q: event.currentTarget.value || undefined },
              replace: true,
            })
          }
        />
        <Choice
          label={t('settings.source')}
          all={t('all')}
          value={source}
          options={SOURCES}
          name={(it) => t(`settings.sources.${it}`)}
          choose={(it) => navigate({ to: '/admin/settings', search: { q: q || undefined, source: it } })}
        />
      </div>
      <Stack gap="lg">
        <Loaded query={settings}>
          {(it) => {
            const words = q.toLowerCase();
            const rows = it.items.filter(
              (row) =>
                (!source || row.source === source) && `${row.key} ${row.help}`.toLowerCase().includes(words),
            );
            return rows.length === 0 ? (
              <Empty icon="gear" title={t('settings.none')} />
            ) : (
              <DataTable
                caption={t('settings.title')}
                columns={columns}
                rows={rows}
                rowKey={(row) => row.key}
              />
            );
          }}
        </Loaded>
        <Versions />
      </Stack>
      {changing && settings.data && (
        <Change
          key={changing.key}
          // As it is now, and not as it was when the dialog opened.
          setting={settings.data.items.find((it) => it.key === changing.key) ?? changing}
          version={settings.data.version}
          close={() => setChanging(null)}
        />
      )}
    </>
  );
}

function Change({ setting, version, close }: { setting: Setting; version: number; close: () => void }) {
  const { t } = useTranslation('admin');
  const client = useQueryClient();
  const [text, setText] = useState(shown(setting.value));
  const [wrong, setWrong] = useState(false);
  const save = useMutation({
    mutationFn: (value: unknown) =>
      ok(api.PATCH('/api/admin/settings', { body: { version, set: { [setting.key]: value as never } } })),
    onSuccess: () => {
      close();
      notifications.show({ message: t('saved'), color: 'teal' });
    },
    // Somebody else's change is what a conflict is about: it is read anew.
    onSettled: () => client.invalidateQueries({ queryKey: ['admin', 'settings'] }),
  });
  const isList = typeof setting.value === 'object' && setting.value !== null;
  return (
    <Dialog opened onClose={close} title={setting.key}>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          try {
            save.mutate(read(text, setting.value));
            setWrong(false);
          } catch {
            setWrong(true);
          }
        }}
      >
        <Stack>
          <Text size="sm">{setting.help}</Text>
          {typeof setting.value === 'boolean' ? (
            <NativeSelect
              label={t('settings.value')}
              value={text}
              data={['true', 'false']}
              onChange={(event) => setText(event.currentTarget.value)}
            />
          ) : isList ? (
            <Textarea
              label={t('settings.value')}
              description={t('settings.json')}
              autosize
              minRows={3}
              spellCheck={false}
              error={wrong ? t('settings.jsonRule') : undefined}
              value={text}
              onChange={(event) => setText(event.currentTarget.value)}
            />
          ) : (
            <TextInput
              label={t('settings.value')}
              spellCheck={false}
              data-autofocus
              error={wrong ? t('settings.jsonRule') : undefined}
              value={text}
              onChange={(event) => setText(event.currentTarget.value)}
            />
          )}
          <Text size="xs" c="dimmed">
            {t('settings.default', { value: setting.default || t('settings.unset') })}
          </Text>
          {save.error ? <ProblemAlert error={save.error} /> : null}
          <Group justify="space-between">
            <Button
              variant="default"
              disabled={setting.source !== 'database'}
              onClick={() => save.mutate(null)}
            >
              {t('settings.takeBack')}
            </Button>
            <Group>
              <Button variant="default" onClick={close}>
                {t('cancel')}
              </Button>
              <Button type="submit" loading={save.isPending}>
                {t('save')}
              </Button>
            </Group>
          </Group>
        </Stack>
      </form>
    </Dialog>
  );
}

function Versions() {
  const { t } = useTranslation('admin');
  const versions = useQuery({
    queryKey: ['admin', 'settings', 'versions'],
    queryFn: () => ok(api.GET('/api/admin/settings/versions', { params: { query: { limit: 20 } } })),
    ...listing,
  });
  return (
    <Section id="versions" title={t('settings.versions')}>
      <List
        query={versions}
        caption={t('settings.versions')}
        rowKey={(row) => String(row.version)}
        columns={[
          { key: 'version', title: t('settings.version'), head: true, cell: (row) => row.version },
          {
            key: 'at',
            title: t('audit.at', { zone: zone() }),
            cell: (row) => <When at={row.created_at} />,
          },
          { key: 'author', title: t('models.author'), cell: (row) => row.author.slice(-12) },
          { key: 'options', title: t('settings.changed'), cell: (row) => <Code>{shown(row.options)}</Code> },
        ]}
        empty={<Text c="dimmed">{t('settings.noVersions')}</Text>}
      />
    </Section>
  );
}
