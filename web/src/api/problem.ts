import type { components } from './schema';

type Body = components['schemas']['ProblemBody'];

/** What the gateway, or the way to it, refused. `code` is stable: programs switch on it; people read `message`. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly requestId?: string,
    /** Seconds after which a retry can help. */
    readonly retryAfter?: string,
  ) {
    super(detail);
    this.name = 'Problem';
  }

  /** The field that is at fault, where the problem names one: `email: is no address`. */
  get field(): { name: string; fault: string } | null {
    if (this.code !== 'invalid_value') return null;
    const at = this.message.indexOf(': ');
    return at < 0 ? null : { name: this.message.slice(0, at), fault: this.message.slice(at + 2) };
  }
}

export function problemOf(body: unknown, response: Response): Problem {
  const it = (typeof body === 'object' && body !== null ? body : {}) as Partial<Body>;
  return new Problem(
    response.status,
    it.code ?? 'unreadable',
    it.detail ?? it.title ?? `${response.status} ${response.statusText}`,
    it.request_id ?? response.headers.get('x-request-id') ?? undefined,
    response.headers.get('retry-after') ?? undefined,
  );
}

/** Any thrown thing as a problem. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(0, 'unexpected', error instanceof Error ? error.message : String(error));
}
