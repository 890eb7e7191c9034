import { Drawer, type DrawerProps, Modal, type ModalProps } from '@mantine/core';
import { useTranslation } from 'react-i18next';

/** A dialog whose cross has a name. */
export function Dialog(props: ModalProps) {
  const { t } = useTranslation();
  return <Modal {...props} closeButtonProps={{ 'aria-label': t('common.close') }} />;
}

/** A panel from the side: what stands behind a row of a list. */
export function Side(props: DrawerProps) {
  const { t } = useTranslation();
  return (
    <Drawer position="right" size="lg" {...props} closeButtonProps={{ 'aria-label': t('common.close') }} />
  );
}
