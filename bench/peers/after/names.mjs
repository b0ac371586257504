// What the server and the worker agree on.

export const channel = (id) => `batch:${id}`;
export const cacheKey = (id) => `batch:progress:${id}`;
export const CACHE_SECS = 10;
