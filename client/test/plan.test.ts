import assert from "node:assert/strict";
import { test } from "node:test";
import { mostStreams, nextListAt, plan, READ_MS, type Card, type Situation } from "../page/plan.ts";
import { seeded } from "./samples.ts";

const NOW = 100_000;

/** Open, in view for long, without a stream, just read. */
function card(id: string, rest: Partial<Card> = {}): Card {
  return { id, open: true, seenAt: 0, streams: false, readAt: NOW, ...rest };
}

function planned(cards: readonly Card[], rest: Partial<Situation> = {}) {
  const { streams, ...others } = plan(cards, { hidden: false, most: 3, reading: false, now: NOW, ...rest });
  return { streams: [...streams].join(""), ...others };
}

test("what is open and in view has a stream, in the order of the page, as many as there may be", () => {
  assert.equal(planned(["a", "b", "c", "d"].map((id) => card(id))).streams, "abc");
  assert.equal(planned([card("a", { open: false }), card("b", { seenAt: undefined }), card("c")]).streams, "c");
});

test("a stream is kept while its card is in view, whoever else comes into it", () => {
  assert.equal(planned([card("a"), card("b"), card("c", { streams: true })], { most: 2 }).streams, "ca");
  assert.equal(planned([card("a"), card("c", { streams: true, seenAt: undefined })], { most: 1 }).streams, "a");
});

test("a page that nobody sees has no stream, reads nothing and wakes for nothing", () => {
  const cards = [card("a", { streams: true }), card("b", { readAt: 0 })];
  assert.deepEqual(planned(cards, { hidden: true }), { streams: "", wakeAt: Infinity });
});

test("a card that is scrolled past gets none: it has to stay for a moment", () => {
  const { streams, wakeAt } = planned([card("a", { seenAt: NOW - 299 })]);
  assert.deepEqual([streams, wakeAt], ["", NOW + 1]);
  assert.equal(planned([card("a", { seenAt: NOW - 300 })]).streams, "a");
});

test("those without a stream are read, the longest unread first, one at a time", () => {
  const cards = [card("a"), card("b", { readAt: NOW - READ_MS }), card("c", { readAt: NOW - READ_MS - 1 }), card("d", { open: false, readAt: 0 })];
  assert.equal(planned(cards, { most: 1 }).read, "c");
  assert.deepEqual(planned(cards, { most: 1, reading: true }), { streams: "a", wakeAt: Infinity });
  assert.deepEqual(planned([card("a"), card("b", { readAt: NOW - 1_000 })], { most: 1 }), { streams: "a", wakeAt: NOW + READ_MS - 1_000 });
});

test("over HTTP/1.1 three streams leave connections for the rest, and uploads take of them; one is always left", () => {
  assert.deepEqual([0, 1, 2, 3, 9].map((uploads) => mostStreams("http/1.1", uploads)), [3, 2, 1, 1, 1]);
  assert.deepEqual(["h2", "h3"].map((protocol) => mostStreams(protocol, 3)), [12, 12]);
  assert.equal(mostStreams("", 0), 3);
});

test("the list is read again after a while, and later and later where it can't be", () => {
  assert.equal(nextListAt(NOW, 0, 0.5), NOW + 15_000);
  const pauses = [1, 2, 3, 12].map((failures) => nextListAt(NOW, failures, 0) - NOW);
  assert.deepEqual(pauses, [1_000, 2_000, 4_000, 30_000]);
});

test("whatever happens, streams keep to their bound, to what is open and in view, and what waits is read in turn", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = seeded(seed);
    const most = 1 + Math.floor(random() * 4);
    let cards: Card[] = Array.from({ length: 12 }, (_, index) => card(`c${index}`, { seenAt: undefined, readAt: 0 }));
    let reading: { id: string; until: number } | undefined;
    for (let now = 1_000; now < 60_000; now += 50) {
      const hidden = now > 30_000 && now < 32_000;
      cards = cards.map((one) => {
        if (random() < 0.004) return { ...one, seenAt: one.seenAt === undefined ? now : undefined };
        return random() < 0.0005 ? { ...one, open: false } : one;
      });
      if (reading && reading.until <= now) {
        const { id } = reading;
        cards = cards.map((one) => (one.id === id ? { ...one, readAt: now } : one));
        reading = undefined;
      }
      const { streams, read } = plan(cards, { hidden, most, reading: reading !== undefined, now });
      const before = cards.filter((one) => one.streams);
      const may = cards.filter((one) => one.open && one.seenAt !== undefined && !hidden);
      assert.ok(streams.size <= most, `seed ${seed}: ${streams.size} streams`);
      assert.ok([...streams].every((id) => may.some((one) => one.id === id)), `seed ${seed}: a stream for nobody`);
      assert.ok(before.every((one) => streams.has(one.id) || !may.includes(one)), `seed ${seed}: a stream was given up`);
      if (read !== undefined) {
        assert.ok(!streams.has(read) && may.some((one) => one.id === read) && !reading, `seed ${seed}: a read of ${read}`);
        reading = { id: read, until: now + 50 };
      }
      cards = cards.map((one) => ({ ...one, streams: streams.has(one.id), readAt: streams.has(one.id) ? now : one.readAt }));
      const late = may.filter((one) => now - Math.max(one.readAt, one.seenAt ?? now, hidden ? now : 0) > READ_MS + 2_500);
      if (now > 40_000) assert.deepEqual(late.map((one) => one.id), [], `seed ${seed}`);
    }
  }
});
