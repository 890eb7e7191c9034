// @vitest-environment node

import { expect, test } from 'vitest';
import { ownPath } from './paths';

test.each([
  ['/keys', '/keys'],
  ['/usage?model=x&range=7d#a', '/usage?model=x&range=7d#a'],
  ['//evil.example', '/'],
  ['/\\evil.example', '/'],
  ['/\t/evil.example', '/'],
  ['https://evil.example/', '/'],
  ['javascript:alert(1)', '/'],
  ['keys', '/'],
  ['/login?return=/login', '/'],
  ['/api/user/logout', '/'],
  [undefined, '/'],
  [7, '/'],
])('a login to return to %s ends at %s', (wish, path) => expect(ownPath(wish)).toBe(path));
