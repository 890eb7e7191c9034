// Every page in every state: the table is made of the router's own routes and of the gateway's own document, so that a new page
// is in it without a line here.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { act, cleanup, configure, render, waitFor } from '@testing-library/react';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

type Schema = Record<string, unknown> & { properties?: Record<string, Schema>; required?: string[] };
const contract = JSON.parse(readFileSync(resolve(process.cwd(), '../docs/openapi.json'), 'utf8'));
const ID = '0197a000-0000-7000-8000-000000000001';

/** The least that a schema allows: lists without items, nothing where nothing may be. */
function least(schema: Schema): unknown {
  if (typeof schema.$ref === 'string') {
    const name = schema.$ref.split('/').pop() ?? '';
    return least(contract.components.schemas[name]);
  }
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  if (types.includes('null')) return null;
  const some = (schema.oneOf ?? schema.anyOf) as Schema[] | undefined;
  if (some) return some.some((it) => it.type === 'null') ? null : least(some[0] as Schema);
  const own = Object.fromEntries(
    (schema.required ?? []).map((name) => [name, least(schema.properties?.[name] ?? {})]),
  );
  if (Array.isArray(schema.allOf)) {
    return Object.assign(own, ...(schema.allOf as Schema[]).map((it) => least(it)));
  }
  if (schema.properties || types.includes('object')) return own;
  if (types.includes('array')) return [];
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (types.includes('integer') || types.includes('number')) return schema.minimum ?? 0;
  if (types.includes('boolean')) return false;
  if (schema.format === 'date-time') return '2026-11-22T10:00:00Z';
  if (schema.format === 'uuid') return ID;
  return schema.example ?? '0';
}

function emptyAnswer(pathname: string): unknown {
  const paths = Object.keys(contract.paths).filter((path) => {
    const pattern = path.replace(/\{[^}]+\}/g, '[^/]+');
    return contract.paths[path].get && new RegExp(`^${pattern}$`).test(pathname);
  });
  // `/providers/health` is not a provider called health.
  const path = paths.sort((one, other) => one.split('{').length - other.split('{').length)[0];
  const content = path && contract.paths[path].get.responses['200']?.content;
  return content ? least(content['application/json']?.schema ?? {}) : {};
}

let state: 'waiting' | 'empty' | 'error' | 'refused' | 'trailing' = 'empty';
let role = 'owner';

const problem = (status: number, code: string, detail: string) =>
  new Response(JSON.stringify({ type: `urn:${code}`, title: code, status, code, detail, request_id: ID }), {
    status,
    headers: { 'content-type': 'application/problem+json' },
  });
const good = (body: unknown) => Response.json(body);

async function answer(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  // Who is there, and what the place is called, are known; all else is the page's.
  if (pathname === '/api/user/self') {
    return good({ ...(emptyAnswer(pathname) as object), id: ID, username: 'ann', role });
  }
  if (pathname === '/api/site') return good(emptyAnswer(pathname));
  switch (state) {
    case 'waiting':
      return new Promise(() => {});
    case 'empty':
      return good(emptyAnswer(pathname));
    case 'error':
      return problem(500, 'internal', 'something went wrong here');
    case 'refused':
      return problem(403, 'forbidden', 'not for you');
    case 'trailing':
      return problem(504, 'position_not_reached', 'not yet');
  }
}

class Silent {
  onerror = null;
  readyState = 0;
  addEventListener() {}
  close() {}
}

vi.stubGlobal('fetch', (input: Request | string, init?: RequestInit) =>
  answer(input instanceof Request ? input : new Request(new URL(input, window.location.origin), init)),
);
vi.stubGlobal('EventSource', Silent);
window.scrollTo = () => {};

// After the network was put in place: the client takes it along when it is made.
const { router } = await import('./router');
const { queryClient } = await import('./api/queries');
const { startWords } = await import('./i18n');
const { theme } = await import('./theme');

const all = Object.keys(router.routesByPath).map((path) => (path === '/' ? path : path.replace(/\/$/, '')));
const DOORS = ['/login', '/register', '/verify', '/forgot', '/reset'];
const PAGES = [...new Set(all)].filter((path) => !DOORS.includes(path)).sort();
// They ask for nothing before something is done on them.
const ASK_NOTHING = ['/redeem'];

// The first visit of a page reads its files, and the machine may do something else besides.
vi.setConfig({ testTimeout: 60_000 });
configure({ asyncUtilTimeout: 20_000 });

beforeAll(async () => {
  await startWords('en');
  const { queries } = queryClient.getDefaultOptions();
  queryClient.setDefaultOptions({ queries: { ...queries, retry: false } });
  render(
    <MantineProvider theme={theme} env="test">
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>,
  );
});

afterAll(() => {
  cleanup();
  queryClient.clear();
});

/** Opens a page anew; answers what stands between the menu and the end. */
async function opened(path: string): Promise<HTMLElement> {
  await act(async () => {
    // Away first, so that nothing of an earlier state stays on the page.
    await router.navigate({ href: '/no/such/page' } as never);
    queryClient.clear();
    await router.navigate({ href: path.replace(/\$\w+/, ID) } as never);
  });
  return waitFor(() => {
    const main = document.querySelector('main');
    if (!main) throw new Error(`${path} has no main part`);
    return main;
  });
}

test('the table holds every page', () => {
  expect(PAGES.length).toBeGreaterThan(35);
});

/** Everything is asked for anew, and answered in another way; who is there stays known. */
async function becomes(next: typeof state) {
  state = next;
  await act(() =>
    Promise.race([
      queryClient.resetQueries({ predicate: (it) => !['self', 'site'].includes(String(it.queryKey[0])) }),
      // What waits is not waited for.
      Promise.resolve(),
    ]),
  );
}

describe('a page waits, fails, is refused, trails, and has nothing', () => {
  test.each(PAGES)('%s', async (path) => {
    state = 'waiting';
    role = 'owner';
    const main = await opened(path);
    // By what stands in the page and not by role: roles of a whole page take a tenth of a second each in jsdom.
    const says = (words: string) => waitFor(() => expect(main.textContent).toContain(words));
    const waits = () => main.querySelectorAll('[role="status"][aria-label="Loading"]').length;
    if (!ASK_NOTHING.includes(path)) {
      await waitFor(() => expect(waits()).toBeGreaterThan(0));
      await becomes('error');
      await says('something went wrong here');
      await says(ID);
      await says('Try again');
      await becomes('refused');
      await says('You may not see or do this');
      await becomes('trailing');
      await says('Still being applied');
      await says('Try again');
    }
    await becomes('empty');
    await waitFor(() => {
      expect(main.querySelectorAll('h1')).toHaveLength(1);
      expect(waits()).toBe(0);
      for (const word of ['Still being applied', 'That did not work']) {
        expect(main.textContent).not.toContain(word);
      }
    });
    // A list without rows says so; it is no table of nothing.
    for (const body of main.querySelectorAll('tbody')) expect(body.children.length).toBeGreaterThan(0);
  });
});

describe('who has no right', () => {
  test.each(PAGES.filter((path) => path.startsWith('/admin')))('%s', async (path) => {
    state = 'empty';
    role = 'user';
    const main = await opened(path);
    await waitFor(() => expect(main.textContent).toContain('Your role does not see this page'));
  });
});
