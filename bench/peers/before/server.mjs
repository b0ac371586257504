// The old design: every open page makes the server query the database every 2 s.
//
//   PORT, DATABASE

import { createServer } from "node:http";
import { open, reader } from "../common/database.mjs";
import { announce, answer, EVENT_STREAM, handler, host, need, port } from "../common/server.mjs";

const INTERVAL_MS = 2_000;

const db = open(need("DATABASE"));
const stateOf = reader(db);

function stream(id, req, res) {
  res.writeHead(200, EVENT_STREAM).flushHeaders();
  const send = () => {
    const state = stateOf(id);
    if (state) res.write(`data: ${JSON.stringify(state)}\n\n`);
  };
  send();
  const timer = setInterval(send, INTERVAL_MS);
  req.on("close", () => clearInterval(timer));
}

const read = (id, _, res) => answer(res, stateOf(id));

announce(createServer(handler({ stream, read })).listen(port, host), () => db.close());
