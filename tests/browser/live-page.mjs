// Drives the live page in a real browser against a running system, and looks at what a person would see.
//
//   EDGE_URL=http://localhost:8787 PHOTOS=folder node tests/browser/live-page.mjs
//
// FILM    a file for the moving picture of README, which is then all that is done
// PHOTOS: photos, one that only looks like one (broken.jpg), and something else (notes.txt). support.mjs has the other
// variables.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import sharp from "sharp";
import { address, drive, expect, filesIn, id, inspect, inTime, need, openPage, shown, timeout, until } from "./support.mjs";

const files = filesIn(need("PHOTOS"));
const notes = files.filter((path) => path.endsWith(".txt"));
const photos = files.filter((path) => !notes.includes(path));
const broken = photos.filter((path) => path.endsWith("broken.jpg"));
const good = photos.filter((path) => !path.endsWith("broken.jpg"));

/** How fast the film's photos are let through, how often it is looked at, and how fast that is shown again. */
const FILM = { uploadMs: 420, frameMs: 210, shownMs: 160, width: 960, height: 640, lastMs: 3_000 };

/** A photo may skip a state that was over before it could be sent, but never return to an earlier one. */
const RANK = { WAITING: 0, UPLOADING: 0, UNSENT: 0, QUEUED: 1, PROCESSING: 2, COMPLETED: 3, FAILED: 3 };

await drive("live page", process.env.FILM ? [theFilm] : [
  aBatchFromChoosingToItsEnd, droppedAndPastedPhotosMakeBatches, aBatchIsCancelledAndRunOn, aLateAnswerLeavesAnotherFaceAlone, aLostNetworkIsShownAndHealed,
  oneThatWasDeletedAndOthersThatMayNotBeSeen, whatIsNotThere, everythingByKeyboard, thousandsOfPhotos, inFrench,
]);

/** From choosing photos to the end, a retry, and once more from the batch's address. */
async function aBatchFromChoosingToItsEnd(browser) {
  const { context, page, problems } = await openPage(browser, { colorScheme: "dark", script: keepRecord });
  await page.goto(address("/"));
  await page.waitForSelector(shown("gallery-empty"));
  await inspect(page, "home-empty");
  await page.setInputFiles(id("file-input"), files);
  await page.waitForURL(/\/batches\/[A-Za-z0-9_-]{1,64}$/);
  const batch = page.url();
  await page.waitForSelector(shown("left-out"));
  const left = await page.textContent(id("left-out-files"));
  expect(left === "notes.txt is no photo this page takes (JPEG, PNG, WebP)", `what is left out is said as "${left}"`);
  await inspect(page, "left-out");
  await page.click(id("left-out-dismiss"));

  await until(page, "the end was not shown", isEnded);
  await thumbnailsShown(page);
  const end = await lookAt(page);
  checkEnd(end);
  await inspect(page, "ended-partial");
  expect(page.url() === batch, `the address changed from ${batch} to ${page.url()}`);

  // What failed fails again, in the batch's next epoch.
  const retried = page.waitForResponse((response) => response.url().endsWith("/retry"));
  await page.click(id("retry-failed"));
  expect((await retried).status() === 202, "the retry is not accepted");
  await until(page, "the batch did not end again", () => globalThis.__record.completes === 2);
  await until(page, "the second end was not shown", isEnded);
  const again = await lookAt(page);
  expect(again.outcome === "partial" && again.failures === 1, `retried, the batch is "${again.outcome}" with ${again.failures} failures`);

  await theBatchAgain(context, batch, again);
  expect(problems.length === 0, `the browser complained: ${problems.join("; ")}`);
  await context.close();
}

