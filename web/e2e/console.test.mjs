// The console in a real browser, on the real gateway: one user's story, then every page in both languages, both colours and
// two widths, and what attackers try.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { axe, fits, newPage, settled, shoot, startBrowser } from './browser.mjs';
import { ADMIN_PASSWORD, loggedIn, startGateway, startProvider, until } from './gateway.mjs';

const PASSWORD = 'correct horse battery';
const MODEL = 'demo-large';
let gateway;
let provider;
let browser;
let admin;
let context;
let page;
let faults;
let order;

const at = (path) => gateway.url + path;

before(async () => {
  [gateway, provider, browser] = await Promise.all([startGateway(), startProvider(), startBrowser()]);
  admin = await loggedIn(gateway.url, 'admin', ADMIN_PASSWORD);
  context = await browser.newContext({
    locale: 'en-GB',
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
  });
  ({ page, faults } = await newPage(context));
  page.setDefaultTimeout(20_000);
});

after(async () => {
  await browser?.close();
  provider?.stop();
  await gateway?.stop();
});

test('somebody new signs up, and comes to the page they asked for', async () => {
  await page.goto(at('/usage?range=30d'));
  await page.waitForURL('**/login?return=*');
  await shoot(page, 'login');
  assert.deepEqual(await axe(page), []);
  await page.getByRole('link', { name: 'Make an account' }).click();
  // The login's own field is called much the same.
  await page.getByRole('heading', { name: 'Make an account' }).waitFor();
  await page.getByLabel('User name').fill('ann');
  await page.getByLabel('E-mail address').fill('not an address');
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.getByText('An e-mail address, such as').waitFor();
  await page.getByLabel('E-mail address').fill('ann@example.com');
  await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  // The fault goes when its field is left, and the button moves up.
  await page.getByText('An e-mail address, such as').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await page.getByText('Confirm your e-mail address').waitFor();
});

test('the mail leads to a confirmed address', async () => {
  const link = await until('the mail is there', async () => {
    const { items } = await (await fetch(at('/api/dev/mailbox'))).json();
    return /http\S+verify-email\S+/.exec(items.find((it) => it.to.includes('ann@'))?.text ?? '')?.[0];
  });
  const other = await context.newPage();
  await other.goto(link);
  await other.getByText('Your address is confirmed').waitFor();
  await other.close();
  await page.reload();
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await settled(page);
  assert.equal(await page.getByText('Confirm your e-mail address').count(), 0);
  await page.getByText('Three steps to the first answer').waitFor();
  await shoot(page, 'dashboard-first');
});

test('what is empty says why, and what to do', async () => {
  for (const [path, sentence] of [
    ['/keys', 'No keys yet'],
    ['/usage', 'No calls in the last 7 days'],
    ['/usage?model=x', 'Nothing matches these filters'],
    ['/billing', 'No records yet'],
    ['/models', 'No models yet'],
    ['/topup', 'No orders yet.'],
    ['/admin/users', 'Your role does not see this page'],
    ['/no/such/page', 'There is no such page'],
  ]) {
    await page.goto(at(path));
    await page.getByText(sentence).first().waitFor();
    assert.deepEqual(await axe(page), [], path);
  }
});

test('a payment is seen while its dialog is open, and credited once', async () => {
  await page.goto(at('/topup'));
  await page.getByRole('radio', { name: '¥100 CNY' }).click();
  await page.getByRole('button', { name: 'Pay ¥100 CNY' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('left to pay').waitFor();
  await shoot(page, 'payment-modal');
  assert.deepEqual(await axe(page), []);
  const [tab] = await Promise.all([
    context.waitForEvent('page'),
    dialog.getByRole('link', { name: /^Pay with/ }).click(),
  ]);
  await tab.getByRole('button', { name: /^Pay/ }).click();
  await tab.getByRole('heading', { name: 'Paid' }).waitFor();
  // The channel leads back: to a page that asks the gateway, in whichever tab.
  await tab.getByRole('link', { name: 'Continue' }).click();
  await tab.getByText('The credits are on your balance.').waitFor();
  order = new URL(tab.url()).pathname.split('/').pop();
  await tab.close();
  await dialog.getByText('Credited:').waitFor();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: /^Balance: 13\.8/ }).waitFor();
});

