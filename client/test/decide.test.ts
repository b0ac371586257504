import assert from "node:assert/strict";
import { test } from "node:test";
import { isOver } from "../src/connection.ts";
import { begin, decide, type Input, type State } from "../src/decide.ts";
import { comparePositions } from "../src/position.ts";
import type { Block } from "../src/sse.ts";
import { complete, head, photo, progress, seeded, state } from "./samples.ts";

const START = 1_000_000;

/** A watch whose time passes when a test says so. `random` is always a half: a wait is three quarters of its step. */
function watching({ ticketed = false } = {}) {
  let now = START;
  let current = begin(now, ticketed);
  const give = (input: Input): State => (current = decide(current, input, { now, random: 0.5 }));
  give({ kind: "timer" });
  return {
    give,
    get state() {
      return current;
    },
    get connection() {
      return current.connection.state;
    },
    get line() {
      return current.line.kind;
    },
    hear: (...blocks: Block[]) => give({ kind: "heard", blocks }),
    close: (status = 200) => give({ kind: "stream", status }),
    read: (status: number, body?: unknown, stale = false) => give({ kind: "read", status, body: JSON.stringify(body ?? ""), stale }),
    pass(ms: number) {
      now += ms;
      return give({ kind: "timer" });
    },
    /** Lets time pass until the next timer is due, and returns how long that was. */
    wait() {
      const ms = current.wakeAt - now;
      now = current.wakeAt;
      give({ kind: "timer" });
      return ms;
    },
  };
}

const GREETING: Block = { retry: "2003" };
const block = (event: string, data: unknown = {}, id?: string): Block =>
  ({ event, data: JSON.stringify(data), ...(id === undefined ? {} : { id }) });
const at = (position: string, ...[photos = [], rest = {}]: [Parameters<typeof progress>[1]?, Parameters<typeof progress>[2]?]): Block =>
  block("progress", progress(position, photos, rest), position);

/** A stream that has brought a batch and lived. */
function live() {
  const watch = watching();
  watch.hear(GREETING, at("7-1", [photo("a", "QUEUED", 1)], { full: true }));
  watch.pass(5_000);
  return watch;
}

/** Three streams have died at once, and the read after them was answered. */
function reading() {
  const watch = live();
  watch.close();
  for (let failure = 0; failure < 3; failure += 1) {
    while (watch.line !== "stream") watch.wait();
    watch.close(0);
  }
  watch.wait();
  assert.equal(watch.line, "read");
  watch.read(304);
  return watch;
}

test("a batch is watched to its end, and then left alone", () => {
  const watch = watching();
  assert.equal(watch.line, "stream");
  watch.hear(GREETING, at("7-1", [photo("a", "QUEUED", 1)], { full: true }));
  watch.hear(block("progress", progress(undefined, [photo("a", "COMPLETED", 9)])));
  assert.equal(watch.state.replica.batch?.progress, 25);
  watch.hear(block("complete", complete("7-9"), "7-9"));
  assert.deepEqual([watch.connection, watch.line, watch.state.replica.batch?.position], ["ended", undefined, "7-9"]);
  assert.equal(watch.state.replica.batch?.photos.get("a")?.status, "COMPLETED");
  const over = watch.state;
  assert.equal(watch.hear(at("8-1")), over);
  assert.equal(watch.give({ kind: "online" }), over);
});

test("all that came together is shown at once, with all that changed", () => {
  const watch = watching();
  const { changed } = watch.hear(at("7-1", [photo("a", "QUEUED", 1)], { full: true }), at("7-2", [photo("b", "QUEUED", 2)]));
  assert.deepEqual([...changed].sort(), ["a", "b"]);
  assert.equal(watch.hear().changed.size, 0);
});

test("a stream that lived is opened again after the pause that the server asked for, with its last id", () => {
  const watch = live();
  watch.close();
  assert.deepEqual([watch.connection, watch.line], ["reconnecting", undefined]);
  assert.equal(watch.wait(), 2_003);
  assert.deepEqual([watch.line, watch.state.lastEventId], ["stream", "7-1"]);
});

test("streams that come to nothing are opened after growing pauses", () => {
  const watch = live();
  const pauses = [];
  for (let failure = 0; failure < 9; failure += 1) {
    watch.close(0);
    let pause = 0;
    while (watch.line !== "stream") {
      pause += watch.wait();
      if (watch.line === "read") watch.read(0);
    }
    pauses.push(pause);
  }
  // The first stream had lived.
  assert.deepEqual(pauses, [2_003, 2_003, 3_000, 6_000, 12_000, 22_500, 22_500, 22_500, 22_500]);
});

