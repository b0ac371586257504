// Drives the live page in a real browser against a running system, and looks at what a person would see.
//
//   EDGE_URL=http://localhost:8787 PHOTOS=folder node tests/browser/live-page.mjs
//
// CHROMIUM     the browser (default /usr/bin/chromium)
// SCREENSHOTS  a folder: one batch a width and colour scheme, with pictures in the middle and at the end
// COOKIE       name=value, when the system wants to know who is looking
// TIMEOUT_SECS how long one batch may take (default 120)
//
// Ends with code 1 and a sentence when something is wrong.

import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const edge = new URL(need("EDGE_URL"));
const photos = filesIn(need("PHOTOS"));
const screenshots = process.env.SCREENSHOTS;
const timeout = Number(process.env.TIMEOUT_SECS ?? 120) * 1_000;

const LOOKS = [
  { width: 1440, height: 900, colorScheme: "dark" },
  { width: 1440, height: 900, colorScheme: "light" },
  { width: 768, height: 1024, colorScheme: "dark" },
  { width: 768, height: 1024, colorScheme: "light" },
  { width: 390, height: 844, colorScheme: "dark" },
  { width: 390, height: 844, colorScheme: "light" },
];
/** A photo may skip a state that was over before it could be sent, but never return to an earlier one. */
const RANK = { WAITING: 0, UPLOADING: 0, UNSENT: 0, QUEUED: 1, PROCESSING: 2, COMPLETED: 3, FAILED: 3 };
const ENDS = ["completed", "partial", "failed"];

const id = (name) => `[data-testid="${name}"]`;

class Wrong extends Error {}

