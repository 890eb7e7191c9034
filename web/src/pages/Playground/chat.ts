// A chat as the playground calls it: OpenAI's protocol at this gateway, streamed.
//
// Claims: the key goes into the request's header and nowhere else; what is shown is what came, however the network cut it.

import { Problem } from '../../api/problem';

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Ask {
  model: string;
  messages: Message[];
  max_tokens?: number;
  temperature?: number;
}

/** How a call went, once it has ended. */
export interface Ended {
  /** Under which the call stands in the usage log. */
  request: string | null;
  /** Why the model stopped; null: it was cut off. */
  finish: string | null;
  input: number | null;
  output: number | null;
}

/** The body as it is sent; "view code" shows the same. */
export function bodyOf(ask: Ask) {
  return { ...ask, stream: true, stream_options: { include_usage: true } };
}

/** The same call as a line for a shell. The key stays a variable. */
export function asCurl(base: string, ask: Ask): string {
  const body = JSON.stringify(bodyOf(ask), null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${base}/v1/chat/completions \\
  -H "Authorization: Bearer $NEXUSROUTE_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '${body}'`;
}

/** The complete lines of what has come so far, and what is left of it. */
export function lines(buffer: string): [string[], string] {
  const all = buffer.split(/\r?\n/);
  const rest = all.pop() ?? '';
  return [all, rest];
}

interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  error?: { message?: string; code?: string | null; type?: string };
}

/** Calls the model; `said` hears the text as it comes. A refusal is thrown as a `Problem`. */
export async function chat(
  key: string,
  ask: Ask,
  said: (text: string) => void,
  signal: AbortSignal,
): Promise<Ended> {
  let response: Response;
  try {
    response = await fetch('/v1/chat/completions', {
      method: 'POST',
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(bodyOf(ask)),
      signal,
      // The key says who calls; the session has no part in it.
      credentials: 'omit',
    });
  } catch (error) {
    if (signal.aborted) return { request: null, finish: null, input: null, output: null };
    throw new Problem(0, 'network', error instanceof Error ? error.message : 'unreachable');
  }
  const ended: Ended = {
    request: response.headers.get('x-request-id'),
    finish: null,
    input: null,
    output: null,
  };
  if (!response.ok || !response.body) throw await refused(response);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let buffer = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return ended;
      const [whole, rest] = lines(buffer + decoder.decode(value, { stream: true }));
      buffer = rest;
      for (const line of whole) {
        if (line.startsWith('data:')) take(line.slice(5).trim(), ended, said);
      }
    }
  } catch (error) {
    if (signal.aborted) return ended;
    if (error instanceof Problem) throw error;
    throw new Problem(
      0,
      'stream_broken',
      error instanceof Error ? error.message : '',
      ended.request ?? undefined,
    );
  }
}

function take(data: string, ended: Ended, said: (text: string) => void) {
  if (data === '[DONE]') return;
  const chunk = JSON.parse(data) as Chunk;
  if (chunk.error) {
    const code = chunk.error.code ?? chunk.error.type ?? 'provider_error';
    throw new Problem(0, code, chunk.error.message ?? code, ended.request ?? undefined);
  }
  const choice = chunk.choices?.[0];
  if (choice?.delta?.content) said(choice.delta.content);
  if (choice?.finish_reason) ended.finish = choice.finish_reason;
  if (chunk.usage) {
    ended.input = chunk.usage.prompt_tokens ?? null;
    ended.output = chunk.usage.completion_tokens ?? null;
  }
}

async function refused(response: Response): Promise<Problem> {
  const it = (await response.json().catch(() => null)) as Chunk | null;
  const code = it?.error?.code ?? it?.error?.type ?? 'unreadable';
  const detail = it?.error?.message ?? `${response.status} ${response.statusText}`;
  const request = response.headers.get('x-request-id') ?? undefined;
  return new Problem(
    response.status,
    code,
    detail,
    request,
    response.headers.get('retry-after') ?? undefined,
  );
}
