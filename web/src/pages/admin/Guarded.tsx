import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { selfQuery } from '../../api/queries';
import { Empty } from '../../shared/States';
import { may, type Right } from '../../shell/rights';

/** Does the reader's role have this right? The gateway asks again. */
export function useMay(right: Right): boolean {
  const self = useQuery(selfQuery);
  return self.data !== undefined && may(self.data.role, right);
}

/** Says what is missing rather than ask for what would be refused. */
export function Guarded({ right, children }: { right: Right; children: ReactNode }) {
  const { t } = useTranslation('admin');
  if (useMay(right)) return children;
  return (
    <Empty alone icon="shield" title={t('refused.title')}>
      {t('refused.text', { right })}
    </Empty>
  );
}
