// @vitest-environment node

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare, divided, minus, plus, share, times, typed } from './decimal';
import { balance, charge, full, money, price } from './format';

describe('a balance', () => {
  test.each([
    ['12.349999999', '12.34'],
    ['0.000000001', '<0.01'],
    ['0.009999999', '<0.01'],
    ['0', '0.00'],
    ['0.000000000', '0.00'],
    ['9007199254740993.129', '9,007,199,254,740,993.12'],
    ['-0.001', '-0.01'],
    ['-1.999', '-2.00'],
    ['-1.5', '-1.50'],
    ['nonsense', '–'],
  ])('%s reads %s', (amount, shown) => expect(balance(amount)).toBe(shown));
});

describe('a charge', () => {
  test.each([
    ['0.000012345', '0.000012', ''],
    ['0.0000009', '<0.000001', ''],
    ['-0.0000009', '-<0.000001', ''],
    ['0.5', '0.50', '0000'],
    ['0.123', '0.123', '000'],
    ['0', '0.00', '0000'],
    ['1234.5', '1,234.50', '0000'],
  ])('%s reads %s', (amount, text, zeros) => expect(charge(amount)).toEqual({ text, zeros }));
});

test('all nine digits are there where they are asked for', () => {
  expect(full('1234567.5')).toBe('1,234,567.500000000');
  expect(full('9007199254740993.123456789')).toBe('9,007,199,254,740,993.123456789');
});

test('money has its own sign and code', () => {
  expect(money('50.00', 'CNY')).toBe('¥50.00 CNY');
  expect(money('1000', 'JPY')).toBe('¥1,000 JPY');
  expect(money('7.50', 'XYZ')).toBe('7.50 XYZ');
});

test('a price keeps its decimals', () => {
  expect(price('3')).toBe('3.00');
  expect(price('0.0750')).toBe('0.075');
});

test('sums are exact at any size', () => {
  expect(plus('0.1', '0.2')).toBe('0.3');
  expect(minus('9007199254740993.000000001', '9007199254740992')).toBe('1.000000001');
  expect(times('0.5', '1.23')).toBe('0.615');
  expect(divided('50.00', '7.2')).toBe('6.944444444');
  expect(divided('1', '0')).toBeNull();
  expect(compare('1.10', '1.1')).toBe(0);
  expect(compare('-2', '1')).toBe(-1);
});

test('a bar is never wider than its frame', () => {
  expect(share('1', '4')).toBe(25);
  expect(share('9', '4')).toBe(100);
  expect(share('1', '0')).toBe(100);
});

test('what people type is read as they mean it', () => {
  for (const [input, amount] of [
    ['50', '50'],
    [' 1,000.50 ', '1000.50'],
    ['１００', '100'],
    ['0', null],
    ['0.00', null],
    ['-5', null],
    ['+5', null],
    ['1e3', null],
    ['five', null],
    ['', null],
  ] as const) {
    expect(typed(input), input).toBe(amount);
  }
});

test('no amount becomes a number outside of this folder', () => {
  const root = join(import.meta.dirname, '..');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /\.tsx?$/.test(name) && !name.startsWith('money') && !name.endsWith('schema.d.ts'),
  );
  expect(files.length).toBeGreaterThan(20);
  for (const name of files) {
    const source = readFileSync(join(root, name), 'utf8');
    expect(source.match(/\b(Number|parseFloat|parseInt)\(/g), name).toBeNull();
  }
});
