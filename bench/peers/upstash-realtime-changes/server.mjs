// The same server: what an event holds is the worker's to say.
import "../upstash-realtime/server.mjs";
