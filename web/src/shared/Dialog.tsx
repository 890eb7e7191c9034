import { Drawer, type DrawerProps, Modal, type ModalProps } from '@mantine/core';
import { useTranslation } from 'react-i18next';

// Where the focus was last, outside of dialogs. The library gives it back to what had it when the dialog opened; a button that
// waits for an answer before it opens one is disabled meanwhile, and has lost it by then.
let last: Element | null = null;
document.addEventListener('focusin', ({ target }) => {
  if (target instanceof Element && !target.closest('[role="dialog"]')) last = target;
});

function giveBack() {
  if (document.activeElement === document.body && last instanceof HTMLElement) last.focus();
}

/** A dialog whose cross has a name, and that leaves the focus where it was. */
export function Dialog(props: ModalProps) {
  const { t } = useTranslation();
  return (
    <Modal {...props} onExitTransitionEnd={giveBack} closeButtonProps={{ 'aria-label': t('common.close') }} />
  );
}

/** A panel from the side: what stands behind a row of a list. */
export function Side(props: DrawerProps) {
  const { t } = useTranslation();
  return (
    <Drawer position="right" size="lg" {...props} closeButtonProps={{ 'aria-label': t('common.close') }} />
  );
}
