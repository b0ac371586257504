// Emits through the library: it appends to the channel's stream, then publishes.
//
//   GATEWAY_URL, GATEWAY_TOKEN

import { withTime, work } from "../common/worker.mjs";
import { channelName, realtime } from "./realtime.mjs";

await work((update) => realtime.channel(channelName(update.batch)).emit("batch.progress", withTime(update)));