function checkEnd(end) {
  const { bar, outcomes, statuses, completes } = end.record;
  expect(end.outcome === "partial", `the end is shown as "${end.outcome}"`);
  expect(outcomes.length === 1, `the end was shown ${outcomes.length} times: ${outcomes.join(", ")}`);
  expect(completes === 1, `${completes} complete events instead of one`);
  expect(end.tiles.length === photos.length, `${end.tiles.length} tiles for ${photos.length} photos`);
  expect(/^Ended: \d+ done, 1 failed$/.test(end.title) && /^It took \d/.test(end.advice), `the end is told as "${end.title}", "${end.advice}"`);

  for (const { name, status, detail } of end.tiles) {
    const expected = name === "broken.jpg" ? "FAILED" : "COMPLETED";
    expect(status === expected, `${name} is ${status}`);
    expect(status === "FAILED" ? detail.length > 10 : /^\d+\s×\s\d+ · .*sharpness\s\d/.test(detail), `of ${name} it is said "${detail}"`);
  }
  for (const [photoId, seen] of Object.entries(statuses)) {
    expect(seen.every((status, index) => index === 0 || RANK[status] >= RANK[seen[index - 1]]), `photo ${photoId} went back: ${seen.join(", ")}`);
  }
  expect(bar.every((value, index) => index === 0 || value >= bar[index - 1]), `the bar went backwards: ${bar.join(" ")}`);
  expect(bar.at(-1) === 100, `the bar ended at ${bar.at(-1)}`);
  expect(end.failures === 1, `${end.failures} failures are listed`);
  expect(end.bar.role === "progressbar" && end.bar.min === "0" && end.bar.max === "100" && end.bar.text !== "", "the bar does not say what it is");
  expect(end.connection === "ended", `the connection is shown as "${end.connection}"`);
  expect(end.said !== "", "the live region says nothing at the end");
}

/** Analysed photos in sight must be seen, not only said to be done. */
function thumbnailsShown(page) {
  return until(page, "a thumbnail in sight did not appear", () => [...document.querySelectorAll("img.thumbnail")].length > 0
    && [...document.querySelectorAll("img.thumbnail")].every((image) =>
      image.getBoundingClientRect().top > innerHeight || (image.complete && image.naturalWidth > 0)));
}

/** The moving picture of README: from dropping photos to the end of their batch. */
async function theFilm(browser) {
  const { context, page } = await openPage(browser, { width: FILM.width, height: FILM.height });
  let turn = Promise.resolve();
  await page.route("**/api/photos/upload", async (route) => {
    turn = turn.then(() => new Promise((go) => setTimeout(go, FILM.uploadMs)));
    await turn;
    await route.continue();
  });
  await page.goto(address("/projects/holiday-2026"));
  await page.waitForSelector(shown("gallery-empty"));
  const frames = [await page.screenshot()];
  await hand(page, "drop", good);
  await page.waitForURL(/\/batches\//);
  for (let ended = false; !ended;) {
    ended = await page.evaluate(isEnded);
    if (ended) await thumbnailsShown(page);
    await page.waitForTimeout(FILM.frameMs);
    frames.push(await page.screenshot());
  }
  const delay = frames.map((_, index) => (index === 0 ? 900 : index === frames.length - 1 ? FILM.lastMs : FILM.shownMs));
  await sharp(frames, { join: { animated: true } }).webp({ quality: 62, effort: 6, delay, loop: 0 }).toFile(process.env.FILM);
  await context.close();
}

/** The address alone opens straight into the batch. */
async function theBatchAgain(context, batch, first) {
  const page = await context.newPage();
  await page.goto(batch);
  await until(page, "the address of an ended batch does not show its end", isEnded);
  const again = await lookAt(page);
  expect(again.outcome === first.outcome, `opened again, the batch is "${again.outcome}" instead of "${first.outcome}"`);
  expect(again.tiles.length === first.tiles.length, `opened again, the batch has ${again.tiles.length} tiles instead of ${first.tiles.length}`);
  expect(again.record.bar.at(-1) === 100, "opened again, the bar is not full");
  await page.close();
}

/** Anywhere on the page, also on that of a batch; the new batch is one of the same project. */
async function droppedAndPastedPhotosMakeBatches(browser) {
  const { context, page } = await openPage(browser);
  await page.goto(address("/projects/dropped"));
  await hand(page, "drop", good.slice(0, 3));
  await page.waitForURL(/\/batches\//);
  await until(page, "the dropped photos did not end", isEnded);
  await thumbnailsShown(page);
  const first = page.url();
  expect((await lookAt(page)).outcome === "completed", "the dropped photos did not all go through");
  await inspect(page, "ended-completed");

  await hand(page, "paste", good.slice(0, 1));
  await page.waitForURL((url) => url.href !== first);
  await until(page, "the pasted photo did not end", isEnded);
  await hand(page, "drop", notes);
  await page.waitForSelector(shown("left-out"));
  await page.click(id("end-all-batches"));
  await page.waitForURL(/\/projects\/dropped$/);
  await until(page, "the project does not show its two batches", () => document.querySelectorAll('[data-testid="card"][data-status="COMPLETED"]').length === 2);
  await context.close();
}

/** Gives the page files as a drop or a paste does. */
async function hand(page, how, paths) {
  const given = paths.map((path) => ({ name: basename(path), base64: readFileSync(path).toString("base64") }));
  await page.evaluate(({ how, given }) => {
    const transfer = new DataTransfer();
    for (const { name, base64 } of given) transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
    if (how === "paste") return document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, cancelable: true }));
    const over = { dataTransfer: transfer, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent("dragenter", over));
    if (!document.documentElement.hasAttribute("data-dragging")) throw new Error("the page does not show that it takes files");
    document.body.dispatchEvent(new DragEvent("drop", over));
    return document.documentElement.hasAttribute("data-dragging");
  }, { how, given });
}

