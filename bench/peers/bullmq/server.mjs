// BullMQ tells the server of all progress, by one connection; better-sse tells the viewers, by a channel a batch.
//
//   PORT, REDIS_URL

import { createChannel, createSession } from "better-sse";
import { Queue, QueueEvents } from "bullmq";
import { createServer } from "node:http";
import { announce, answer, handler, host, port } from "../common/server.mjs";
import { connection, QUEUE } from "./queue.mjs";

const queue = new Queue(QUEUE, { connection });
const events = new QueueEvents(QUEUE, { connection });
events.on("progress", ({ jobId, data }) => channels.get(jobId)?.broadcast(data, "progress"));

const channels = new Map();

/** The batch's channel, which is there as long as someone listens to it. */
function channelOf(id) {
  const existing = channels.get(id);
  if (existing) return existing;
  const channel = createChannel();
  channel.on("session-deregistered", () => channel.sessionCount === 0 && channels.delete(id));
  channels.set(id, channel);
  return channel;
}

/** The progress that a job had last; a job that has none yet has the number 0. */
async function progressOf(id) {
  const job = await queue.getJob(id);
  return typeof job?.progress === "object" ? job.progress : undefined;
}

async function stream(id, req, res) {
  const session = await createSession(req, res);
  if (!session.isConnected) return;
  channelOf(id).register(session);
  const progress = await progressOf(id);
  if (progress && session.isConnected) session.push(progress, "progress");
}

const read = async (id, _, res) => answer(res, await progressOf(id));

await events.waitUntilReady();
announce(createServer(handler({ stream, read })).listen(port, host), () =>
  Promise.all([events.close(), queue.close()]),
);
