// Drives a project's gallery in a real browser against a running system: which batches stream, which are read, which
// rest, and what a person sees of it.
//
//   EDGE_URL=http://localhost:8787 PHOTOS=folder node tests/browser/gallery.mjs
//
// PHOTOS: at least four photos. support.mjs has the other variables.

import { readFileSync } from "node:fs";
import { address, drive, expect, filesIn, id, inspect, need, openPage, shown, until } from "./support.mjs";

const photos = filesIn(need("PHOTOS")).filter((path) => /photo-\d+\.jpg$/.test(path));
/** Streams over HTTP/1.1, as `client/page/plan.ts` has it. */
const MOST_STREAMS = 3;
const OPEN = 5;
const ENDED = 22;

await drive("gallery", [whatIsOpenAndInViewStreamsAndNothingElse, aListThatCannotBeReadIsShownAndHealed]);

async function whatIsOpenAndInViewStreamsAndNothingElse(browser) {
  const { context, page, problems } = await openPage(browser, { script: prepare });
  const project = "gallery";
  const ended = [await upload(context, project, photos.slice(0, 4))];
  while (ended.length < ENDED) ended.push(await cancelled(context, project));
  const open = [];
  while (open.length < OPEN) open.push(await declare(context, project, photos.slice(0, 2)));
  const asked = watchRequests(page);

  await page.goto(address(`/projects/${project}`));
  await until(page, "the first page of the list is not shown", (count) => document.querySelectorAll('[data-testid="card"]').length === count, 24);
  await page.waitForSelector(shown("more-batches"));
  await waitFor("as many streams as there may be", () => asked.streaming.size === MOST_STREAMS);
  const silent = await waitFor("an open batch without a stream is read", () => open.find(({ batchId }) => asked.reads.has(batchId)));
  expect(!asked.streaming.has(silent.batchId), "a batch that streams is read as well");

  // Live, without a reload: in the card, and then in the batch's end.
  const [batchId] = asked.streaming;
  await send(context, project, open.find((batch) => batch.batchId === batchId));
  await until(page, "a card does not show the end of its batch", (id) =>
    document.querySelector(`[data-batch-id="${id}"]`).dataset.status === "COMPLETED", batchId);
  await waitFor("its stream is over, and another has its place", () => !asked.streaming.has(batchId) && asked.streaming.size === MOST_STREAMS);
  await until(page, "the contact sheet of a batch that ended stays empty", (id) =>
    document.querySelectorAll(`[data-batch-id="${id}"] img[data-loaded]`).length === 2, batchId);
  await inspect(page, "gallery");

  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await waitFor("what is scrolled away closes its streams", () => asked.streaming.size === 0);
  await page.evaluate(() => window.scrollTo(0, 0));
  await waitFor("what comes back into view streams again", () => asked.streaming.size === MOST_STREAMS);
  await page.evaluate(() => globalThis.__hide(true));
  await waitFor("a page that nobody sees streams nothing", () => asked.streaming.size === 0);
  await page.evaluate(() => globalThis.__hide(false));
  await waitFor("a page that is seen again streams", () => asked.streaming.size === MOST_STREAMS);

  await page.click(id("more-batches"));
  await until(page, "more batches are not shown", (count) => document.querySelectorAll('[data-testid="card"]').length === count, OPEN + ENDED);
  const fresh = await declare(context, project, photos.slice(0, 1));
  await until(page, "a new batch does not appear by itself", (id) =>
    document.querySelector('[data-testid="card"]').dataset.batchId === id, fresh.batchId);

  const most = await page.evaluate(() => globalThis.__streams.most);
  expect(most === MOST_STREAMS, `${most} streams were open at once`);
  const touched = ended.filter(({ batchId }) => asked.reads.has(batchId) || asked.streamed.has(batchId));
  expect(touched.length === 0, `${touched.length} batches that had ended were asked for`);
  expect(problems.length === 0, `the browser complained: ${problems.join("; ")}`);
  await context.close();
}

