import {
  Badge,
  Button,
  type CSSVariablesResolver,
  createTheme,
  localStorageColorSchemeManager,
  Modal,
  NativeSelect,
  PasswordInput,
  Textarea,
  TextInput,
} from '@mantine/core';

// The darkest shades but one, in both schemes: white text on them, and they on white, have the contrast that small text needs.
export const theme = createTheme({
  primaryColor: 'indigo',
  primaryShade: { light: 8, dark: 8 },
  autoContrast: true,
  luminanceThreshold: 0.3,
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamily:
    'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif',
  headings: { fontWeight: '650', sizes: { h1: { fontSize: '1.6rem' }, h2: { fontSize: '1.15rem' } } },
  components: {
    Badge: Badge.extend({ defaultProps: { variant: 'dot', tt: 'none', fw: 500 } }),
    Button: Button.extend({ defaultProps: { mih: 40 } }),
    // Smaller text makes iOS zoom into the field.
    TextInput: TextInput.extend({ defaultProps: { size: 'md' } }),
    Textarea: Textarea.extend({ defaultProps: { size: 'md' } }),
    PasswordInput: PasswordInput.extend({ defaultProps: { size: 'md' } }),
    NativeSelect: NativeSelect.extend({ defaultProps: { size: 'md' } }),
    Modal: Modal.extend({ defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.45 } } }),
  },
});

export const colours = localStorageColorSchemeManager({ key: 'nexusroute.colours' });

/** Greys and links that small text can be read in; the library's own are too pale for that. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-body': '#fbfcfd',
    '--mantine-color-dimmed': '#565f6b',
    '--mantine-color-anchor': '#364fc7',
    '--mantine-color-placeholder': '#69727d',
    '--mantine-color-error': '#c92a2a',
    '--mantine-color-red-outline': '#c92a2a',
    '--mantine-color-red-text': '#c92a2a',
  },
  dark: {
    '--mantine-color-dimmed': '#a9b0bb',
    '--mantine-color-anchor': '#91a7ff',
    '--mantine-color-placeholder': '#9299a3',
    '--mantine-color-error': '#ff8787',
  },
});
