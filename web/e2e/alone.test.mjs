// An installation with one operator: what waits for a second person, where it is found, and how a lone one may go on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, fits, newPage, settled, shoot, startBrowser } from './browser.mjs';
import { ADMIN_PASSWORD, loggedIn, startGateway } from './gateway.mjs';

const ID = '0197a000-0000-7000-8000-000000000001';
let gateway;
let browser;
let context;
let page;
let admin;
const faults = [];
const at = (path) => gateway.url + path;

before(async () => {
  gateway = await startGateway({ env: { NEXUSROUTE_APPROVALS_SINGLE_OPERATOR: 'true' } });
  browser = await startBrowser();
  admin = await loggedIn(gateway.url, 'admin', ADMIN_PASSWORD);
  context = await browser.newContext({
    locale: 'en-GB',
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
  });
  const made = await newPage(context);
  page = made.page;
  faults.push(made.faults);
  page.setDefaultTimeout(20_000);
  await context.request.post(at('/api/user/login'), {
    data: { login: 'admin', password: ADMIN_PASSWORD },
    headers: { origin: gateway.url },
  });
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** The page as it is: both languages and colours, on a wide window and on a phone. */
async function looked(name) {
  for (const [language, colours] of [
    ['en', 'light'],
    ['zh-CN', 'dark'],
  ]) {
    await page.evaluate(
      ([words, dark]) => {
        localStorage.setItem('nexusroute.language', words);
        localStorage.setItem('nexusroute.colours', dark);
      },
      [language, colours],
    );
    await page.reload();
    await settled(page);
    for (const [size, width] of [
      ['wide', 1280],
      ['phone', 390],
    ]) {
      await page.setViewportSize({ width, height: 800 });
      await shoot(page, `${name}-${language}-${colours}-${size}`);
      await fits(page, name);
      assert.deepEqual(await axe(page), []);
    }
  }
  await page.evaluate(() => localStorage.clear());
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.reload();
  await settled(page);
}

test('a lone operator approves what they asked for, and says why', async () => {
  const made = await fetch(at('/api/user/register'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'ann', email: 'ann@example.com', password: 'correct horse battery' }),
  });
  assert.ok(made.ok, await made.text());
  const { items } = await admin('GET', '/api/admin/users?q=ann');
  const asked = await admin('POST', `/api/admin/users/${items[0].id}/adjustments`, {
    credits: '20000',
    reason: 'a contract',
  });
  assert.equal(asked.state, 'pending');
  await page.goto(at('/admin/approvals'));
  await page.getByText('You are the only operator who could approve').waitFor();
  await looked('approvals-alone');
  await page.getByRole('button', { name: 'Approve', exact: true }).click();
  const dialog = page.getByRole('dialog');
  const yes = dialog.getByRole('button', { name: 'Approve' });
  assert.ok(await yes.isDisabled(), 'a note must say why');
  await dialog.getByLabel('Note').fill('signed by the customer');
  await yes.click();
  await page.getByRole('cell', { name: /^Done.*signed by the customer/ }).waitFor();
});

test('a word on how a refund ended waits for a second person, and the page says where', async () => {
  const money = { amount: '14.40', currency: 'CNY' };
  const refund = {
    ...{ id: ID, order: ID, user_id: ID, pay: money, credits: '2', channel: 'alipay' },
    ...{ reason: 'not wanted', status: 'approved', failure: null, provider_refund: null, event_seq: 9 },
    ...{ created_at: '2026-11-22T10:00:00Z', updated_at: '2026-11-22T10:00:00Z' },
    call: {
      state: 'unknown',
      attempts: 3,
      last_error: 'no answer',
      next_at: null,
      updated_at: '2026-11-22T10:00:00Z',
    },
  };
  const keys = [];
  await page.route('**/api/admin/refunds?*', (route) =>
    route.fulfill({ json: { items: [refund], next_cursor: null } }),
  );
  await page.route('**/settle', (route) => {
    keys.push(route.request().headers()['idempotency-key']);
    return route.fulfill({ status: 202, json: { id: ID, requested_by: ID, state: 'pending' } });
  });
  await page.goto(at('/admin/refunds'));
  await page.getByRole('button', { name: 'Settle' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('once a second person approves').waitFor();
  await dialog.getByLabel('Reason').fill('seen in the merchant console');
  await shoot(page, 'refund-settle');
  await dialog.getByRole('button', { name: 'Say how it ended' }).click();
  await page.getByRole('status').getByText('It waits for a second person').waitFor();
  await dialog.waitFor({ state: 'detached' });
  assert.match(keys[0], /^[0-9a-f]{32}$/);
  assert.deepEqual(await axe(page), []);
  for (const [size, width] of [
    ['wide', 1280],
    ['phone', 390],
  ]) {
    await page.setViewportSize({ width, height: 800 });
    await fits(page, 'refund-waits');
    await shoot(page, `refund-waits-${size}`);
  }
  await page.getByRole('link', { name: 'To the approvals' }).click();
  await page.waitForURL(at('/admin/approvals?state=pending'));
});

test('nothing broke the policy or fell over in all of this', () => {
  assert.deepEqual(faults.flat(), []);
});
