// What the server and the worker agree on: a queue in which a batch is a job, whose id is the batch's.
//
//   REDIS_URL

import { need } from "../common/server.mjs";

export const QUEUE = "batches";
export const connection = { url: need("REDIS_URL") };
