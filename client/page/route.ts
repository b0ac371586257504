// The page's addresses.

const ID = /^[A-Za-z0-9_-]{1,64}$/;

/** The project of the start page. */
export const HOME_PROJECT = "live-page";

export type Route =
  | { readonly face: "home" }
  | { readonly face: "project"; readonly projectId: string }
  | { readonly face: "batch"; readonly batchId: string };

/** An address that can be no batch's or project's is still one: the page then says that it is not there. */
export function routeOf(pathname: string): Route {
  const [, kind, segment] = /^\/(batches|projects)\/([^/]+)\/?$/.exec(pathname) ?? [];
  if (segment === undefined) return { face: "home" };
  return kind === "batches" ? { face: "batch", batchId: decode(segment) } : { face: "project", projectId: decode(segment) };
}

/** Batches and projects are named by the same rule. */
export function isId(text: string): boolean {
  return ID.test(text);
}

export function addressOf(route: Route): string {
  switch (route.face) {
    case "home":
      return "/";
    case "project":
      return `/projects/${encodeURIComponent(route.projectId)}`;
    case "batch":
      return `/batches/${encodeURIComponent(route.batchId)}`;
  }
}

/** The start page is where its project is. */
export function routeOfProject(projectId: string): Route {
  return projectId === HOME_PROJECT ? { face: "home" } : { face: "project", projectId };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