/** Lets so many uploads through and holds the others until it is told to let all go. */
async function holdUploads(page, through) {
  let seen = 0;
  let release;
  const released = new Promise((go) => void (release = go));
  await page.route("**/api/photos/upload", async (route) => {
    seen += 1;
    if (seen > through) await released;
    // One that was given up meanwhile can't go on.
    await route.continue().catch(() => {});
  });
  return release;
}

async function aBatchIsCancelledAndRunOn(browser) {
  const { context, page, problems } = await openPage(browser);
  const release = await holdUploads(page, 4);
  await page.goto(address("/projects/cancelled"));
  await page.setInputFiles(id("file-input"), good);
  await until(page, "four photos were not done", () => document.querySelectorAll('[data-testid="tile"][data-status="COMPLETED"]').length === 4);
  await thumbnailsShown(page);
  await inspect(page, "uploading");
  await page.click(id("all-batches"));
  await page.waitForSelector(`${id("card")} .card-upload:not([hidden])`);
  await page.goBack();
  await page.waitForSelector(shown("cancel"));
  await page.click(id("cancel"));
  await page.waitForSelector(`${id("cancel-dialog")}[open]`);
  await inspect(page, "cancel-dialog");
  await page.keyboard.press("Escape");
  await page.click(id("cancel"));
  await page.click(id("cancel-yes"));
  await page.waitForSelector(shown("end-banner", '[data-outcome="cancelled"]'));
  await inspect(page, "ended-cancelled");

  release();
  await page.click(id("retry-failed"));
  await inTime("what was cancelled did not end", page.waitForSelector(shown("end-banner", '[data-outcome="completed"]')));
  const { tiles } = await lookAt(page);
  expect(tiles.every(({ status }) => status === "COMPLETED"), `run on, there are ${tiles.map(({ status }) => status)}`);
  expect(problems.length === 0, `the browser complained: ${problems.join("; ")}`);
  await context.close();
}

/** Whoever has gone on to something else is not moved, or told of what went wrong there. */
async function aLateAnswerLeavesAnotherFaceAlone(browser) {
  const { context, page } = await openPage(browser);
  const body = JSON.stringify({ type: "urn:batchcast:problem:internal", title: "Internal error", status: 500 });
  const problem = { status: 500, contentType: "application/problem+json", body };
  const accepted = { status: 202, contentType: "application/json", body: JSON.stringify({ batchId: "b-1", photoIds: [], streamUrl: "/" }) };
  for (const answer of [accepted, problem]) {
    await page.goto(address("/projects/late"));
    await page.setInputFiles(id("file-input"), broken);
    await until(page, "the broken photo did not fail", isEnded);
    let release;
    const released = new Promise((go) => void (release = go));
    await page.route("**/retry", async (route) => {
      await released;
      await route.fulfill(answer);
    });
    await page.click(id("retry-failed"));
    await page.click(id("all-batches"));
    await page.waitForSelector(shown("project"));
    await page.focus(id("file-input"));
    const answered = page.waitForResponse("**/retry");
    release();
    await (await answered).finished();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const focused = await page.evaluate(() => document.activeElement?.getAttribute("data-testid"));
    expect(focused === "file-input", `a late answer of ${answer.status} has moved the focus to "${focused}"`);
    expect(await page.textContent(id("action-problem")) === "", `a late answer of ${answer.status} is told on another face`);
    await page.unroute("**/retry");
  }
  await context.close();
}

