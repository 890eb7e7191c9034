import { Alert, Button, Checkbox, Code, Group, Modal, Stack, Text } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { CopyButton } from './CopyButton';

/**
 * Shows a secret this once. It stands in the state of the page that made it and nowhere else: no address, no storage, no
 * cache. Only "I have saved it" closes it.
 */
export function Secret({
  secret,
  title,
  close,
  note,
  copy,
  children,
}: {
  secret: string | null;
  title: string;
  close: () => void;
  /** What it is, where it is no key. */
  note?: string;
  copy?: string;
  children?: ReactNode;
}) {
  const { t } = useTranslation();
  const [saved, setSaved] = useState(false);
  const end = () => {
    setSaved(false);
    close();
  };
  return (
    <Modal
      opened={secret !== null}
      onClose={() => {}}
      title={title}
      size="lg"
      closeOnClickOutside={false}
      closeOnEscape={false}
      withCloseButton={false}
    >
      <Stack>
        <Alert color="yellow" variant="outline">
          <Text size="sm">{note ?? t('secret.once')}</Text>
        </Alert>
        <Code block className="secret" data-testid="secret">
          {secret}
        </Code>
        <Group>
          <CopyButton text={secret ?? ''} label={copy ?? t('secret.copy')} button />
        </Group>
        {children}
        <Checkbox
          checked={saved}
          onChange={(event) => setSaved(event.currentTarget.checked)}
          label={t('secret.saved')}
        />
        <Group justify="flex-end">
          <Button disabled={!saved} onClick={end}>
            {t('secret.done')}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
