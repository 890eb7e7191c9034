import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Schemas } from '../api/client';
import { balanceQuery, queryClient } from '../api/queries';
import { pauseMs, startListening } from './live';

/** A stream that does what the test says. */
class Stream extends EventTarget {
  static readonly CLOSED = 2;
  static all: Stream[] = [];
  static get last(): Stream {
    const it = Stream.all.at(-1);
    if (!it) throw new Error('nobody listens');
    return it;
  }
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  constructor(readonly url: string) {
    super();
    Stream.all.push(this);
  }
  opens() {
    this.readyState = 1;
    this.onopen?.();
  }
  /** By an answer that is no stream: the browser does not come back by itself. */
  isRefused() {
    this.readyState = Stream.CLOSED;
    this.onerror?.();
  }
  breaksOff() {
    this.readyState = 0;
    this.onerror?.();
  }
  tells(kind: string, data: unknown) {
    this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
  }
  close() {
    this.readyState = Stream.CLOSED;
  }
}

const balance = (available: string, position: number): Schemas['BalanceView'] => ({
  available,
  reserved: '0',
  total: available,
  unit: 'credit',
  as_of: '2026-11-22T10:00:00Z',
  position,
});

let stop = () => {};
let invalidated: string[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('EventSource', Stream);
  Stream.all = [];
  invalidated = [];
  vi.spyOn(queryClient, 'invalidateQueries').mockImplementation(async (filter) => {
    invalidated.push((filter?.queryKey ?? []).join('/'));
  });
  stop = startListening();
});

afterEach(() => {
  stop();
  queryClient.clear();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('a stream that was refused is asked for again within two seconds, then ever more seldom', () => {
  Stream.last.isRefused();
  vi.advanceTimersByTime(1_000);
  expect(Stream.all).toHaveLength(2);
  for (let refusal = 2; refusal < 12; refusal += 1) {
    Stream.last.isRefused();
    vi.advanceTimersByTime(30_000);
    expect(Stream.all).toHaveLength(refusal + 1);
  }
  expect([1, 2, 3, 5, 6, 50].map((it) => pauseMs(it, 1))).toEqual([
    1_000, 2_000, 4_000, 16_000, 30_000, 30_000,
  ]);
  // Who were refused together do not come back together.
  expect(pauseMs(6, 0)).toBe(22_500);
  // Once it was heard, the next refusal is a first one.
  Stream.last.opens();
  Stream.last.isRefused();
  vi.advanceTimersByTime(1_000);
  expect(Stream.all).toHaveLength(13);
});

test('nobody who has left asks again', () => {
  Stream.last.isRefused();
  stop();
  vi.advanceTimersByTime(60_000);
  expect(Stream.all).toHaveLength(1);
});

test('orders are read anew when a lost stream is back, and not when the first one opens', () => {
  Stream.last.opens();
  expect(invalidated).toEqual([]);
  Stream.last.breaksOff();
  Stream.last.opens();
  expect(invalidated).toEqual(['self', 'topup']);
});

test('a balance that is told is shown, with all that hangs on it; an older one is not', () => {
  const shown = () => queryClient.getQueryData(balanceQuery.queryKey)?.available;
  Stream.last.tells('balance', balance('1', 5));
  expect([shown(), invalidated]).toEqual(['1', []]);
  Stream.last.tells('balance', balance('6', 7));
  expect([shown(), invalidated]).toEqual(['6', ['billing', 'usage', 'topup/list']]);
  Stream.last.tells('balance', balance('1', 6));
  expect(shown()).toBe('6');
});
