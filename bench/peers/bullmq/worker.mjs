// A batch is a job, added when its first update comes. The job's processor does the batch's updates as they come, and
// reports each as progress; it ends with the input.
//
//   REDIS_URL

import { Queue, Worker } from "bullmq";
import { withTime, work } from "../common/worker.mjs";
import { connection, QUEUE } from "./queue.mjs";

const queue = new Queue(QUEUE, { connection });

/** The job of each batch, once its processor runs, and what ends the processor. */
const running = new Map();
const ends = Promise.withResolvers();

const worker = new Worker(
  QUEUE,
  async (job) => {
    running.get(job.id).resolve(job);
    await ends.promise;
  },
  // Changed: the default runs one job at a time, and the batches of the harness are open at the same time.
  { connection, concurrency: 1_000 },
);
worker.on("error", (error) => console.error(error));

async function jobOf(batch) {
  if (!running.has(batch)) {
    running.set(batch, Promise.withResolvers());
    // A job whose id is there already would be ignored: this one may be of an earlier worker.
    await queue.remove(batch);
    await queue.add("analyse", { batchId: batch }, { jobId: batch });
  }
  return running.get(batch).promise;
}

await work(
  async (update) => {
    const job = await jobOf(update.batch);
    await job.updateProgress(withTime(update));
  },
  async () => {
    ends.resolve();
    await worker.close();
    await queue.close();
  },
);
