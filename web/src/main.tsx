import './mantine.css';
import './styles.css';
import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { setNonce } from 'get-nonce';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { queryClient } from './api/queries';
import { startWords } from './i18n';
import { router, startFirstView } from './router';
import { colours, theme, variables } from './theme';

// Styles that are made at run time carry the page's nonce: the components' by the provider, the scroll lock's by this.
const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? '';
if (nonce) setNonce(nonce);

// A tab from before an upgrade asks for files that are gone. Loading the page again brings the new ones; once, so that a
// file that is truly missing does not make it turn for ever.
window.addEventListener('vite:preloadError', (event) => {
  const last = sessionStorage.getItem('nexusroute.reloaded') ?? '';
  if (Date.now() - new Date(last || 0).getTime() < 60_000) return;
  sessionStorage.setItem('nexusroute.reloaded', new Date().toISOString());
  event.preventDefault();
  window.location.reload();
});

const place = document.getElementById('root');
if (!place) throw new Error('the page has no root');
await Promise.all([startWords(), startFirstView()]);
createRoot(place).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={variables}
      defaultColorScheme="auto"
      colorSchemeManager={colours}
      getStyleNonce={() => nonce}
    >
      <QueryClientProvider client={queryClient}>
        <Notifications position="top-right" />
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
