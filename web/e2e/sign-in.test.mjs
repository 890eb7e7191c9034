// How people get in: a second factor, recovery codes, passkeys of a virtual authenticator, other sites; and how they lock it up.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { axe, newPage, settled, shoot, startBrowser } from './browser.mjs';
import { startGateway, startIssuer, until } from './gateway.mjs';

const PASSWORD = 'correct horse battery';
let gateway;
let issuer;
let browser;
let context;
let page;
let faults;
let authenticator;
let devtools;

const at = (path) => gateway.url + path;

before(async () => {
  issuer = await startIssuer();
  const issuers = [
    { id: 'main', name: 'The Issuer', issuer: issuer.url, client_id: 'gateway', allow_private: true },
    // Nobody listens there: what the gateway does about it is what is tested.
    { id: 'demo', name: 'Demo', issuer: 'http://127.0.0.1:9', client_id: 'x', allow_private: true },
  ];
  [gateway, browser] = await Promise.all([
    startGateway({
      host: 'localhost',
      env: {
        NEXUSROUTE_OIDC_ISSUERS: JSON.stringify(issuers),
        NEXUSROUTE_OIDC_SECRETS: 'main=a client secret',
      },
    }),
    startBrowser(),
  ]);
  context = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce' });
  ({ page, faults } = await newPage(context));
  page.setDefaultTimeout(20_000);
  devtools = await context.newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  ({ authenticatorId: authenticator } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  }));
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
  await issuer?.stop();
});

