import assert from "node:assert/strict";
import { test } from "node:test";
import { parseListing } from "../page/listing.ts";
import { head } from "./samples.ts";

const LISTED = { ...head(4, 1), position: "7-3", createdAt: "2026-11-22T23:10:30.082Z", thumbnails: ["/api/photos/p/thumbnail"] };

test("a page of a list is its heads, their times and thumbnails, and where the next one is", () => {
  const nextUrl = "/api/projects/p/batches?limit=24&before=7-b1";
  const { batches, nextUrl: next } = parseListing(JSON.stringify({ projectId: "p", batches: [LISTED], nextUrl }));
  assert.equal(next, nextUrl);
  const [listed] = batches;
  assert.deepEqual([listed?.head.position, listed?.head.counts.total, listed?.createdAt], ["7-3", 4, 1795389030082]);
  assert.deepEqual(listed?.thumbnails, ["/api/photos/p/thumbnail"]);
});

test("what has another shape is left out, and nothing leads elsewhere", () => {
  const others = [null, 7, { ...LISTED, status: "LOST" }, { ...LISTED, position: undefined }, { ...LISTED, batchId: 7 }];
  const foreign = { ...LISTED, thumbnails: ["https://else.example/x", "//else.example/x", 7] };
  const body = JSON.stringify({ batches: [...others, foreign], nextUrl: "//else.example/api" });
  const { batches, nextUrl } = parseListing(body);
  assert.deepEqual([batches.length, batches[0]?.thumbnails, nextUrl], [1, [], undefined]);
  assert.deepEqual(["", "[]", "{}", '{"batches":7}'].map((text) => parseListing(text).batches), [[], [], [], []]);
});
