// Counts, durations and times, in the reader's language.

import { language } from '../i18n';

export const DASH = '–';

/** The reader's own kind of the language, where the browser names one: days before months in Britain. */
function locale(): string {
  const wanted = language().slice(0, 2);
  return navigator.languages?.find((it) => it.toLowerCase().startsWith(wanted)) ?? language();
}

/** 12,345. */
export function count(it: number): string {
  return new Intl.NumberFormat(locale()).format(it);
}

/** 1.2M: for tiles, which show the exact number on hover. */
export function compact(it: number): string {
  return new Intl.NumberFormat(locale(), { notation: 'compact', maximumFractionDigits: 1 }).format(it);
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
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: 1 }).format((part * 100) / whole)} %`;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale()} ${JSON.stringify(options)}`;
  const known = formats.get(key);
  if (known) return known;
  const made = new Intl.DateTimeFormat(locale(), options);
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

/** The time of day, to the second. */
export function clock(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? DASH : format({ timeStyle: 'medium', hourCycle: 'h23' }).format(date);
}

/** The browser's zone as an offset: `UTC+8`. */
export function zone(): string {
  const parts = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' }).formatToParts(new Date());
  return parts.find((part) => part.type === 'timeZoneName')?.value.replace('GMT', 'UTC') ?? 'UTC';
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
  const two = (it: number) => String(it).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
