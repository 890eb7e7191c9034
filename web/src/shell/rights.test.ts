// @vitest-environment node

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { may, RIGHTS, type Right, type Role } from './rights';

test('the menu shows what the gateway allows', () => {
  const table = readFileSync(join(import.meta.dirname, '../../../docs/permissions.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  const heads = table.find((cells) => cells[1] === 'permission');
  expect(heads).toBeDefined();
  const roles = (heads ?? []).slice(2, -1) as Role[];
  for (const right of Object.keys(RIGHTS) as Right[]) {
    const row = table.find((cells) => cells[1] === `\`${right}\``);
    expect(row, right).toBeDefined();
    for (const [index, role] of roles.entries()) {
      expect(may(role, right), `${role} ${right}`).toBe(row?.[index + 2] === 'yes');
    }
  }
});
