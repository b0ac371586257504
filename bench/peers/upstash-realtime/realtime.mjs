// What the server and the worker agree on: lib/redis.ts and lib/realtime.ts of the library's quickstart.
//
//   GATEWAY_URL, GATEWAY_TOKEN

import { Realtime } from "@upstash/realtime";
import { Redis } from "@upstash/redis";
import * as z from "zod/v4";
import { need } from "../common/server.mjs";

const status = z.enum(["QUEUED", "PROCESSING", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"]);
const count = z.number();
const counts = z.object({ total: count, queued: count, processing: count, completed: count, failed: count });
const photo = z.object({
  ...{ photoId: z.string(), status, version: z.number() },
  ...{ result: z.unknown().optional(), error: z.string().optional() },
});
const state = z.object({
  ...{ v: z.number(), batchId: z.string(), position: z.string(), status, progress: z.number() },
  ...{ counts, photos: z.array(photo), updatedAt: z.string(), at: z.number() },
});

const redis = new Redis({ url: need("GATEWAY_URL"), token: need("GATEWAY_TOKEN") });

export const realtime = new Realtime({
  schema: { batch: { progress: state } },
  redis,
  // Changed: the default keeps each event for ever, which here is a whole state; of these the last is all that a viewer
  // or a read may want. Kept whole, the history of 1,000 updates of 500 photos would be some 100 MB, and `history()`,
  // which gives the first 1,000 events and no more, would not have the latest.
  history: { maxLength: 1 },
});

/** A batch's channel. */
export const channelName = (id) => `batch:${id}`;
