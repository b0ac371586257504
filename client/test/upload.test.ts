import assert from "node:assert/strict";
import { test } from "node:test";
import { CONCURRENT_UPLOADS, retryDelayMs, Uploader, type Answer, type Send } from "../page/upload.ts";

const OK: Answer = { status: 202 };
const noWait = async () => {};

function files(count: number) {
  const photoIds = Array.from({ length: count }, (_, index) => `p${index}`);
  return { batch: { batchId: "b1", photoIds }, files: photoIds.map((id) => new File(["x"], `${id}.jpg`)) };
}

async function finished(uploader: Uploader): Promise<void> {
  while (uploader.busy) await null;
}

test("a few go at a time, and all get through", async () => {
  let running = 0, most = 0;
  const send: Send = async () => {
    most = Math.max(most, ++running);
    await null;
    running -= 1;
    return OK;
  };
  const { batch, files: chosen } = files(10);
  const uploader = new Uploader(batch, chosen, send, () => {}, noWait);
  uploader.start();
  await finished(uploader);
  assert.equal(most, CONCURRENT_UPLOADS);
  assert.ok([...uploader.uploads.values()].every((upload) => upload.phase === "sent"));
});

test("an upload that failed in passing is tried again", async () => {
  const answers: Answer[] = [{ status: 0 }, { status: 503 }, OK];
  const { batch, files: chosen } = files(1);
  const uploader = new Uploader(batch, chosen, async () => answers.shift() ?? OK, () => {}, noWait);
  uploader.start();
  await finished(uploader);
  assert.equal(uploader.uploads.get("p0")?.phase, "sent");
  assert.equal(answers.length, 0);
});

test("one that is refused says why, and the others go on", async () => {
  const send: Send = async (photoId) => (photoId === "p1" ? { status: 413, detail: "larger than 50 MB" } : OK);
  const { batch, files: chosen } = files(3);
  const uploader = new Uploader(batch, chosen, send, () => {}, noWait);
  uploader.start();
  await finished(uploader);
  assert.equal(uploader.uploads.get("p1")?.phase, "unsent");
  assert.deepEqual(uploader.uploads.get("p1")?.problem, { status: 413, detail: "larger than 50 MB" });
  assert.equal(uploader.uploads.get("p2")?.phase, "sent");
});

test("trying again sends only what did not get through", async () => {
  const sent: string[] = [];
  let full = true;
  const send: Send = async (photoId) => {
    sent.push(photoId);
    return full && photoId === "p0" ? { status: 400 } : OK;
  };
  const { batch, files: chosen } = files(2);
  const uploader = new Uploader(batch, chosen, send, () => {}, noWait);
  uploader.start();
  await finished(uploader);
  full = false;
  uploader.retry();
  await finished(uploader);
  assert.deepEqual(sent, ["p0", "p1", "p0"]);
  assert.equal(uploader.uploads.get("p0")?.phase, "sent");
});

test("nothing is sent once the batch has ended", async () => {
  const { batch, files: chosen } = files(9);
  let sent = 0;
  const send: Send = (_id, _file, _part, signal) => new Promise((resolve) => {
    sent += 1;
    signal.addEventListener("abort", () => resolve({ status: 0 }));
  });
  const uploader = new Uploader(batch, chosen, send, () => {}, noWait);
  uploader.start();
  uploader.stop();
  await finished(uploader);
  assert.equal(sent, CONCURRENT_UPLOADS);
});

test("what had not been sent when the batch ended is sent when it is opened again", async () => {
  const { batch, files: chosen } = files(5);
  const sent: string[] = [];
  let isOpen = false;
  const send: Send = (photoId, _file, _part, signal) => new Promise((resolve) => {
    sent.push(photoId);
    if (isOpen) resolve(OK);
    signal.addEventListener("abort", () => resolve({ status: 0 }));
  });
  const uploader = new Uploader(batch, chosen, send, () => {}, noWait);
  uploader.start();
  uploader.stop();
  await finished(uploader);
  assert.equal(uploader.uploads.get("p0")?.problem, "ended");
  isOpen = true;
  uploader.reopen(batch.photoIds);
  await finished(uploader);
  assert.ok([...uploader.uploads.values()].every((upload) => upload.phase === "sent"));
  assert.deepEqual(sent, ["p0", "p1", "p2", "p3", "p4", "p0", "p1", "p2"]);
});

test("only what may pass is retried, each time later, and not for ever", () => {
  assert.equal(retryDelayMs(400, 0, 0.5), undefined);
  assert.equal(retryDelayMs(413, 0, 0.5), undefined);
  assert.equal(retryDelayMs(503, 3, 0.5), undefined);
  assert.ok((retryDelayMs(429, 1, 0) ?? 0) >= (retryDelayMs(0, 0, 0) ?? Infinity));
});
