# The edge on premises: the same Worker in workerd, Cloudflare's open runtime, as one process.
#
# Beside this file belong front.js, and index.js and index_bg.wasm of edge/build; `files` is client/dist; `objects` is a
# folder that outlives restarts (each object keeps its alarm there, and nothing else). See deploy/ON-PREMISES.md.
# Settings and secrets come from the environment, by the names in README.md; what is not set counts as unset.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "front", worker = .front),
    (name = "edge", worker = .edge),
    (name = "files", disk = (path = "files")),
    (name = "objects", disk = (path = "objects", writable = true)),
    # The edge calls Redis over HTTP, the photo worker, and whoever serves AUTH_JWKS_URL.
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  # Behind a proxy that speaks TLS the page's own origin begins with https: the proxy says so.
  sockets = [(
    name = "http",
    address = "*:8787",
    http = (forwardedProtoHeader = "X-Forwarded-Proto"),
    service = "front",
  )],
);

const front :Workerd.Worker = (
  compatibilityDate = "2026-11-17",
  modules = [(name = "front.js", esModule = embed "front.js")],
  bindings = [(name = "EDGE", service = "edge"), (name = "FILES", service = "files")],
);

const edge :Workerd.Worker = (
  compatibilityDate = "2026-11-17",
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  durableObjectNamespaces = [(className = "Hub", uniqueKey = "Hub", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    (name = "HUB", durableObjectNamespace = "Hub"),
    (name = "ASSETS", service = "front"),
    (name = "UPSTASH_REDIS_REST_URL", fromEnvironment = "UPSTASH_REDIS_REST_URL"),
    (name = "UPSTASH_REDIS_REST_TOKEN", fromEnvironment = "UPSTASH_REDIS_REST_TOKEN"),
    (name = "ORIGIN_URL", fromEnvironment = "ORIGIN_URL"),
    (name = "ORIGIN_TOKEN", fromEnvironment = "ORIGIN_TOKEN"),
    (name = "AUTH_SECRET", fromEnvironment = "AUTH_SECRET"),
    (name = "AUTH_JWKS_URL", fromEnvironment = "AUTH_JWKS_URL"),
    (name = "AUTH_ISSUER", fromEnvironment = "AUTH_ISSUER"),
    (name = "AUTH_AUDIENCE", fromEnvironment = "AUTH_AUDIENCE"),
    (name = "AUTH_COOKIE", fromEnvironment = "AUTH_COOKIE"),
    (name = "ADDRESS_HEADER", fromEnvironment = "ADDRESS_HEADER"),
    (name = "ALLOWED_ORIGINS", fromEnvironment = "ALLOWED_ORIGINS"),
    (name = "METRICS_TOKEN", fromEnvironment = "METRICS_TOKEN"),
    (name = "TRUST_USER_HEADER", fromEnvironment = "TRUST_USER_HEADER"),
    (name = "STREAMS", fromEnvironment = "STREAMS"),
    (name = "KEY_PREFIX", fromEnvironment = "KEY_PREFIX"),
    (name = "STATE_TTL_SECS", fromEnvironment = "STATE_TTL_SECS"),
    (name = "ACTIVE_TTL_SECS", fromEnvironment = "ACTIVE_TTL_SECS"),
    (name = "IDLE_TTL_SECS", fromEnvironment = "IDLE_TTL_SECS"),
    (name = "LINGER_SECS", fromEnvironment = "LINGER_SECS"),
    (name = "PING_SECS", fromEnvironment = "PING_SECS"),
    (name = "KEEPALIVE_SECS", fromEnvironment = "KEEPALIVE_SECS"),
    (name = "STALL_AFTER_SECS", fromEnvironment = "STALL_AFTER_SECS"),
    (name = "FORGET_AFTER_SECS", fromEnvironment = "FORGET_AFTER_SECS"),
    (name = "MAX_VIEWERS", fromEnvironment = "MAX_VIEWERS"),
    (name = "MAX_VIEWERS_PER_USER", fromEnvironment = "MAX_VIEWERS_PER_USER"),
    (name = "FLUSH_MS", fromEnvironment = "FLUSH_MS"),
    (name = "HUB_SHARDS", fromEnvironment = "HUB_SHARDS"),
    (name = "LOG_LEVEL", fromEnvironment = "LOG_LEVEL"),
  ],
);
