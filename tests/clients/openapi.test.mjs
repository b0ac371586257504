// edge/openapi.yaml is valid OpenAPI 3.1, and a running system answers as it says: each answer that is given here is
// held to it, by status, headers, type and body, and one that it does not know fails. The other direction, from the
// code to the document, is in edge/tests/openapi.rs.
//
//   EDGE_URL             the edge, of a system that lets nobody in without a token
//   EDGE_TOKEN           a token that sees all batches
//   EDGE_METRICS_TOKEN   METRICS_TOKEN
//   EDGE_BATCH           the id of an open batch, of someone else than anna
//   EDGE_USER_TOKEN      a token of the user anna, who owns nothing yet
//   EDGE_ALLOWED_ORIGIN  one of ALLOWED_ORIGINS; without it what pages of such an origin are told is not tried

import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const FILE = fileURLToPath(new URL("../../edge/openapi.yaml", import.meta.url));
/** Nothing takes this long. */
const GUARD_MS = 30_000;
/** More often than may be asked within the period of the limits. */
const TOO_OFTEN = 700;
const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"];
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==",
  "base64",
);
/** Headers that mean something to a client: none is sent that is not documented. */
const TELLING = ["age", "allow", "etag", "retry-after", "www-authenticate", "x-cache", "x-cache-source"];

const edge = need("EDGE_URL").replace(/\/$/, "");
const everything = need("EDGE_TOKEN");
const anna = need("EDGE_USER_TOKEN");
const metricsToken = need("EDGE_METRICS_TOKEN");
const someonesBatch = need("EDGE_BATCH");
const allowedOrigin = process.env.EDGE_ALLOWED_ORIGIN;

const validator = new Validator();
const validity = await validator.validate(FILE);
const api = closed(validator.specification, "https://batchcast/openapi.yaml");
const ajv = new Ajv({ strict: false, allErrors: true, schemas: [api] });
/** What was asked and how it was answered: "readBatch 200". */
const seen = new Set();

const operations = Object.entries(api.paths).flatMap(([path, item]) =>
  METHODS.filter((method) => item[method]).map((method) => ({
    ...item[method],
    path,
    method: method.toUpperCase(),
    name: item[method].operationId ?? `options ${path}`,
  })),
);
const named = (name) => operations.find((operation) => operation.name === name) ?? assert.fail(`there is no ${name}`);
/** The page's files are served before the Worker is asked; where it runs without them, there is no page. */
const isPage = ({ path }) => ["/", "/batches/{id}", "/projects/{projectId}"].includes(path);
const calls = operations.filter((operation) => !isPage(operation));

/** The document with absolute references, in whose objects no field may stand that it does not name. */
function closed(value, base) {
  const close = (node) => {
    if (Array.isArray(node)) return node.map(close);
    if (node === null || typeof node !== "object") return node;
    const copy = Object.fromEntries(Object.entries(node).map(([name, child]) => [name, close(child)]));
    if (typeof copy.$ref === "string") copy.$ref = base + copy.$ref;
    if (copy.type === "object" && copy.properties) copy.unevaluatedProperties = false;
    return copy;
  };
  return { ...close(value), $id: base };
}

function resolve(node) {
  if (!node.$ref) return node;
  const names = node.$ref.split("#/")[1].split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((at, name) => at[name], api);
}

function fits(schema, value, what) {
  const validate = ajv.compile(schema);
  assert.ok(validate(value), `${what}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(value)}`);
}

/** Asserts that an answer is the documented one. Returns its body. */
async function isDocumented(what, documented, response, { method = "GET", lenient = false } = {}) {
  const { headers } = response;
  const byName = new Map(Object.entries(documented.headers ?? {}).map(([name, h]) => [name.toLowerCase(), resolve(h)]));
  for (const [name, { required, schema }] of byName) {
    const value = headers.get(name);
    assert.ok(value !== null || !required, `${what} has no ${name}`);
    const isNumber = schema.type === "integer" || typeof schema.const === "number";
    if (value !== null) fits(schema, isNumber ? Number(value) : value, `${what}, ${name}`);
  }
  if (!lenient) {
    const extra = TELLING.filter((name) => headers.has(name) && !byName.has(name));
    assert.deepEqual(extra, [], `${what} has headers that are not documented`);
    if (!byName.has("cache-control")) assert.equal(headers.get("cache-control"), "no-store", what);
  }

  const type = headers.get("content-type")?.split(";")[0] ?? "none";
  if (method === "HEAD" || !documented.content) {
    assert.equal(await response.text(), "", `${what} has a body`);
    return undefined;
  }
  assert.ok(type in documented.content, `${what} is of type ${type}; documented: ${Object.keys(documented.content)}`);
  if (type === "text/event-stream") return undefined;
  const { schema } = documented.content[type];
  if (!schema) return Buffer.from(await response.arrayBuffer());
  const text = await response.text();
  const body = type.endsWith("json") ? JSON.parse(text) : text;
  fits(schema, body, what);
  return body;
}

