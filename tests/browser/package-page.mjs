// A page with the package @batchcast/client in a real browser: the element, or the hook in a small React application. It
// prints a line of JSON whenever what a reader sees has changed, until its input ends.
//
//   EDGE_URL=http://localhost:8787 BATCH=b_1 node tests/browser/package-page.mjs
//
// CHROMIUM   the browser (default /usr/bin/chromium)
// SHOW       "element" (default) or "hook"
// APP_PORT   serves the page here, as an application of another origin, which gets tickets by TOKEN. Otherwise the page is of
//            the edge's own origin
// TOKEN      what that application shows to the edge
//
// A line: {"progress":"50","words":"…","state":"open","note":"…","said":"…","streams":[…],"reads":2,"problems":[…]}, where
// `streams` holds the Last-Event-ID of each stream that was opened, null without one.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const edge = need("EDGE_URL");
const batch = `/api/batches/${need("BATCH")}`;
const client = fileURLToPath(new URL("../../client/", import.meta.url));
const port = process.env.APP_PORT;
const show = process.env.SHOW ?? "element";

const FILES = {
  "/element-page": { type: "text/html", body: elementPage },
  "/hook-page": { type: "text/html", body: () => '<!doctype html><html lang="en"><div id="root"></div><script type="module" src="/hook.js"></script>' },
  "/hook.js": { type: "text/javascript", body: hookScript },
  "/lib/element.js": { type: "text/javascript", body: () => readFileSync(`${client}lib/element.js`, "utf8") },
  "/lib/core.js": { type: "text/javascript", body: () => readFileSync(`${client}lib/core.js`, "utf8") },
  "/ticket": { type: "text/plain", body: newTicket },
};

const app = port && await serve();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  await open();
  for await (const _ of process.stdin);
} finally {
  await browser.close();
  app?.close();
  app?.closeAllConnections();
}

async function open() {
  const page = await browser.newPage();
  const line = { streams: [], reads: 0, problems: [] };
  page.on("pageerror", (error) => line.problems.push(String(error)));
  page.on("request", (request) => {
    if (request.method() !== "GET" || !request.url().startsWith(edge + batch)) return;
    if (request.url().includes("/stream")) line.streams.push(request.headers()["last-event-id"] ?? null);
    else line.reads += 1;
  });
  let last = "";
  await page.exposeFunction("report", (seen) => {
    const words = JSON.stringify({ ...seen, ...line });
    if (words !== last) console.log(words);
    last = words;
  });
  await page.addInitScript(reportChanges);
  if (!port) {
    for (const [path, file] of Object.entries(FILES)) {
      await page.route(edge + path, async (route) => route.fulfill({ contentType: file.type, body: await file.body() }));
    }
  }
  await page.goto(`${port ? `http://127.0.0.1:${port}` : edge}/${show}-page`);
}

function elementPage() {
  const attributes = port ? "" : ` src="${batch}"`;
  const script = port ? `
    const element = document.querySelector("batch-progress");
    element.ticket = async () => (await fetch("/ticket")).text();
    element.src = ${JSON.stringify(edge + batch)};` : "";
  return `<!doctype html><html lang="en"><script type="module" src="/lib/element.js"></script>
    <batch-progress photos${attributes}></batch-progress><script type="module">${script}</script>`;
}

async function hookScript() {
  const { outputFiles } = await build({
    stdin: {
      resolveDir: client,
      loader: "jsx",
      contents: `
        import { createElement as h, StrictMode } from "react";
        import { createRoot } from "react-dom/client";
        import { useBatch } from "./src/react.ts";
        function Shown() {
          const { batch, connection, stale, error } = useBatch(${JSON.stringify(batch)});
          return h("div", { role: "progressbar", "aria-valuenow": batch?.progress, "data-state": connection.state }, error?.type, stale ? "stale" : "");
        }
        createRoot(document.getElementById("root")).render(h(StrictMode, null, h(Shown)));`,
    },
    define: { "process.env.NODE_ENV": '"development"' },
    bundle: true, write: false, format: "esm",
  });
  return outputFiles[0].text;
}

/** What the application's server does: the token stays there. */
async function newTicket() {
  const answer = await fetch(`${edge}${batch}/ticket`, { method: "POST", headers: { authorization: `Bearer ${need("TOKEN")}` } });
  return (await answer.json()).ticket;
}

async function serve() {
  const server = createServer(async (request, response) => {
    const file = FILES[request.url];
    if (!file) return response.writeHead(404).end();
    const body = await file.body();
    response.writeHead(200, { "content-type": file.type }).end(body);
  });
  await new Promise((listening) => server.listen(Number(port), "127.0.0.1", listening));
  return server;
}

/** Runs in the page: tells what is seen, and again after each change of it. */
function reportChanges() {
  const look = () => {
    const element = document.querySelector("batch-progress");
    const root = element?.shadowRoot ?? document;
    const text = (selector) => root.querySelector(selector)?.textContent ?? "";
    const bar = root.querySelector('[role="progressbar"]');
    if (!bar) return;
    globalThis.report({
      progress: bar.getAttribute("aria-valuenow"),
      words: text('[part="words"]'),
      state: root.querySelector("[data-state]")?.getAttribute("data-state") ?? "",
      stale: root.querySelector("[data-stale]") !== null || bar.textContent === "stale",
      note: text('[part="note"]'),
      said: text('[role="status"]'),
      tiles: [...root.querySelectorAll("[data-status]")].map((tile) => tile.getAttribute("data-status")),
    });
  };
  const watch = (root) => new MutationObserver(look).observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
  addEventListener("DOMContentLoaded", async () => {
    watch(document);
    if (!document.querySelector("batch-progress")) return;
    await customElements.whenDefined("batch-progress");
    watch(document.querySelector("batch-progress").shadowRoot);
    look();
  });
}

function need(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`package page: set ${name}`);
  process.exit(1);
}
