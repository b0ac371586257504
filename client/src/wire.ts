// Generated from the Rust crate `wire`; UPDATE_TYPES=1 cargo test -p batchcast-wire

export type BatchStatus = "QUEUED" | "PROCESSING" | "COMPLETED" | "PARTIAL" | "FAILED" | "CANCELLED";

export type PhotoStatus = "QUEUED" | "PROCESSING" | "COMPLETED" | "FAILED";

export type Counts = { 
/**
 * All photos of the batch.
 */
total: number, 
/**
 * Photos not begun.
 */
queued: number, 
/**
 * Photos being worked on.
 */
processing: number, 
/**
 * Photos done.
 */
completed: number, 
/**
 * Photos given up.
 */
failed: number, };

export type Photo = { 
/**
 * Its name within the batch.
 */
photoId: string, 
/**
 * How far it has come.
 */
status: PhotoStatus, 
/**
 * The batch's version at which this photo last changed.
 */
version: number, 
/**
 * What the application found out, any JSON.
 */
result?: unknown, 
/**
 * Why it failed, in words.
 */
error?: string, };

export type BatchHead = { v: number, batchId: string, position: string, status: BatchStatus, progress: number, counts: Counts, updatedAt: string, };

export type BatchState = { v: number, batchId: string, position: string, status: BatchStatus, progress: number, counts: Counts, updatedAt: string, photos: Array<Photo>, };

export type ProgressEvent = { v: number, batchId: string, 
/**
 * Absent on the last `progress` event: `complete` alone carries the final position.
 */
position?: string, status: BatchStatus, progress: number, counts: Counts, updatedAt: string, 
/**
 * Milliseconds since the Unix epoch: the earliest commit that a live event covers.
 */
at?: number, 
/**
 * True when `photos` is all of them.
 */
full?: boolean, photos: Array<Photo>, };

/** Data of a `complete` event. */
export type CompleteEvent = BatchHead;

/** Bytes of one uploaded file. */
export const MAX_FILE_BYTES = 67108864;

/** Photos of one batch. */
export const MAX_PHOTOS = 10000;

/** Bytes of a photo's name. */
export const MAX_NAME_BYTES = 255;