/** Sends a request that is documented. `as`: the token; `in`: what stands in the path. */
function send({ path, method }, { as, in: places = {}, query = "", headers = {}, body } = {}) {
  const address = path.replaceAll(/{(\w+)}/g, (_, name) => encodeURIComponent(places[name] ?? "b-1"));
  const isJson = body !== undefined && !(body instanceof FormData);
  return fetch(edge + address + query, {
    method,
    headers: {
      ...(as && { authorization: `Bearer ${as}` }),
      ...(isJson && { "content-type": "application/json" }),
      ...headers,
    },
    body: isJson && typeof body !== "string" ? JSON.stringify(body) : body,
    signal: AbortSignal.timeout(GUARD_MS),
  });
}

/** Asks, and asserts that the answer is this one, as it is documented. */
async function expect(status, name, options) {
  const operation = named(name);
  const response = await send(operation, options);
  return { response, body: await answers(status, operation, response) };
}

async function answers(status, operation, response) {
  const { name, method } = operation;
  const what = `${name} ${response.status}`;
  const documented = operation.responses[response.status];
  if (!documented) assert.fail(`${what} is not documented: ${await response.text()}`);
  if (status !== undefined && response.status !== status) {
    assert.fail(`${name} answers ${response.status} instead of ${status}: ${await response.text()}`);
  }
  const body = await isDocumented(what, resolve(documented), response, { method, lenient: isPage(operation) });
  seen.add(what);
  return body;
}

/** Asks what is refused, and asserts with which problem. */
async function refuses(status, type, name, options) {
  const { body } = await expect(status, name, options);
  assert.equal(body.type, `urn:batchcast:problem:${type}`, `${name}: ${body.detail}`);
}

/** The events of a stream, each held to the document. */
async function* eventsOf({ body }) {
  const events = resolve(named("streamBatch").responses["200"]).content["text/event-stream"]["x-events"];
  let [text, isOver] = ["", false];
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const event = frame(text.slice(0, end));
      assert.ok(!isOver, `nothing comes after the end: ${JSON.stringify(event)}`);
      if (event.name) {
        const documented = events[event.name] ?? assert.fail(`the event ${event.name} is not documented`);
        event.data = JSON.parse(event.data);
        fits(documented.data, event.data, `the event ${event.name}`);
        assert.equal(event.id, event.data.position, "the id is the position");
        isOver = documented.closes;
      }
      yield event;
    }
  }
}

