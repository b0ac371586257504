// A Worker that hands each request to an object, which answers as many bytes as the path says: what that way costs in
// workerd when neither does anything.
import { DurableObject } from "cloudflare:workers";

const HEADERS = { "content-type": "application/json", "x-cache": "HIT" };
let body = "";

export class Hub extends DurableObject {
  fetch(request) {
    const bytes = Number(new URL(request.url).pathname.slice(1));
    if (body.length !== bytes) body = "x".repeat(bytes);
    return new Response(body, { headers: HEADERS });
  }
}

export default {
  fetch: (request, env) => env.HUB.get(env.HUB.idFromName("one")).fetch(request),
};
