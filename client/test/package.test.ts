// The package as it would be published: built, packed, typed, and small.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { OWN_FIELDS, PACKAGE } from "../build.mjs";

const CLIENT = fileURLToPath(new URL("..", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Gzipped bytes. */
const MOST_CORE_BYTES = 3 * 1024;

const temporary = mkdtempSync(`${tmpdir()}/batchcast-client-`);
after(() => rmSync(temporary, { recursive: true }));

async function gzipped(entry: string): Promise<number> {
  const { outputFiles } = await build({ ...PACKAGE, entryPoints: [`${CLIENT}src/${entry}.ts`], splitting: false, write: false });
  return gzipSync(outputFiles[0]?.contents ?? new Uint8Array(), { level: 9 }).length;
}

test("the core is small: everything that the package's main entry exports", async () => {
  const bytes = await gzipped("index");
  console.log(`core: ${bytes} bytes gzipped; element: ${await gzipped("element")}; hook: ${await gzipped("react")}`);
  assert.ok(bytes > 1_000 && bytes <= MOST_CORE_BYTES, `the core has ${bytes} bytes gzipped; the limit is ${MOST_CORE_BYTES}`);
});

/** Those whose fields are meant, and those that only know their types. */
const CORE = ["decide.ts", "watch.ts", "state.ts", "backoff.ts", "sse.ts"];

test("no other field has the name of one that the build shortens", () => {
  const field = new RegExp(`(?<![#\\w])(${OWN_FIELDS.join("|")})(?=\\??:)|\\.(${OWN_FIELDS.join("|")})\\b`);
  for (const name of readdirSync(`${CLIENT}src`).filter((name) => !CORE.includes(name))) {
    for (const line of readFileSync(`${CLIENT}src/${name}`, "utf8").split("\n")) assert.ok(!field.test(line), `${name}: ${line}`);
  }
  assert.ok(field.test("state.fallback") && field.test("  fallback: 1"), "the test finds what it looks for");
});

test("packed, it holds what is exported, its types, its words and its licences, and nothing else", () => {
  execFileSync("node", ["build.mjs", "--package"], { cwd: CLIENT, encoding: "utf8" });
  const [{ name, files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: CLIENT, encoding: "utf8" }));
  const paths: string[] = files.map(({ path }: { path: string }) => path);
  assert.equal(name, "@batchcast/client");
  for (const path of ["README.md", "LICENSE-APACHE", "LICENSE-MIT", "package.json"]) assert.ok(paths.includes(path), `${path} is missing`);
  for (const entry of ["index", "element", "react"]) {
    assert.ok(paths.includes(`lib/${entry}.js`) && paths.includes(`lib/${entry}.d.ts`), `${entry} is missing`);
  }
  const others = paths.filter((path) => !/^lib\/[a-z]+\.(js|d\.ts)$|^(README\.md|LICENSE-(APACHE|MIT)|package\.json)$/.test(path));
  assert.deepEqual(others, []);
});

test("an application in strict TypeScript can use it, by the names in its exports", () => {
  mkdirSync(`${temporary}/node_modules/@batchcast`, { recursive: true });
  symlinkSync(CLIENT.replace(/\/$/, ""), `${temporary}/node_modules/@batchcast/client`);
  writeFileSync(`${temporary}/app.ts`, `
    import { BatchError, batchStates, watchBatch, type Batch, type Connection } from "@batchcast/client";
    import { type BatchProgressElement } from "@batchcast/client/element";
    import { useBatch } from "@batchcast/client/react";
    const stop: () => void = watchBatch("/api/batches/b", {
      ticket: async () => "t",
      onProgress: (batch: Batch) => batch.counts.total + batch.photos.size,
      onError: (error: BatchError) => error.type === "missing",
    });
    for await (const batch of batchStates("/api/batches/b", { signal: AbortSignal.timeout(1) })) batch.status satisfies string;
    const element: BatchProgressElement | null = document.querySelector("batch-progress");
    if (element) element.token = () => "t";
    const state: Connection["state"] = useBatch("/api/batches/b").connection.state;
    // @ts-expect-error: a callback of that name there is none.
    watchBatch("/api/batches/b", { onProgres() {} });
    export { state, stop };
  `);
  writeFileSync(`${temporary}/package.json`, '{ "type": "module" }');
  symlinkSync(`${ROOT}node_modules/@types`, `${temporary}/node_modules/@types`);
  for (const [module, moduleResolution] of [["esnext", "bundler"], ["nodenext", "nodenext"]]) {
    const compilerOptions = { strict: true, noEmit: true, target: "es2022", lib: ["es2022", "dom", "dom.iterable"], module, moduleResolution, types: [] };
    writeFileSync(`${temporary}/tsconfig.json`, JSON.stringify({ compilerOptions, files: ["app.ts"] }));
    execFileSync("node", [`${ROOT}node_modules/typescript/bin/tsc`, "-p", temporary], { cwd: temporary, encoding: "utf8" });
  }
});
