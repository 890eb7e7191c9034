import { Box, Button, Group } from '@mantine/core';
import { type ErrorComponentProps, Link } from '@tanstack/react-router';
import { useTranslation } from 'react-i18next';
import { Empty, ProblemAlert } from '../shared/States';

/** A page that fell over takes nothing else with it. */
export function Broken({ error, reset }: ErrorComponentProps) {
  const { t } = useTranslation();
  return (
    <Box maw={640} mx="auto" p="md">
      <ProblemAlert error={error} retry={reset} />
      <Group mt="md">
        <Button variant="default" onClick={() => window.location.reload()}>
          {t('broken.reload')}
        </Button>
      </Group>
    </Box>
  );
}

export function Missing() {
  const { t } = useTranslation();
  return (
    <Box maw={640} mx="auto" p="md" component="main">
      <Empty
        alone
        icon="search"
        title={t('missing.title')}
        action={
          <Button component={Link} to="/">
            {t('missing.home')}
          </Button>
        }
      >
        {t('missing.text')}
      </Empty>
    </Box>
  );
}
