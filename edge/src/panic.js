// A panic makes the memory of the whole wasm instance unusable, and with it every object of this isolate: their rooms
// are gone, while their streams would stay open and silent. This module's memory outlives the instance: it knows the
// objects that have streams, and ends each of them. Their viewers come back at once, to objects made anew.
const objects = new Map();

// `state.abort()` ends an object's streams, timers and subscriptions. It must be called in the object's own context: a
// promise that was resolved in another one goes on in that of whoever waits for it. And it must be called later than the
// panic: an abort within it would hide it from the runtime, which would then never make a new instance. The timer is the
// object's own, too: one of the request that panicked ends with that request.
export function guard(id, state) {
  new Promise((resolve) => objects.set(id, resolve)).then(() =>
    setTimeout(() => state.abort('the Worker panicked'), 0));
}

export function unguard(id) {
  objects.delete(id);
}

// Called by the panic hook.
export function panicked() {
  for (const resolve of objects.values()) resolve();
  objects.clear();
}
