import { Alert, Text } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { Icon } from '../../shared/Icon';
import { TextLink } from '../../shared/TextLink';

/** What was asked for is not done before a second person approves: said where it was asked for, with the way there. */
export function Waits() {
  const { t } = useTranslation('admin');
  return (
    <Alert
      role="status"
      variant="outline"
      color="yellow"
      mb="md"
      icon={<Icon name="stamp" />}
      title={t('approvals.waits')}
    >
      <Text size="sm">
        {t('approvals.waitsText')}{' '}
        <TextLink to="/admin/approvals" search={{ state: 'pending' }} underline="always">
          {t('approvals.toThem')}
        </TextLink>
      </Text>
    </Alert>
  );
}
