// @vitest-environment node

import { expect, test } from 'vitest';
import enAdmin from './en/admin';
import enApp from './en/app';
import zhAdmin from './zh-CN/admin';
import zhApp from './zh-CN/app';

function flat(words: object, prefix = ''): [string, string][] {
  return Object.entries(words).flatMap(([name, it]) =>
    typeof it === 'string' ? [[prefix + name, it] as [string, string]] : flat(it, `${prefix}${name}.`),
  );
}

const holes = (text: string) => (text.match(/\{\{\w+\}\}/g) ?? []).sort();

for (const [name, english, chinese] of [
  ['app', enApp, zhApp],
  ['admin', enAdmin, zhAdmin],
] as const) {
  test(`both languages say the same things (${name})`, () => {
    const [en, zh] = [new Map(flat(english)), new Map(flat(chinese))];
    expect([...zh.keys()].sort()).toEqual([...en.keys()].sort());
    for (const [key, text] of en) {
      const other = zh.get(key) ?? '';
      expect(other.trim(), key).not.toBe('');
      expect(holes(other), key).toEqual(holes(text));
    }
  });

  test(`nothing was left untranslated (${name})`, () => {
    const same = new Set([
      'providers.formats.openai',
      'providers.formats.claude',
      'providers.formats.gemini',
    ]);
    const en = new Map(flat(english));
    for (const [key, text] of flat(chinese)) {
      if (!same.has(key)) expect(text, key).not.toBe(en.get(key));
    }
  });
}
