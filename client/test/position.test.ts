import assert from "node:assert/strict";
import { test } from "node:test";
import { comparePositions } from "../src/position.ts";

const order = (a: string, b: string): number => Math.sign(comparePositions(a, b));

test("versions are compared as numbers, not as text", () => assert.equal(order("7-9", "7-10"), -1));
test("a greater epoch wins over any version", () => assert.equal(order("8-1", "7-999"), 1));
test("equal positions are equal", () => assert.equal(order("1795389030082-42", "1795389030082-42"), 0));

test("what is not a position stands nowhere", () => {
  for (const text of [undefined, "", "7", "7-", "-7", "7-x", "7-1-2", " 7-1", "7-1.5", "7-1~idle"]) {
    assert.ok(Number.isNaN(comparePositions(text, "7-1")) && Number.isNaN(comparePositions("7-1", text)), text);
  }
});
