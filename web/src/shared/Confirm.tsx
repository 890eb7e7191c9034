import { Button, Group, Modal, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { ProblemAlert } from './States';

/** Asks before something that cannot be taken back. It names the thing and what happens; "cancel" has the focus. */
export function Confirm({
  opened,
  close,
  title,
  children,
  verb,
  act,
  busy,
  error,
}: {
  opened: boolean;
  close: () => void;
  title: string;
  children: ReactNode;
  verb: string;
  act: () => void;
  busy: boolean;
  error?: unknown;
}) {
  const { t } = useTranslation();
  return (
    <Modal opened={opened} onClose={close} title={title} withCloseButton={false}>
      <Text component="div" mb="md">
        {children}
      </Text>
      {error ? <ProblemAlert error={error} /> : null}
      <Group justify="flex-end" mt="md">
        <Button variant="default" data-autofocus onClick={close}>
          {t('common.cancel')}
        </Button>
        <Button color="red" loading={busy} onClick={act}>
          {verb}
        </Button>
      </Group>
    </Modal>
  );
}
