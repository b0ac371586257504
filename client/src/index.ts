// `@batchcast/client`: watching one batch, without a page.

export { batchStates, type IterateOptions } from "./iterate.ts";
export { isStale, type Connection, type Refusal } from "./connection.ts";
export { BatchError, watchBatch, type Access, type Listener, type WatchOptions } from "./watch.ts";
export type { Batch } from "./state.ts";
export type { BatchStatus, Counts, Photo, PhotoStatus } from "./wire.ts";
