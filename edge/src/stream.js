// A viewer's stream: push mode, so that one write is one call, and bytes are shared by all viewers.
// `gone(id)` is called when the runtime cancels the stream. One function serves all viewers: a closure a viewer would
// have to be freed by hand (wasm-bindgen frees a one-time closure only when it is called).
export function openStream(id, highWaterMark, gone, signal) {
  let controller;
  const left = () => gone(id);
  const source = { start(c) { controller = c; }, cancel: left };
  const stream = new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark }));
  // Either may come alone, depending on the runtime's version; both come once something is written to a client that left.
  if (signal.aborted) queueMicrotask(left);
  else signal.addEventListener('abort', left, { once: true });
  return [stream, controller];
}
