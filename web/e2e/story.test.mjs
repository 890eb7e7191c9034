// The stories of an operator, of somebody who pays and calls, and of finance, on the real gateway: mails by a real mail server,
// payments at simulators of all four channels, nothing pretended in between. Then the same acts by the keyboard alone.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { axe, newPage, settled, shoot, startBrowser } from './browser.mjs';
import {
  ADMIN_PASSWORD,
  loggedIn,
  startChannels,
  startGateway,
  startMail,
  startProvider,
  until,
} from './gateway.mjs';

const PASSWORD = 'correct horse battery';
const MODEL = 'demo-large';
let gateway;
let provider;
let mail;
let channels;
let browser;
let admin;
/** Ann pays and calls; Olga is the owner, Finn of finance. Each has a browser of their own. */
let ann;
let olga;
let finn;
const faults = [];

const at = (path) => gateway.url + path;

async function person() {
  const context = await browser.newContext({
    locale: 'en-GB',
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
    acceptDownloads: true,
  });
  const made = await newPage(context);
  made.page.setDefaultTimeout(20_000);
  faults.push(made.faults);
  return { context, page: made.page };
}

async function logsIn({ page, context }, login, password, path = '/') {
  await context.clearCookies();
  await page.goto(at(`/login?return=${encodeURIComponent(path)}`));
  await page.getByLabel('User name or e-mail address').fill(login);
  await page.getByRole('textbox', { name: 'Password' }).fill(password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL(at(path));
}

before(async () => {
  [provider, mail, channels, browser] = await Promise.all([
    startProvider(),
    startMail(),
    startChannels(),
    startBrowser(),
  ]);
  gateway = await startGateway({
    env: {
      ...mail.env,
      ...channels.env,
      NEXUSROUTE_RECONCILIATION_DAILY_AT: '',
      // One payment here is never told of, for finance to find. Half a minute later the gateway would ask about it and credit it,
      // in the middle of whatever a slow machine is at by then.
      NEXUSROUTE_TOPUP_POLL_SECONDS: '3600',
    },
    cuttable: true,
  });
  admin = await loggedIn(gateway.url, 'admin', ADMIN_PASSWORD);
  [ann, olga, finn] = await Promise.all([person(), person(), person()]);
});

after(async () => {
  await browser?.close();
  provider?.stop();
  await Promise.all([gateway?.stop(), channels?.stop(), mail?.stop()]);
});

test('an operator adds a provider, tries it, says what it serves, and prices it', async () => {
  const { page } = olga;
  await logsIn(olga, 'admin', ADMIN_PASSWORD, '/admin/providers');
  await page.getByRole('button', { name: 'Add a provider' }).first().click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: true }).fill('demo');
  await dialog.getByLabel('Address', { exact: true }).fill(provider.url);
  await dialog.getByRole('textbox', { name: 'API key' }).fill('upstream');
  await dialog.getByRole('button', { name: 'Add a provider' }).click();
  // Its own page comes next.
  await page.getByRole('heading', { name: 'demo', level: 1 }).waitFor();
  const served = page.getByRole('region', { name: 'Models it serves' });
  await served.getByLabel('Model', { exact: true }).fill(MODEL);
  await served.getByLabel('Cost of input / 1M').fill('1');
  await served.getByLabel('Cost of output / 1M').fill('4');
  await served.getByRole('button', { name: 'Add the model' }).click();
  await served.getByRole('rowheader', { name: MODEL }).waitFor();
  await page.getByRole('button', { name: 'Test it', exact: true }).click();
  await page.getByText('It answers').waitFor();
  await page.goto(at(`/admin/prices?model=${MODEL}`));
  await page.getByLabel('Input', { exact: true }).fill('2.5');
  await page.getByLabel('Output', { exact: true }).fill('10');
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.getByText('Published', { exact: true }).waitFor();
});

