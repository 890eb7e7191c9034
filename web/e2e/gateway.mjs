// The real gateway on a port and a data folder of its own, and a pretended provider behind it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
export const ADMIN_PASSWORD = "an admin's long password";

/** Waits until `probe` answers something truthy, and says what it waited for if it never does. */
export async function until(what, probe, limitMs = 30_000) {
  const end = Date.now() + limitMs;
  let last;
  while (Date.now() < end) {
    try {
      const it = await probe();
      if (it) return it;
    } catch (error) {
      last = error;
    }
    await new Promise((go) => setTimeout(go, 100));
  }
  throw new Error(`waited in vain: ${what}`, { cause: last });
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function binary() {
  const path = process.env.NEXUSROUTE_BIN ?? join(ROOT, 'target/debug/nexusroute');
  if (!existsSync(path)) throw new Error(`there is no ${path}: build it first (cargo build --package api)`);
  return path;
}

/**
 * With PREVIEW=1 the console comes from `dist` by way of Vite, and the binary need not be built anew for each change of it; what
 * the binary says about policy is then not tested.
 */
async function preview(gateway, port) {
  const vite = await import('vite');
  process.env.NEXUSROUTE_URL = gateway;
  const server = await vite.preview({
    root: join(ROOT, 'web'),
    preview: { host: '127.0.0.1', port, strictPort: true },
  });
  return () => server.close();
}

/** `host`: by which name browsers come; passkeys need one that is no address. `env`: what the operator configured besides. */
export async function startGateway({ host = '127.0.0.1', env = {} } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'nexusroute-console-'));
  const ownPort = await freePort();
  const own = `http://127.0.0.1:${ownPort}`;
  const port = process.env.PREVIEW ? await freePort() : null;
  const url = `http://${host}:${port ?? ownPort}`;
  const closePreview = port ? await preview(own, port) : () => {};
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('NEXUSROUTE_'));
  const child = spawn(binary(), ['serve'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...Object.fromEntries(clean),
      NEXUSROUTE_DATA_DIR: join(folder, 'data'),
      NEXUSROUTE_LISTEN: own.slice('http://'.length),
      NEXUSROUTE_PUBLIC_URL: url,
      NEXUSROUTE_ADMIN_PASSWORD: ADMIN_PASSWORD,
      NEXUSROUTE_ALLOW_PRIVATE_PROVIDERS: 'true',
      ...env,
      ...(existsSync(join(ROOT, '.deps/bin/nats-server'))
        ? { NEXUSROUTE_NATS_SERVER: join(ROOT, '.deps/bin/nats-server') }
        : {}),
    },
  });
  let output = '';
  let ended = false;
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  child.on('exit', () => (ended = true));
  const stop = async () => {
    await closePreview();
    if (!ended) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await once(child, 'exit');
      clearTimeout(timer);
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until(
      'the gateway is ready',
      async () => {
        if (ended) return true;
        return (await fetch(`${own}/readyz`)).ok;
      },
      60_000,
    );
    if (ended) throw new Error(`the gateway ended before it was ready:\n${output}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop, output: () => output };
}

/** The API as a program uses it: with an access token. */
export async function loggedIn(url, login, password) {
  const call = async (method, path, body, token) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  const { access_token: token } = await call('POST', '/api/user/login', { login, password });
  return (method, path, body) => call(method, path, body, token);
}

/** Says its words one by one; who leaves is not spoken to any more. */
async function speak(response, model, pauseMs) {
  response.setHeader('content-type', 'text/event-stream');
  const chunk = (it) =>
    response.write(
      `data: ${JSON.stringify({ id: 'chatcmpl-2', object: 'chat.completion.chunk', created: 1, model, ...it })}\n\n`,
    );
  for (const content of ['Hello ', 'to ', '<b>you</b>', '.', ' And', ' so', ' on', '.']) {
    if (response.destroyed) return;
    chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
    await new Promise((go) => setTimeout(go, pauseMs));
  }
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
  chunk({ choices: [], usage: { prompt_tokens: 1200, completion_tokens: 345, total_tokens: 1545 } });
  response.end('data: [DONE]\n\n');
}

/** A provider that answers every chat with the same words and the same counts; a stream comes in pieces, slowly if asked to. */
export async function startProvider() {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (text) => (body += text));
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (request.url.endsWith('/models')) {
        response.end(JSON.stringify({ object: 'list', data: [{ id: 'demo-large', object: 'model' }] }));
        return;
      }
      const { model, stream, messages = [] } = JSON.parse(body || '{}');
      if (stream) {
        speak(response, model, JSON.stringify(messages).includes('slowly') ? 400 : 20);
        return;
      }
      response.end(
        JSON.stringify({
          id: 'chatcmpl-1',
          object: 'chat.completion',
          created: 1,
          model,
          choices: [
            { index: 0, message: { role: 'assistant', content: 'Hello to you.' }, finish_reason: 'stop' },
          ],
          usage: { prompt_tokens: 1200, completion_tokens: 345, total_tokens: 1545 },
        }),
      );
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