/** The six digits of an authenticator app, `steps` half minutes from now. */
function digits(secret, steps) {
  const bits = [...secret]
    .map((it) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(it).toString(2).padStart(5, '0'))
    .join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((it) => Number.parseInt(it, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const hash = createHmac('sha1', key).update(counter).digest();
  const offset = hash[19] & 15;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

async function logOut() {
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
}

async function password(to = page) {
  await to.getByLabel('User name or e-mail address').fill('ann');
  await to.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await to.getByRole('button', { name: 'Log in', exact: true }).click();
}

let secret;
let codes;
test('an authenticator app is set up by its QR code, and the recovery codes are shown once', async () => {
  await page.goto(at('/register'));
  await page.getByLabel('User name').fill('ann');
  await page.getByLabel('E-mail address').fill('ann@example.com');
  await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await page.goto(at('/security'));
  await settled(page);
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Set up an authenticator app' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('img', { name: 'Code for the authenticator app' }).waitFor();
  await shoot(page, 'security-totp');
  assert.deepEqual(await axe(page), []);
  secret = (await dialog.locator('code').textContent()).trim();
  await dialog.getByLabel('The six digits').fill('000000');
  await dialog.getByRole('button', { name: 'Switch it on' }).click();
  await dialog.getByRole('alert').waitFor();
  await dialog.getByLabel('The six digits').fill(digits(secret, -1));
  await dialog.getByRole('button', { name: 'Switch it on' }).click();
  const shown = page.getByTestId('secret');
  await shown.waitFor();
  codes = (await shown.textContent()).trim().split('\n');
  assert.equal(codes.length, 10);
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByText('Recovery codes left: 10.').waitFor();
});

test('the password alone lets nobody in: six digits do, and a recovery code does once', async () => {
  await logOut();
  await password();
  const code = page.getByLabel('Code of your app, or a recovery code');
  await code.waitFor();
  await shoot(page, 'login-second');
  assert.deepEqual(await axe(page), []);
  await code.fill('000000');
  await page.getByText('You are not logged in').waitFor();
  // Typed digits are sent by themselves.
  await code.fill(digits(secret, 0));
  await page.getByRole('heading', { name: /Dashboard|Security/ }).waitFor();
  await logOut();
  await password();
  await code.fill(codes[0]);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.getByRole('heading', { name: /Dashboard|Security/ }).waitFor();
  await page.goto(at('/security'));
  await page.getByText('Recovery codes left: 9.').waitFor();
});

test('a passkey is made, renamed, and logs in without a name or a password', async () => {
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByRole('dialog').getByLabel('Name').fill('laptop');
  await page.getByRole('button', { name: 'Go on with this device' }).click();
  await page.getByRole('rowheader', { name: 'laptop' }).waitFor();
  const { credentials } = await devtools.send('WebAuthn.getCredentials', { authenticatorId: authenticator });
  assert.equal(credentials.length, 1);
  await page.getByRole('button', { name: 'Rename laptop' }).click();
  await page.getByRole('dialog').getByLabel('Name').fill('work laptop');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByRole('rowheader', { name: 'work laptop' }).waitFor();
  await settled(page);
  await shoot(page, 'security-passkey');
  assert.deepEqual(await axe(page), []);
  await logOut();
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await page.getByRole('heading', { name: /Dashboard|Security/ }).waitFor();
});

test('what is dear is asked for with a passkey, and goes out again by itself', async () => {
  await page.goto(at('/security'));
  await settled(page);
  // A login is a fresh proof for ten minutes: as if they were over.
  await page.route(
    '**/api/user/recovery-codes',
    (route) =>
      route.fulfill({
        status: 403,
        contentType: 'application/problem+json',
        body: JSON.stringify({ status: 403, code: 'confirmation_required', detail: 'confirm first' }),
      }),
    { times: 1 },
  );
  await page.getByRole('button', { name: 'New recovery codes' }).click();
  const dialog = page.getByRole('dialog', { name: 'Is it you?' });
  await dialog.getByLabel('Code of your app').waitFor();
  await shoot(page, 'confirmation');
  assert.deepEqual(await axe(page), []);
  await dialog.getByRole('button', { name: 'Use a passkey' }).click();
  await page.getByTestId('secret').waitFor();
  await page.getByLabel('I have saved it').check();
  await page.getByRole('button', { name: 'Done' }).click();
});

test('a passkey that is cancelled says so, and one that was removed opens nothing', async () => {
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId: authenticator, isUserVerified: false });
  await page.goto(at('/security'));
  await page.getByRole('button', { name: 'Remove work laptop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
  await page.getByRole('rowheader', { name: 'work laptop' }).waitFor({ state: 'detached' });
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId: authenticator, isUserVerified: true });
  await logOut();
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await page.getByText('You are not logged in').waitFor();
});

test('another site that does not answer is told of, whatever the way back from it', async () => {
  await page.goto(at('/login?return=/keys'));
  await page.getByRole('link', { name: 'Log in with Demo' }).click();
  await page.waitForURL(/\/login\?.*error=issuer_unavailable/);
  await page.getByText('The login by Demo came to nothing').waitFor();
  await shoot(page, 'login-fault');
  assert.deepEqual(await axe(page), []);
  await page.goto(at('/login?error=%3Cimg%20src%3Dx%3E&issuer=nobody'));
  await page.getByText('<img src=x>').waitFor();
  assert.equal(await page.locator('img[src="x"]').count(), 0);
});

test('somebody new comes by another site, lands where they wanted to go, and the site is among their ways in', async () => {
  await issuer.knows('bea-there', {
    email: 'bea@example.org',
    email_verified: true,
    preferred_username: 'bea',
  });
  const theirs = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce' });
  const { page: bea, faults: beasFaults } = await newPage(theirs);
  const goesThere = async () => {
    await bea.goto(at('/login?return=/keys'));
    await bea.getByRole('link', { name: 'Log in with The Issuer' }).click();
    await bea.locator('input[name="sub"]').fill('bea-there');
  };
  await goesThere();
  await bea.getByRole('button', { name: 'Deny' }).click();
  await bea.getByText('The login by The Issuer came to nothing').waitFor();
  await goesThere();
  await bea.getByRole('button', { name: 'Authorize' }).click();
  await bea.waitForURL(at('/keys'));
  await bea.getByRole('button', { name: 'Account of bea' }).waitFor();
  const cookie = (await theirs.cookies()).find((it) => it.name === 'nexusroute_session');
  assert.ok(cookie.httpOnly && cookie.sameSite === 'Lax');
  await bea.goto(at('/security'));
  await bea.getByRole('rowheader', { name: 'The Issuer' }).waitFor();
  await settled(bea);
  await shoot(bea, 'security-issuer');
  await theirs.close();
  assert.deepEqual(beasFaults, []);
});

test('who another site vouched for is asked for the second factor, and comes to the page they wanted', async () => {
  const answer = await context.request.post(at('/api/user/login'), {
    data: { login: 'ann', password: PASSWORD },
    headers: { origin: gateway.url },
  });
  assert.equal(answer.status(), 202);
  const { challenge, methods } = await answer.json();
  const hash = new URLSearchParams({ second_factor: challenge, methods: methods.join(','), return: '/keys' });
  await page.goto(at('/verify'));
  await page.goto(at(`/login#${hash}`));
  await page.getByLabel('Code of your app, or a recovery code').fill(digits(secret, 1));
  await page.getByRole('heading', { name: 'API keys' }).waitFor();
  assert.equal(page.url(), at('/keys'));
});

test('the app is removed, and a forgotten password is set anew on the page that the mail leads to', async () => {
  await page.goto(at('/security'));
  await page.getByRole('button', { name: 'Remove the app' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove the app' }).click();
  await page.getByRole('button', { name: 'Set up an authenticator app' }).waitFor();
  await logOut();
  await page.getByRole('link', { name: 'Forgotten your password?' }).click();
  await page.getByLabel('E-mail address').fill('ann@example.com');
  await page.getByRole('button', { name: 'Send the link' }).click();
  const link = await until('the mail is there', async () => {
    const { items } = await (await fetch(at('/api/dev/mailbox'))).json();
    return items.map((it) => /http\S+\/reset#token=\S+/.exec(it.text)?.[0]).find(Boolean);
  });
  assert.ok(link.startsWith(at('/reset#token=')), link);
  await page.goto(link);
  await page.getByRole('textbox', { name: 'New password' }).fill('another horse battery');
  await page.getByRole('button', { name: 'Set the password' }).click();
  await page.getByText('Your password is set').waitFor();
});

test('nothing broke the policy or fell over in all of this', () => {
  assert.deepEqual(faults, []);
});
