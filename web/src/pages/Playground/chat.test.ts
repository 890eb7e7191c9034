// @vitest-environment node

import { afterEach, expect, test, vi } from 'vitest';
import { asCurl, chat, lines } from './chat';

const ASK = { model: 'm', messages: [{ role: 'user' as const, content: "it's" }] };

/** An answer that comes in these pieces. */
function answer(pieces: string[], status = 200) {
  const body = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response(body, { status, headers: { 'x-request-id': 'r1' } })),
  );
}

afterEach(() => vi.unstubAllGlobals());

test('a stream is read whole wherever the network cuts it', async () => {
  const whole = `data: {"choices":[{"delta":{"content":"He"}}]}\r\n\r\n: a comment\n\ndata: {"choices":[{"delta":{"content":"llo"},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n`;
  for (const at of [1, 7, 30, whole.length - 3]) {
    answer([whole.slice(0, at), whole.slice(at)]);
    let text = '';
    const ended = await chat('sk-1', ASK, (it) => (text += it), new AbortController().signal);
    expect(text).toBe('Hello');
    expect(ended).toEqual({ request: 'r1', finish: 'stop', input: 3, output: 2 });
  }
});

test('a refusal is shown in its own words', async () => {
  answer(['{"error":{"message":"no credits","code":"insufficient_credits"}}'], 402);
  await expect(chat('sk-1', ASK, () => {}, new AbortController().signal)).rejects.toMatchObject({
    status: 402,
    code: 'insufficient_credits',
    message: 'no credits',
    requestId: 'r1',
  });
});

test('an error within a stream is one', async () => {
  answer(['data: {"error":{"message":"the provider left","type":"provider_error"}}\n\n']);
  await expect(chat('sk-1', ASK, () => {}, new AbortController().signal)).rejects.toMatchObject({
    code: 'provider_error',
  });
});

test('the key is in no line that is shown, and a quote ends no argument', () => {
  const line = asCurl('https://gw.example', ASK);
  expect(line).toContain('Bearer $NEXUSROUTE_API_KEY');
  expect(line).toContain(`it'\\''s`);
});

test('a line that is not whole waits', () => {
  expect(lines('a\nb')).toEqual([['a'], 'b']);
  expect(lines('a\n')).toEqual([['a'], '']);
});
