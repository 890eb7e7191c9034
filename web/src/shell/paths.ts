// Where a login leads back to.

/** `wish`, where it is a path of this console; else the first page. Another site's address is never followed. */
export function ownPath(wish: unknown): string {
  if (typeof wish !== 'string') return '/';
  // `//host` and `/\host` are other hosts to a browser, and control characters are dropped before it looks.
  if (!/^\/(?![/\\])/.test(wish) || /[\\\p{Cc}]/u.test(wish)) return '/';
  if (/^\/(api|v1|v1beta|login)(\/|\?|#|$)/.test(wish)) return '/';
  return wish;
}