test("an event from before what is held changes neither what is shown nor where to resume", () => {
  const watch = live();
  watch.hear(at("7-5", [photo("a", "COMPLETED", 5)]));
  watch.hear(at("7-2", [photo("a", "QUEUED", 2)], { full: true }));
  assert.deepEqual([watch.state.replica.batch?.position, watch.state.lastEventId], ["7-5", "7-5"]);
});

test("who is sent away because nothing changed comes back in a minute, with the id as it was given", () => {
  const watch = live();
  watch.hear({ retry: "60000", ...block("idle", {}, "7-1~idle") });
  watch.close();
  assert.deepEqual(watch.state.connection, { state: "stalled", away: true });
  assert.equal(watch.wait(), 60_000);
  assert.equal(watch.state.lastEventId, "7-1~idle");
  watch.hear({ retry: "2003" }, at("7-2", [photo("a", "PROCESSING", 2)]));
  assert.deepEqual([watch.connection, watch.state.lastEventId, watch.state.retryMs], ["live", "7-2", 2_003]);
});

test("who looks in on a batch that still stands still is no failure, however often", () => {
  const watch = live();
  for (let visit = 0; visit < 9; visit += 1) {
    watch.hear({ retry: "60000" }, block("stalled"));
    watch.close();
    assert.deepEqual(watch.state.connection, { state: "stalled", away: true });
    assert.equal(watch.wait(), 60_000);
    assert.equal(watch.line, "stream");
  }
});

test("the id of another position is not kept", () => {
  const watch = live();
  watch.hear(block("idle", {}, "6-9~idle"));
  assert.equal(watch.state.lastEventId, "7-1");
});

test("a cut between the last progress and complete holds nothing over", () => {
  const watch = live();
  watch.hear(block("progress", progress(undefined, [photo("a", "COMPLETED", 9)])));
  watch.close();
  assert.equal(watch.state.replica.held, undefined);
  assert.equal(watch.state.lastEventId, "7-1");
});

test("the end of an epoch that is over ends nothing, by the stream or by a read", () => {
  const watch = live();
  watch.hear(block("complete", complete("6-9"), "6-9"));
  assert.deepEqual([watch.connection, watch.line], ["reconnecting", undefined]);
  const read = reading();
  read.wait();
  read.read(200, state("6-9", [], head(1, 1, 0, "COMPLETED")));
  assert.deepEqual([read.connection, read.state.replica.batch?.position], ["reading", "7-1"]);
});

test("an end without a position ends nothing", () => {
  for (const position of ["7", undefined]) {
    const watch = live();
    watch.hear(block("complete", { ...complete("7-9"), position }));
    assert.deepEqual([watch.connection, watch.state.replica.batch?.position], ["reconnecting", "7-1"]);
  }
});

test("a server that has lost its source is behind, whatever it sends, until it says otherwise", () => {
  const watch = live();
  watch.hear(block("upstream", { state: "stale" }), at("7-2"), block("stalled"));
  assert.equal(watch.connection, "behind");
  watch.hear(block("upstream", { state: "live" }));
  assert.equal(watch.connection, "live");
});

test("what is not there, gone or forbidden is the last word", () => {
  const refused = (status: number) => watching().close(status).connection;
  assert.deepEqual(refused(404), { state: "closed", why: "missing" });
  assert.deepEqual(refused(400), { state: "closed", why: "missing" });
  assert.deepEqual(refused(401), { state: "closed", why: "denied" });
  assert.deepEqual(refused(403), { state: "closed", why: "denied" });
  assert.deepEqual(live().hear(block("gone")).connection, { state: "closed", why: "gone" });
});

test("a stream that ended with its token is opened again, and refused again it has expired", () => {
  const watch = live();
  watch.hear(block("auth-expired"));
  watch.close();
  watch.wait();
  assert.equal(watch.line, "stream");
  assert.deepEqual(watch.close(401).connection, { state: "closed", why: "expired" });
});

test("other statuses pass: the stream is opened again", () => {
  for (const status of [0, 200, 204, 429, 500, 503]) {
    const watch = watching();
    watch.close(status);
    assert.equal(watch.connection, "reconnecting", String(status));
  }
});

test("a page that is shown nothing yet reads at once when its first stream fails", () => {
  const watch = watching();
  watch.close(503);
  assert.equal(watch.wait(), 0);
  assert.equal(watch.line, "read");
  watch.read(200, state("7-1", [photo("a", "QUEUED", 1)]));
  assert.equal(watch.state.replica.batch?.photos.size, 1);
  watch.wait();
  assert.equal(watch.line, "stream");
});

