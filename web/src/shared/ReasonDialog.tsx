import { Textarea } from '@mantine/core';
import { type ReactNode, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { FormDialog } from './FormDialog';

/** Asks why, before an act that is kept with its reason. What else it asks for stands above, as `children`. */
export function ReasonDialog({
  opened,
  close,
  title,
  label,
  verb,
  danger = false,
  optional = false,
  ready = true,
  act,
  busy,
  error,
  children,
}: {
  opened: boolean;
  close: () => void;
  title: string;
  /** What the field is called, where it is no reason. */
  label?: string;
  verb: string;
  danger?: boolean;
  optional?: boolean;
  /** Is all that stands above filled in? */
  ready?: boolean;
  act: (reason: string) => void;
  busy: boolean;
  error?: unknown;
  children?: ReactNode;
}) {
  const { t } = useTranslation();
  const [reason, setReason] = useState('');
  useEffect(() => {
    if (opened) setReason('');
  }, [opened]);
  const good = ready && (optional || reason.trim() !== '');
  return (
    <FormDialog
      opened={opened}
      close={close}
      title={title}
      verb={verb}
      submit={(event) => {
        event.preventDefault();
        if (good && !busy) act(reason.trim());
      }}
      busy={busy}
      error={error}
      ready={good}
      danger={danger}
      careful
    >
      {children}
      <Textarea
        label={label ?? t('reason.label')}
        description={optional ? undefined : t('reason.note')}
        autosize
        minRows={2}
        maxRows={6}
        maxLength={200}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
    </FormDialog>
  );
}
