// For each line on its input, collects the garbage of the Worker behind a workerd's inspector, and tells in a line of
// JSON what is left.
import { createInterface } from 'node:readline';

const [target] = await (await fetch(`http://${process.argv[2]}/json`)).json();
const socket = new WebSocket(target.webSocketDebuggerUrl);
const answers = new Map();
socket.onmessage = ({ data }) => {
  const { id, result } = JSON.parse(data);
  answers.get(id)?.(result);
};
let asked = 0;
const ask = (method) =>
  new Promise((resolve) => {
    asked += 1;
    answers.set(asked, resolve);
    socket.send(JSON.stringify({ id: asked, method }));
  });
await new Promise((resolve, reject) => ([socket.onopen, socket.onerror] = [resolve, reject]));
for await (const _ of createInterface({ input: process.stdin })) {
  await ask('HeapProfiler.collectGarbage');
  console.log(JSON.stringify(await ask('Runtime.getHeapUsage')));
}
socket.close();
