import { ActionIcon, Button, Tooltip } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Icon } from './Icon';

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard on plain http and in some in-app browsers: a selected field is what is left.
    const field = document.createElement('textarea');
    field.value = text;
    field.setAttribute('readonly', '');
    field.className = 'offscreen';
    const frame = document.activeElement?.closest('[role="dialog"]') ?? document.body;
    frame.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

/** Copies a text; `label` says which. */
export function CopyButton({
  text,
  label,
  button = false,
}: {
  text: string;
  label: string;
  button?: boolean;
}) {
  const { t } = useTranslation();
  const [state, setState] = useState<'idle' | 'done' | 'failed'>('idle');
  const timer = useRef<number>(undefined);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const act = async () => {
    setState((await copied(text)) ? 'done' : 'failed');
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setState('idle'), 2000);
  };
  const said = state === 'done' ? t('common.copied') : state === 'failed' ? t('common.copyFailed') : '';
  return (
    <>
      {button ? (
        <Button variant="default" leftSection={<Icon name="copy" />} onClick={act}>
          {said || label}
        </Button>
      ) : (
        <Tooltip label={said || label}>
          <ActionIcon variant="subtle" color="gray" size={28} aria-label={label} onClick={act}>
            <Icon name={state === 'done' ? 'check' : 'copy'} size={16} />
          </ActionIcon>
        </Tooltip>
      )}
      <span role="status" className="offscreen">
        {said}
      </span>
    </>
  );
}
