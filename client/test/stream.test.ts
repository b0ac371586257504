import assert from "node:assert/strict";
import { test } from "node:test";
import type { Signal } from "../src/connection.ts";
import { watchBatch, type Reading, type Surroundings } from "../src/stream.ts";
import { complete, head, photo, progress, state } from "./samples.ts";

/** Stands in for the browser's `EventSource`: the tests decide what arrives. */
class Source extends EventTarget {
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  send(type: string, data: unknown): void {
    this.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify(data) }));
  }
  fail(readyState: 0 | 2): void {
    this.readyState = readyState;
    this.onerror?.();
  }
  close(): void {
    this.readyState = 2;
  }
}

/** Time passes when a test says so: `pass` runs what is due within the given time. */
function watching(readings: Reading[] = []) {
  const sources: Source[] = [];
  const signals: Signal[] = [];
  const seen: string[] = [];
  const asked: (string | undefined)[] = [];
  const timers = new Set<{ ms: number; run: () => void }>();
  let [goOn, goAway] = [() => {}, () => {}];
  const around: Surroundings = {
    open(url) {
      assert.equal(url, "/api/batches/b1/stream");
      sources.push(new Source());
      return sources.at(-1) as unknown as EventSource;
    },
    async read(_url, known) {
      asked.push(known);
      return readings.shift() ?? { kind: "unreachable" };
    },
    later(ms, run) {
      const timer = { ms, run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    random: () => 0.5,
    visible: () => true,
    onReturn(back, away) {
      [goOn, goAway] = [back, away];
      return () => void ([goOn, goAway] = [() => {}, () => {}]);
    },
  };
  const stop = watchBatch("b1", {
    signal: (signal) => void signals.push(signal),
    progress: (event) => void seen.push(`progress ${event.position ?? "-"}`),
    complete: (event) => void seen.push(`complete ${event.position}`),
    state: (read) => void seen.push(`state ${read.position}`),
    position: () => "7-1",
  }, around);
  return {
    sources, signals, seen, asked, stop,
    source: () => sources.at(-1) as Source,
    returned: () => goOn(),
    left: () => goAway(),
    async pass(ms: number) {
      for (const timer of [...timers]) {
        if (timer.ms > ms || !timers.delete(timer)) continue;
        timer.run();
      }
      await settled();
    },
  };
}

/** Lets what was promised happen. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await null;
}

test("a batch is watched to its end, and then left alone", async () => {
  const watch = watching();
  watch.source().open();
  watch.source().send("progress", progress("7-1", [photo("a", "QUEUED", 1)], { full: true }));
  watch.source().send("progress", progress(undefined, []));
  watch.source().send("complete", complete("7-9"));
  assert.equal(watch.source().readyState, 2);
  watch.returned();
  await watch.pass(1_000_000);
  assert.deepEqual(watch.seen, ["progress 7-1", "progress -", "complete 7-9"]);
  assert.equal(watch.signals.at(-1), "ended");
  assert.equal(watch.sources.length, 1);
});

test("while the browser reconnects by itself, nothing is opened beside it", async () => {
  const watch = watching();
  watch.source().open();
  watch.source().fail(0);
  await watch.pass(1_000_000);
  assert.equal(watch.signals.at(-1), "lost");
  assert.equal(watch.sources.length, 1);
});

test("a stream that is refused for good is asked once for the reason", async () => {
  const watch = watching([{ kind: "refused", why: "missing" }]);
  watch.source().fail(2);
  await watch.pass(1_000_000);
  assert.deepEqual(watch.signals, ["missing"]);
  assert.equal(watch.asked.length, 1);
  assert.equal(watch.sources.length, 1);
});

test("a stream that the browser gave up without reason is opened again after a wait", async () => {
  const watch = watching([{ kind: "unreachable" }]);
  watch.source().fail(2);
  await settled();
  assert.equal(watch.sources.length, 1);
  await watch.pass(1_000);
  assert.equal(watch.sources.length, 2);
  assert.deepEqual(watch.signals, ["lost"]);
});

test("204 for a final position ends with the state that is read", async () => {
  const watch = watching([{ kind: "state", state: state("7-9", [], { status: "PARTIAL" }) }]);
  watch.source().fail(2);
  await settled();
  assert.deepEqual(watch.seen, ["state 7-9"]);
  assert.deepEqual(watch.signals, ["ended"]);
});

test("a long silence is doubted, and a confirmed one is kept", async () => {
  const watch = watching([{ kind: "unchanged" }]);
  watch.source().open();
  await watch.pass(60_000);
  assert.deepEqual(watch.asked, ["7-1"]);
  assert.equal(watch.sources.length, 1);
  await watch.pass(60_000);
  assert.equal(watch.asked.length, 1, "each doubt waits longer than the one before");
});

test("a read that shows what is known already confirms the silence", async () => {
  const watch = watching([{ kind: "state", state: state("7-1", []) }]);
  watch.source().open();
  await watch.pass(60_000);
  assert.equal(watch.signals.at(-1), "open");
  assert.equal(watch.sources.length, 1);
});

test("a silence that hid news is a dead connection", async () => {
  const watch = watching([{ kind: "state", state: state("7-5", []) }]);
  watch.source().open();
  await watch.pass(60_000);
  assert.deepEqual(watch.seen, ["state 7-5"]);
  assert.equal(watch.signals.at(-1), "lost");
  assert.equal(watch.sources.length, 2);
});

test("words of a stream that was replaced no longer count", async () => {
  const watch = watching();
  const [old] = watch.sources;
  watch.source().fail(0);
  watch.returned();
  await watch.pass(500);
  assert.equal(watch.sources.length, 2);
  old?.send("progress", progress("7-1", []));
  assert.deepEqual(watch.seen, []);
});

test("without a network the page does not call itself live, and believes a stream that lived on", async () => {
  const watch = watching([{ kind: "unchanged" }]);
  watch.source().open();
  watch.left();
  assert.equal(watch.signals.at(-1), "lost");
  watch.returned();
  await settled();
  assert.equal(watch.signals.at(-1), "open");
  assert.equal(watch.sources.length, 1);
});

test("the end of an epoch that is over ends nothing, by the stream or by a read", async () => {
  const watch = watching([{ kind: "state", state: state("6-9", [], head(1, 1, 0, "COMPLETED")) }]);
  watch.source().open();
  watch.source().send("complete", complete("6-9"));
  assert.deepEqual([watch.seen, watch.signals.at(-1)], [[], "lost"]);
  await watch.pass(1_000);
  assert.equal(watch.sources.length, 2);
  watch.source().fail(2);
  await settled();
  assert.deepEqual([watch.seen, watch.signals.at(-1)], [[], "lost"]);
  await watch.pass(2_000);
  assert.equal(watch.sources.length, 3);
});

test("a stream goes on where it was when the access behind it was renewed", async () => {
  const watch = watching();
  watch.source().open();
  watch.source().send("auth-expired", {});
  watch.source().fail(0);
  watch.source().open();
  watch.source().send("progress", progress("7-2", []));
  await watch.pass(1_000);
  assert.equal(watch.sources.length, 1, "the browser's own EventSource came back, with its last id");
  assert.deepEqual(watch.signals.filter((signal) => signal !== "news"), ["open", "lost", "open"]);
});

test("access that was not renewed is told as expired, not as denied", async () => {
  const watch = watching([{ kind: "refused", why: "denied" }]);
  watch.source().open();
  watch.source().send("auth-expired", {});
  watch.source().fail(2);
  await watch.pass(1_000);
  assert.equal(watch.signals.at(-1), "expired");
});

test("a batch that is gone is the last word", () => {
  const watch = watching();
  watch.source().open();
  watch.source().send("gone", {});
  assert.equal(watch.signals.at(-1), "gone");
  assert.equal(watch.source().readyState, 2);
});