test('an unpaid order waits to be continued, and a failed one says so', async () => {
  await page.goto(at('/topup'));
  await page.getByRole('radio', { name: 'Another amount' }).click();
  await page.getByLabel('Amount in CNY').fill('0.001');
  await page.getByText('At most 2 decimals.').waitFor();
  await page.getByLabel('Amount in CNY').fill('60');
  await page.getByRole('button', { name: 'Pay ¥60 CNY' }).click();
  await page.getByRole('dialog').getByText('left to pay').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
  await page.getByRole('button', { name: 'Continue with it' }).click();
  const [tab] = await Promise.all([
    context.waitForEvent('page'),
    page.getByRole('link', { name: /^Pay with/ }).click(),
  ]);
  await tab.getByRole('button', { name: 'Let the payment fail' }).click();
  await tab.getByRole('heading', { name: 'The payment failed' }).waitFor();
  await tab.close();
  await page.getByRole('dialog').getByText('The payment failed').last().waitFor();
});

test('a payment that ends while the network is away is seen once it is back', async () => {
  await page.goto(at('/topup'));
  await page.getByRole('radio', { name: '¥50 CNY' }).click();
  await page.getByRole('button', { name: 'Pay ¥50 CNY' }).click();
  const dialog = page.getByRole('dialog');
  const link = await dialog.getByRole('link', { name: /^Pay with/ }).getAttribute('href');
  await context.setOffline(true);
  const number = link.split('/').pop();
  await fetch(at(`/api/payments/sandbox/${number}/pay`), { method: 'POST' });
  await context.setOffline(false);
  await dialog.getByText('Credited:').waitFor();
  await dialog.getByRole('button', { name: 'Done' }).click();
});

let secret;
test('a key is shown once, and its dialog does not go away by accident', async () => {
  const it = await admin('POST', '/api/admin/providers', {
    name: 'demo',
    base_url: provider.url,
    api_key: 'upstream',
    api_format: 'openai',
  });
  await admin('POST', `/api/admin/providers/${it.id}/models`, {
    model_name: MODEL,
    cost: { input: '1', output: '4' },
  });
  await admin('POST', '/api/admin/prices', {
    model: MODEL,
    prices: { input: '2.5', output: '10', cache_read: '0.25' },
  });

  await page.goto(at('/keys'));
  await page.getByRole('button', { name: 'New key' }).first().click();
  await page.getByLabel('Name').fill('website');
  await page.getByLabel('Budget', { exact: true }).fill('5');
  await shoot(page, 'key-form');
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Make the key' }).click();
  const shown = page.getByTestId('secret');
  await shown.waitFor();
  secret = (await shown.textContent()).trim();
  assert.match(secret, /^sk-[0-9A-Za-z]{48,}$/);
  await page.keyboard.press('Escape');
  await page.mouse.click(5, 5);
  assert.ok(await shown.isVisible());
  assert.ok(await page.getByRole('button', { name: 'Done' }).isDisabled());
  assert.deepEqual(await axe(page), []);
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await shown.waitFor({ state: 'detached' });
  const kept = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href]),
  );
  assert.ok(!kept.includes(secret) && !(await page.content()).includes(secret));
});

test('a call appears in the usage log, with a receipt that adds up', async () => {
  for (let call = 0; call < 3; call += 1) {
    const answer = await fetch(at('/v1/chat/completions'), {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 400 }),
    });
    assert.equal(answer.status, 200, await answer.text());
  }
  await until('the calls are in the log', async () => {
    await page.goto(at('/usage'));
    await settled(page);
    return (await page.locator('tbody tr').count()) === 3;
  });
  // 1,200 × 2.5 ÷ 1e6 + 345 × 10 ÷ 1e6
  await page.getByText('0.00645').first().waitFor();
  await page.locator('tbody tr th a').first().click();
  const receipt = page.getByRole('dialog');
  await receipt.getByText('0.006450000').first().waitFor();
  await receipt.getByRole('heading', { name: 'In the books' }).waitFor();
  await shoot(page, 'receipt');
  assert.deepEqual(await axe(page), []);
  assert.match(page.url(), /open=/);
  await page.reload();
  await receipt.getByText('0.006450000').first().waitFor();
  await page.keyboard.press('Escape');
  await receipt.waitFor({ state: 'detached' });
  // A filter is in the address, and the address is a filter.
  await page.getByLabel('Outcome').selectOption('refused');
  await page.getByText('Nothing matches these filters').waitFor();
  assert.match(page.url(), /outcome=refused/);
  await page.goBack();
  await page.locator('tbody tr').first().waitFor();
});

