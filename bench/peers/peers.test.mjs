// Each peer, run as the harness runs it: what README.md says of its streams, reads and ends is so.
//
//   node --test bench/peers/peers.test.mjs
// needs redis-server and target/debug/batchcast-gateway, or that of BATCHCAST_BIN_DIR. `cargo xtask test` runs it.

import Redis from "ioredis";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

const GUARD_MS = 20_000;
const ROOT = new URL("../..", import.meta.url).pathname;
const BIN_DIR = process.env.BATCHCAST_BIN_DIR ?? join(ROOT, "target/debug");
const TOKEN = "secret";
const dir = mkdtempSync(join(tmpdir(), "peers-"));
const started = new Set();
let settings, redis;

// What README.md tells of each peer. `event`: the bytes of one event, around its data. `greeting`: what comes before.
// `state`: where the state is in the data. `everyUpdate`: whether each update is seen, or the latest alone.
// `subscriptions`: how many three viewers are to Redis. `late`: the query of a viewer that wants the present state first.
// `shows`: what of an update's state its event has.
const upstash = {
  event: /^data: (\{"id":"\d+-\d+","data":\{.*\},"event":"batch\.progress","channel":"batch:[\w-]+"\})$/,
  greeting: (id) => `data: {"type":"connected","channel":"batch:${id}"}`,
  late: (id) => `?last_ack_${encodeURIComponent(`batch:${id}`)}=0`,
  state: ({ data }) => data,
  everyUpdate: true,
  subscriptions: 1, // The gateway's.
};
const PEERS = {
  before: { event: /^data: (\{.*\})$/, state: (data) => data, everyUpdate: false },
  after: { event: /^data: (\{.*\})$/, state: (data) => data, everyUpdate: true, subscriptions: 3 },
  "upstash-realtime": upstash,
  "upstash-realtime-changes": {
    ...upstash,
    shows: ({ state, changed }) => ({ ...state, photos: state.photos.filter(({ photoId }) => changed.includes(photoId)) }),
  },
  bullmq: {
    event: /^event:progress\nid:[0-9a-f-]{36}\ndata:(\{.*\})$/,
    greeting: () => "retry:2000",
    state: (data) => data,
    everyUpdate: true,
  },
};

before(async () => {
  const port = await freePort();
  await run("redis-server", ["--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", dir], {}, /Ready to accept/);
  const REDIS_URL = `redis://127.0.0.1:${port}`;
  const env = { REDIS_URL, GATEWAY_TOKEN: TOKEN, GATEWAY_LISTEN: "127.0.0.1:0" };
  const gateway = await run(join(BIN_DIR, "batchcast-gateway"), [], env, /listening on (\S+)/);
  settings = { REDIS_URL, GATEWAY_TOKEN: TOKEN, GATEWAY_URL: gateway.said[1] };
  redis = new Redis(REDIS_URL);
});

