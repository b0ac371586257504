// @upstash/ratelimit on the gateway. Its scripts begin with a flag that plain Redis refuses. support.mjs says what it
// needs.

import { Ratelimit } from "@upstash/ratelimit";
import assert from "node:assert/strict";
import { test } from "node:test";
import { client, tcp, watchRequests } from "./support.mjs";

const HOUR_MS = 3_600_000;
const LIMIT = 5;
/** What each algorithm allows in the hour after one that was used up, seen from the middle of it. */
const ALGORITHMS = {
  fixedWindow: { limiter: Ratelimit.fixedWindow(LIMIT, "1 h"), next: 5 },
  slidingWindow: { limiter: Ratelimit.slidingWindow(LIMIT, "1 h"), next: 3 },
  tokenBucket: { limiter: Ratelimit.tokenBucket(2, "1 h", LIMIT), next: 2 },
};

/** A limiter that asks Redis each time, and takes no late answer for an allowance. */
function ratelimit(limiter, options) {
  return new Ratelimit({ redis: client(), limiter, ephemeralCache: false, timeout: 0, ...options });
}

/** The library tells Redis the time, so the test does: the middle of an hour, to begin with. */
function stopClock(t) {
  t.mock.timers.enable({ apis: ["Date"], now: 500_000.5 * HOUR_MS });
  return { letAnHourPass: () => t.mock.timers.setTime(Date.now() + HOUR_MS) };
}

async function askTimes(limit, count, who = "Ada") {
  const answers = [];
  for (let asked = 0; asked < count; asked++) answers.push((await limit.limit(who)).success);
  return answers;
}

const allowed = (count) => Array(count).fill(true);
const allowedThenRefused = (count) => [...allowed(count), false, false];

/** What Redis itself has counted since: calls that came, and those of them that failed. */
async function calls(command) {
  const line = new RegExp(`^cmdstat_${command}:calls=(\\d+).*failed_calls=(\\d+)`, "m");
  const [, came, failed] = (await tcp.info("commandstats")).match(line);
  return { came: Number(came), failed: Number(failed) };
}

for (const [name, { limiter, next }] of Object.entries(ALGORITHMS)) {
  test(`${name} allows exactly ${LIMIT}, then refuses, and ${next} more after an hour`, async (t) => {
    const clock = stopClock(t);
    const limit = ratelimit(limiter);
    assert.deepEqual(await askTimes(limit, LIMIT + 2), allowedThenRefused(LIMIT));
    clock.letAnHourPass();
    assert.deepEqual(await askTimes(limit, next + 2), allowedThenRefused(next));
  });

  test(`${name} counts each caller alone, and 100 requests at once exactly`, async (t) => {
    stopClock(t);
    const limit = ratelimit(limiter);
    const answers = await Promise.all(Array.from({ length: 100 }, () => limit.limit("Ada")));
    assert.equal(answers.filter(({ success }) => success).length, LIMIT);
    assert.deepEqual(await askTimes(limit, LIMIT + 2, "Grace"), allowedThenRefused(LIMIT));
  });

  test(`${name} sends its script whole once, and again only when Redis has forgotten it`, async (t) => {
    stopClock(t);
    const limit = ratelimit(limiter);
    const requests = watchRequests(t);
    await tcp.config("RESETSTAT");

    assert.deepEqual(await askTimes(limit, 1), [true]);
    assert.deepEqual([await calls("evalsha"), await calls("eval")], [{ came: 1, failed: 1 }, { came: 1, failed: 0 }]);
    assert.match(requests()[1].body[0][1], /^#!lua flags=allow-key-locking\n/);

    assert.deepEqual(await askTimes(limit, 2), allowed(2));
    assert.deepEqual([await calls("evalsha"), await calls("eval")], [{ came: 3, failed: 1 }, { came: 1, failed: 0 }]);

    await tcp.script("FLUSH");
    assert.deepEqual(await askTimes(limit, 4), allowedThenRefused(2));
    assert.deepEqual([await calls("evalsha"), await calls("eval")], [{ came: 7, failed: 2 }, { came: 2, failed: 0 }]);
  });

  test(`${name} says what remains without using it, and a reset gives all back`, async (t) => {
    stopClock(t);
    const limit = ratelimit(limiter);
    const remaining = async () => (await limit.getRemaining("Ada")).remaining;
    assert.equal(await remaining(), LIMIT);
    assert.deepEqual(await askTimes(limit, 3), allowed(3));
    assert.deepEqual([await remaining(), await remaining()], [LIMIT - 3, LIMIT - 3]);
    assert.deepEqual(await askTimes(limit, 4), allowedThenRefused(2));
    assert.equal(await remaining(), 0);

    await limit.resetUsedTokens("Ada");
    assert.equal(await remaining(), LIMIT);
    assert.deepEqual(await askTimes(limit, LIMIT + 2), allowedThenRefused(LIMIT));
  });
}

test("an answer says the limit, what remains, and when it begins anew", async (t) => {
  stopClock(t);
  const { pending, ...answer } = await ratelimit(ALGORITHMS.fixedWindow.limiter).limit("Ada", { rate: 2 });
  await pending;
  assert.deepEqual(answer, { success: true, limit: LIMIT, remaining: 3, reset: 500_001 * HOUR_MS });
});

test("a limit that is set while it is in use holds at once", async (t) => {
  stopClock(t);
  const limit = ratelimit(ALGORITHMS.slidingWindow.limiter, { dynamicLimits: true });
  assert.deepEqual(await askTimes(limit, LIMIT + 2), allowedThenRefused(LIMIT));
  await limit.setDynamicLimit({ limit: LIMIT + 3 });
  assert.deepEqual(await askTimes(limit, 5), allowedThenRefused(3));
});