const WIDTHS = { wide: { width: 1280, height: 800 }, phone: { width: 375, height: 812 } };
// Each language, each colour and each width at least once; all of them together would tell no more and take twice as long.
const LOOKS = [
  ['en', 'en', 'light'],
  ['zh', 'zh-CN', 'dark'],
];

async function everyWay(name, paths, signedIn) {
  await Promise.all(LOOKS.map((look) => oneWay(name, paths, signedIn, look)));
}

async function oneWay(name, paths, signedIn, [short, language, colours]) {
  const shown = await browser.newContext({
    locale: language,
    viewport: WIDTHS.wide,
    colorScheme: colours,
    reducedMotion: 'reduce',
    storageState: signedIn,
  });
  const one = await newPage(shown);
  one.page.setDefaultTimeout(20_000);
  await one.page.addInitScript(
    ([words, scheme]) => {
      localStorage.setItem('nexusroute.language', words);
      localStorage.setItem('nexusroute.colours', scheme);
    },
    [language, colours],
  );
  for (const [title, path] of paths) {
    await one.page.setViewportSize(WIDTHS.wide);
    await one.page.goto(at(path));
    await settled(one.page);
    const label = `${name}-${title}-${short}-${colours}`;
    assert.equal(await one.page.locator('html').getAttribute('lang'), language, label);
    assert.equal(await one.page.locator('h1').count(), 1, `${label} has one h1`);
    await shoot(one.page, `${label}-wide`);
    assert.deepEqual(await axe(one.page), [], label);
    await one.page.setViewportSize(WIDTHS.phone);
    await shoot(one.page, `${label}-phone`);
    await fits(one.page, label);
  }
  assert.deepEqual(one.faults, [], `${name} ${short} ${colours}`);
  await shown.close();
}

test('every page before the login: both languages, both colours, both widths, nothing for axe to find', async () => {
  await everyWay('door', [
    ['login', '/login'],
    ['register', '/register'],
    ['verify', '/verify'],
    ['forgot', '/forgot'],
    ['reset', '/reset#token=x'],
  ]);
});

test('every page of a user: the same', async () => {
  const key = (await (await context.request.get(at('/api/user/keys'))).json()).items[0].id;
  await everyWay(
    'user',
    [
      ['dashboard', '/'],
      ['keys', '/keys'],
      ['key', `/keys/${key}`],
      ['usage', '/usage'],
      ['topup', '/topup'],
      ['payment', `/topup/${order}`],
      ['billing', '/billing'],
      ['models', '/models'],
      ['redeem', '/redeem'],
      ['playground', '/playground'],
      ['referral', '/referral'],
      ['security', '/security'],
      ['settings', '/settings'],
    ],
    await context.storageState(),
  );
});

