// Serves the files of the live page, as Cloudflare's assets do in front of the Worker; all else is the Worker's. Its
// answers are returned as they are, so that no code runs for what flows through a stream.

const TYPES = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  map: "application/json",
  svg: "image/svg+xml",
};

export default {
  async fetch(request, env) {
    const path = new URL(request.url).pathname;
    const file = path === "/" ? "/index.html" : path;
    const type = TYPES[file.slice(file.lastIndexOf(".") + 1)];
    const asksForFile = (request.method === "GET" || request.method === "HEAD") && !path.startsWith("/api/") && type;
    if (!asksForFile) return env.EDGE.fetch(request);
    const found = await env.FILES.fetch(`http://files${file}`, { method: request.method });
    // The Worker asks here for its page, so it is not asked back for that.
    if (!found.ok) return path === "/" ? new Response("no index.html in files\n", { status: 404 }) : env.EDGE.fetch(request);
    const headers = {
      "cache-control": "public, max-age=0, must-revalidate",
      "content-type": type,
      "x-content-type-options": "nosniff",
    };
    const length = found.headers.get("content-length");
    return new Response(found.body, { headers: length === null ? headers : { ...headers, "content-length": length } });
  },
};
