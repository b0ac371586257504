import assert from "node:assert/strict";
import { test } from "node:test";
import { paceAfter, remaining, type Pace } from "../src/remaining.ts";
import { seeded } from "./samples.ts";

/** A batch of which `photos` are done at each of these moments. */
function pace(moments: readonly number[], photos = 1): Pace {
  const first = paceAfter(undefined, 0, 0);
  return moments.reduce((known, now, index) => paceAfter(known, (index + 1) * photos, now), first);
}

const every = (ms: number, times: number): number[] => Array.from({ length: times }, (_, index) => 5_000 + index * ms);

test("nothing is said before enough was seen", () => {
  assert.equal(remaining(pace([]), 10, 1_000), undefined);
  assert.equal(remaining(pace(every(1_000, 4)), 10, 9_000), undefined);
  assert.equal(remaining(pace(every(1_000, 6)), 10, 10_000), undefined, "five steps, five photos");
  assert.ok(remaining(pace(every(1_000, 7)), 10, 11_000));
});

test("a steady pace gives one time", () => {
  assert.deepEqual(remaining(pace(every(1_000, 11)), 60, 15_000), { lowMs: 60_000, highMs: 60_000 });
  assert.deepEqual(remaining(pace(every(1_000, 11), 5), 60, 15_000), { lowMs: 12_000, highMs: 12_000 }, "five at a time");
});

test("time passes between photos too, but the next one is not taken to have come", () => {
  assert.equal(remaining(pace(every(1_000, 11)), 60, 15_500)?.lowMs, 59_500);
  assert.equal(remaining(pace(every(1_000, 11)), 60, 18_000)?.lowMs, 59_000);
});

test("a batch that rests is not at its pace any more", () => {
  assert.equal(remaining(pace(every(1_000, 11)), 60, 31_000), undefined);
  assert.ok(remaining(pace(every(30_000, 11)), 60, 305_000 + 100_000), "a slow one may rest longer");
});

test("where times vary the bounds are apart, and hold in about four cases of five", () => {
  const random = seeded(3);
  const exponential = (): number => -Math.log(1 - random()) * 10_000;
  let held = 0;
  for (let trial = 0; trial < 2_000; trial += 1) {
    let now = 0;
    const known = pace(Array.from({ length: 25 }, () => (now += exponential())));
    const said = remaining(known, 40, now);
    assert.ok(said && said.lowMs < said.highMs);
    let took = 0;
    for (let photo = 0; photo < 40; photo += 1) took += exponential();
    if (took >= said.lowMs && took <= said.highMs) held += 1;
  }
  assert.ok(held > 1_450 && held < 1_750, `held in ${held} of 2000`);
});

test("a batch that begins again is watched anew", () => {
  assert.deepEqual(paceAfter(pace(every(1_000, 11)), 3, 20_000), { done: 3, at: undefined, steps: [] });
});

test("nothing left, nothing to say", () => assert.equal(remaining(pace(every(1_000, 11)), 0, 15_000), undefined));
