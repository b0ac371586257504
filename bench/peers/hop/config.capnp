# Where it listens is said on the command line: --socket-addr=http=127.0.0.1:PORT
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "2026-11-17",
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  bindings = [(name = "HUB", durableObjectNamespace = "Hub")],
  durableObjectNamespaces = [(className = "Hub", uniqueKey = "Hub")],
  durableObjectStorage = (inMemory = void),
);
