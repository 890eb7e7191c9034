import { Alert, Code, Group, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { balance } from '../../money/format';
import { Balance } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { count } from '../../shared/format';
import { PageTitle } from '../../shared/PageTitle';
import { Section } from '../../shared/Section';
import { Loaded } from '../../shared/States';
import { Tile } from '../../shared/Tile';

/** One's own link, and what came of it. */
export function ReferralPage() {
  const { t } = useTranslation();
  const referral = useQuery({ queryKey: ['referral'], queryFn: () => ok(api.GET('/api/user/referral')) });
  return (
    <>
      <PageTitle title={t('referral.title')} lead={t('referral.lead')} />
      <Loaded query={referral}>
        {(it) => (
          <Stack gap="lg" maw={860}>
            {!it.enabled && <Alert variant="outline">{t('referral.off')}</Alert>}
            {it.enabled && (
              <Section id="link" title={t('referral.link')}>
                <Group gap="xs">
                  <Code>{it.link}</Code>
                  <CopyButton text={it.link} label={t('referral.copy')} />
                </Group>
                <Text mt="sm">
                  {t('referral.terms', {
                    reward: balance(it.reward),
                    welcome: balance(it.welcome),
                    least: balance(it.min_topup),
                    cap: count(it.monthly_cap),
                  })}
                </Text>
              </Section>
            )}
            <div className="tiles">
              <Tile name={t('referral.brought')}>{count(it.brought)}</Tile>
              <Tile name={t('referral.waiting')}>{count(it.waiting)}</Tile>
              <Tile
                name={t('referral.rewarded')}
                note={t('referral.thisMonth', { count: it.rewarded_this_month })}
              >
                {count(it.rewarded)}
              </Tile>
              <Tile name={t('referral.earned')}>
                <Balance amount={it.credits} focusable />
              </Tile>
            </div>
          </Stack>
        )}
      </Loaded>
    </>
  );
}