test('somebody new signs up, and the mail that a mail server took leads to a confirmed address', async () => {
  const { page } = ann;
  await page.goto(at('/register'));
  await page.getByLabel('User name').fill('ann');
  await page.getByLabel('E-mail address').fill('ann@example.com');
  await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Make the account' }).click();
  const { found, tls, authenticated } = await mail.mail('ann@example.com', /http\S+verify-email\S+/);
  assert.ok(tls && authenticated, 'mails go encrypted, and by who may send them');
  await page.goto(found);
  await page.getByText('Your address is confirmed').waitFor();
  await logsIn(ann, 'ann', PASSWORD);
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  assert.equal(await page.getByText('Confirm your e-mail address').count(), 0);
});

/** Chooses a way to pay and an amount, and orders; answers the open dialog. */
async function orders({ page }, way, amount, currency = 'CNY') {
  await page.goto(at('/topup'));
  if (currency !== 'CNY') await page.getByLabel('Currency').selectOption(currency);
  await page.getByRole('radio', { name: new RegExp(`^\\D*${amount} ${currency}$`) }).click();
  await page.locator(`input[type="radio"][value="${way}"]`).check();
  await page.getByRole('button', { name: new RegExp(`^Pay \\D*${amount} ${currency}$`) }).click();
  return page.getByRole('dialog');
}

/** The order's number, as the dialog shows it: what the channel knows it by. */
async function numberIn(dialog) {
  await dialog.getByText('left to pay').waitFor();
  return (await dialog.locator('code').first().textContent()).trim();
}

async function credited(dialog) {
  await dialog.getByText('Credited:').waitFor();
  await dialog.getByRole('button', { name: 'Done' }).click();
}

test('an order whose answer was lost is one order, and its form is taken by Epay', async () => {
  const { page, context } = ann;
  let lost = 0;
  await page.route(
    '**/api/user/topup',
    async (route) => {
      // The gateway hears it, and the way back breaks.
      await route.fetch();
      lost += 1;
      await route.abort('connectionreset');
    },
    { times: 1 },
  );
  const dialog = await orders(ann, 'epay/alipay', '50');
  await page.getByText('The order was not opened').waitFor();
  assert.equal(lost, 1);
  await shoot(page, 'topup-lost');
  await page.getByRole('button', { name: 'Pay ¥50 CNY' }).click();
  const number = await numberIn(dialog);
  const { items } = await (await context.request.get(at('/api/user/topup'))).json();
  assert.equal(items.length, 1, 'pressed twice, ordered once');
  // The form goes to another site: the page's policy must let it, and the site must know its signature.
  const [tab] = await Promise.all([
    context.waitForEvent('page'),
    dialog.getByRole('button', { name: /^Pay with/ }).click(),
  ]);
  await tab.getByText('Pay here.').waitFor();
  await channels.paid(gateway, 'epay', number);
  await tab.close();
  await credited(dialog);
});

test('a code of Alipay is paid while the network is away, and seen once it is back', async () => {
  const { page } = ann;
  const dialog = await orders(ann, 'alipay/qr', '100');
  const number = await numberIn(dialog);
  await dialog.getByRole('img', { name: /^Code to pay with/ }).waitFor();
  await shoot(page, 'payment-qr');
  assert.deepEqual(await axe(page), []);
  gateway.cut();
  await channels.paid(gateway, 'alipay', number);
  // Long enough for the dialog to have asked in vain: three ticks of its own clock.
  const timer = dialog.getByRole('timer');
  for (let tick = 0; tick < 3; tick += 1) {
    const shown = await timer.textContent();
    await until('the clock goes on', async () => (await timer.textContent()) !== shown);
  }
  assert.equal(await dialog.getByText('Credited:').count(), 0);
  await shoot(page, 'payment-offline');
  gateway.mend();
  await credited(dialog);
});

