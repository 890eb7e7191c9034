import { ActionIcon, Menu, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { LANGUAGES, setLanguage } from '../i18n';
import { Icon } from '../shared/Icon';

const NAMES = { en: 'English', 'zh-CN': '简体中文' };

/** Language and colours: in the top bar, and before the login. */
export function Switches() {
  const { t, i18n } = useTranslation();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  return (
    <>
      <Menu position="bottom-end">
        <Menu.Target>
          <ActionIcon variant="subtle" color="gray" size={44} aria-label={t('shell.language')}>
            <Icon name="globe" size={20} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {LANGUAGES.map((it) => (
            <Menu.Item
              key={it}
              lang={it}
              role="menuitemradio"
              aria-checked={i18n.language === it}
              onClick={() => setLanguage(it)}
            >
              {NAMES[it]}
              {i18n.language === it ? ' ✓' : ''}
            </Menu.Item>
          ))}
        </Menu.Dropdown>
      </Menu>
      <ActionIcon
        variant="subtle"
        color="gray"
        size={44}
        aria-label={scheme === 'dark' ? t('shell.light') : t('shell.dark')}
        onClick={() => setColorScheme(scheme === 'dark' ? 'light' : 'dark')}
      >
        <Icon name={scheme === 'dark' ? 'sun' : 'moon'} size={20} />
      </ActionIcon>
    </>
  );
}
