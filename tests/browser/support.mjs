// What the scripts that drive the live page share: the browser, its pages, and looking at them.
//
// CHROMIUM     the browser (default /usr/bin/chromium)
// SCREENSHOTS  a folder for pictures of each state that is inspected, at three widths in both colour schemes
// COOKIE       name=value, when the system wants to know who is looking
// TIMEOUT_SECS how long one thing may take (default 120)

import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { chromium } from "playwright-core";

const LOOKS = [390, 768, 1440].flatMap((width) => ["light", "dark"].map((colorScheme) => ({ width, colorScheme })));
const HEIGHTS = { 390: 844, 768: 1024, 1440: 900 };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const screenshots = process.env.SCREENSHOTS;
export const timeout = Number(process.env.TIMEOUT_SECS ?? 120) * 1_000;
export const edge = new URL(need("EDGE_URL"));

export const id = (name) => `[data-testid="${name}"]`;
export const shown = (name, more = "") => `${id(name)}${more}:not([hidden])`;
export const address = (path) => new URL(path, edge).href;

export class Wrong extends Error {}

export function expect(holds, complaint) {
  if (!holds) throw new Wrong(complaint);
}

export async function inTime(complaint, waiting) {
  try {
    return await waiting;
  } catch (error) {
    if (error?.name === "TimeoutError") throw new Wrong(`${complaint} in time`);
    throw error;
  }
}

/** Waits until `holds` is true of the page; what is asked runs there. */
export function until(page, complaint, holds, argument) {
  return inTime(complaint, page.waitForFunction(holds, argument, { timeout }));
}

export function need(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`${basename(process.argv[1])}: set ${name}`);
  process.exit(1);
}

export function filesIn(folder) {
  const files = readdirSync(folder).sort().map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
  expect(files.length > 0, `no photos in ${folder}`);
  return files;
}

/** Runs a script's steps in a browser. Ends with code 1 and a sentence when something is wrong. */
export async function drive(name, steps) {
  let browser;
  try {
    if (screenshots) mkdirSync(screenshots, { recursive: true });
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync"],
    });
    for (const step of steps) {
      const begun = Date.now();
      await step(browser);
      console.log(`${name}: ${step.name}, ${((Date.now() - begun) / 1_000).toFixed(1)} s`);
    }
  } catch (error) {
    console.error(error instanceof Wrong ? `${name}: ${error.message}` : error);
    const pages = screenshots ? browser?.contexts().flatMap((context) => context.pages()) ?? [] : [];
    await Promise.all(pages.map((page, index) => page.screenshot({ path: join(screenshots, `failed-${index}.png`) })));
    process.exitCode = 1;
  } finally {
    await browser?.close();
  }
}

/** A page of its own, and what the browser complained of in it. */
export async function openPage(browser, { width = 1440, height = HEIGHTS[width] ?? 900, colorScheme = "light", locale = "en-GB", script } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, locale, permissions: ["clipboard-read", "clipboard-write"] });
  if (process.env.COOKIE) {
    const [name, ...value] = process.env.COOKIE.split("=");
    await context.addCookies([{ name, value: value.join("="), url: edge.origin }]);
  }
  // From outside of the page's own content security policy.
  await context.addInitScript(AXE);
  if (script) await context.addInitScript(script);
  const page = await context.newPage();
  page.setDefaultTimeout(timeout);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(message.text());
  });
  return { context, page, problems };
}

/** What a state looks like at each width in both colour schemes: axe-core has nothing serious, and nothing is cut off. */
export async function inspect(page, state) {
  const before = page.viewportSize();
  for (const { width, colorScheme } of LOOKS) {
    await page.setViewportSize({ width, height: HEIGHTS[width] });
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const where = `${state}, ${width} px ${colorScheme}`;
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(overflow <= 0, `${where}: the page is ${overflow} px wider than the screen`);
    const found = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
      return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).slice(0, 3).join(" | ")}`);
    });
    expect(found.length === 0, `${where}: axe-core found ${found.join("; ")}`);
    if (screenshots) await page.screenshot({ path: join(screenshots, `${state}-${width}-${colorScheme}.png`) });
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}
