import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// The gateway that `npm run dev` talks to.
const gateway = process.env.NEXUSROUTE_URL ?? 'http://127.0.0.1:3000';
// The gateway refuses writes from another origin: the host must stay the browser's.
const proxied = { target: gateway, changeOrigin: false };

export default defineConfig({
  plugins: [react()],
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
        // What every page needs comes in two files rather than in forty; charts and pages stay on their own.
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
