// Counts, durations and times, in the reader's language.

import { language } from '../i18n';

export const DASH = '–';

/** The reader's own kind of the language, where the browser names one: days before months in Britain. */
function locale(): string {
  const wanted = language().slice(0, 2);
  return navigator.languages?.find((it) => it.toLowerCase().startsWith(wanted)) ?? language();
}

const numbers = new Map<string, Intl.NumberFormat>();

/** Made once for each language: making one takes longer than a page's other words together. */
function number(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = `${locale()} ${JSON.stringify(options)}`;
  const made = numbers.get(key) ?? new Intl.NumberFormat(locale(), options);
  numbers.set(key, made);
  return made;
}

/** Counts below a thousand look alike in both languages: most first views have no larger ones, and need no formatter. */
const isPlain = (it: number) => Number.isInteger(it) && Math.abs(it) < 1_000;

/** 12,345. */
export function count(it: number): string {
  return isPlain(it) ? String(it) : number({}).format(it);
}

/** 1.2M: for tiles, which show the exact number on hover. */
export function compact(it: number): string {
  return isPlain(it) ? String(it) : number({ notation: 'compact', maximumFractionDigits: 1 }).format(it);
}

/** `820 ms`, `3.4 s`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return DASH;
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** `1.2 %`; nothing of nothing is no rate. */
export function rate(part: number, whole: number): string {
  if (whole === 0) return DASH;
  return `${number({ maximumFractionDigits: 1 }).format((part * 100) / whole)} %`;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale()} ${JSON.stringify(options)}`;
  const made = formats.get(key) ?? new Intl.DateTimeFormat(locale(), options);
  formats.set(key, made);
  return made;
}

/** Date and time in the browser's zone. */
export function moment(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return DASH;
  return format({
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(date);
}

/** The date alone. */
export function day(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? DASH : format({ dateStyle: 'medium' }).format(date);
}

const two = (it: number) => String(it).padStart(2, '0');

/** The time of day in the browser's zone, to the second: 14:05:09 in either language. */
export function clock(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return DASH;
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
}

/** The browser's zone as an offset: `UTC+8`, `UTC-3:30`. */
export function zone(date = new Date()): string {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? '-' : '+'}${hours}${rest === 0 ? '' : `:${two(rest)}`}`;
}

/** `3 days ago`, `in 7 days`; the distance is coarse, the exact moment stands beside it. */
export function ago(iso: string, now = Date.now()): string {
  const seconds = Math.round((new Date(iso).getTime() - now) / 1000);
  if (Number.isNaN(seconds)) return DASH;
  const relative = new Intl.RelativeTimeFormat(locale(), { numeric: 'auto' });
  const steps: [Intl.RelativeTimeFormatUnit, number][] = [
    ['year', 31_536_000],
    ['month', 2_592_000],
    ['day', 86_400],
    ['hour', 3_600],
    ['minute', 60],
  ];
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return relative.format(seconds, 'second');
}

/** The day that is `days` before today in the browser's zone, as the API takes it. */
export function dateBefore(days: number, from = new Date()): string {
  const date = new Date(from.getFullYear(), from.getMonth(), from.getDate() - days);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
