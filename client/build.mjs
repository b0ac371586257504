// Builds the live page into client/dist: one script, one style sheet, one page. `--watch` rebuilds on change.
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const watch = process.argv.includes("--watch");

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist/assets"), { recursive: true });
await cp(here("static/index.html"), here("dist/index.html"));
await cp(here("static/favicon.svg"), here("dist/assets/favicon.svg"));

const options = {
  entryPoints: [here("src/main.ts"), here("src/main.css")],
  outdir: here("dist/assets"),
  bundle: true,
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  format: "esm",
  // Import order, nesting and colour functions are lowered to what these browsers know.
  target: ["chrome111", "firefox113", "safari16.4"],
  logLevel: "warning",
};

if (watch) await (await context(options)).watch();
else await build(options);

for (const name of watch ? [] : ["main.js", "main.css"]) {
  const bytes = await readFile(here(`dist/assets/${name}`));
  console.log(`client: ${name} ${kib(bytes.length)}, ${kib(gzipSync(bytes).length)} gzipped`);
}

function kib(bytes) {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}
