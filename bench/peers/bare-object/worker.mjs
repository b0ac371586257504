// The least that serves the same streams from the same runtime: an object that passes what its channel says on to its
// viewers. No state, no access control, no rule for who is slow, no subscription that comes back.
//
//   GATEWAY_URL, GATEWAY_TOKEN

/** As in edge/src/object/streams.rs. Nothing here looks at it. */
const HIGH_WATER_MARK = 64 * 1024;
const HEADERS = { "content-type": "text/event-stream", "cache-control": "no-store, no-transform" };
const encoder = new TextEncoder();

export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return new Response("ok");
    const [, id] = /^\/api\/batches\/([A-Za-z0-9_-]{1,64})\/stream$/.exec(pathname) ?? [];
    if (!id) return new Response(null, { status: 404 });
    return env.OBJECTS.get(env.OBJECTS.idFromName(id)).fetch(request, { headers: { "x-batch": id } });
  },
};

export class BareObject {
  #state;
  #env;
  #viewers = new Map();
  #opened = 0;
  #subscribed;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
  }

  async fetch(request) {
    this.#subscribed ??= this.#subscribe(request.headers.get("x-batch"));
    await this.#subscribed;
    return new Response(this.#open(request.signal), { headers: HEADERS });
  }

  /** A viewer's stream, opened as edge/src/stream.js does. */
  #open(signal) {
    const id = ++this.#opened;
    let controller;
    const left = () => this.#viewers.delete(id);
    const source = { start(c) { controller = c; }, cancel: left };
    const stream = new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: HIGH_WATER_MARK }));
    if (signal.aborted) queueMicrotask(left);
    else signal.addEventListener("abort", left, { once: true });
    this.#viewers.set(id, controller);
    return stream;
  }

  /** Subscribes; done when the gateway has confirmed it. */
  async #subscribe(id) {
    const { GATEWAY_URL, GATEWAY_TOKEN } = this.#env;
    const response = await fetch(`${GATEWAY_URL}/subscribe/batch:${id}`, {
      method: "POST",
      headers: { authorization: `Bearer ${GATEWAY_TOKEN}`, accept: "text/event-stream" },
      body: "[]",
    });
    if (!response.ok) throw new Error(`the gateway answers ${response.status}`);
    await new Promise((confirmed) => this.#state.waitUntil(this.#pass(response.body, confirmed)));
  }

  /** Writes the data of each message to all viewers, as the same bytes. */
  async #pass(body, confirmed) {
    let text = "";
    for await (const part of body.pipeThrough(new TextDecoderStream())) {
      const lines = (text + part).split("\n");
      text = lines.pop();
      for (const line of lines) {
        const [, kind, data] = /^data: (\w+),[^,]*,(.*)$/.exec(line) ?? [];
        if (kind === "subscribe") confirmed();
        else if (kind === "message") this.#write(encoder.encode(`data: ${data}\n\n`));
      }
    }
  }

  #write(bytes) {
    for (const [id, controller] of this.#viewers) {
      try {
        controller.enqueue(bytes);
      } catch {
        this.#viewers.delete(id);
      }
    }
  }
}
