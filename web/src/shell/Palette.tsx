// Ctrl-K: pages by name, one's own keys, and a call by its request id. It comes only when it is wanted.

import { Modal, NavLink, ScrollArea, Text, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { keysQuery, selfQuery } from '../api/queries';
import { Icon, type IconName } from '../shared/Icon';
import { OPERATOR_PAGES, USER_PAGES } from './nav';
import { may } from './rights';

interface Found {
  id: string;
  icon: IconName;
  label: string;
  note?: string;
  go: () => void;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const SHOWN = 12;

export default function Palette({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const self = useQuery(selfQuery);
  const keys = useQuery(keysQuery);
  const [words, setWords] = useState('');
  const [at, setAt] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const role = self.data?.role ?? 'user';
  const office = OPERATOR_PAGES.filter((page) => may(role, page.right));
  const wanted = words.trim().toLowerCase();
  const pages: Found[] = [...USER_PAGES, ...office].map((page) => ({
    id: page.to,
    icon: page.icon,
    label: t(page.name),
    go: () => void navigate({ to: page.to }),
  }));
  const named: Found[] = (keys.data ?? []).map((key) => ({
    id: key.id,
    icon: 'key',
    label: key.name,
    note: key.prefix,
    go: () => void navigate({ to: '/keys/$id', params: { id: key.id } }),
  }));
  const ids: Found[] = UUID.test(wanted)
    ? [
        {
          id: 'call',
          icon: 'list',
          label: t('palette.call'),
          note: wanted,
          go: () => void navigate({ to: '/usage', search: { open: wanted } }),
        },
        {
          id: 'order',
          icon: 'wallet',
          label: t('palette.order'),
          note: wanted,
          go: () => void navigate({ to: '/topup/$order', params: { order: wanted } }),
        },
        ...(may(role, 'users:read')
          ? [
              {
                id: 'user',
                icon: 'person' as const,
                label: t('palette.user'),
                note: wanted,
                go: () => void navigate({ to: '/admin/users/$id', params: { id: wanted } }),
              },
            ]
          : []),
      ]
    : [];
  const matches = [...pages, ...named].filter((it) =>
    `${it.label} ${it.note ?? ''} ${it.id}`.toLowerCase().includes(wanted),
  );
  const search: Found[] =
    wanted && ids.length === 0 && may(role, 'users:read')
      ? [
          {
            id: 'users',
            icon: 'users',
            label: t('palette.users', { words: words.trim() }),
            go: () => void navigate({ to: '/admin/users', search: { q: words.trim() } }),
          },
        ]
      : [];
  const found = [...ids, ...matches.slice(0, SHOWN), ...search];
  const chosen = Math.min(at, Math.max(0, found.length - 1));
  const move = (to: number) => {
    setAt(to);
    list.current?.querySelectorAll('[role="option"]')[to]?.scrollIntoView({ block: 'nearest' });
  };
  const take = (it: Found | undefined) => {
    if (!it) return;
    close();
    it.go();
  };
  return (
    <Modal opened onClose={close} title={t('palette.title')} withCloseButton={false} size="lg" yOffset="8vh">
      <TextInput
        label={t('palette.search')}
        data-autofocus
        role="combobox"
        aria-expanded
        aria-controls="palette"
        aria-activedescendant={found[chosen] ? `palette-${found[chosen].id}` : undefined}
        spellCheck={false}
        value={words}
        onChange={(event) => {
          setWords(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') move(Math.min(chosen + 1, found.length - 1));
          else if (event.key === 'ArrowUp') move(Math.max(chosen - 1, 0));
          else if (event.key === 'Enter') take(found[chosen]);
          else return;
          event.preventDefault();
        }}
      />
      <ScrollArea.Autosize mah="50vh" mt="sm">
        <div role="listbox" id="palette" aria-label={t('palette.found')} ref={list}>
          {found.map((it, index) => (
            <NavLink
              key={it.id}
              id={`palette-${it.id}`}
              component="div"
              role="option"
              aria-selected={index === chosen}
              tabIndex={-1}
              label={it.label}
              description={it.note}
              leftSection={<Icon name={it.icon} />}
              active={index === chosen}
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => take(it)}
            />
          ))}
        </div>
      </ScrollArea.Autosize>
      {found.length === 0 && (
        <Text c="dimmed" role="status">
          {t('empty.filtered')}
        </Text>
      )}
    </Modal>
  );
}
