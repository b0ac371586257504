// The shell against a real server: what it sends, and what its listener is told.

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { after, test } from "node:test";
import { BatchError, batchStates, watchBatch, type WatchOptions } from "../src/index.ts";
import { complete, head, photo, progress, state } from "./samples.ts";

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const servers: { close(): void; closeAllConnections(): void }[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Gives each request the next answer, and keeps what was asked. */
async function serving(...answers: Answer[]) {
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    const answer = answers.shift();
    if (answer) answer(response, request);
    else response.writeHead(500).end();
  });
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return { asked, url: `http://127.0.0.1:${server.address().port}/api/batches/b1` };
}

const said = (event: string, data: unknown, id?: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/** A stream that begins with these blocks, and goes on. */
const stream = (...blocks: string[]): Answer => (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(`retry: 1\n\n${blocks.join("")}`);
};

/** The same, and it ends. */
const ending = (...blocks: string[]): Answer => (response, request) => {
  stream(...blocks)(response, request);
  response.end();
};

const FIRST = said("progress", progress("7-1", [photo("a", "QUEUED", 1)], { full: true }), "7-1");
const STALLED = said("stalled", {});
const END = said("progress", progress(undefined, [photo("a", "COMPLETED", 9)])) + said("complete", complete("7-9"), "7-9");

/** Watches to the last word, and gives all words. */
function watched(url: string, options: WatchOptions = {}): Promise<string[]> {
  const words: string[] = [];
  return new Promise((resolve) => void watchBatch(url, {
    ...options,
    onProgress: (batch, changed) => void words.push(`progress ${batch.position} ${[...changed].join(" ")}`),
    onStale: (stale) => void words.push(stale ? "stale" : "fresh"),
    onComplete(batch) {
      words.push(`complete ${batch.status} ${batch.photos.get("a")?.status}`);
      resolve(words);
    },
    onError(error) {
      words.push(`${error.name} ${error.message.replace(url, "URL")}`);
      resolve(words);
    },
  }));
}

test("a batch is told to its end, over two streams, the second of which goes on where the first was", async () => {
  const { url, asked } = await serving(ending(FIRST, STALLED), ending(END));
  assert.deepEqual(await watched(url), ["progress 7-1 a", "progress 7-9 a", "complete COMPLETED COMPLETED"]);
  assert.deepEqual(asked.map(({ url }) => url), ["/api/batches/b1/stream", "/api/batches/b1/stream"]);
  assert.deepEqual(asked.map(({ headers }) => headers["last-event-id"]), [undefined, "7-1"]);
});

test("the id is sent back as it came", async () => {
  const { url, asked } = await serving(ending(FIRST, "id: 7-1~idle\nevent: idle\ndata: {}\n\n"), ending(END));
  await watched(url);
  assert.equal(asked[1]?.headers["last-event-id"], "7-1~idle");
});

test("a cut stream is stale until the next one is open", async () => {
  let server: ServerResponse | undefined;
  const { url } = await serving((response, request) => {
    server = response;
    stream(FIRST)(response, request);
  }, ending(END));
  const words = await new Promise<string[]>((resolve) => {
    const words: string[] = [];
    watchBatch(url, {
      onProgress({ position }) {
        words.push(position);
        // Where it has come, the connection is cut.
        if (position === "7-1") server?.destroy();
      },
      onStale: (stale) => void words.push(stale ? "stale" : "fresh"),
      onComplete: () => resolve(words),
    });
  });
  assert.deepEqual(words, ["7-1", "stale", "fresh", "7-9"]);
});

test("each opening has a ticket of its own, and no other secret", async () => {
  const { url, asked } = await serving(ending(FIRST, said("auth-expired", {})), ending(END));
  let tickets = 0;
  await watched(url, { ticket: async () => `t-${tickets += 1}`, token: () => "secret" });
  assert.deepEqual(asked.map(({ url }) => url), ["/api/batches/b1/stream?ticket=t-1", "/api/batches/b1/stream?ticket=t-2"]);
  assert.ok(asked.every(({ headers }) => headers["authorization"] === undefined));
});

test("a token is asked for anew at each request, and reads have it too", async () => {
  const { url, asked } = await serving((response) => response.writeHead(503).end(), (response) => {
    response.writeHead(200, { etag: '"7-9"' }).end(JSON.stringify(state("7-9", [photo("a", "COMPLETED", 9)], head(1, 1, 0, "COMPLETED"))));
  });
  let tokens = 0;
  assert.deepEqual((await watched(url, { token: () => `s-${tokens += 1}` })).at(-1), "complete COMPLETED COMPLETED");
  assert.deepEqual(asked.map(({ url, headers }) => [url, headers["authorization"]]),
    [["/api/batches/b1/stream", "Bearer s-1"], ["/api/batches/b1", "Bearer s-2"]]);
});

test("a ticket that cannot be had is asked for again", async () => {
  const { url, asked } = await serving((response) => response.writeHead(401).end(), ending(END));
  let tickets = 0;
  const ticket = async (): Promise<string> => {
    if ((tickets += 1) === 1) throw new Error("no network");
    return "t";
  };
  assert.equal((await watched(url, { ticket })).at(-1), "complete COMPLETED COMPLETED");
  // Nothing was shown yet: it was read in between, which a ticket does not open.
  assert.deepEqual(asked.map(({ url }) => url), ["/api/batches/b1", "/api/batches/b1/stream?ticket=t"]);
});

test("a refusal is an error with a type, and the last word", async () => {
  for (const [status, type] of [[404, "missing"], [401, "denied"], [403, "denied"]] as const) {
    const { url } = await serving((response) => response.writeHead(status).end());
    assert.deepEqual(await watched(url), [`BatchError URL: ${type}`]);
  }
});

test("a page of something else is no stream", async () => {
  const { url } = await serving(
    (response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>Sign in"),
    (response) => response.writeHead(404).end(),
  );
  assert.deepEqual(await watched(url), ["stale", "BatchError URL: missing"]);
});

test("given a fetch, it is used for all", async () => {
  const { url } = await serving(ending(END));
  const asked: (string | undefined)[] = [];
  const mine: typeof fetch = (input, init) => {
    asked.push(init?.cache);
    return fetch(input, { ...init, credentials: "include" });
  };
  await watched(url, { fetch: mine });
  assert.deepEqual(asked, ["no-cache"]);
});

test("a watch that is stopped says nothing more, and hangs up", async () => {
  for (const how of ["signal", "function"]) {
    const stopping = new AbortController();
    let hungUp = (): void => {};
    const gone = new Promise<void>((resolve) => (hungUp = resolve));
    const { url } = await serving((response, request) => {
      response.on("close", hungUp);
      stream(FIRST)(response, request);
    });
    const words: string[] = [];
    const stop = watchBatch(url, {
      signal: stopping.signal,
      onProgress() {
        words.push("progress");
        if (how === "signal") stopping.abort();
        else stop();
      },
      onStale: () => void words.push("stale"),
      onError: () => void words.push("error"),
    });
    await gone;
    assert.deepEqual(words, ["progress"]);
  }
});

test("a watch that was stopped before it began asks nothing", async () => {
  const { url, asked } = await serving();
  watchBatch(url, { signal: AbortSignal.abort() });
  await assert.rejects(batchStates(url, { signal: AbortSignal.abort(new Error("enough")) }).next(), { message: "enough" });
  assert.equal(asked.length, 0);
});

test("an address is needed", () => assert.throws(() => watchBatch(""), { name: "TypeError", message: "url is empty" }));

test("as a loop, it ends with the batch", async () => {
  const { url } = await serving(ending(FIRST, STALLED), ending(END));
  const positions = [];
  for await (const { position } of batchStates(url)) positions.push(position);
  assert.deepEqual(positions, ["7-1", "7-9"]);
});

test("a slow loop is given the latest", async () => {
  let server: ServerResponse | undefined;
  const { url } = await serving((response, request) => {
    server = response;
    stream(FIRST)(response, request);
  });
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const positions = [];
  for await (const { position } of batchStates(url, { onConnection: ({ state }) => state === "ended" && end() })) {
    positions.push(position);
    server?.write(said("progress", progress("7-2", []), "7-2"));
    server?.end(END);
    server = undefined;
    await ended;
  }
  assert.deepEqual(positions, ["7-1", "7-9"]);
});

test("a loop that is left hangs up, and a refusal or an abort is thrown", async () => {
  let hungUp = (): void => {};
  const gone = new Promise<void>((resolve) => (hungUp = resolve));
  const { url } = await serving((response, request) => {
    response.on("close", hungUp);
    stream(FIRST)(response, request);
  }, (response) => response.writeHead(404).end(), stream(FIRST));
  for await (const batch of batchStates(url)) if (batch) break;
  await gone;
  await assert.rejects(batchStates(url).next(), new BatchError("missing", url));
  const stopping = new AbortController();
  const loop = batchStates(url, { signal: stopping.signal });
  await loop.next();
  const next = loop.next();
  stopping.abort(new Error("enough"));
  await assert.rejects(next, { message: "enough" });
});
