// A panic makes the memory of the whole wasm instance unusable, and with it every object of this isolate: their rooms
// are gone, while their streams would stay open and silent. This module's memory outlives the instance: it knows the
// objects that have streams, and ends each of them. Their viewers come back at once, to objects made anew.
const objects = new Map();

// `state.abort()` ends an object's streams, timers and subscriptions. It must be called in the object's own context: a
// promise that was resolved in another one goes on in that of whoever waits for it.
export function guard(id, state) {
  new Promise((resolve) => objects.set(id, resolve)).then(() => state.abort('the Worker panicked'));
}

export function unguard(id) {
  objects.delete(id);
}

// Called by the panic hook. Later than now: an abort within the panic would hide it from the runtime, which would then
// never make a new instance.
export function panicked() {
  const guarded = [...objects.values()];
  objects.clear();
  setTimeout(() => guarded.forEach((resolve) => resolve()), 0);
}
