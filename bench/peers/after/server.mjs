// The obvious rewrite: a subscriber connection of ioredis a viewer, whole states, and a cache of 10 s for reads.
//
//   PORT, REDIS_URL, DATABASE

import Redis from "ioredis";
import { createServer } from "node:http";
import { open, reader } from "../common/database.mjs";
import { announce, answer, EVENT_STREAM, handler, host, need, port } from "../common/server.mjs";
import { CACHE_SECS, cacheKey, channel } from "./names.mjs";

const db = open(need("DATABASE"));
const stateOf = reader(db);
const redis = new Redis(need("REDIS_URL"));

/** The state as JSON, from the cache; else from the database, and then it is in the cache. */
async function cached(id) {
  const hit = await redis.get(cacheKey(id));
  if (hit) return hit;
  const state = stateOf(id);
  if (!state) return;
  const json = JSON.stringify(state);
  await redis.set(cacheKey(id), json, "EX", CACHE_SECS);
  return json;
}

async function stream(id, req, res) {
  const subscriber = redis.duplicate();
  req.on("close", () => subscriber.disconnect());
  subscriber.on("message", (_, json) => res.write(`data: ${json}\n\n`));
  // Without a listener ioredis logs each error; a viewer that leaves while its connection is made is none.
  subscriber.on("error", () => {});

  res.writeHead(200, EVENT_STREAM);
  await subscriber.subscribe(channel(id));
  const json = await cached(id);
  res.flushHeaders();
  if (json) res.write(`data: ${json}\n\n`);
}

const read = async (id, _, res) => answer(res, await cached(id));

// For the harness: how many photos' rows were read from the database.
const answers = handler({ stream, read });
const server = createServer((req, res) => (req.url === "/rows" ? res.end(`${stateOf.rows}`) : answers(req, res)));

announce(server.listen(port, host), () => {
  redis.disconnect();
  db.close();
});