function frame(text) {
  const event = {};
  for (const line of text.split("\n")) {
    const [, field, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? assert.fail(`no line of an event: ${line}`);
    const name = field === "event" ? "name" : field;
    event[name] = name === "data" && event.data !== undefined ? `${event.data}\n${value}` : value;
  }
  return event;
}

/** A form with the picture, and these fields. */
function form(fields, files = 1) {
  const form = new FormData();
  Object.entries(fields).forEach(([name, value]) => form.set(name, value));
  for (let n = 0; n < files; n++) form.append("file", new Blob([PNG]), `${n}.png`);
  return form;
}

/** A batch of anna's with two photos that have not come. */
async function declare() {
  const declaration = { projectId: "openapi", photos: [{ name: "a.png", size: PNG.length }, { name: "b.png" }] };
  fits(resolve(named("createBatch").requestBody.content["application/json"].schema), declaration, "the declaration");
  return (await expect(201, "createBatch", { as: anna, body: declaration })).body;
}

test("the document is valid OpenAPI 3.1", () => {
  assert.ok(validity.valid, JSON.stringify(validity.errors, undefined, 2));
  assert.equal(validator.version, "3.1");
});

test("a batch is read, and read again only if it has changed", async () => {
  const of = (headers) => ({ as: everything, in: { id: someonesBatch }, headers });
  const { response, body } = await expect(200, "readBatch", of({}));
  const tag = response.headers.get("etag");
  assert.equal(tag, `"${body.position}"`);
  await expect(200, "headBatch", of({}));
  await expect(304, "readBatch", of({ "if-none-match": tag }));
  await expect(304, "headBatch", of({ "if-none-match": `W/${tag}, "0-1"` }));
  const again = await expect(200, "readBatch", of({ "cache-control": "no-cache" }));
  assert.notEqual(again.response.headers.get("x-cache-source"), "memory");
  await expect(200, "readBatch", of({ accept: "text/plain" }));
});

test("a token stands in the header or in the cookie", async () => {
  const cookie = `${api.components.securitySchemes.cookie.name}=${everything}`;
  await expect(200, "readBatch", { in: { id: someonesBatch }, headers: { cookie: `a=b; ${cookie}` } });
  for (const query of [`?ticket=${everything}`, `?access_token=${everything}`]) {
    await expect(401, "streamBatch", { in: { id: someonesBatch }, query });
  }
});

test("a batch of someone else is not there", async () => {
  for (const name of ["readBatch", "streamBatch", "retryBatch", "cancelBatch"]) {
    await refuses(404, "unknown-batch", name, { as: anna, in: { id: someonesBatch } });
  }
  await expect(404, "headBatch", { as: anna, in: { id: "no-such-batch" } });
  await refuses(404, "no-thumbnail", "readThumbnail", { as: anna, in: { photoId: "no-such-photo" } });
});

test("a stream begins with the whole batch", async () => {
  const { response } = await expect(200, "streamBatch", { as: everything, in: { id: someonesBatch } });
  const stream = eventsOf(response);
  const first = (await stream.next()).value;
  assert.ok(Number(first.retry) >= 2_000 && !first.name);
  const { name, data } = (await stream.next()).value;
  assert.deepEqual([name, data.full], ["progress", true]);
  await stream.return();
});

test("a batch is declared, uploaded to, watched by a ticket, cancelled and retried", async () => {
  const { batchId: id, photoIds } = await declare();
  const [photoId, missing] = photoIds;
  const place = { as: anna, in: { id } };
  await refuses(409, "batch-open", "retryBatch", place);
  for (let sent = 0; sent < 2; sent++) {
    const { body } = await expect(202, "uploadPhotos", { as: anna, body: form({ batchId: id, photoId }) });
    assert.deepEqual(body.photoIds, [photoId]);
  }

  const { body: ticket } = await expect(201, "createTicket", place);
  const query = `?ticket=${ticket.ticket}`;
  assert.equal(ticket.streamUrl, `/api/batches/${id}/stream${query}`);
  const { response } = await expect(200, "streamBatch", { in: { id }, query });
  await refuses(401, "unauthorized", "readBatch", { in: { id }, query });
  const stream = eventsOf(response);
  await stream.next();
  assert.equal((await stream.next()).value.data.full, true);

  await expect(200, "cancelBatch", place);
  const rest = await Array.fromAsync(stream);
  const [last, complete] = rest.filter(({ name }) => name).slice(-2);
  assert.deepEqual([last.name, last.id, complete.name], ["progress", undefined, "complete"]);
  assert.equal(complete.data.status, "CANCELLED");
  await expect(204, "streamBatch", { ...place, headers: { "last-event-id": complete.id } });

  await refuses(409, "batch-ended", "cancelBatch", place);
  await refuses(409, "batch-ended", "uploadPhotos", { as: anna, body: form({ batchId: id, photoId: missing }) });
  const { body: again } = await expect(202, "retryBatch", place);
  assert.ok(again.photoIds.includes(missing));
  await refuses(404, "unknown-photo", "uploadPhotos", { as: anna, body: form({ batchId: id, photoId: "none" }) });
  await expect(200, "cancelBatch", place);
});

test("files alone become a batch, with thumbnails, in its project's list", async () => {
  const { body } = await expect(201, "uploadPhotos", { as: anna, body: form({ projectId: "files" }, 2) });
  const { batchId: id, photoIds } = body;
  const { response } = await expect(200, "streamBatch", { as: anna, in: { id } });
  const events = await Array.fromAsync(eventsOf(response));
  assert.equal(events.at(-1).data.status, "COMPLETED", JSON.stringify(events.at(-1)));
  assert.equal((await expect(200, "readBatch", { as: anna, in: { id } })).body.photos.length, 2);

  await expect(200, "readThumbnail", { as: anna, in: { photoId: photoIds[0] } });
  await expect(200, "headThumbnail", { as: anna, in: { photoId: photoIds[0] } });
  await refuses(409, "nothing-to-retry", "retryBatch", { as: anna, in: { id } });
  const list = await expect(200, "listBatches", { as: anna, in: { projectId: "files" } });
  assert.ok(list.body.batches.some(({ batchId }) => batchId === id));
  await expect(200, "headBatches", { as: anna, in: { projectId: "files" } });

  await expect(201, "uploadPhotos", { as: anna, body: form({ projectId: "files" }) });
  const listed = (query) => ["listBatches", { as: anna, in: { projectId: "files" }, query }];
  const { body: first } = await expect(200, ...listed("?limit=1"));
  const { body: second } = await expect(200, ...listed(new URL(first.nextUrl, edge).search));
  assert.deepEqual([first.batches.length, second.batches.map(({ batchId }) => batchId), second.nextUrl], [1, [id], undefined]);
  for (const query of ["?limit=0", "?limit=101", "?before=yesterday"]) await refuses(400, "bad-request", ...listed(query));
});

test("a declaration and a form that are wrong are told why", async () => {
  const photos = [{ name: "a.png" }];
  const declare = (body) => ["createBatch", { as: anna, body }];
  await refuses(400, "bad-request", ...declare("no JSON"));
  await refuses(400, "bad-request", ...declare({ projectId: "p" }));
  await refuses(400, "bad-id", ...declare({ projectId: "p/q", photos }));
  await refuses(400, "no-files", ...declare({ projectId: "p", photos: [] }));
  await refuses(413, "too-large", ...declare({ projectId: "p", photos: [{ name: "a", size: 67_108_865 }] }));
  const upload = (body) => ["uploadPhotos", { as: anna, body }];
  await refuses(400, "bad-request", ...upload("no form"));
  await refuses(400, "bad-request", ...upload(form({ batchId: "b" })));
  await refuses(400, "bad-id", ...upload(form({ projectId: "p/q" })));
  await refuses(400, "no-files", ...upload(form({ projectId: "p" }, 0)));
  await refuses(404, "unknown-batch", ...upload(form({ batchId: "no-such-batch", photoId: "p" })));
});

test("figures are for operators", async () => {
  const { body } = await expect(200, "readMetrics", { as: metricsToken });
  assert.match(body, /^# TYPE batchcast_viewers gauge$/m);
  await expect(200, "readMetrics", { as: metricsToken, headers: { accept: "application/json" } });
  await refuses(401, "unauthorized", "readMetrics", { as: everything });
});

test("health is told to anyone", async () => {
  for (const name of ["readHealth", "headHealth", "readReadiness", "headReadiness"]) await expect(200, name);
});

test("the page is there, or said to be missing", async () => {
  for (const name of ["readPage", "headPage", "readBatchPage", "headBatchPage", "readProjectPage", "headProjectPage"]) await expect(undefined, name);
});

test("whatever needs a token says so when it is missing or wrong", async () => {
  for (const operation of calls.filter(({ responses }) => responses["401"])) {
    const missing = await answers(401, operation, await send(operation));
    if (missing) assert.equal(missing.type, "urn:batchcast:problem:unauthorized", operation.name);
    await answers(401, operation, await send(operation, { as: "no.good.token" }));
  }
});

test("an id that is none goes no further", async () => {
  for (const operation of calls.filter(({ path, responses }) => path.includes("{") && responses["400"])) {
    const places = { id: "a*", photoId: "a*", projectId: "a*" };
    const body = await answers(400, operation, await send(operation, { as: anna, in: places }));
    if (body) assert.equal(body.type, "urn:batchcast:problem:bad-id", operation.name);
  }
});

test("a page of an origin that is not allowed is refused", async () => {
  const headers = { origin: "https://foreign.example.com" };
  for (const operation of calls.filter(({ responses }) => responses["403"])) {
    await answers(403, operation, await send(operation, { as: anna, headers }));
  }
});

test("a page of an allowed origin may read answers, also refusals", async (t) => {
  if (!allowedOrigin) return t.skip("EDGE_ALLOWED_ORIGIN is not set");
  const documented = Object.entries(resolve(named("options /api/batches").responses["204"]).headers);
  const onlyPreflight = ["Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"];
  const told = documented.filter(([name]) => name === "Vary" || name.startsWith("Access-Control-"));
  const forPages = ({ tags, responses }) => responses["403"] && !tags.includes("operation");
  for (const operation of calls.filter(forPages)) {
    const response = await send(operation, { headers: { origin: allowedOrigin } });
    await answers(undefined, operation, response);
    for (const [name, { schema }] of told) {
      const isTold = operation.method === "OPTIONS" || !onlyPreflight.includes(name);
      if (isTold) fits(schema, response.headers.get(name), `${operation.name} ${response.status}, ${name}`);
      else assert.ok(!response.headers.has(name), `${operation.name}, ${name}`);
    }
    assert.equal(response.headers.get("access-control-allow-origin"), allowedOrigin);
  }
});

test("each address says which methods it has", async () => {
  for (const operation of calls.filter(({ method }) => method === "OPTIONS")) {
    const response = await send(operation, { headers: { origin: new URL(edge).origin } });
    await answers(204, operation, response);
    const allowed = response.headers.get("allow").split(", ");
    const documented = operations.filter(({ path, method }) => path === operation.path && method !== "OPTIONS");
    const unknown = documented.filter(({ method }) => !allowed.includes(method));
    assert.deepEqual(unknown, [], operation.path);
    const isPassedThrough = /^.api.(photos|projects)./.test(operation.path);
    if (!isPassedThrough) assert.equal(allowed.length, documented.length, `${operation.path}: ${allowed}`);
  }
});

test("a method that an address has not is refused", async () => {
  const documented = api.components.responses.MethodNotAllowed;
  for (const path of Object.keys(api.paths).filter((path) => path !== "/")) {
    const response = await send({ path, method: "DELETE" }, { as: anna });
    assert.equal(response.status, 405, path);
    await isDocumented(`DELETE ${path}`, documented, response);
  }
});

test("there is nothing at other addresses", async () => {
  for (const path of ["/api", "/api/batch", "/api/batches/b-1/stream/x", "/api/photos", "/api/photos/b-1/x"]) {
    const response = await send({ path, method: "GET" }, { as: anna });
    assert.equal(response.status, 404, path);
    await isDocumented(`GET ${path}`, api.components.responses.NotFound, response);
  }
});

test("what is too large is refused before anything is done with it", async () => {
  for (const operation of calls) {
    await answers(414, operation, await send(operation, { query: `?${"x".repeat(4_100)}` }));
    await answers(431, operation, await send(operation, { headers: { "x-filler": "x".repeat(33_000) } }));
  }
  for (const operation of calls.filter(({ responses }) => responses["413"])) {
    await answers(413, operation, await announce(operation, 600 * 1024 * 1024));
  }
});

/** Sends the headers of a request with a body of so many bytes, and nothing of the body. */
function announce({ path, method }, bytes) {
  return new Promise((found, failed) => {
    const headers = { authorization: `Bearer ${anna}`, "content-length": bytes };
    const asked = request(edge + path.replaceAll(/{\w+}/g, "b-1"), { method, headers, timeout: GUARD_MS });
    asked.on("error", failed).on("timeout", () => asked.destroy(new Error(`${path} does not answer`)));
    asked.on("response", async (incoming) => {
      const body = Buffer.concat(await Array.fromAsync(incoming));
      asked.destroy();
      found(new Response(body, { status: incoming.statusCode, headers: incoming.headers }));
    });
    asked.flushHeaders();
  });
}

// Last: for some seconds nobody without a token is answered any more.
test("whoever asks too often is told to wait", async () => {
  for (const [name, status] of [["readBatch", 429], ["streamBatch", 200]]) {
    const operation = named(name);
    let refused;
    for (let asked = 0; asked < TOO_OFTEN && !refused; asked += 20) {
      const responses = await Promise.all(Array.from({ length: 20 }, () => send(operation)));
      for (const response of responses) {
        if (response.status === status) refused ??= response;
        else await answers(401, operation, response);
      }
    }
    assert.ok(refused, `${name} was answered ${TOO_OFTEN} times`);
    await answers(status, operation, refused);
    if (name === "streamBatch") {
      const events = await Array.fromAsync(eventsOf(refused));
      assert.deepEqual(events.map((event) => event.name), [undefined, "busy"]);
      assert.ok(Number(events[0].retry) >= 3_000);
    }
  }
});

test("every documented operation was answered", (t) => {
  for (const operation of operations) {
    const statuses = Object.keys(operation.responses);
    const given = statuses.filter((status) => seen.has(`${operation.name} ${status}`));
    const isDone = given.some((status) => status < 400) || isPage(operation);
    assert.ok(isDone, `${operation.name} never succeeded`);
    const never = statuses.filter((status) => !given.includes(status));
    if (never.length > 0) t.diagnostic(`${operation.name} was not made to answer ${never.join(", ")}`);
  }
});

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set. This file says above what it needs.`);
  return value;
}
