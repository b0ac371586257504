// The old design's worker knows nothing of viewers: it commits.
//
//   DATABASE

import { committer, open } from "../common/database.mjs";
import { need } from "../common/server.mjs";
import { work } from "../common/worker.mjs";

const db = open(need("DATABASE"));
await work(committer(db), () => db.close());
