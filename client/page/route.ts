// The page's addresses.

const ID = /^[A-Za-z0-9_-]{1,64}$/;

export type Route = { readonly face: "home" } | { readonly face: "batch"; readonly batchId: string };

/** An address that cannot be a batch's is still one: asking the server tells the reader that it is not there. */
export function routeOf(pathname: string): Route {
  const match = /^\/batches\/([^/]+)\/?$/.exec(pathname);
  return match?.[1] === undefined ? { face: "home" } : { face: "batch", batchId: decode(match[1]) };
}

export function isBatchId(text: string): boolean {
  return ID.test(text);
}

export function addressOf(route: Route): string {
  return route.face === "home" ? "/" : `/batches/${encodeURIComponent(route.batchId)}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
