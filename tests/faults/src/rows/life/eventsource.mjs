// A native EventSource: tells each event in a line, `NAME ID`, and `closed STATUS` when it has given up.
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
for (const name of ['busy', 'progress', 'complete']) {
  source.addEventListener(name, (event) => console.log(name, event.lastEventId));
}
source.addEventListener('error', (error) => {
  if (source.readyState === EventSource.CLOSED) console.log('closed', error.code);
});
// It does not keep Node alive while it waits to come back.
setInterval(() => {}, 60_000);