let browser;
try {
  if (screenshots) mkdirSync(screenshots, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  for (const look of screenshots ? LOOKS : LOOKS.slice(0, 1)) await watchOneBatch(look);
  await openWhatIsNotThere();
  await goWithoutMouse();
} catch (error) {
  console.error(error instanceof Wrong ? `live page: ${error.message}` : error);
  process.exitCode = 1;
} finally {
  await browser?.close();
}

/** From choosing photos to the end, and once more from the batch's address. */
async function watchOneBatch(look) {
  const { context, page, problems } = await openPage(look);
  const picture = async (moment) => {
    if (!screenshots) return;
    await page.screenshot({ path: join(screenshots, `${moment}-${look.width}-${look.colorScheme}.png`) });
  };

  await page.goto(new URL("/", edge).href);
  await picture("home");
  await page.setInputFiles(id("file-input"), photos);
  await page.waitForURL(/\/batches\/[A-Za-z0-9_-]{1,64}$/, { timeout });
  const address = page.url();

  await inTime("no photo moved on", page.waitForFunction(moved, undefined, { timeout }));
  await inTime("the bar did not reach a third", page.waitForFunction(aThird, undefined, { timeout }));
  await picture("middle");

  await inTime("the end was not shown", page.waitForSelector(`${id("end-banner")}:not([hidden])`, { timeout }));
  const end = await lookAt(page);
  checkEnd(end);
  await thumbnailsShown(page, end);
  await picture("end");

  expect(page.url() === address, `the address changed from ${address} to ${page.url()}`);
  await theBatchAgain(context, address, end);
  expect(problems.length === 0, `the browser complained: ${problems.join("; ")}`);
  console.log(`live page, ${look.width} px ${look.colorScheme}: ${end.tiles.length} photos, ${end.outcome}, `
    + `bar ${end.record.bar.join(" ")}`);
  await context.close();
}

function checkEnd(end) {
  const { bar, outcomes, statuses, completes } = end.record;
  expect(ENDS.includes(end.outcome), `the end is shown as "${end.outcome}"`);
  expect(outcomes.length === 1, `the end was shown ${outcomes.length} times: ${outcomes.join(", ")}`);
  expect(completes === 1, `${completes} complete events instead of one`);
  expect(end.tiles.length === photos.length, `${end.tiles.length} tiles for ${photos.length} photos`);

  const open = end.tiles.filter((tile) => tile.status !== "COMPLETED" && tile.status !== "FAILED");
  expect(open.length === 0, `photos that never ended: ${open.map((tile) => `${tile.name} ${tile.status}`).join(", ")}`);
  for (const [photoId, seen] of Object.entries(statuses)) {
    expect(seen.every((status, index) => index === 0 || RANK[status] >= RANK[seen[index - 1]]), `photo ${photoId} went back: ${seen.join(", ")}`);
  }
  expect(bar.every((value, index) => index === 0 || value >= bar[index - 1]), `the bar went backwards: ${bar.join(" ")}`);
  expect(bar.at(-1) === 100, `the bar ended at ${bar.at(-1)}`);

  const failed = end.tiles.filter((tile) => tile.status === "FAILED").length;
  expect(end.failures === failed, `${end.failures} failures listed for ${failed} photos that failed`);
  expect(end.outcome === (failed === 0 ? "completed" : failed === end.tiles.length ? "failed" : "partial"),
    `"${end.outcome}" with ${failed} of ${end.tiles.length} failed`);

  expect(end.bar.role === "progressbar" && end.bar.min === "0" && end.bar.max === "100" && end.bar.text !== "", "the bar does not say what it is");
  expect(end.connection === "ended", `the connection is shown as "${end.connection}"`);
  expect(end.said !== "", "the live region says nothing at the end");
  expect(end.overflow <= 0, `the page is ${end.overflow} px wider than the screen`);
}

/** Analysed photos in sight must be seen, not only said to be done. */
async function thumbnailsShown(page, end) {
  if (!end.tiles.some((tile) => tile.status === "COMPLETED")) return;
  await inTime("no thumbnail appeared", page.waitForFunction(() =>
    [...document.querySelectorAll("img.thumbnail")].some((image) => image.complete && image.naturalWidth > 0), undefined, { timeout: 15_000 }));
  // Photos take a moment to develop; pictures of the page are taken after it.
  await page.waitForTimeout(screenshots ? 2_500 : 0);
}

/** The address alone opens straight into the batch. */
async function theBatchAgain(context, address, first) {
  const page = await context.newPage();
  await page.goto(address);
  await inTime("the address of an ended batch does not show its end", page.waitForSelector(`${id("end-banner")}:not([hidden])`, { timeout }));
  const again = await lookAt(page);
  expect(again.outcome === first.outcome, `opened again, the batch is "${again.outcome}" instead of "${first.outcome}"`);
  expect(again.tiles.length === first.tiles.length, `opened again, the batch has ${again.tiles.length} tiles instead of ${first.tiles.length}`);
  expect(again.record.bar.at(-1) === 100, "opened again, the bar is not full");
  await page.close();
}

async function openWhatIsNotThere() {
  const { context, page } = await openPage(LOOKS[0]);
  await page.goto(new URL("/batches/no-such-batch", edge).href);
  await inTime("an unknown batch is not said to be unknown",
    page.waitForSelector(`${id("end-banner")}[data-outcome="missing"]:not([hidden])`, { timeout: 30_000 }));
  await context.close();
}

/** The file input and the way back are reached with the Tab key, and "New batch" and Back change the page. */
async function goWithoutMouse() {
  const { context, page } = await openPage(LOOKS[0]);
  await page.goto(new URL("/", edge).href);
  expect(await tabTo(page, "file-input"), "the Tab key does not reach the file input");
  await page.goto(new URL("/batches/no-such-batch", edge).href);
  await page.waitForSelector(`${id("end-banner")}:not([hidden])`);
  expect(await tabTo(page, "new-batch"), "the Tab key does not reach the link to a new batch");
  await page.keyboard.press("Enter");
  await page.waitForSelector(`${id("home")}:not([hidden])`);
  expect(new URL(page.url()).pathname === "/", `"New batch" leads to ${page.url()}`);
  await page.goBack();
  await page.waitForSelector(`${id("batch")}:not([hidden])`);
  await context.close();
}

async function tabTo(page, testId) {
  for (let presses = 0; presses < 10; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.getAttribute("data-testid")) === testId) return true;
  }
  return false;
}

