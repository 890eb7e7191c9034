import { Alert, Code, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { loginMethodsQuery } from '../../api/queries';
import { Icon } from '../../shared/Icon';
import { FAULTS } from './fault';

/** Says why a login by another site, or a link to one, came to nothing. */
export function IssuerFault({ error, issuer }: { error: string; issuer: string | undefined }) {
  const { t } = useTranslation();
  const methods = useQuery(loginMethodsQuery);
  const known = FAULTS.find((it) => it === error);
  const site = methods.data?.issuers.find((it) => it.id === issuer)?.name ?? issuer ?? t('login.otherSite');
  return (
    <Alert
      role="alert"
      color={error === 'denied' ? 'gray' : 'red'}
      variant="outline"
      icon={<Icon name="alert" />}
      title={t('login.issuerFailed', { site })}
    >
      <Text size="sm">{known ? t(`login.faults.${known}`, { site }) : t('login.unknownFault')}</Text>
      <Text size="xs" mt="xs">
        {t('problem.code')} <Code>{error}</Code>
      </Text>
    </Alert>
  );
}