test("a busy server is busy from the moment it was left, and not live between", () => {
  const watch = live();
  watch.close();
  watch.wait();
  watch.hear({ retry: "5000" }, block("busy"));
  assert.deepEqual(watch.state.connection, { state: "busy", since: START + 5_000 });
  watch.close();
  assert.equal(watch.connection, "busy");
  assert.equal(watch.wait(), 5_000);
});

test("a server that is busy for long is read instead, and tried again later and later", () => {
  const watch = live();
  for (let visit = 0; visit < 3; visit += 1) {
    watch.close();
    while (watch.line !== "stream") watch.wait();
    watch.hear({ retry: "5000" }, block("busy"));
  }
  watch.close();
  watch.wait();
  assert.deepEqual([watch.line, watch.connection], ["read", "busy"]);
  watch.read(200, state("7-4", [photo("a", "PROCESSING", 4)]));
  assert.deepEqual([watch.connection, watch.state.lastEventId], ["reading", "7-4"]);
  const trials = [];
  for (let last = 0, now = 0; trials.length < 5;) {
    now += watch.wait();
    if (watch.line === "read") watch.read(304);
    if (watch.line !== "stream") continue;
    trials.push(now - last);
    last = now;
    watch.hear({ retry: "5000" }, block("busy"));
    watch.close();
    assert.equal(watch.connection, "reading");
  }
  assert.deepEqual(trials, [6_000, 45_000, 90_000, 180_000, 360_000]);
});

test("streams that die at once, though they bring something, do not get through", () => {
  const watch = live();
  watch.close();
  for (let version = 2; version < 5; version += 1) {
    while (watch.line !== "stream") watch.wait();
    watch.hear(GREETING, at(`7-${version}`));
    watch.close();
  }
  watch.wait();
  assert.equal(watch.line, "read");
});

test("reads are told as such, also when nobody could be asked, and a stream that lives ends them", () => {
  const watch = reading();
  assert.equal(watch.connection, "reading");
  watch.wait();
  watch.read(304, undefined, true);
  assert.equal(watch.connection, "behind");
  while (watch.line !== "stream") {
    watch.wait();
    if (watch.line === "read") watch.read(304);
  }
  watch.hear(GREETING);
  assert.equal(watch.connection, "live");
  watch.pass(5_000);
  watch.close();
  assert.equal(watch.connection, "reconnecting");
  assert.equal(watch.wait(), 2_003);
  assert.equal(watch.line, "stream");
});

test("a read that ends the batch ends the watch", () => {
  const watch = reading();
  watch.wait();
  watch.read(200, state("7-9", [], head(4, 4, 0, "COMPLETED")));
  assert.deepEqual([watch.connection, watch.state.replica.batch?.progress], ["ended", 100]);
});

test("where reads get no answer either it is the network, and streams are tried again", () => {
  const watch = reading();
  watch.wait();
  watch.read(0);
  assert.equal(watch.connection, "reconnecting");
  watch.wait();
  assert.equal(watch.line, "stream");
});

test("a read that a ticket does not open is not the last word, one without a ticket is", () => {
  const ticketed = watching({ ticketed: true });
  ticketed.close(0);
  ticketed.wait();
  assert.equal(ticketed.line, "read");
  ticketed.read(401);
  assert.equal(ticketed.connection, "reconnecting");
  ticketed.wait();
  assert.equal(ticketed.line, "stream");
  const plain = watching();
  plain.close(0);
  plain.wait();
  assert.deepEqual(plain.read(401).connection, { state: "closed", why: "denied" });
});

test("a proxy that holds a stream back is waited for 20 s", () => {
  const watch = watching();
  assert.equal(watch.wait(), 20_000);
  assert.equal(watch.state.setbacks, 1);
});

test("keep-alives keep a stream, a minute without any ends it, and the next one is opened at once", () => {
  const watch = live();
  for (let quiet = 0; quiet < 10; quiet += 1) {
    watch.pass(59_999);
    watch.hear();
  }
  const { line } = watch.state;
  assert.equal(watch.connection, "live");
  assert.equal(watch.wait(), 60_000);
  assert.ok(watch.state.line !== line);
  assert.deepEqual([watch.line, watch.connection], ["stream", "reconnecting"]);
});

test("without a network the watch does not call itself live, and believes a stream that lived on", () => {
  const watch = live();
  watch.give({ kind: "offline" });
  assert.equal(watch.connection, "reconnecting");
  watch.hear();
  assert.equal(watch.connection, "live");
});

test("the network's return opens a new stream, whatever was waited for", () => {
  const watch = live();
  watch.give({ kind: "online" });
  assert.equal(watch.wait(), 250);
  assert.equal(watch.line, "stream");
  watch.close(0);
  watch.give({ kind: "online" });
  assert.equal(watch.wait(), 250);
});