async function aListThatCannotBeReadIsShownAndHealed(browser) {
  const { context, page } = await openPage(browser);
  const list = /\/api\/projects\//;
  const body = JSON.stringify({ type: "urn:batchcast:problem:unavailable", title: "Unavailable", status: 503 });
  await context.route(list, (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body }));
  await page.goto(address("/projects/gallery"));
  await page.waitForSelector(shown("gallery-notice"));
  await inspect(page, "gallery-lost");
  await context.unroute(list);
  await page.waitForSelector(`${id("gallery-notice")}[data-tone="good"]`);
  await page.waitForSelector(id("card"));
  await context.close();
}

/**
 * Runs in the page, before it. A headless browser has no tabs that are covered by others; and what the page has open at
 * once only the page knows: the browser tells of an end later than of the beginning that followed it.
 */
function prepare() {
  const streams = (globalThis.__streams = { open: 0, most: 0 });
  const native = fetch;
  globalThis.fetch = async (url, options) => {
    if (!String(url).includes("/stream")) return native(url, options);
    let open = true;
    const close = () => {
      streams.open -= Number(open);
      open = false;
    };
    streams.most = Math.max(streams.most, (streams.open += 1));
    options?.signal?.addEventListener("abort", close);
    const response = await native(url, options);
    return new Response(response.body?.pipeThrough(new TransformStream({ flush: close })), response);
  };
  let hidden = false;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  globalThis.__hide = (hide) => {
    hidden = hide;
    document.dispatchEvent(new Event("visibilitychange"));
  };
}

/** Which batches the page streams now, and which it has ever asked for. */
function watchRequests(page) {
  const asked = { streaming: new Set(), streamed: new Set(), reads: new Set() };
  const of = (request) => /\/api\/batches\/([^/]+)(\/stream)?$/.exec(new URL(request.url()).pathname) ?? [];
  page.on("request", (request) => {
    const [, batchId, stream] = of(request);
    if (!batchId) return;
    if (!stream) return void asked.reads.add(batchId);
    asked.streaming.add(batchId);
    asked.streamed.add(batchId);
  });
  const over = (request) => {
    const [, batchId, stream] = of(request);
    if (stream) asked.streaming.delete(batchId);
  };
  page.on("requestfinished", over);
  page.on("requestfailed", over);
  return asked;
}

/** Of what only this script knows; a guard that no page needs. */
async function waitFor(what, holds) {
  for (const end = Date.now() + 60_000; Date.now() < end;) {
    const value = holds();
    if (value) return value;
    await new Promise((go) => setTimeout(go, 20));
  }
  expect(false, `not in time: ${what}`);
}

async function declare(context, projectId, paths) {
  const data = { projectId, photos: paths.map((path, index) => ({ name: `IMG_${index}.jpg`, size: readFileSync(path).length })) };
  const answer = await context.request.post(address("/api/batches"), { data });
  expect(answer.status() === 201, `a batch is not made: ${answer.status()}`);
  return { ...(await answer.json()), paths };
}

async function send(context, projectId, { batchId, photoIds, paths }) {
  for (const [index, path] of paths.entries()) {
    const file = { name: `IMG_${index}.jpg`, mimeType: "image/jpeg", buffer: readFileSync(path) };
    const answer = await context.request.post(address("/api/photos/upload"), { multipart: { projectId, batchId, photoId: photoIds[index], file } });
    expect(answer.status() === 202, `a photo is not taken: ${answer.status()}`);
  }
}

async function upload(context, projectId, paths) {
  const batch = await declare(context, projectId, paths);
  await send(context, projectId, batch);
  for (let state; state?.status !== "COMPLETED";) state = await (await context.request.get(address(`/api/batches/${batch.batchId}`))).json();
  return batch;
}

async function cancelled(context, projectId) {
  const batch = await declare(context, projectId, photos.slice(0, 1));
  const answer = await context.request.post(address(`/api/batches/${batch.batchId}/cancel`));
  expect(answer.status() === 200, `a batch is not cancelled: ${answer.status()}`);
  return batch;
}
