// What guards the login: the password, a second factor, passkeys, other sites, and the sessions that are open.

import { Stack } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { PageTitle } from '../../shared/PageTitle';
import { Section } from '../../shared/Section';
import { IssuerFault } from '../Login/IssuerFault';
import { Identities } from './Identities';
import { Passkeys } from './Passkeys';
import { Password } from './Password';
import { SecondFactor } from './SecondFactor';
import { Sessions } from './Sessions';

const route = getRouteApi('/shell/security');

export function SecurityPage() {
  const { t } = useTranslation();
  const { error, issuer } = route.useSearch();
  return (
    <>
      <PageTitle title={t('security.title')} lead={t('security.lead')} />
      <Stack gap="lg" maw={860}>
        {error && <IssuerFault error={error} issuer={issuer} />}
        <Section id="factor" title={t('factor.title')}>
          <SecondFactor />
        </Section>
        <Section id="passkeys" title={t('passkeys.title')}>
          <Passkeys />
        </Section>
        <Section id="password" title={t('settings.password')}>
          <Password />
        </Section>
        <Section id="identities" title={t('identities.title')}>
          <Identities />
        </Section>
        <Section id="sessions" title={t('settings.sessions')}>
          <Sessions />
        </Section>
      </Stack>
    </>
  );
}
