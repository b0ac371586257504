// Upstash Realtime: the library's own route handler. It takes and gives what the web has, Request and Response, so that
// outside of Next.js it stands in any framework that does too: here Hono on Node.
//
//   PORT, GATEWAY_URL, GATEWAY_TOKEN

import { serve } from "@hono/node-server";
import { handle } from "@upstash/realtime";
import { Hono } from "hono";
import { announce, host, port } from "../common/server.mjs";
import { channelName, realtime } from "./realtime.mjs";

const GET = handle({ realtime });
const app = new Hono();

app.get("/batches/:id/stream", (c) => {
  // The handler takes its channels from the query. All else of the query (`last_ack_…`) is the viewer's own.
  const url = new URL(c.req.url);
  url.searchParams.set("channel", channelName(c.req.param("id")));
  return GET(new Request(url, { headers: c.req.raw.headers, signal: c.req.raw.signal }));
});

app.get("/batches/:id", async (c) => {
  const [latest] = await realtime.channel(channelName(c.req.param("id"))).history();
  return latest ? c.json(latest.data) : c.json({ error: "not found" }, 404);
});

announce(serve({ fetch: app.fetch, port, hostname: host }));
