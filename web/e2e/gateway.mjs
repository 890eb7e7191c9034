// The real gateway on a port and a data folder of its own, and a pretended provider behind it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createLine } from 'node:net';
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

/** A line between browsers and the gateway that a test can cut: all that goes over it breaks off, until it is mended. */
async function startLine(to) {
  const sockets = new Set();
  let isCut = false;
  const server = createLine((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(to, '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: server.address().port,
    cut,
    mend: () => (isCut = false),
    stop: () => {
      cut();
      server.close();
    },
  };
}

/** `host`: by which name browsers come; passkeys need one that is no address. `env`: what the operator configured besides. `cuttable`: over a
 * line with `cut` and `mend`. */
export async function startGateway({ host = '127.0.0.1', env = {}, cuttable = false } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'nexusroute-console-'));
  const ownPort = await freePort();
  const own = `http://127.0.0.1:${ownPort}`;
  const port = process.env.PREVIEW ? await freePort() : null;
  const line = cuttable ? await startLine(port ?? ownPort) : null;
  const url = `http://${host}:${line?.port ?? port ?? ownPort}`;
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
    line?.stop();
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
  return { url, own, stop, output: () => output, cut: line?.cut, mend: line?.mend };
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

/** Runs a program until it says that it is ready, and again until `stop`. Its input stays open: whoever reads it ends with us. */
async function program(name, command, args, isReady) {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
  });
  let output = '';
  let ended = false;
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  child.on('error', (error) => {
    output += error;
    ended = true;
  });
  child.on('exit', () => (ended = true));
  await until(`${name} is ready`, () => ended || isReady(output), 60_000);
  if (ended) throw new Error(`${name} ended at once:\n${output}`);
  return {
    output: () => output,
    stop: async () => {
      if (ended) return;
      child.stdin.end();
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

const PYTHON = process.env.NEXUSROUTE_TEST_PYTHON ?? join(ROOT, '.deps/bin/python');

/** A mail server that this project did not write; `env` is what a gateway sends its mails there with. */
export async function startMail() {
  const folder = mkdtempSync(join(tmpdir(), 'nexusroute-mail-'));
  const port = await freePort();
  const server = await program(
    'smtp.py',
    PYTHON,
    [join(ROOT, 'tests/clients/smtp.py'), folder, String(port), 'starttls'],
    (output) => output.includes('ready'),
  );
  const mails = () => {
    const file = join(folder, 'mails.jsonl');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    // The last one may be half written.
    return lines.slice(0, -1).map((line) => JSON.parse(line));
  };
  return {
    env: {
      NEXUSROUTE_SMTP_HOST: 'localhost',
      NEXUSROUTE_SMTP_PORT: String(port),
      NEXUSROUTE_SMTP_SECURITY: 'starttls',
      NEXUSROUTE_SMTP_FROM: 'The Gateway <gateway@example.net>',
      NEXUSROUTE_SMTP_CA_FILE: join(folder, 'ca.pem'),
      NEXUSROUTE_SMTP_USERNAME: 'gateway',
      NEXUSROUTE_SMTP_PASSWORD: 'a mail password',
    },
    /** The mail to somebody whose text matches, and what matched. */
    mail: (to, pattern) =>
      until(`a mail to ${to}`, () =>
        mails()
          .filter((it) => it.to.includes(to))
          .map((it) => ({ ...it, found: pattern.exec(it.text)?.[0] }))
          .find((it) => it.found),
      ),
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An issuer of OpenID Connect that this project did not write. */
export async function startIssuer() {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = ['-W', 'ignore', '-m', 'oidc_provider_mock', '--port', String(port)];
  const server = await program('the issuer', PYTHON, args, (output) => output.includes('Uvicorn running'));
  return {
    url,
    stop: server.stop,
    /** Says what is known of a person there. */
    knows: async (subject, claims) => {
      const answer = await fetch(`${url}/users/${subject}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(claims),
      });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    },
  };
}

/** The payment channels of the system tests, in a process of their own. */
export async function startChannels() {
  const path = process.env.NEXUSROUTE_SIMULATORS ?? join(ROOT, 'target/debug/simulators');
  if (!existsSync(path)) throw new Error(`there is no ${path}: build it first (cargo build --workspace)`);
  const server = await program('simulators', path, [], (output) => output.includes('\n'));
  const { url, env } = JSON.parse(server.output().split('\n')[0]);
  const asked = async (path, init) => {
    const answer = await fetch(url + path, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer;
  };
  return {
    env,
    stop: server.stop,
    /** The payer pays at the channel; unless `tells` is false, the channel tells the gateway, which must take it. */
    paid: async (gateway, channel, number, tells = true) => {
      const answer = await asked('/paid', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          channel,
          number,
          tells,
          // The channel has a line of its own.
          door: `${gateway.own}/api/payments/${channel}/callback`,
        }),
      });
      const heard = await answer.json();
      if (tells && heard.status !== 200) throw new Error(`${channel}: ${JSON.stringify(heard)}`);
    },
    /** How many refunds a channel gave. */
    refunds: async (channel) => (await asked(`/refunds/${channel}`)).json(),
    /** Its bill of a day, as somebody would download it. */
    bill: async (channel, day) => Buffer.from(await (await asked(`/bills/${channel}/${day}`)).arrayBuffer()),
  };
}