async function openPage({ width, height, colorScheme }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, deviceScaleFactor: width < 500 ? 2 : 1 });
  if (process.env.COOKIE) {
    const [name, ...value] = process.env.COOKIE.split("=");
    await context.addCookies([{ name, value: value.join("="), url: edge.origin }]);
  }
  await context.addInitScript(keepRecord);
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(message.text());
  });
  return { context, page, problems };
}

/** Runs in the page, before it: writes down what changes, so that nothing between two looks is missed. */
function keepRecord() {
  const record = { bar: [], outcomes: [], statuses: {}, completes: 0 };
  globalThis.__record = record;

  const native = fetch;
  globalThis.fetch = async (...given) => {
    const response = await native(...given);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
    const [ours, theirs] = response.body.tee();
    void countCompletes(ours).catch(() => {});
    return new Response(theirs, response);
  };
  const countCompletes = async (body) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let chunk; !(chunk = await reader.read()).done;) {
      const lines = (rest + chunk.value).split("\n");
      rest = lines.pop();
      record.completes += lines.filter((line) => line === "event: complete").length;
    }
  };

  const push = (list, value) => {
    if (value !== null && value !== undefined && value !== list.at(-1)) list.push(value);
  };
  const note = (element) => {
    switch (element.getAttribute("data-testid")) {
      case "progressbar":
        if (element.hasAttribute("aria-valuenow")) push(record.bar, Number(element.getAttribute("aria-valuenow")));
        break;
      case "end-banner":
        push(record.outcomes, element.getAttribute("data-outcome"));
        break;
      case "tile":
        push(record.statuses[element.dataset.photoId] ??= [], element.dataset.status);
        break;
    }
  };
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      if (target instanceof Element) note(target);
      for (const node of addedNodes) if (node instanceof Element) note(node);
    }
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["aria-valuenow", "data-outcome", "data-status"] });
}

/** These two run in the page. An end, of whatever kind, ends the waiting: what kind it is comes later. */
function moved() {
  return document.querySelector('[data-testid="tile"]:is([data-status="PROCESSING"], [data-status="COMPLETED"], [data-status="FAILED"]), '
    + '[data-testid="end-banner"]:not([hidden])') !== null;
}

function aThird() {
  return Number(document.querySelector('[data-testid="progressbar"]').ariaValueNow) >= 34
    || document.querySelector('[data-testid="end-banner"]:not([hidden])') !== null;
}

function lookAt(page) {
  return page.evaluate(() => {
    const get = (name) => document.querySelector(`[data-testid="${name}"]`);
    const bar = get("progressbar");
    return {
      record: globalThis.__record,
      outcome: get("end-banner").dataset.outcome,
      connection: get("connection").dataset.connection,
      said: get("live-region").textContent,
      failures: get("failures").querySelectorAll("li").length,
      overflow: document.documentElement.scrollWidth - innerWidth,
      bar: { role: bar.getAttribute("role"), min: bar.ariaValueMin, max: bar.ariaValueMax, text: bar.ariaValueText ?? "" },
      tiles: [...document.querySelectorAll('[data-testid="tile"]')].map((tile) =>
        ({ status: tile.dataset.status, name: tile.querySelector(".tile-name").textContent })),
    };
  });
}

async function inTime(complaint, waiting) {
  try {
    return await waiting;
  } catch (error) {
    if (error?.name === "TimeoutError") throw new Wrong(`${complaint} in time`);
    throw error;
  }
}

function expect(holds, complaint) {
  if (!holds) throw new Wrong(complaint);
}

function need(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`live page: set ${name}`);
  process.exit(1);
}

function filesIn(folder) {
  const files = readdirSync(folder).sort().map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
  if (files.length > 0) return files;
  console.error(`live page: no photos in ${folder}`);
  process.exit(1);
}
