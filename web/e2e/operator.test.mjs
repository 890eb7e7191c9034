// A fresh gateway in the hands of its first operator: the first steps to a paid call, the playground, what runs at run time, and
// what is told as it happens.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, newPage, settled, shoot, startBrowser } from './browser.mjs';
import { ADMIN_PASSWORD, loggedIn, startGateway, startProvider, until } from './gateway.mjs';

const PASSWORD = "an owner's new password";
const MODEL = 'demo-large';
let gateway;
let provider;
let browser;
let context;
let page;
let faults;

const at = (path) => gateway.url + path;

before(async () => {
  [gateway, provider, browser] = await Promise.all([
    startGateway({ env: { NEXUSROUTE_REFERRAL_ENABLED: 'true' }, cuttable: true }),
    startProvider(),
    startBrowser(),
  ]);
  context = await browser.newContext({
    locale: 'en-GB',
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  ({ page, faults } = await newPage(context));
  page.setDefaultTimeout(20_000);
});

after(async () => {
  await browser?.close();
  provider?.stop();
  await gateway?.stop();
});

const section = (name) => page.getByRole('region', { name });

test('a gateway that cannot answer calls leads its operator to the first steps', async () => {
  await page.goto(at('/admin'));
  await page.getByLabel('User name or e-mail address').fill('admin');
  await page.getByRole('textbox', { name: 'Password' }).fill(ADMIN_PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.getByText('This gateway cannot answer calls yet').waitFor();
  await page.getByRole('link', { name: 'First steps' }).first().click();
  await page.getByRole('heading', { name: 'First steps' }).waitFor();
  await settled(page);
  await shoot(page, 'guide-first');
  assert.deepEqual(await axe(page), []);
});

test('password, provider, price, credits, key and the line to paste: one page, in order', async () => {
  const first = section('1. Your own password');
  await first.getByLabel('Old password').fill(ADMIN_PASSWORD);
  await first.getByRole('textbox', { name: 'New password' }).fill(PASSWORD);
  await first.getByRole('button', { name: 'Set the password' }).click();
  await first.getByText('Done', { exact: true }).waitFor();

  const second = section('2. A provider');
  await second.getByLabel('Name', { exact: true }).fill('demo');
  await second.getByLabel('Address (speaks').fill(provider.url);
  await second.getByRole('textbox', { name: 'API key' }).fill('upstream');
  await second.getByLabel('A model that it serves').fill(MODEL);
  await second.getByRole('button', { name: 'Add a provider' }).click();
  await second.getByRole('button', { name: 'Test it: demo' }).click();
  await second.getByText('It answers').waitFor();

  const third = section('3. Prices');
  await third.getByLabel('Input', { exact: true }).fill('2.5');
  await third.getByLabel('Output', { exact: true }).fill('10');
  await third.getByRole('button', { name: 'Publish' }).click();
  await third.getByText('Done', { exact: true }).waitFor();

  const fourth = section('4. Credits to try it with');
  await fourth.getByRole('link', { name: 'Top up' }).click();
  await page.getByRole('radio', { name: '¥100 CNY' }).click();
  await page.getByRole('button', { name: 'Pay ¥100 CNY' }).click();
  const pay = await page
    .getByRole('dialog')
    .getByRole('link', { name: /^Pay with/ })
    .getAttribute('href');
  await fetch(at(`/api/payments/sandbox/${pay.split('/').pop()}/pay`), { method: 'POST' });
  await page.getByRole('dialog').getByText('Credited:').waitFor();
  await page.goto(at('/admin/guide'));
  await fourth.getByText('Done', { exact: true }).waitFor();

  const fifth = section('5. An API key');
  await fifth.getByRole('button', { name: 'New key' }).click();
  await page.getByRole('dialog').getByLabel('Name').fill('first');
  await page.getByRole('button', { name: 'Make the key' }).click();
  const key = (await page.getByTestId('secret').textContent()).trim();
  await page.getByRole('dialog').getByRole('button', { name: 'Copy the curl snippet' }).click();
  const line = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(line.startsWith(`curl ${gateway.url}/v1/chat/completions`) && line.includes(key), line);
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await settled(page);
  await shoot(page, 'guide-done');
  assert.deepEqual(await axe(page), []);
});

test('the playground streams, is paid by a small key, and shows what the books say', async () => {
  await page.goto(at('/playground'));
  await page.getByText('Choose a key first').waitFor();
  await page.getByRole('button', { name: 'Make it and use it' }).click();
  await page.getByText('Calls are paid with').waitFor();
  await page.getByLabel('Message').fill('Hello <i>there</i>');
  await page.keyboard.press('Control+Enter');
  // What a model says is text, whatever it says.
  await page.getByText('Hello to <b>you</b>. And so on.').waitFor();
  // 1,200 × 2.5 ÷ 1e6 + 345 × 10 ÷ 1e6
  await page.getByTestId('charge').getByText('0.00645').waitFor();
  await settled(page);
  await shoot(page, 'playground');
  assert.deepEqual(await axe(page), []);
  // Stopping shows what came, and the call is in the books all the same.
  await page.getByLabel('Message').fill('Speak slowly');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.getByText('Hello to', { exact: false }).last().waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByText('Stopped before its end.').waitFor();
  await until('both calls are in the books', async () => (await page.getByTestId('charge').count()) === 2);
  // The network goes away in the middle of an answer: what came stays, and once it is back the charge is there.
  await page.getByLabel('Message').fill('Speak slowly once more');
  await page.getByRole('button', { name: 'Send' }).click();
  const last = page.locator('.turn.assistant').last();
  await last.getByText('Hello to').waitFor();
  gateway.cut();
  await page.getByText('The connection broke before').waitFor();
  await last.getByText('Hello to').waitFor();
  await shoot(page, 'playground-cut');
  gateway.mend();
  await until(
    'the broken call is in the books',
    async () => (await page.getByTestId('charge').count()) === 3,
  );
  await page.getByLabel('Message').fill('And again');
  await page.getByRole('button', { name: 'Send' }).click();
  await until('the next one too', async () => (await page.getByTestId('charge').count()) === 4);
  // The secret is nowhere but in memory; the draft survives a reload, the key does not.
  await page.getByLabel('Message').fill('a draft');
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!kept.includes('sk-'));
  await page.reload();
  await page.getByText('Choose a key first').waitFor();
  assert.equal(await page.getByLabel('Message').inputValue(), 'a draft');
  await page.getByText('My own').click();
  await page.getByRole('textbox', { name: 'API key' }).fill('sk-nonsense');
  await page.getByRole('button', { name: 'Use it' }).click();
  await page.getByRole('button', { name: 'Send' }).click();
  await page.getByText('The call failed').waitFor();
  await page
    .getByRole('button', { name: 'Make it and use it' })
    .or(page.getByRole('button', { name: 'Use it' }))
    .waitFor();
  // There is one key of the playground, however often it is made.
  const { items } = await (await context.request.get(at('/api/user/keys'))).json();
  assert.equal(items.filter((it) => it.name === 'Playground').length, 1);
});

test('a balance and an order are told while one looks at them', async () => {
  const ann = await context.browser().newContext({ locale: 'en-GB' });
  const registered = await ann.request.post(at('/api/user/register'), {
    data: { username: 'ann', email: 'ann@example.com', password: PASSWORD },
    headers: { origin: gateway.url },
  });
  assert.ok(registered.ok(), await registered.text());
  const { page: hers, faults: herFaults } = await newPage(ann);
  await hers.goto(at('/login'));
  await hers.getByLabel('User name or e-mail address').fill('ann');
  await hers.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await hers.getByRole('button', { name: 'Log in', exact: true }).click();
  await hers.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await hers.getByRole('link', { name: /^Balance: 0\.00/ }).waitFor();
  // Two tabs, one stream: the other hears it, too.
  const other = await ann.newPage();
  await other.goto(at('/billing'));
  await other.getByRole('link', { name: /^Balance: 0\.00/ }).waitFor();
  await hers.bringToFront();
  const asked = [];
  hers.on('request', (it) => asked.push(new URL(it.url()).pathname));
  const admin = await loggedIn(gateway.url, 'admin', PASSWORD);
  const { items } = await admin('GET', '/api/admin/users?q=ann');
  await admin('POST', `/api/admin/users/${items[0].id}/grants`, { credits: '3', reason: 'welcome' });
  await hers.getByRole('link', { name: /^Balance: 3\.00/ }).waitFor({ timeout: 8_000 });
  assert.ok(!asked.includes('/api/user/balance'), 'it was told, not asked for');
  await ann.close();
  assert.deepEqual(herFaults, []);
});

test('large corrections wait, and who asked cannot approve them', async () => {
  const admin = await loggedIn(gateway.url, 'admin', PASSWORD);
  const { items } = await admin('GET', '/api/admin/users?q=ann');
  const asked = await admin('POST', `/api/admin/users/${items[0].id}/adjustments`, {
    credits: '50000',
    reason: 'a very large mistake',
  });
  assert.equal(asked.state, 'pending');
  await page.goto(at('/admin/approvals'));
  await page.getByText('a very large mistake').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Approve' }).isDisabled());
  await settled(page);
  await shoot(page, 'approvals');
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Take back' }).click();
  await page.getByLabel('Note').fill('it was a test');
  await page.getByRole('dialog').getByRole('button', { name: 'Reject' }).click();
  await page.getByText('it was a test').waitFor();
});

test('settings are changed while it runs, a rule that is broken is told of, and a change is taken back', async () => {
  await page.goto(at('/admin/settings?q=topup.min'));
  await page.getByRole('button', { name: 'Change topup.min' }).click();
  await page.getByRole('dialog').getByLabel('Value').fill('nonsense');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByRole('dialog').getByRole('alert').waitFor();
  await page.getByRole('dialog').getByLabel('Value').fill('5');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByText('Changed here').last().waitFor();
  await page.getByRole('button', { name: 'Change topup.min' }).click();
  await page.getByRole('button', { name: 'Take the change back' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
});

test('an announcement stands on everybody’s pages until it is taken back', async () => {
  await page.goto(at('/admin/announcements'));
  await page.getByRole('button', { name: 'Announce something' }).first().click();
  await page.getByRole('dialog').getByLabel('Title').fill('Down <b>tonight</b>');
  await page.getByRole('dialog').getByLabel('Text').fill('From ten to eleven.');
  await page.getByRole('dialog').getByLabel('How important').selectOption('warning');
  await page.getByRole('dialog').getByRole('button', { name: 'Announce something' }).click();
  await page.getByText('Warning: Down <b>tonight</b>').waitFor();
  await page.getByRole('button', { name: 'Take back: Down <b>tonight</b>' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Take back' }).click();
  await page.getByText('Nothing is announced').waitFor();
});

test('an invitation is a link that is shown once; limits and published prices take effect', async () => {
  await page.goto(at('/admin/invitations'));
  await page.getByRole('button', { name: 'Invite' }).first().click();
  await page.getByLabel('What for').fill('friends');
  await page.getByLabel('How many it lets in').fill('3');
  await page.getByRole('dialog').getByRole('button', { name: 'Invite' }).click();
  assert.match(await page.getByTestId('secret').textContent(), /\/register\?invite=\S+/);
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByText('0 of 3').waitFor();

  await page.goto(at('/admin/limits'));
  await page.getByLabel('Of', { exact: true }).fill('default');
  await page.getByLabel('Requests per minute').fill('600');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('cell', { name: '600' }).waitFor();

  await page.goto(at('/admin/catalogue?q=gpt-5'));
  await settled(page);
  const box = page.getByRole('table').getByRole('checkbox').first();
  await box.check();
  await page.getByLabel('Multiplier').fill('1.2');
  await page.getByLabel('Also as the costs of').selectOption({ label: 'demo' });
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.getByText('Published', { exact: true }).waitFor();
});

test('Ctrl-K goes anywhere by the keyboard alone', async () => {
  await page.goto(at('/'));
  await settled(page);
  await page.keyboard.press('Control+k');
  await page.getByRole('dialog').getByRole('combobox').fill('audit');
  await page.getByRole('option', { name: 'Audit', exact: true }).waitFor();
  await shoot(page, 'palette');
  assert.deepEqual(await axe(page), []);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Audit' }).waitFor();
  await page.keyboard.press('Control+k');
  await page.getByRole('dialog').getByRole('combobox').fill('first');
  await page.keyboard.press('ArrowDown');
  await page.getByRole('option', { name: /sk-/ }).click();
  await page.getByRole('heading', { name: 'first' }).waitFor();
});

test('a key gets a new secret and is deleted, by what the dialogs say', async () => {
  await page.getByRole('button', { name: 'Rotate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
  await page.getByTestId('secret').waitFor();
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByText('calls today').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Cancel');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('heading', { name: 'API keys' }).waitFor();
  assert.equal(await page.getByRole('rowheader', { name: 'first' }).count(), 0);
});

test('a code is made and redeemed once, and one that is none is refused', async () => {
  const admin = await loggedIn(gateway.url, 'admin', PASSWORD);
  const made = await admin('POST', '/api/admin/redemption-codes', { name: 'Launch', credits: '2', count: 1 });
  await page.goto(at('/redeem'));
  await page.getByLabel('Code').fill(made.secrets[0]);
  await page.getByRole('button', { name: 'Redeem' }).click();
  await page.getByText('2.00 credits were added').waitFor();
  await page.getByLabel('Code').fill('7F3KQ-0Z9MD-1YHT6-RVW2X');
  await page.getByRole('button', { name: 'Redeem' }).click();
  await page.getByRole('alert').getByText('The code was not redeemed').waitFor();
});

test('a webhook shows its secret once; deleting the account says what it means', async () => {
  await page.goto(at('/settings'));
  await page.getByLabel('Address', { exact: true }).fill('https://example.com/hook');
  await page.getByRole('region', { name: 'Webhook' }).getByRole('button', { name: 'Save' }).click();
  await page.getByTestId('secret').waitFor();
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Delete my account' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Of it paid for').waitFor();
  await shoot(page, 'leaving');
  assert.deepEqual(await axe(page), []);
  await dialog.getByLabel('I give up what I paid for').check();
  assert.ok(await dialog.getByRole('button', { name: 'Delete for ever' }).isDisabled());
  await dialog.getByLabel('Type "admin"').fill('admin');
  await dialog.getByRole('button', { name: 'Delete for ever' }).click();
  // The last owner cannot leave.
  await dialog.getByRole('alert').waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
});

test('nothing broke the policy or fell over in all of this', () => {
  assert.deepEqual(faults, []);
});
