// What the peers' workers share: updates come as lines of JSON, and are done one after the other.
//
//   {"batch":"b-1","at":1795389030082,"state":{…},"changed":["photo-7"]}
//
// `tookMs` is what the peer took. `parseMs` is the parsing of the line: the harness' own cost, which an application does
// not have, so that it can be taken off the worker's CPU.

import { createInterface } from "node:readline";

/** Does `publish` for each line and says so; at the end of the input, `close`. */
export async function work(publish, close = () => {}) {
  let published = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line) continue;
    const came = performance.now();
    const { batch, at, state, changed } = JSON.parse(line);
    const began = performance.now();
    await publish({ batch, at, state, changed });
    published += 1;
    const [tookMs, parseMs] = [performance.now() - began, began - came].map((ms) => Math.round(ms * 1000) / 1000);
    console.log(JSON.stringify({ published, at, tookMs, parseMs }));
  }
  await close();
}

/**
 * What a viewer gets. `at` stands behind the photos, so that who finds it in a stream of bytes has the whole state.
 */
export const withTime = ({ state, at }) => ({ ...state, at });
