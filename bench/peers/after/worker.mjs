// The obvious rewrite's worker: commits, forgets what is cached, tells everybody the whole state.
//
//   REDIS_URL, DATABASE

import Redis from "ioredis";
import { committer, open } from "../common/database.mjs";
import { need } from "../common/server.mjs";
import { withTime, work } from "../common/worker.mjs";
import { cacheKey, channel } from "./names.mjs";

const db = open(need("DATABASE"));
const commit = committer(db);
const redis = new Redis(need("REDIS_URL"));

await work(
  async (update) => {
    commit(update);
    await redis.del(cacheKey(update.batch));
    await redis.publish(channel(update.batch), JSON.stringify(withTime(update)));
  },
  async () => {
    await redis.quit();
    db.close();
  },
);
