import type { Range } from '../router';

const DAYS: Record<Exclude<Range, 'all'>, number> = { today: 0, '7d': 6, '30d': 29, '90d': 89 };

/** From when on, as a moment: the browser's midnight so many days ago. A range stays relative: a link means the same later. */
export function since(range: Range, now = new Date()): string | undefined {
  if (range === 'all') return undefined;
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - DAYS[range]).toISOString();
}
