import assert from "node:assert/strict";
import { test } from "node:test";
import { comparePositions, parsePosition } from "../src/position.ts";

function order(a: string, b: string): number {
  const [first, second] = [parsePosition(a), parsePosition(b)];
  assert.ok(first && second);
  return Math.sign(comparePositions(first, second));
}

test("versions are compared as numbers, not as text", () => assert.equal(order("7-9", "7-10"), -1));
test("a greater epoch wins over any version", () => assert.equal(order("8-1", "7-999"), 1));
test("equal positions are equal", () => assert.equal(order("1795389030082-42", "1795389030082-42"), 0));

test("what is not a position is refused", () => {
  for (const text of [undefined, "", "7", "7-", "-7", "7-x", "7-1-2", " 7-1", "7-1.5", "9999999999999999-1"]) {
    assert.equal(parsePosition(text), undefined, text);
  }
});