test('every page of an operator: the same', async () => {
  const office = await browser.newContext({ locale: 'en-GB' });
  await office.request.post(at('/api/user/login'), {
    data: { login: 'admin', password: ADMIN_PASSWORD },
    headers: { origin: gateway.url },
  });
  await admin('PUT', '/api/admin/groups/friends', { multiplier: '0.8' });
  await admin('POST', '/api/admin/redemption-codes', { name: 'Launch', credits: '2', count: 3 });
  const { items: users } = await admin('GET', '/api/admin/users?q=ann');
  const { items: providers } = await admin('GET', '/api/admin/providers');
  await everyWay(
    'operator',
    [
      ['overview', '/admin'],
      ['users', '/admin/users'],
      ['user', `/admin/users/${users[0].id}`],
      ['providers', '/admin/providers'],
      ['provider', `/admin/providers/${providers[0].id}`],
      ['prices', '/admin/prices'],
      ['price', `/admin/prices?model=${MODEL}`],
      ['groups', '/admin/groups'],
      ['orders', '/admin/orders'],
      ['codes', '/admin/codes'],
      ['ledger', '/admin/ledger'],
      ['audit', '/admin/audit'],
      ['mails', '/admin/mails'],
      ['guide', '/admin/guide'],
      ['approvals', '/admin/approvals'],
      ['catalogue', '/admin/catalogue?q=gpt-5'],
      ['limits', '/admin/limits'],
      ['referrals', '/admin/referrals'],
      ['invitations', '/admin/invitations'],
      ['announcements', '/admin/announcements'],
      ['gateway', '/admin/settings?q=topup'],
      ['refunds', '/admin/refunds'],
      ['disputes', '/admin/refunds?tab=disputes'],
      ['suspense', '/admin/suspense'],
      ['inbox', '/admin/inbox'],
      ['reconciliation', '/admin/reconciliation'],
      ['differences', '/admin/reconciliation?tab=differences'],
      ['exports', '/admin/exports'],
      ['periods', '/admin/periods'],
    ],
    await office.storageState(),
  );
  await office.close();
});

test('Chinese is drawn with glyphs and not with boxes', async () => {
  const widths = await page.evaluate(() => {
    const canvas = document.createElement('canvas').getContext('2d');
    const draw = (text) => {
      canvas.canvas.width = 40;
      canvas.canvas.height = 40;
      canvas.font = '32px sans-serif';
      canvas.fillText(text, 2, 32);
      return canvas.canvas.toDataURL();
    };
    return [draw('余'), draw('额'), draw('\u{10fffd}')];
  });
  assert.equal(new Set(widths).size, 3, 'fonts-noto-cjk is missing: tools/setup-browser.sh installs it');
});

test('the first view is small, and charts and operators’ pages are not in it', async () => {
  const fresh = await browser.newContext();
  const { page: first } = await newPage(fresh);
  await first.goto(at('/login'));
  await settled(first);
  const loaded = await first.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .filter((it) => it.name.endsWith('.js'))
      .map((it) => [new URL(it.name).pathname, it.encodedBodySize]),
  );
  const bytes = loaded.reduce((sum, [, size]) => sum + size, 0);
  console.log(
    `first view: ${Math.round(bytes / 1024)} KB of compressed JavaScript in ${loaded.length} files`,
  );
  assert.ok(bytes > 50_000 && bytes < 300 * 1024, `${bytes} bytes`);
  assert.ok(!loaded.some(([name]) => /BarsByDay|admin|Overview/.test(name)), JSON.stringify(loaded));
  await fresh.close();
});

test('who is there is asked before the program runs, and nothing is asked twice', async () => {
  for (const path of ['/', '/topup', '/usage']) {
    const { page: again } = await newPage(context);
    await again.goto(at(path));
    await settled(again);
    const { parsed, asked } = await again.evaluate(() => ({
      // Modules run after this.
      parsed: performance.getEntriesByType('navigation')[0].domInteractive,
      asked: performance
        .getEntriesByType('resource')
        .map((it) => ({ path: it.name.slice(location.origin.length), at: it.startTime }))
        .filter((it) => it.path.startsWith('/api/')),
    }));
    const paths = asked.map((it) => it.path);
    assert.deepEqual(
      paths.filter((it, index) => paths.indexOf(it) !== index),
      [],
      path,
    );
    assert.ok(asked.find((it) => it.path === '/api/user/self').at < parsed, path);
    await again.close();
  }
});

test('a page whose file is gone, as after an upgrade, is loaded anew and shown', async () => {
  const { page: old } = await newPage(context);
  let loads = 0;
  old.on('request', (it) => {
    if (it.isNavigationRequest()) loads += 1;
  });
  await old.route('**/assets/Usage-*', (route) =>
    loads < 2 ? route.fulfill({ status: 404 }) : route.continue(),
  );
  await old.goto(at('/usage'));
  await old.getByRole('heading', { name: 'Usage', level: 1 }).waitFor();
  assert.equal(loads, 2);
  await old.close();
});

