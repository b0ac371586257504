// Emits the head and the photos that have changed, as one who uses the library as an event bus would: a page puts them
// into what it has, and reads the whole state elsewhere when it comes.
//
//   GATEWAY_URL, GATEWAY_TOKEN

import { withTime, work } from "../common/worker.mjs";
import { channelName, realtime } from "../upstash-realtime/realtime.mjs";

/** Of the update's state, what has changed; all of it where nothing is said to have. */
function change({ state, at, changed }) {
  const photos = state.photos.filter(({ photoId }) => changed.length === 0 || changed.includes(photoId));
  return withTime({ state: { ...state, photos }, at });
}

await work((update) => realtime.channel(channelName(update.batch)).emit("batch.progress", change(update)));
