import { Button, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useTranslation } from 'react-i18next';
import { CopyButton } from '../../shared/CopyButton';
import { Qr } from '../../shared/Qr';
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
          <Qr content={action.content} over={over} title={t('pay.qr', { title })} />
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
