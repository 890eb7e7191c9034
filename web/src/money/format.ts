// How amounts are shown. Strings in, strings out.
//
// Claims: a balance is never shown as more than it is; a charge above zero never reads as nothing; every digit is there
// where all of them are asked for.

import { grouped, parse } from './decimal';

const DASH = '–';

/** All nine digits, grouped: receipts, ledgers, hovers. */
export function full(amount: string): string {
  const it = parse(amount);
  if (!it) return DASH;
  const places = it.fraction.padEnd(9, '0');
  return `${it.negative ? '-' : ''}${grouped(it.whole)}.${places}`;
}

/** A balance: two decimals, cut and never rounded up. What is left of a cent reads `<0.01`. */
export function balance(amount: string): string {
  const it = parse(amount);
  if (!it) return DASH;
  const rest = /[1-9]/.test(it.fraction.slice(2));
  let cents = BigInt(it.whole + it.fraction.slice(0, 2).padEnd(2, '0'));
  if (!it.negative && cents === 0n && rest) return '<0.01';
  // Down means away from zero where something is owed.
  if (it.negative && rest) cents += 1n;
  const digits = cents.toString().padStart(3, '0');
  return `${it.negative ? '-' : ''}${grouped(digits.slice(0, -2))}.${digits.slice(-2)}`;
}

/** A charge in a list, in two parts: what is read, and the zeros after it that keep the column straight. */
export function charge(amount: string): { text: string; zeros: string } {
  const it = parse(amount);
  if (!it) return { text: DASH, zeros: '' };
  const sign = it.negative ? '-' : '';
  const units = BigInt(it.whole + it.fraction.slice(0, 6).padEnd(6, '0'));
  if (units === 0n && /[1-9]/.test(it.fraction)) return { text: `${sign}<0.000001`, zeros: '' };
  const digits = units.toString().padStart(7, '0');
  const fraction = digits.slice(-6);
  const kept = fraction.replace(/0+$/, '').padEnd(2, '0');
  return { text: `${sign}${grouped(digits.slice(0, -6))}.${kept}`, zeros: fraction.slice(kept.length) };
}

const SIGNS: Record<string, string> = { CNY: '¥', USD: '$', EUR: '€', GBP: '£', JPY: '¥', HKD: 'HK$' };

/** Money that somebody paid: its own sign and its code, so that it is never taken for credits. */
export function money(amount: string, currency: string): string {
  const it = parse(amount);
  if (!it) return DASH;
  const fraction = it.fraction ? `.${it.fraction}` : '';
  return `${it.negative ? '-' : ''}${SIGNS[currency] ?? ''}${grouped(it.whole)}${fraction} ${currency}`;
}

/** A price: as many decimals as it has, at least two. */
export function price(amount: string): string {
  const it = parse(amount);
  if (!it) return DASH;
  const fraction = it.fraction.replace(/0+$/, '').padEnd(2, '0');
  return `${it.negative ? '-' : ''}${grouped(it.whole)}.${fraction}`;
}
