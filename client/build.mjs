// Builds the live page into client/dist (one script, one style sheet, one page) and the package @batchcast/client into
// client/lib. `--package` builds the package alone, `--watch` the page, again at each change.
import { execFileSync } from "node:child_process";
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const watch = process.argv.includes("--watch");

/** Import order, nesting and colour functions are lowered to what these browsers know. */
const target = ["chrome111", "firefox113", "safari16.4"];

/** Fields that only `decide` and `watch` know, so that their names may be short: nothing outside has a field of the name. */
export const OWN_FIELDS = ["replica", "changed", "line", "kind", "blocks", "lastEventId", "wakeAt", "ticketed", "openedAt", "heardAt",
  "parting", "lapsed", "retryMs", "setbacks", "fallback", "streamAt", "readAt", "firstMs", "capMs", "held"];

/** How the package is built; its size is measured by a test. React is the page's own. */
export const PACKAGE = {
  entryPoints: ["index", "element", "react"].map((name) => here(`src/${name}.ts`)),
  outdir: here("lib"),
  bundle: true,
  splitting: true,
  chunkNames: "core",
  minify: true,
  format: "esm",
  target,
  external: ["react"],
  mangleProps: new RegExp(`^(${OWN_FIELDS.join("|")})$`),
  logLevel: "warning",
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!process.argv.includes("--package")) await buildPage();
  if (!watch) await buildPackage();
}

async function buildPage() {
  await rm(here("dist"), { recursive: true, force: true });
  await mkdir(here("dist/assets"), { recursive: true });
  await cp(here("page/index.html"), here("dist/index.html"));
  await cp(here("page/favicon.svg"), here("dist/assets/favicon.svg"));
  const options = {
    entryPoints: [here("page/main.ts"), here("page/main.css")],
    outdir: here("dist/assets"),
    bundle: true,
    minify: !watch,
    sourcemap: watch ? "inline" : false,
    format: "esm",
    target,
    logLevel: "warning",
  };
  if (watch) return (await context(options)).watch();
  await build(options);
  await tellSizes("dist/assets", ["main.js", "main.css"]);
}

async function buildPackage() {
  await rm(here("lib"), { recursive: true, force: true });
  await build(PACKAGE);
  const tsc = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
  execFileSync(process.execPath, [tsc, "-p", here("tsconfig.package.json")], { stdio: "inherit" });
  for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) await cp(here(`../${name}`), here(name));
  await tellSizes("lib", ["index.js", "element.js", "react.js", "core.js"]);
}

async function tellSizes(folder, names) {
  for (const name of names) {
    const bytes = await readFile(here(`${folder}/${name}`));
    console.log(`client: ${folder}/${name} ${kib(bytes.length)}, ${kib(gzipSync(bytes).length)} gzipped`);
  }
}

function kib(bytes) {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}
