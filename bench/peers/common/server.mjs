// What the peers' servers share: how they say where they listen, and how they end.

/** Settings, all from the environment. README.md says which peer needs which. */
export const port = Number(process.env.PORT ?? 0);
export const host = "127.0.0.1";

/** The batch that a path names: `/batches/b-1` and `/batches/b-1/stream`. */
export function route(url) {
  const [, id, stream] = /^\/batches\/([A-Za-z0-9_-]{1,64})(\/stream)?(?:\?|$)/.exec(url) ?? [];
  return { id, stream: stream !== undefined };
}

export const EVENT_STREAM = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache",
  Connection: "keep-alive",
};

/** A JSON answer; 404 where there is nothing. `body` is text, or what becomes text. */
export function answer(res, body) {
  const text = typeof body === "string" ? body : JSON.stringify(body ?? { error: "not found" });
  res.writeHead(body ? 200 : 404, { "Content-Type": "application/json" }).end(text);
}

/** Takes requests by `{ stream, read }`, each of which gets the batch's id, the request and the response. */
export function handler({ stream, read }) {
  return (req, res) => {
    const { id, stream: isStream } = route(req.url);
    if (req.method !== "GET" || !id) return answer(res);
    const done = isStream ? stream(id, req, res) : read(id, req, res);
    Promise.resolve(done).catch((error) => {
      if (res.destroyed) return; // Who asked has gone.
      console.error(error);
      if (!res.headersSent) res.writeHead(500);
      res.end();
    });
  };
}

/** Says where the server listens, as the first line. SIGTERM ends it, its streams, and what `close` closes. */
export function announce(server, close = () => {}) {
  const say = () => console.log(`listening on http://${host}:${server.address().port}`);
  if (server.listening) say();
  else server.once("listening", say);

  process.once("SIGTERM", async () => {
    server.close();
    server.closeAllConnections();
    await close();
    process.exit(0);
  });
}

export function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: bench/peers/README.md says which peer needs what`);
  return value;
}
