import { Button, Group, type MantineSize, Stack } from '@mantine/core';
import type { FormEvent, ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Dialog } from './Dialog';
import { ProblemAlert } from './States';

interface Props {
  opened: boolean;
  close: () => void;
  title: string;
  /** What its button does. */
  verb: string;
  submit: (event: FormEvent<HTMLFormElement>) => void;
  busy: boolean;
  error?: unknown;
  /** Is enough filled in? */
  ready?: boolean;
  danger?: boolean;
  /** The focus begins on the way out. */
  careful?: boolean;
  size?: MantineSize;
  children: ReactNode;
}

/** A form in a dialog: its fields, what went wrong, the way out, and the one act that it is for. */
export function FormDialog({
  opened,
  close,
  title,
  verb,
  submit,
  busy,
  error,
  ready = true,
  danger = false,
  careful = false,
  size = 'md',
  children,
}: Props) {
  const { t } = useTranslation();
  return (
    <Dialog opened={opened} onClose={close} title={title} size={size}>
      <form noValidate autoComplete="off" onSubmit={submit}>
        <Stack>
          {children}
          {error ? <ProblemAlert error={error} /> : null}
          <Group justify="flex-end">
            <Button variant="default" {...(careful ? { 'data-autofocus': true } : {})} onClick={close}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" {...(danger ? { color: 'red' } : {})} loading={busy} disabled={!ready}>
              {verb}
            </Button>
          </Group>
        </Stack>
      </form>
    </Dialog>
  );
}
