// A real browser without a screen: Debian's chromium, no download.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = join(import.meta.dirname, '../shots');

function executable() {
  const places = [
    process.env.CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
  ];
  const found = places.find((path) => path && existsSync(path));
  if (!found) throw new Error('there is no chromium: tools/setup-browser.sh installs it');
  return found;
}

export function startBrowser() {
  return chromium.launch({
    executablePath: executable(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
    ],
  });
}

/** A page that notes what must never happen: a violated policy, an uncaught error. */
export async function newPage(context) {
  const page = await context.newPage();
  const faults = [];
  await page.exposeFunction('noteFault', (text) => faults.push(text));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (it) =>
      window.noteFault(
        `policy ${it.violatedDirective} broken by ${it.blockedURI} ${it.sourceFile ?? ''} ${it.sample}`,
      ),
    );
  });
  page.on('pageerror', (error) => faults.push(`uncaught: ${error.stack ?? error}`));
  return { page, faults };
}

// The title of the library's dialogs is a `header` outside of a section: a second banner, to the letter. Both are moderate.
const KNOWN = ['landmark-no-duplicate-banner', 'landmark-unique'];

/** What axe finds of weight on this page, in words. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }),
  );
  return violations
    .filter((it) => ['serious', 'critical', 'moderate'].includes(it.impact) && !KNOWN.includes(it.id))
    .map(
      (it) =>
        `${it.impact} ${it.id}: ${it.nodes
          .slice(0, 3)
          .map((node) => `${node.html.slice(0, 160)} (${node.failureSummary?.split('\n')[1]?.trim()})`)
          .join(' | ')}`,
    );
}

/** A picture of the page, for people to look at. */
export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** Nothing of the page is wider than the window. */
export async function fits(page, name) {
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.ok(wide <= 0, `${name} is ${wide} px wider than the window`);
}

/** The page shows what it came to show: no bars of a page that still waits. */
export async function settled(page) {
  await page.locator('h1').first().waitFor();
  await page.waitForFunction(() => !document.querySelector('.late, [aria-busy="true"]'));
}