test("a tab that is seen again believes a stream it heard lately, and no other", () => {
  for (const kind of ["visibilitychange", "pageshow"] as const) {
    const watch = live();
    watch.hear();
    const { line } = watch.state;
    watch.give({ kind });
    assert.equal(watch.state.line, line);
    watch.pass(20_001);
    watch.give({ kind });
    assert.equal(watch.wait(), 250);
    assert.deepEqual([watch.line, watch.state.lastEventId], ["stream", "7-1"]);
  }
});

/** A server in miniature, and everything that can happen to those who watch it, in any order. */
test("whatever happens in whatever order, nothing goes back, and the watch goes on until the end", () => {
  for (let seed = 0; seed < 300; seed += 1) {
    const random = seeded(seed);
    const pick = <T>(...from: T[]): T => from[Math.floor(random() * from.length)] as T;
    let now = START;
    let version = 1;
    let before = decide(begin(now, pick(true, false)), { kind: "timer" }, { now, random: random() });
    before = decide(before, { kind: "heard", blocks: [at("7-1", [], { full: true })] }, { now, random: random() });
    for (let turn = 0; turn < 300; turn += 1) {
      now += Math.floor(random() * random() * 90_000);
      if (random() < 0.4) version += 1;
      const position = `7-${Math.max(1, version - pick(0, 0, 0, 1, 5))}`;
      const input = inputFor(before, position, pick, now);
      const after = decide(before, input, { now, random: random() });
      const words = `seed ${seed}, turn ${turn}: ${JSON.stringify(input)}`;
      const [old, shown] = [before.replica.batch, after.replica.batch];
      if (old) assert.ok(shown && comparePositions(shown.position, old.position) >= 0, `went back, ${words}`);
      assert.equal(after.lastEventId?.split("~")[0], shown?.position, `resumes elsewhere, ${words}`);
      assert.ok(Number.isFinite(after.wakeAt), `nothing is waited for, ${words}`);
      assert.ok(!after.fallback || after.line.kind || after.readAt <= now + 30_000, `reads have stopped, ${words}`);
      assert.ok(after.line.kind || after.wakeAt <= now + 600_000, `the watch sleeps, ${words}`);
      assert.ok(after.line.kind !== "stream" || after.replica.held === undefined || after.line === before.line, `held over, ${words}`);
      before = after;
      assert.ok(!isOver(after.connection), `ended without an end, ${words}`);
    }
    // In peace, whatever came before, the end is seen.
    const peace = { random: 0.5 };
    for (let step = 0; before.connection.state !== "ended"; step += 1) {
      assert.ok(step < 100, `seed ${seed}: the end is not seen`);
      if (before.line.kind === "stream") {
        const blocks = [GREETING, block("progress", progress(undefined, [], { full: true })), block("complete", complete("7-999"), "7-999")];
        before = decide(before, { kind: "heard", blocks }, { now, ...peace });
      } else if (before.line.kind === "read") {
        before = decide(before, { kind: "read", status: 304, body: "" }, { now, ...peace });
      } else {
        now = Math.max(now, before.wakeAt);
        before = decide(before, { kind: "timer" }, { now, ...peace });
      }
    }
    assert.equal(before.replica.batch?.position, "7-999");
  }
});

function inputFor({ line, wakeAt }: State, position: string, pick: <T>(...from: T[]) => T, now: number): Input {
  const any: Input[] = [{ kind: pick("online", "offline", "pageshow", "visibilitychange") }, { kind: "timer" }];
  if (now >= wakeAt && pick(true, true, false)) return { kind: "timer" };
  if (line.kind === "read") {
    const status = pick(0, 200, 200, 304, 429, 503);
    return { kind: "read", status, stale: pick(true, false), body: status === 200 ? JSON.stringify(state(position, [])) : "" };
  }
  if (line.kind !== "stream") return pick(...any);
  const blocks = [
    [], [GREETING], [at(position, [photo("a", "QUEUED", 1)])], [at(position, [], { full: true }), at(position)],
    [block("progress", progress(undefined, []))], [block("stalled")], [{ retry: "60000", ...block("idle", {}, `${position}~idle`) }],
    [block("busy")], [block("upstream", { state: pick("stale", "live") })], [block("auth-expired")], [block("complete", complete("6-1"), "6-1")],
    [block("progress", { position })], [block("news", {}, position)],
  ];
  return pick<Input>({ kind: "heard", blocks: pick<Block[]>(...blocks) }, { kind: "heard", blocks: [GREETING] }, { kind: "stream", status: pick(0, 200, 503) }, pick(...any));
}