after(() => {
  redis?.disconnect();
  for (const child of started) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

for (const [name, peer] of Object.entries(PEERS)) {
  test(`${name}: three viewers see what the worker publishes, and a read too`, async (t) => {
    await redis.flushall();
    const env = { ...settings, PORT: "0", DATABASE: join(dir, `${name}.db`) };
    const program = (file) => join(ROOT, "bench/peers", name, file);
    const server = await run(process.execPath, [program("server.mjs")], env, /^listening on (http:\S+)$/m);
    const worker = publisher(spawnPart(process.execPath, [program("worker.mjs")], env));
    const url = server.said[1];
    const id = `b-${name}`;
    assert.equal((await fetch(`${url}/batches/${id}`)).status, 404);

    const updates = [1, 2, 3, 4, 5].map((version) => update(id, version));
    await worker.publish(updates[0]);
    const viewers = await Promise.all([1, 2, 3].map(() => view(t, `${url}/batches/${id}/stream`, peer)));
    for (const viewer of viewers) {
      assert.equal(viewer.contentType, "text/event-stream");
      if (peer.greeting) await until("the greeting", () => viewer.others[0] === peer.greeting(id));
    }
    for (const one of updates.slice(1)) await worker.publish(one);

    const last = updates.at(-1);
    const shown = peer.shows?.(last) ?? last.state;
    for (const viewer of viewers) {
      await until("the last update", () => viewer.states.at(-1)?.at === last.at);
      const { at, ...state } = viewer.states.at(-1);
      assert.deepEqual(state, shown);
      const seen = new Set(viewer.states.map(({ at }) => at));
      if (peer.everyUpdate) for (const { at } of updates.slice(1)) assert.ok(seen.has(at), `update ${at}`);
    }
    const { at, ...state } = await (await fetch(`${url}/batches/${id}`)).json();
    assert.deepEqual([at, state], [last.at, shown]);

    const subscribers = async () => (await redis.pubsub("NUMSUB", `batch:${id}`))[1];
    assert.equal(await subscribers(), peer.subscriptions ?? 0);
    const late = await view(t, `${url}/batches/${id}/stream${peer.late?.(id) ?? ""}`, peer);
    await until("the present state", () => late.states[0]?.at === last.at);
    late.leave();

    // Whoever leaves takes a subscription along.
    for (const viewer of viewers) viewer.leave();
    await until("nobody is subscribed", async () => (await subscribers()) === 0);
    assert.equal(await worker.end(), 0);
    assert.equal(await ended(server.child, "SIGTERM"), 0);
  });
}

/** A batch of 12 photos, of which another one changes with each version. */
function update(batchId, version) {
  const [at, photoOf] = [1_795_389_030_000 + version, (number) => `photo-${number}`];
  const photos = Array.from({ length: 12 }, (_, index) => {
    if (index + 2 > version) return { photoId: photoOf(index), status: "QUEUED", version: 1 };
    const failed = index === 1 && { status: "FAILED", error: 'not a "JPEG"\n' };
    return { photoId: photoOf(index), status: "COMPLETED", version: index + 2, ...(failed || { result: { width: 4032 } }) };
  });
  const count = (wanted) => photos.filter(({ status }) => status === wanted).length;
  const [queued, completed, failed] = ["QUEUED", "COMPLETED", "FAILED"].map(count);
  const state = {
    ...{ v: 1, batchId, position: `1795389030000-${version}`, status: "PROCESSING" },
    progress: Math.floor((100 * (completed + failed)) / 12),
    counts: { total: 12, queued, processing: 0, completed, failed },
    ...{ photos, updatedAt: new Date(at).toISOString() },
  };
  return { batch: batchId, at, state, changed: version === 1 ? [] : [photoOf(version - 2)] };
}

/** A worker's two ends: each update is acknowledged before the next. */
function publisher(child) {
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let published = 0;
  return {
    async publish(update) {
      child.stdin.write(`${JSON.stringify(update)}\n`);
      const { value } = await within(answers.next(), "the worker's answer");
      const answer = JSON.parse(value);
      assert.deepEqual([answer.published, answer.at], [(published += 1), update.at]);
      assert.ok(answer.tookMs >= 0 && answer.parseMs >= 0);
    },
    end() {
      child.stdin.end();
      return ended(child);
    },
  };
}

/** A raw reader: what comes is cut at empty lines, and nothing else is known of it. */
async function view(t, url, { event, state }) {
  const request = get(url, { headers: { Accept: "text/event-stream" }, agent: false });
  t.after(() => request.destroy());
  request.on("error", () => {});
  const [response] = await within(once(request, "response"), "the head of a stream");
  const viewer = { contentType: response.headers["content-type"], states: [], others: [], leave: () => request.destroy() };
  assert.equal(response.statusCode, 200);

  let rest = "";
  response.setEncoding("utf8").on("data", (text) => {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = event.exec(frame)?.[1];
      if (data) viewer.states.push(state(JSON.parse(data)));
      else viewer.others.push(frame);
    }
  });
  response.on("error", () => {});
  return viewer;
}

function spawnPart(path, args, env) {
  const child = spawn(path, args.map(String), { env: { PATH: process.env.PATH, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  started.add(child);
  return child;
}

/** Starts a program and waits for what it says when it is ready. */
async function run(path, args, env, says) {
  const child = spawnPart(path, args, env);
  let text = "";
  const said = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${path} has ended with ${code}`)));
    child.stdout.setEncoding("utf8").on("data", (more) => {
      text += more;
      const match = says.exec(text);
      if (match) resolve(match);
    });
  });
  return { child, said: await within(said, path) };
}

async function ended(child, signal) {
  const exit = child.exitCode === null ? once(child, "exit") : [child.exitCode];
  if (signal) child.kill(signal);
  const [code] = await within(exit, "the end of a program");
  return code;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(what, holds) {
  const end = performance.now() + GUARD_MS;
  while (!(await holds())) {
    if (performance.now() > end) assert.fail(`waited in vain for ${what}`);
    await pause(20);
  }
}

async function within(promise, what) {
  const done = new AbortController();
  const guard = pause(GUARD_MS, undefined, { signal: done.signal }).then(
    () => assert.fail(`waited in vain for ${what}`),
    () => {},
  );
  try {
    return await Promise.race([promise, guard]);
  } finally {
    done.abort();
  }
}
