import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TRAILING } from './client';

type Operation = { parameters?: { name: string }[] };

test('every read of a user that can wait for what was just written does, and no other', () => {
  const document: { paths: Record<string, Record<string, Operation>> } = JSON.parse(
    readFileSync('../docs/openapi.json', 'utf8'),
  );
  const reads = Object.entries(document.paths).filter(
    ([path, it]) => path.startsWith('/api/user/') && it.get,
  );
  const waits = ([, it]: (typeof reads)[number]) => it.get?.parameters?.some(({ name }) => name === 'after');
  const can = reads.filter((it) => waits(it)).map(([path]) => path);
  expect(can.length).toBeGreaterThan(10);
  expect(reads.map(([path]) => path).filter((path) => TRAILING.test(path))).toEqual(can);
});