async function aLostNetworkIsShownAndHealed(browser) {
  const { context, page } = await openPage(browser);
  const release = await holdUploads(page, 2);
  await page.goto(address("/projects/lost"));
  await page.setInputFiles(id("file-input"), good.slice(0, 6));
  await until(page, "two photos were not done", () => document.querySelectorAll('[data-testid="tile"][data-status="COMPLETED"]').length === 2);
  await thumbnailsShown(page);
  await page.waitForSelector(`${id("connection")}[data-connection="live"]`);
  await context.setOffline(true);
  await until(page, "it is not said that the network is gone", said, ["notice", /^You are offline\. What you see is from \d\d:\d\d:\d\d;/.source]);
  await inspect(page, "offline");
  await context.setOffline(false);
  await until(page, "it is not said that all is well again", said, ["notice", /^Connected again\./.source]);
  expect(await page.getAttribute(id("notice"), "data-tone") === "good", "good news look like bad ones");
  await inspect(page, "healed");

  // Nobody tells the page that the server can't be reached: it finds out, and says when it tries again.
  await context.route("**/stream", (route) => route.abort());
  await context.route(/api\/batches\/[^/]+$/, (route) => route.abort());
  await page.evaluate(() => window.dispatchEvent(new Event("offline")));
  await page.evaluate(() => window.dispatchEvent(new Event("online")));
  await until(page, "it is not said when it is tried again", said, ["notice", /^Connection lost; trying again in \d+\ss\. What you see is from/.source]);
  await inspect(page, "reconnecting");
  await context.unroute("**/stream");
  await context.unroute(/api\/batches\/[^/]+$/);
  release();
  await until(page, "after all that the batch did not end", isEnded);
  expect((await lookAt(page)).outcome === "completed", "after all that not all is done");
  await context.close();
}

/** An element says something; runs in the page. */
function said([name, pattern]) {
  return new RegExp(pattern).test(document.querySelector(`[data-testid="${name}"]:not([hidden])`)?.textContent ?? "");
}

/** The server's last words, as the browser gets them: only their answers are put in its place. */
async function oneThatWasDeletedAndOthersThatMayNotBeSeen(browser) {
  const { context, page } = await openPage(browser);
  const stream = (body) => (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body });
  for (const [kind, answer, label] of [
    ["gone", stream("event: gone\ndata: {}\n\n"), "This batch was deleted."],
    ["denied", (route) => route.fulfill({ status: 403 }), "You may not see this batch."],
  ]) {
    await context.route("**/stream", answer);
    await page.goto(address(`/batches/b-${kind}`));
    await page.waitForSelector(shown("end-banner", `[data-outcome="${kind}"]`));
    expect(await page.textContent(id("end-title")) === label, `"${kind}" is told as "${await page.textContent(id("end-title"))}"`);
    await context.unroute("**/stream");
  }
  let opened = 0;
  await context.route("**/stream", (route) => (opened++ === 0
    ? stream(`retry: 1\n\nid: 7-1\nevent: progress\ndata: ${JSON.stringify(openHead())}\n\nevent: auth-expired\ndata: {}\n\n`)(route) : route.fulfill({ status: 401 })));
  await page.goto(address("/batches/b-expired"));
  await page.waitForSelector(shown("end-banner", '[data-outcome="expired"]'));
  await inspect(page, "expired");
  await context.close();
  for (const [event, pattern] of [
    ['event: upstream\ndata: {"state":"stale"}', /^The server has lost touch with its source/], ["event: stalled\ndata: {}", /^Nothing has changed for a while/],
  ]) {
    const { context, page } = await openPage(browser);
    await page.addInitScript(streamThatStaysOpen, `id: 7-1\nevent: progress\ndata: ${JSON.stringify(openHead())}\n\n${event}\n\n`);
    await page.goto(address("/batches/b-1"));
    await until(page, `"${event}" is not said`, said, ["notice", pattern.source]);
    await context.close();
  }
}

/** Runs in the page, before it: a stream that says this and then no more, which no server here does so soon. */
function streamThatStaysOpen(text) {
  const native = fetch;
  globalThis.fetch = async (...given) => {
    const url = given[0] instanceof Request ? given[0].url : String(given[0]);
    if (!url.includes("/stream")) return native(...given);
    const body = new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(text)) });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  };
}

function openHead() {
  const counts = { total: 4, queued: 2, processing: 1, completed: 1, failed: 0 };
  return { v: 1, batchId: "b-1", position: "7-1", status: "PROCESSING", progress: 25, counts, updatedAt: "2026-11-22T23:10:30.082Z", full: true, photos: [] };
}

