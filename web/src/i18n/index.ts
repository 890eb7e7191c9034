// The words, in two languages. English is there from the start; Chinese, and the operators' words, come when wanted.

import i18next from 'i18next';
import { initReactI18next } from 'react-i18next';
import app from './en/app';

export type Language = 'en' | 'zh-CN';
export const LANGUAGES: Language[] = ['en', 'zh-CN'];

type Words<T> = { [K in keyof T]: T[K] extends string ? string : Words<T[K]> };
export type App = Words<typeof app>;
export type Admin = Words<typeof import('./en/admin').default>;

declare module 'i18next' {
  interface CustomTypeOptions {
    defaultNS: 'app';
    resources: { app: typeof app; admin: typeof import('./en/admin').default };
  }
}

const STORED = 'nexusroute.language';

const load: Record<Language, { app: () => Promise<App>; admin: () => Promise<Admin> }> = {
  en: {
    app: async () => app,
    admin: async () => (await import('./en/admin')).default,
  },
  'zh-CN': {
    app: async () => (await import('./zh-CN/app')).default,
    admin: async () => (await import('./zh-CN/admin')).default,
  },
};

let adminWanted = false;

function stored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

export function language(): Language {
  return i18next.language === 'zh-CN' ? 'zh-CN' : 'en';
}

async function fetchWords(to: Language) {
  const rooms = adminWanted ? (['app', 'admin'] as const) : (['app'] as const);
  const missing = rooms.filter((room) => !i18next.hasResourceBundle(to, room));
  await Promise.all(missing.map(async (room) => i18next.addResourceBundle(to, room, await load[to][room]())));
}

export async function setLanguage(to: Language) {
  await fetchWords(to);
  await i18next.changeLanguage(to);
  document.documentElement.lang = to;
  try {
    localStorage.setItem(STORED, to);
  } catch {
    // Then it lasts as long as the tab.
  }
}

/** Fetches the operators' words; their pages call it before they are shown. */
export async function wantAdminWords() {
  adminWanted = true;
  await Promise.all([fetchWords('en'), fetchWords(language())]);
}

export async function startWords(wish: string | null = stored() ?? navigator.language) {
  await i18next.use(initReactI18next).init({
    lng: 'en',
    fallbackLng: 'en',
    ns: ['app'],
    defaultNS: 'app',
    resources: { en: { app } },
    interpolation: { escapeValue: false },
  });
  if (wish && /^zh/i.test(wish)) {
    await fetchWords('zh-CN');
    await i18next.changeLanguage('zh-CN');
  }
  document.documentElement.lang = language();
}
