// What the tests of the JavaScript clients share: addresses, a second way to Redis, and waiting.
//
//   UPSTASH_REDIS_REST_URL     the gateway
//   UPSTASH_REDIS_REST_TOKEN   its token
//   UPSTASH_READ_ONLY_TOKEN    its read-only token
//   REDIS_URL                  the Redis behind it, by TCP. It is emptied before each test.

import { Redis } from "@upstash/redis";
import { Redis as Tcp } from "ioredis";
import assert from "node:assert/strict";
import { after, beforeEach } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

/** Nothing takes this long. A wait that does is given up, so that a test fails instead of hanging. */
const GUARD_MS = 20_000;

export const url = need("UPSTASH_REDIS_REST_URL").replace(/\/$/, "");
export const token = need("UPSTASH_REDIS_REST_TOKEN");
export const readOnlyToken = need("UPSTASH_READ_ONLY_TOKEN");

/** The same Redis without the gateway: what is really stored, and faults. */
export const tcp = new Tcp(need("REDIS_URL"), { maxRetriesPerRequest: 1 });

beforeEach(async () => {
  await tcp.flushall();
  await tcp.script("FLUSH");
});
after(() => tcp.disconnect());

/** The official client, as an application has it. */
export function client(options) {
  return new Redis({ url, token, ...options });
}

/** The official client, one request a command: errors come alone and in the server's words. */
export function plainClient(options) {
  return client({ enableAutoPipelining: false, ...options });
}

/** Asserts that the client throws the server's words, with what it adds to them. */
export function refuses(promise, message) {
  return assert.rejects(promise, { name: "UpstashError", message });
}

/** The requests that clients make from now on to the end of the test. */
export function watchRequests(t) {
  const { mock } = t.mock.method(globalThis, "fetch");
  const seen = ({ arguments: [address, { headers, body }], result }) => ({
    path: address.slice(url.length),
    headers,
    body: JSON.parse(body),
    response: result,
  });
  return () => mock.calls.map(seen);
}

/** Things that arrive by themselves, to be taken in their order. */
export class Inbox {
  #items = [];
  #failure;
  #wake = () => {};

  put(item) {
    this.#items.push(item);
    this.#wake();
  }

  fail(error) {
    this.#failure ??= error;
    this.#wake();
  }

  async take(count) {
    const arrived = async () => {
      while (this.#items.length < count) {
        if (this.#failure) throw this.#failure;
        await new Promise((resolve) => (this.#wake = resolve));
      }
    };
    await within(arrived(), () => `${count} items; there are ${JSON.stringify(this.#items)}`);
    return this.#items.splice(0, count);
  }
}

/** What a subscription of the official client hears, once all its channels are confirmed. */
export async function listen(t, subscriber) {
  const [confirmed, heard] = [new Inbox(), new Inbox()];
  for (const type of ["subscribe", "psubscribe"]) subscriber.on(type, (count) => confirmed.put(count));
  for (const type of ["message", "pmessage"]) subscriber.on(type, (message) => heard.put(message));
  subscriber.on("error", (error) => [confirmed, heard].forEach((inbox) => inbox.fail(error)));
  t.after(() => subscriber.unsubscribe());

  const channels = subscriber.getSubscribedChannels();
  assert.deepEqual(await confirmed.take(channels.length), channels.map(() => 1), "each stream counts by itself");
  return heard;
}

/** How many Redis sees on a channel. */
export async function subscribers(channel) {
  return (await tcp.pubsub("NUMSUB", channel))[1];
}

/** Waits for what nothing announces. */
export async function until(what, holds) {
  const end = performance.now() + GUARD_MS;
  while (!(await holds())) {
    if (performance.now() > end) assert.fail(`waited in vain until ${what}`);
    await pause(20);
  }
}

/** Waits for a promise. `what` is computed when it was in vain. */
export async function within(promise, what) {
  const done = new AbortController();
  const guard = pause(GUARD_MS, undefined, { signal: done.signal }).then(
    () => assert.fail(`waited in vain for ${what()}`),
    () => {},
  );
  try {
    return await Promise.race([promise, guard]);
  } finally {
    done.abort();
  }
}

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set. tests/clients/support.mjs says what the tests need.`);
  return value;
}
