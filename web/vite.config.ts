import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// The gateway that `npm run dev` talks to.
const gateway = process.env.NEXUSROUTE_URL ?? 'http://127.0.0.1:3000';
// The gateway refuses writes from another origin: the host must stay the browser's.
const proxied = { target: gateway, changeOrigin: false };

// Pages that people land on, and the files of the words besides English ones: `index.html` asks for them ahead.
const LANDINGS: Record<string, string[]> = {
  '/': ['pages/Dashboard/index.tsx'],
  '/keys': ['pages/Keys/index.tsx'],
  '/usage': ['pages/Usage/index.tsx'],
  '/topup': ['pages/TopUp/index.tsx'],
  '/billing': ['pages/Billing/index.tsx'],
  '/models': ['pages/Models/index.tsx'],
  '/playground': ['pages/Playground/index.tsx'],
  '/admin': ['pages/admin/Overview/index.tsx', 'i18n/en/admin.ts'],
  '/admin/users': ['pages/admin/Users/index.tsx', 'i18n/en/admin.ts'],
  '/admin/providers': ['pages/admin/Providers/index.tsx', 'i18n/en/admin.ts'],
};
const WORDS = ['i18n/zh-CN/app.ts'];

/** Puts the files of these pages into `index.html`, but for those that it asks for anyway. */
function ahead(): Plugin {
  return {
    name: 'nexusroute-ahead',
    transformIndexHtml: {
      order: 'post',
      handler(html, { bundle }) {
        const chunks = Object.values(bundle ?? {}).flatMap((it) => (it.type === 'chunk' ? [it] : []));
        /** A chunk with all that it imports, styles too. */
        const whole = (chunk: (typeof chunks)[number], found = new Set<string>()) => {
          if (found.has(chunk.fileName)) return found;
          found.add(chunk.fileName);
          for (const style of chunk.viteMetadata?.importedCss ?? []) found.add(style);
          for (const it of chunks) if (chunk.imports.includes(it.fileName)) whole(it, found);
          return found;
        };
        const files = (sources: string[]) => {
          if (!bundle) return [];
          const wanted = sources.map((source) => {
            const chunk = chunks.find((it) => it.facadeModuleId?.endsWith(`/src/${source}`));
            if (!chunk) throw new Error(`no file of the build is ${source}'s`);
            return [...whole(chunk)];
          });
          return [...new Set(wanted.flat())].map((it) => `/${it}`).filter((it) => !html.includes(`"${it}"`));
        };
        const pages = Object.fromEntries(Object.entries(LANDINGS).map(([path, it]) => [path, files(it)]));
        return html.replace('__AHEAD__', () =>
          JSON.stringify({ pages: bundle ? pages : {}, words: files(WORDS) }),
        );
      },
    },
  };
}

export default defineConfig({
  plugins: [react(), ahead()],
  // The binary puts a fresh nonce in its place, for each page.
  html: { cspNonce: '__CSP_NONCE__' },
  build: {
    target: 'es2022',
    // No file becomes a `data:` address, which the policy forbids.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      output: {
        // What every page needs comes in three files rather than in forty; charts and pages stay on their own.
        codeSplitting: {
          groups: [
            {
              name: 'base',
              test: /node_modules[\\/](react|react-dom|scheduler|@tanstack|i18next|react-i18next|openapi-fetch)[\\/]/,
            },
            {
              name: 'parts',
              test: /node_modules[\\/](@mantine[\\/](core|hooks|form|notifications)|@floating-ui|react-remove-scroll)/,
            },
            {
              // What pages share: a dozen files of a kilobyte each would be fetched in turns.
              name: 'shared',
              test: /src[\\/](api|money|shell|shared)[\\/](?!BarsByDay|Qr|Palette)|src[\\/]i18n[\\/](index|en[\\/]app)/,
            },
          ],
        },
      },
    },
  },
  server: {
    proxy: { '/api': proxied, '/v1': proxied, '/v1beta': proxied, '/healthz': proxied, '/readyz': proxied },
  },
  test: {
    environment: 'jsdom',
    setupFiles: ['src/test/setup.ts'],
    include: ['src/**/*.test.{ts,tsx}'],
    restoreMocks: true,
  },
});
