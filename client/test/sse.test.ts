import assert from "node:assert/strict";
import { test } from "node:test";
import { blockReader, type Block } from "../src/sse.ts";
import { seeded } from "./samples.ts";

const STREAM = "retry: 2003\n\n: keep-alive\n\nid: 7-1\nevent: progress\ndata: {\"a\":1}\n\nevent: stalled\ndata:{}\n\ndata: one\ndata:\ndata:  three\n\n";
const BLOCKS: Block[] = [
  { retry: "2003" },
  { "": "keep-alive" } as Block,
  { id: "7-1", event: "progress", data: "{\"a\":1}" },
  { event: "stalled", data: "{}" },
  { data: "one\n\n three" },
];

test("a stream is understood, cut anywhere, its lines ended by LF or CRLF", () => {
  for (const stream of [STREAM, STREAM.replaceAll("\n", "\r\n")]) {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const blocksOf = blockReader();
      assert.deepEqual([...blocksOf(stream.slice(0, cut)), ...blocksOf(stream.slice(cut))], BLOCKS, `cut at ${cut}`);
    }
  }
});

test("in pieces of any length too", () => {
  const random = seeded(11);
  for (let trial = 0; trial < 200; trial += 1) {
    const blocksOf = blockReader();
    const blocks: Block[] = [];
    for (let at = 0; at < STREAM.length;) {
      const end = at + 1 + Math.floor(random() * 9);
      blocks.push(...blocksOf(STREAM.slice(at, end)));
      at = end;
    }
    assert.deepEqual(blocks, BLOCKS);
  }
});

test("a block that was not ended is none", () => assert.deepEqual(blockReader()("event: complete\ndata: {}\n"), []));

test("an id is one of its own block only", () => {
  const [, second] = blockReader()("id: 7-1\ndata: a\n\ndata: b\n\n");
  assert.equal(second?.id, undefined);
});