test('a code of WeChat Pay and a page of Stripe are paid, and the balance is told of both', async () => {
  const { page, context } = ann;
  const wechat = await orders(ann, 'wechat/native', '150');
  const number = await numberIn(wechat);
  await wechat.getByRole('img', { name: /^Code to pay with/ }).waitFor();
  await channels.paid(gateway, 'wechat', number);
  await credited(wechat);
  const stripe = await orders(ann, 'stripe/', '50', 'USD');
  const link = await stripe.getByRole('link', { name: /^Pay with/ }).getAttribute('href');
  assert.match(link, /^https:\/\/checkout\.stripe\.com\//);
  await channels.paid(gateway, 'stripe', await numberIn(stripe));
  await credited(stripe);
  // 300 yuan at 7.2 each, and fifty dollars at one.
  await page.getByRole('link', { name: /^Balance: 91\.66/ }).waitFor();
  const { items } = await (await context.request.get(at('/api/user/topup'))).json();
  assert.deepEqual(
    items.map((it) => `${it.channel} ${it.status}`),
    ['stripe completed', 'wechat completed', 'alipay completed', 'epay completed'],
  );
});

test('a key makes a call, the call is in the log, and the statement adds up to the balance', async () => {
  const { page, context } = ann;
  await page.goto(at('/keys'));
  await page.getByRole('button', { name: 'New key' }).first().click();
  await page.getByLabel('Name').fill('website');
  await page.getByRole('button', { name: 'Make the key' }).click();
  const secret = (await page.getByTestId('secret').textContent()).trim();
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  const answer = await fetch(at('/v1/chat/completions'), {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 400 }),
  });
  assert.equal(answer.status, 200, await answer.text());
  await until('the call is in the log', async () => {
    await page.goto(at('/usage'));
    await settled(page);
    return (await page.locator('tbody tr').count()) === 1;
  });
  await page.getByText('0.00645').first().waitFor();
  await page.goto(at('/billing'));
  const statement = page.getByRole('region', { name: 'Statement of a month' });
  const month = await statement.getByLabel('Month').inputValue();
  const of = async (path) => (await context.request.get(at(path))).json();
  const { charges, closing } = await of(`/api/user/statements?month=${month}`);
  const { total } = await of('/api/user/balance');
  assert.equal(nano(closing), nano(total));
  assert.equal(nano(charges.replace('-', '')), 6_450_000n);
  await statement.getByText(padded(closing)).first().waitFor();
  const file = await context.request.get(
    at(await statement.getByRole('link', { name: 'As CSV' }).getAttribute('href')),
  );
  assert.ok(file.ok() && (await file.text()).includes(month));
  await settled(page);
  await shoot(page, 'statement');
  assert.deepEqual(await axe(page), []);
});

/** Nine decimals, as pages show what must be exact. */
function padded(amount) {
  const [whole, fraction = ''] = amount.split('.');
  return `${whole}.${fraction.padEnd(9, '0')}`;
}

function nano(amount) {
  return BigInt(padded(amount).replace('.', ''));
}

const TODAY_IN_BEIJING = new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 10);

async function uploads({ page }, bytes) {
  await page.getByLabel('Channel', { exact: true }).fill('wechat');
  await page.getByLabel('Day', { exact: true }).fill(TODAY_IN_BEIJING);
  await page
    .locator('input[type="file"]')
    .first()
    .setInputFiles({ name: 'bill.csv', mimeType: 'text/csv', buffer: bytes });
  await page.getByText('The bill is in, and the day was compared').waitFor();
}

