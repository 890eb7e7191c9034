import { Button, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { encode } from 'uqr';
import { CopyButton } from '../../shared/CopyButton';
import type { Action } from './useOrder';

/** What the payer does next: scans, follows a link, or sends a form to the channel. */
export function PayAction({ action, over, title }: { action: Action; over: boolean; title: string }) {
  const { t } = useTranslation();
  // On a phone the channel's page comes in place of this one: in-app browsers have no second tab to come back from.
  const phone = useMediaQuery('(max-width: 40em)');
  const target = phone ? '_self' : '_blank';
  switch (action.kind) {
    case 'qr':
      return (
        <>
          <Code_ content={action.content} over={over} title={t('pay.qr', { title })} />
          <Text ta="center" c="dimmed">
            {over ? t('pay.over') : t('pay.scan', { title })}
          </Text>
          {/^https?:/.test(action.content) && !over && (
            <Button
              component="a"
              href={action.content}
              target={target}
              rel="noopener"
              variant="default"
              fullWidth
            >
              {t('pay.here')}
            </Button>
          )}
        </>
      );
    case 'redirect':
      return (
        <>
          <Button
            component="a"
            href={/^https?:/.test(action.url) ? action.url : undefined}
            target={target}
            rel="noopener"
            size="md"
            fullWidth
            data-autofocus
          >
            {t('pay.open', { title })}
          </Button>
          <Text ta="center" size="sm" c="dimmed">
            {t('pay.elsewhere')} <CopyButton text={action.url} label={t('pay.copyLink')} />
          </Text>
        </>
      );
    case 'form':
      // Our own form from the channel's fields: markup of theirs is never put into the page.
      return (
        <form action={action.url} method="post" target={target} acceptCharset="utf-8">
          {action.fields.map((field) => (
            <input key={field.name} type="hidden" name={field.name} value={field.value} />
          ))}
          <Button type="submit" size="md" fullWidth data-autofocus>
            {t('pay.open', { title })}
          </Button>
        </form>
      );
  }
}

function Code_({ content, over, title }: { content: string; over: boolean; title: string }) {
  const { size, path } = useMemo(() => {
    const code = encode(content, { border: 2, ecc: 'M' });
    const squares = code.data.flatMap((row, y) =>
      row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])),
    );
    return { size: code.size, path: squares.join('') };
  }, [content]);
  return (
    <svg className={over ? 'qr over' : 'qr'} viewBox={`0 0 ${size} ${size}`} role="img" aria-label={title}>
      <path d={path} fill="#000" shapeRendering="crispEdges" />
    </svg>
  );
}