test('a login leads to no other site', async () => {
  const fresh = await browser.newContext({ locale: 'en-GB' });
  const { page: door } = await newPage(fresh);
  for (const evil of ['//evil.example', 'https://evil.example/', '/\\evil.example', 'javascript:alert(1)']) {
    await door.goto(at(`/login?return=${encodeURIComponent(evil)}`));
    await door.getByLabel('User name or e-mail address').fill('ann');
    await door.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
    await door.getByRole('button', { name: 'Log in', exact: true }).click();
    await door.getByRole('heading', { name: 'Dashboard' }).waitFor();
    assert.equal(door.url(), at('/'), evil);
    await fresh.clearCookies();
  }
  await fresh.close();
});

test('names that are markup are shown as text', async () => {
  const name = '<img src=x onerror=alert(1)>';
  const made = await context.request.post(at('/api/user/keys'), {
    data: { name },
    headers: { origin: gateway.url },
  });
  assert.equal(made.status(), 201);
  await page.goto(at('/keys'));
  await page.getByText(name).waitFor();
  assert.equal(await page.locator('img[src="x"]').count(), 0);
});

const policed = { skip: process.env.PREVIEW ? 'Vite serves the page' : false };
test('no other page may frame the console, and its cookie is not for scripts', policed, async () => {
  const answer = await fetch(at('/keys'));
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /frame-ancestors 'none'/);
  assert.match(policy, /default-src 'none'/);
  assert.ok(!policy.includes('unsafe'), policy);
  assert.equal(answer.headers.get('x-frame-options'), 'DENY');
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
  const cookie = (await context.cookies()).find((it) => it.name === 'nexusroute_session');
  assert.ok(cookie.httpOnly);
  assert.equal(cookie.sameSite, 'Lax');
});

test('what a problem says is shown with its id and a way to try again', async () => {
  const { page: bad } = await newPage(context);
  await bad.route('**/api/user/usage?*', (route) =>
    route.fulfill({
      status: 500,
      contentType: 'application/problem+json',
      body: JSON.stringify({
        type: 'urn:nexusroute:problem:internal',
        title: 'Internal Server Error',
        status: 500,
        code: 'internal',
        detail: 'something went wrong here; it has been logged',
        request_id: '0193-the-request',
      }),
    }),
  );
  await bad.goto(at('/usage'));
  await bad.getByText('something went wrong here').waitFor();
  await bad.getByText('0193-the-request').waitFor();
  await settled(bad);
  await shoot(bad, 'problem');
  assert.deepEqual(await axe(bad), []);
  await bad.unroute('**/api/user/usage?*');
  await bad.getByRole('button', { name: 'Try again' }).click();
  await bad.locator('tbody tr').first().waitFor();
  await bad.close();
});

test('the keyboard alone goes everywhere', async () => {
  await page.goto(at('/'));
  await settled(page);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
  await page.getByRole('link', { name: 'API keys' }).first().focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'API keys' }).waitFor();
  await page.waitForFunction(() => document.activeElement?.tagName === 'H1');
});

test('who leaves in one tab has left in all, and an ended session leads to the login and back', async () => {
  const other = await context.newPage();
  await other.goto(at('/billing'));
  await other.getByRole('heading', { name: 'Billing' }).waitFor();
  await page.goto(at('/keys'));
  await page.getByRole('button', { name: 'Account of ann' }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await page.waitForURL('**/login');
  await other.waitForURL('**/login?return=%2Fbilling');
  await other.getByLabel('User name or e-mail address').fill('ann');
  await other.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await other.getByRole('button', { name: 'Log in', exact: true }).click();
  await other.getByRole('heading', { name: 'Billing' }).waitFor();
  await other.close();
});

test('nothing broke the policy or fell over in all of this', () => {
  assert.deepEqual(faults, []);
});