test('finance compares a day by the channel’s bill, and what differs is signed off by a second person', async () => {
  const { page } = finn;
  const body = { username: 'finn', email: 'finn@example.com', password: PASSWORD };
  const answer = await fetch(at('/api/user/register'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.ok(answer.ok, await answer.text());
  await fetch((await mail.mail('finn@example.com', /http\S+verify-email\S+/)).found);
  const { items } = await admin('GET', '/api/admin/users?q=finn');
  await admin('PATCH', `/api/admin/users/${items[0].id}`, { role: 'finance' });
  await logsIn(finn, 'finn', PASSWORD, '/admin/reconciliation');
  await uploads(finn, await channels.bill('wechat', TODAY_IN_BEIJING));
  await page.getByRole('row', { name: /wechat.*No differences open/ }).waitFor();
  // A payment that the gateway was never told of.
  const made = await ann.context.request.post(at('/api/user/topup'), {
    data: { amount: '200', channel: 'wechat', method: 'native' },
    headers: { origin: gateway.url },
  });
  await channels.paid(gateway, 'wechat', (await made.json()).order.replaceAll('-', ''), false);
  await uploads(finn, await channels.bill('wechat', TODAY_IN_BEIJING));
  await page
    .getByRole('row', { name: /wechat.*1 open/ })
    .first()
    .waitFor();
  await settled(page);
  await shoot(page, 'reconciliation-open');
  assert.deepEqual(await axe(page), []);
  await page.goto(at('/admin/reconciliation?tab=differences'));
  await page.getByRole('button', { name: 'Take it on' }).click();
  await page.getByRole('button', { name: 'Resolve', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('What was done').selectOption({ label: 'The channel corrected it' });
  await dialog.getByLabel('Reason').fill('seen in the merchant console');
  await dialog.getByRole('button', { name: 'Resolve' }).click();
  await page.getByRole('cell', { name: /^Waits for a second person/ }).waitFor();
  assert.ok(await page.getByRole('button', { name: 'Approve' }).isDisabled(), 'not by who resolved it');
  await olga.page.goto(at('/admin/reconciliation?tab=differences'));
  await olga.page.getByRole('button', { name: 'Approve' }).click();
  await olga.page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
  await olga.page.getByRole('cell', { name: /^Resolved/ }).waitFor();
});

test('a refund is asked for by who paid, approved by an operator, and given by the channel once', async () => {
  const { page, context } = ann;
  const { items } = await (await context.request.get(at('/api/user/topup?status=completed'))).json();
  const { order } = items.find((it) => it.channel === 'alipay');
  await page.goto(at(`/topup/${order}`));
  await page.getByRole('button', { name: 'Ask for a refund' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('How much (CNY)').fill('14.40');
  await dialog.getByLabel('Reason').fill('not wanted');
  await dialog.getByRole('button', { name: 'Ask for it' }).click();
  await page.getByRole('cell', { name: 'Asked for' }).waitFor();
  await page.getByRole('link', { name: /^Balance: 89\.6/ }).waitFor();
  await until('the request is in the tables', async () => {
    await finn.page.goto(at('/admin/refunds'));
    await settled(finn.page);
    return (await finn.page.getByRole('button', { name: 'Approve' }).count()) === 1;
  });
  await finn.page.getByRole('button', { name: 'Approve' }).click();
  await finn.page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
  await until('the channel gave it', async () => (await channels.refunds('alipay')) === 1);
  await page.getByRole('cell', { name: 'Paid back' }).waitFor();
  await until('the operators see it, too', async () => {
    await finn.page.goto(at('/admin/refunds'));
    await settled(finn.page);
    return (await finn.page.getByRole('cell', { name: 'Paid back' }).count()) === 1;
  });
  await shoot(finn.page, 'refund-done');
  assert.equal(await channels.refunds('alipay'), 1);
});

test('finance makes a file of the journal, downloads what its sum says, and closes a month, but none that is not over', async () => {
  const { page, context } = finn;
  await page.goto(at('/admin/exports'));
  await page.getByRole('button', { name: 'Make a file' }).click();
  await page.getByRole('cell', { name: /^Ready/ }).waitFor();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download' }).click(),
  ]);
  const bytes = readFileSync(await download.path());
  const { items } = await (await context.request.get(at('/api/admin/exports'))).json();
  assert.equal(createHash('sha256').update(bytes).digest('hex'), items[0].sha256);
  assert.ok(bytes.toString().split('\n').length > 10, 'every line of the journal');
  await shoot(page, 'export-ready');
  // The books of a new gateway begin this month: asked to close one all the same, the real gateway refuses in the dialog.
  await olga.page.goto(at('/admin/periods'));
  await olga.page.getByText('No month is ready to be closed.').waitFor();
  const month = new Date().toISOString().slice(0, 7);
  await olga.page.route(
    '**/api/admin/periods',
    async (route) => {
      if (route.request().method() !== 'GET') return route.fallback();
      const answer = await (await route.fetch()).json();
      return route.fulfill({ json: { ...answer, next: month } });
    },
    { times: 1 },
  );
  await olga.page.reload();
  await olga.page.getByRole('button', { name: `Close ${month}` }).click();
  const dialog = olga.page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Close it for ever' }).click();
  await dialog.getByRole('alert').waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await olga.page.unrouteAll();
  // The first month to be closed may lie before the books began. The one after it is over, too, and ready.
  const monthAgo = (months) => {
    const now = new Date();
    return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - months, 1)).toISOString().slice(0, 7);
  };
  await admin('POST', '/api/admin/periods', { month: monthAgo(2) });
  await page.goto(at('/admin/periods'));
  await page.getByRole('rowheader', { name: monthAgo(2) }).waitFor();
  await page.getByRole('button', { name: `Close ${monthAgo(1)}` }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Close it for ever' }).click();
  await page.getByRole('rowheader', { name: monthAgo(1) }).waitFor();
  await page.getByText('No month is ready to be closed.').waitFor();
  const closed = await (await context.request.get(at('/api/admin/periods'))).json();
  assert.deepEqual(
    closed.items.map((it) => it.month),
    [monthAgo(1), monthAgo(2)],
  );
  assert.equal(closed.items[0].previous_digest, closed.items[1].digest, 'each names the one before');
  await settled(page);
  await shoot(page, 'period-closed');
  assert.deepEqual(await axe(page), []);
});

test('an operator gives credits with a reason, and finds them on the ledger and in books that balance', async () => {
  const { page } = olga;
  await page.goto(at('/admin/users?q=ann'));
  await page.getByRole('link', { name: 'ann', exact: true }).click();
  const correct = page.getByRole('region', { name: 'Correct the balance' });
  await correct.getByLabel('Credits, + or −').fill('5');
  await correct.getByLabel('Reason').fill('goodwill');
  await correct.getByRole('button', { name: 'Go on' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Post it' }).click();
  await page.getByText('5.000000000 credits posted').waitFor();
  await page.getByRole('link', { name: 'Events of this account' }).click();
  await page.getByRole('heading', { name: 'Ledger', level: 1 }).waitFor();
  await page.getByText('Debits equal credits in every unit').waitFor();
  await until('the correction is among the events', async () => {
    await page.reload();
    await settled(page);
    const further = page.getByRole('link', { name: 'Further events' });
    if (await further.count()) {
      await further.click();
      await settled(page);
    }
    return (await page.getByText('adjustment_posted').count()) > 0;
  });
  await shoot(page, 'ledger-account');
  assert.deepEqual(await axe(page), []);
  await ann.page.getByRole('link', { name: /^Balance: 94\.6/ }).waitFor();
});

/** Goes on by the Tab key until something has the focus. */
async function tabTo(page, target, most = 80) {
  for (let press = 0; press < most; press += 1) {
    await page.keyboard.press('Tab');
    if (await target.evaluate((it) => it === document.activeElement).catch(() => false)) return;
  }
  throw new Error(`the Tab key does not lead to ${target} within ${most} stops`);
}

/** However often one goes on or back, the focus stays in the dialog. */
async function trapped(page) {
  const inside = () => page.evaluate(() => document.activeElement?.closest('[role="dialog"]') !== null);
  for (const key of ['Tab', 'Shift+Tab']) {
    for (let press = 0; press < 15; press += 1) {
      await page.keyboard.press(key);
      assert.ok(await inside(), `${key} leads out of the dialog`);
    }
  }
}

const focused = (page) => page.evaluate(() => document.activeElement?.textContent?.trim());

test('by the keyboard alone: log in, top up, make a key, copy it down, and go', async () => {
  const { page, context } = await person();
  await page.goto(at('/login?return=/topup'));
  await settled(page);
  await tabTo(page, page.getByLabel('User name or e-mail address'));
  await page.keyboard.type('ann');
  await tabTo(page, page.getByRole('textbox', { name: 'Password' }));
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await page.waitForURL(at('/topup'));
  await settled(page);
  // Amounts: one stop, and arrows within.
  await tabTo(page, page.getByRole('radio', { name: '¥50 CNY', exact: true }));
  await page.keyboard.press('ArrowRight');
  await page.getByRole('radio', { name: '¥100 CNY', exact: true, checked: true }).waitFor();
  const pay = page.getByRole('button', { name: 'Pay ¥100 CNY' });
  await tabTo(page, pay);
  await page.keyboard.press('Enter');
  const payment = page.getByRole('dialog');
  await payment.getByText('left to pay').waitFor();
  await trapped(page);
  await page.keyboard.press('Escape');
  await payment.waitFor({ state: 'detached' });
  await until('the focus is back', async () => (await focused(page)) === 'Pay ¥100 CNY');
  // A key.
  await page.goto(at('/keys'));
  await settled(page);
  const make = page.getByRole('button', { name: 'New key' }).first();
  await tabTo(page, make);
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await until('the name has the focus', () =>
    dialog.getByLabel('Name').evaluate((it) => it === document.activeElement),
  );
  await trapped(page);
  await tabTo(page, dialog.getByLabel('Name'));
  await page.keyboard.type('by keyboard');
  await page.keyboard.press('Enter');
  await page.getByTestId('secret').waitFor();
  await tabTo(page, page.getByLabel('I have saved it'));
  await page.keyboard.press('Space');
  await tabTo(page, page.getByRole('button', { name: 'Done' }));
  await page.keyboard.press('Enter');
  await page.getByRole('rowheader', { name: 'by keyboard' }).waitFor();
  // A menu: opened, walked by arrows, left by Escape, and its last entry taken.
  const menu = page.getByRole('button', { name: 'Account of ann' });
  await page.goto(at('/'));
  await settled(page);
  await tabTo(page, menu);
  await page.keyboard.press('Enter');
  await page.getByRole('menuitem', { name: 'Log out' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('menuitem', { name: 'Log out' }).waitFor({ state: 'detached' });
  await until('the focus is back', () => menu.evaluate((it) => it === document.activeElement));
  await page.keyboard.press('Enter');
  await page.getByRole('menuitem', { name: 'Log out' }).waitFor();
  await until('the last entry has the focus', async () => {
    await page.keyboard.press('ArrowDown');
    return (await focused(page)) === 'Log out';
  });
  await page.keyboard.press('Enter');
  await page.waitForURL('**/login');
  await context.close();
});

test('a write that another site makes a browser send changes nothing', async () => {
  const { context } = ann;
  const before = await (await context.request.get(at('/api/user/keys'))).json();
  for (const origin of ['https://evil.example', 'null']) {
    const answer = await context.request.post(at('/api/user/keys'), {
      data: { name: 'theirs' },
      headers: { origin },
    });
    assert.equal(answer.status(), 403, origin);
  }
  // As a page of another site does it: a form, with whatever cookies the browser gives it.
  const evil = await context.newPage();
  await evil.route('http://evil.example/', (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: `<form method="post" enctype="text/plain" action="${at('/api/user/keys')}"><input name='{"name":"theirs","x":"' value='"}'></form><script>document.forms[0].submit()</script>`,
    }),
  );
  const [refused] = await Promise.all([
    evil.waitForResponse('**/api/user/keys'),
    evil.goto('http://evil.example/'),
  ]);
  assert.ok(refused.status() >= 400, `${refused.status()}`);
  await evil.close();
  assert.deepEqual(await (await context.request.get(at('/api/user/keys'))).json(), before);
});

test('nothing broke the policy or fell over in all of this', () => {
  assert.deepEqual(faults.flat(), []);
});
