import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, isId, routeOf, routeOfProject } from "../page/route.ts";

test("a batch has an address, and the address its batch", () => {
  assert.deepEqual(routeOf("/batches/b-1_X"), { face: "batch", batchId: "b-1_X" });
  assert.deepEqual(routeOf("/batches/b1/"), { face: "batch", batchId: "b1" });
  assert.equal(addressOf({ face: "batch", batchId: "b1" }), "/batches/b1");
});

test("a project has an address too, and that of the start page is the start page", () => {
  assert.deepEqual(routeOf("/projects/summer"), { face: "project", projectId: "summer" });
  assert.equal(addressOf(routeOfProject("summer")), "/projects/summer");
  assert.equal(addressOf(routeOfProject("live-page")), "/");
});

test("everything else is the start page", () => {
  for (const path of ["/", "/batches", "/batches/", "/index.html", "/projects", "/projects/a/b"]) assert.equal(routeOf(path).face, "home");
});

test("an address that cannot be decoded is still only a batch that is not there", () => {
  assert.deepEqual(routeOf("/batches/%E0%A4%A"), { face: "batch", batchId: "%E0%A4%A" });
  assert.equal(isId("%E0%A4%A"), false);
});
