// Decimals as strings of digits: what the API sends, at any size, to the last place.
//
// For: reading, grouping, comparing, adding and dividing them. Nothing here becomes a `number` but `share` and `forDrawing`,
// which are for the width of a bar.

export interface Decimal {
  negative: boolean;
  whole: string;
  fraction: string;
}

const SHAPE = /^([+-]?)(\d+)(?:\.(\d+))?$/;

/** Reads a decimal; null where the text is none. */
export function parse(text: string): Decimal | null {
  const found = SHAPE.exec(text.trim());
  if (!found) return null;
  const whole = (found[2] ?? '').replace(/^0+(?=\d)/, '');
  const fraction = found[3] ?? '';
  const isZero = /^0*$/.test(whole + fraction);
  return { negative: found[1] === '-' && !isZero, whole, fraction };
}

/** `1234567` as `1,234,567`. */
export function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, ',');
}

/** The decimal in units of 10^-places; digits beyond are cut. */
function scaled(it: Decimal, places: number): bigint {
  const units = BigInt(it.whole + it.fraction.slice(0, places).padEnd(places, '0'));
  return it.negative ? -units : units;
}

function text(units: bigint, places: number): string {
  const negative = units < 0n;
  const digits = (negative ? -units : units).toString().padStart(places + 1, '0');
  const whole = digits.slice(0, digits.length - places);
  const fraction = digits.slice(digits.length - places).replace(/0+$/, '');
  return `${negative ? '-' : ''}${whole}${fraction ? `.${fraction}` : ''}`;
}

function both(a: string, b: string): [bigint, bigint, number] | null {
  const [one, other] = [parse(a), parse(b)];
  if (!one || !other) return null;
  const places = Math.max(one.fraction.length, other.fraction.length);
  return [scaled(one, places), scaled(other, places), places];
}

/** Below zero, zero or above it, as `a` is less than, equal to or more than `b`; null where one is no decimal. */
export function compare(a: string, b: string): number | null {
  const pair = both(a, b);
  if (!pair) return null;
  return pair[0] < pair[1] ? -1 : pair[0] > pair[1] ? 1 : 0;
}

/** `a - b`, exactly; null where one is no decimal. */
export function minus(a: string, b: string): string | null {
  const pair = both(a, b);
  return pair && text(pair[0] - pair[1], pair[2]);
}

/** `a + b`, exactly; null where one is no decimal. */
export function plus(a: string, b: string): string | null {
  const pair = both(a, b);
  return pair && text(pair[0] + pair[1], pair[2]);
}

/** `a × b`, exactly; null where one is no decimal. */
export function times(a: string, b: string): string | null {
  const [one, other] = [parse(a), parse(b)];
  if (!one || !other) return null;
  const [p, q] = [one.fraction.length, other.fraction.length];
  return text(scaled(one, p) * scaled(other, q), p + q);
}

/** `a ÷ b`, cut after `places`; null where one is no decimal or `b` is zero. */
export function divided(a: string, b: string, places = 9): string | null {
  const pair = both(a, b);
  if (!pair || pair[1] === 0n) return null;
  return text((pair[0] * 10n ** BigInt(places)) / pair[1], places);
}

/** How much of `limit` is `used`, in per cent from 0 to 100, for the width of a bar. */
export function share(used: string, limit: string): number {
  const pair = both(used, limit);
  if (!pair || pair[1] <= 0n) return 100;
  const percent = (pair[0] * 100n) / pair[1];
  return percent < 0n ? 0 : percent > 100n ? 100 : Number(percent);
}

/** A decimal as the height of a bar, and as nothing else: a drawing has no nine digits. */
export function forDrawing(amount: string): number {
  return parse(amount) ? Number(amount) : 0;
}

/** What a person typed, as the API takes it: `1,000.5` and `１００` are amounts too. Null where it is none above zero. */
export function typed(input: string): string | null {
  const plain = input
    .trim()
    .replace(/[０-９．]/g, (it) => String.fromCharCode(it.charCodeAt(0) - 0xfee0))
    .replace(/,(?=\d{3}(\D|$))/g, '');
  const it = parse(plain);
  if (!it || it.negative || /^[+-]/.test(plain) || /^0*$/.test(it.whole + it.fraction)) return null;
  return it.fraction ? `${it.whole}.${it.fraction}` : it.whole;
}

/** A count that a person typed, such as calls per minute; null where it is none above zero. */
export function counted(input: string): number | null {
  return /^[1-9]\d{0,8}$/.test(input.trim()) ? Number(input.trim()) : null;
}
