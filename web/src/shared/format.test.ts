import { describe, expect, it } from 'vitest';
import { clock, compact, count, zone } from './format';

describe('numbers and times', () => {
  it('has the same digits below a thousand and groups above', () => {
    expect([0, 999, 1_000, 1_234_567].map(count)).toEqual(['0', '999', '1,000', '1,234,567']);
    expect([999, 1_250_000].map(compact)).toEqual(['999', '1.3M']);
  });

  it('names the zone by its offset, to the minute', () => {
    const west = (minutes: number) => ({ getTimezoneOffset: () => minutes }) as Date;
    expect([0, -480, 300, 210, -345].map((it) => zone(west(it)))).toEqual([
      'UTC',
      'UTC+8',
      'UTC-5',
      'UTC-3:30',
      'UTC+5:45',
    ]);
  });

  it('tells the time by the clock on the wall', () => {
    const date = new Date(2026, 10, 24, 9, 5, 7);
    expect(clock(date.toISOString())).toBe('09:05:07');
    expect(clock('never')).toBe('–');
  });
});