async function whatIsNotThere(browser) {
  const { context, page } = await openPage(browser);
  await page.goto(address("/batches/no-such-batch"));
  await inTime("an unknown batch is not said to be unknown", page.waitForSelector(shown("end-banner", '[data-outcome="missing"]')));
  await inspect(page, "missing");
  await page.goto(address("/projects/no%20project"));
  await until(page, "an address without a project is not said to be one", said, ["gallery-notice", "names no project"]);
  await context.close();
}

/** The file input and the way back are reached with the Tab key, and links and Back change the page. */
async function everythingByKeyboard(browser) {
  const { context, page } = await openPage(browser);
  await page.goto(address("/"));
  expect(await tabTo(page, "file-input"), "the Tab key does not reach the file input");
  await page.goto(address("/batches/no-such-batch"));
  await page.waitForSelector(shown("end-banner"));
  expect(await tabTo(page, "all-batches"), "the Tab key does not reach the way to all batches");
  await page.keyboard.press("Enter");
  await page.waitForSelector(shown("project"));
  expect(new URL(page.url()).pathname === "/", `"All batches" leads to ${page.url()}`);
  expect(await page.evaluate(() => document.activeElement?.tagName) === "H1", "after a change of face the heading has not the focus");
  await page.goBack();
  await page.waitForSelector(shown("batch"));
  await context.close();
}

async function tabTo(page, testId) {
  for (let presses = 0; presses < 10; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.getAttribute("data-testid")) === testId) return true;
  }
  return false;
}

/** Of ten thousand some hundred tiles are made, more towards their end, and any that a link leads to. */
async function thousandsOfPhotos(browser) {
  const { context, page } = await openPage(browser);
  const declared = Array.from({ length: 10_000 }, (_, index) => ({ name: `IMG_${index}.jpg`, size: 1 }));
  const created = await context.request.post(address("/api/batches"), { data: { projectId: "many", photos: declared } });
  const { batchId, photoIds } = await created.json();
  await page.goto(address(`/batches/${batchId}`));
  const tiles = () => document.querySelectorAll('[data-testid="tile"]').length;
  await until(page, "the tiles did not come", () => document.querySelectorAll('[data-testid="tile"]').length > 0);
  expect(await page.evaluate(tiles) === 480, `${await page.evaluate(tiles)} tiles are made at first`);
  await page.evaluate(() => document.querySelector('[data-testid="more-photos"]').scrollIntoView());
  await until(page, "near their end no more tiles are made", () => document.querySelectorAll('[data-testid="tile"]').length === 960);
  await page.evaluate((photoId) => void (location.hash = `#photo-${photoId}`), photoIds[2_999]);
  await until(page, "a link to a photo does not lead to it", (photoId) => {
    const box = document.getElementById(`photo-${photoId}`)?.getBoundingClientRect();
    return box && box.top >= 0 && box.top < innerHeight;
  }, photoIds[2_999]);
  await context.close();
}

async function inFrench(browser) {
  const { context, page } = await openPage(browser, { locale: "fr-CH" });
  await page.goto(address("/projects/dropped"));
  await until(page, "the batches are not counted in French", said, ["gallery-count", "^2 lots$"]);
  expect(await page.evaluate(() => document.documentElement.lang) === "fr", "the page does not say that it is in French");
  await inspect(page, "french");
  await context.close();
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

/** Runs in the page. An end, of whatever kind, ends the waiting: what kind it is comes later. */
function isEnded() {
  return document.querySelector('[data-testid="end-banner"]:not([hidden])') !== null;
}

function lookAt(page) {
  return page.evaluate(() => {
    const get = (name) => document.querySelector(`[data-testid="${name}"]`);
    const bar = get("progressbar");
    return {
      record: globalThis.__record,
      outcome: get("end-banner").dataset.outcome,
      title: get("end-title").textContent,
      advice: get("end-advice").textContent,
      connection: get("connection").dataset.connection,
      said: get("live-region").textContent,
      failures: get("failures").querySelectorAll("li").length,
      bar: { role: bar.getAttribute("role"), min: bar.ariaValueMin, max: bar.ariaValueMax, text: bar.ariaValueText ?? "" },
      tiles: [...document.querySelectorAll('[data-testid="tile"]')].map((tile) => ({
        status: tile.dataset.status, name: tile.querySelector(".tile-name").textContent, detail: tile.querySelector(".tile-detail").textContent,
      })),
    };
  });
}
