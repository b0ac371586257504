// @upstash/realtime on the gateway: Redis streams for what was, subscriptions for what comes. support.mjs says what it
// needs.

import { CursorUnavailableError, handle, Realtime } from "@upstash/realtime";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod/v4";
import { client, Inbox, subscribers, tcp, until, within } from "./support.mjs";

const schema = { chat: { message: z.object({ text: z.string() }), left: z.object({ who: z.string() }) } };
const TEXTS = ["comma, comma", "line\nbreak\r\nand another", "", "👩‍👩‍👧‍👦 日本", "data: x\n\ndata: y", '"quoted" \\'];

const say = (channel, text) => channel.emit("chat.message", { text });
const said = (channel, text) => ({ channel, event: "chat.message", data: { text } });
const connected = (channel) => ({ type: "connected", channel });
const withoutId = ({ id, ...event }) => event;
const idsIn = async (stream) => (await tcp.xrange(stream, "-", "+")).map(([id]) => id);

/** The library, which tells in its log alone when a visitor has got what was: `replayed` hears of it. */
function realtime(options) {
  const replayed = new Inbox();
  const log = (line) => line.includes("Subscription established") && replayed.put(line);
  const app = new Realtime({ schema, redis: client(), _logger: { log, warn() {}, error() {} }, ...options });
  return Object.assign(app, { replayed });
}

/** A visit to the library's HTTP route: what its stream of events brings, one at a time. */
function visit(t, app, query) {
  const left = new AbortController();
  t.after(() => left.abort());
  const request = new Request(`http://localhost/api/realtime?${query}`, { signal: left.signal });
  const responding = handle({ realtime: app })(request);
  const events = responding.then(eventsOf);

  const take = async (count) => {
    const taken = [];
    while (taken.length < count) {
      const { done, value } = await within((await events).next(), () => `event ${taken.length + 1} of ${count}`);
      assert.ok(!done, "the stream has ended");
      taken.push(value);
    }
    return taken;
  };
  return {
    take,
    /** It is live now. What is emitted before may come twice: the library reads it, and then it is published. */
    async connected(...channels) {
      const greetings = await take(channels.length);
      assert.deepEqual(greetings.sort(byChannel), channels.map(connected));
      await app.replayed.take(1);
    },
    leave: () => left.abort(),
    ended: async () => (await within((await events).next(), () => "the end")).done,
  };
}

const byChannel = (a, b) => a.channel.localeCompare(b.channel);

async function* eventsOf(response) {
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) yield JSON.parse(frame.replace(/^data: /, ""));
  }
}

/** Redis ends all subscriptions and, before anyone can subscribe again, takes an event that nobody hears. */
async function emitWhileNobodyListens(channel, text) {
  const fields = Object.entries(said(channel, text)).flatMap(([name, value]) => [name, asText(value)]);
  const transaction = tcp.multi().call("CLIENT", "KILL", "TYPE", "pubsub").xadd(channel, "*", ...fields);
  const [[, killed], , [, heardBy]] = await transaction.publish(channel, "nobody hears this").exec();
  assert.deepEqual([killed, heardBy], [1, 0]);
}

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// History

test("what was emitted is in the history, in its order and with the ids of the stream", async () => {
  const room = realtime().channel("room");
  assert.deepEqual(await room.history(), []);
  for (const text of TEXTS) await say(room, text);
  const ids = await idsIn("room");
  assert.deepEqual(await room.history(), TEXTS.map((text, index) => ({ ...said("room", text), id: ids[index] })));
});

test("a piece of the history is cut by its start, end and limit", async () => {
  const room = realtime().channel("room");
  for (const text of ["a", "b", "c", "d"]) await say(room, text);
  const [, second, third] = await idsIn("room");
  const texts = async (range) => (await room.history(range)).map(({ data }) => data.text);
  assert.deepEqual(await texts({ start: second }), ["b", "c", "d"]);
  assert.deepEqual(await texts({ start: `(${second}` }), ["c", "d"]);
  assert.deepEqual(await texts({ end: third, limit: 2 }), ["a", "b"]);
});

test("the history is kept as long and for as long as was asked for", async () => {
  const room = realtime({ history: { maxLength: 2, expireAfterSecs: 1000 } }).channel("room");
  for (const text of ["a", "b", "c"]) await say(room, text);
  assert.deepEqual((await room.history()).map(({ data }) => data.text), ["b", "c"]);
  assert.equal(await tcp.xlen("room"), 2);
  const secondsLeft = await tcp.ttl("room");
  assert.ok(secondsLeft > 900 && secondsLeft <= 1000, `${secondsLeft} s`);
});

// Live on the server

/** The library pings as long as the process lives: it waits for an `unsubscribe` that the client never sends it. */
const withoutPings = (t) => t.mock.timers.enable({ apis: ["setInterval"] });

test("a subscriber with history hears what was, then what comes, and only the events it asked for", async (t) => {
  withoutPings(t);
  const room = realtime().channel("room");
  await say(room, "before");
  await room.emit("chat.left", { who: "Ada" });
  const heard = new Inbox();
  t.after(await room.subscribe({ events: ["chat.message"], history: true, onData: (event) => heard.put(event) }));
  await room.emit("chat.left", { who: "Grace" });
  await say(room, "after");

  const ids = await idsIn("room");
  const event = (text, id) => ({ ...said("room", text), id, cursor: id });
  assert.deepEqual(await heard.take(2), [event("before", ids[0]), event("after", ids[3])]);
});

test("a subscriber goes on after its cursor, and is told when the cursor is gone", async (t) => {
  withoutPings(t);
  const room = realtime().channel("room");
  for (const text of ["a", "b", "c"]) await say(room, text);
  const [first] = await idsIn("room");
  const heard = new Inbox();
  const subscribe = () =>
    room.subscribe({ events: ["chat.message"], after: first, onData: ({ data }) => heard.put(data.text) });
  t.after(await subscribe());
  await say(room, "d");
  assert.deepEqual(await heard.take(3), ["b", "c", "d"]);

  await tcp.xdel("room", first);
  await assert.rejects(subscribe(), CursorUnavailableError);
});

// Live over HTTP

test("a visitor is connected, and gets what is emitted then", async (t) => {
  const app = realtime();
  const room = app.channel("room");
  const visitor = visit(t, app, "channel=room");
  await visitor.connected("room");
  for (const text of TEXTS) await say(room, text);
  const ids = await idsIn("room");
  const events = TEXTS.map((text, index) => ({ ...said("room", text), id: ids[index] }));
  assert.deepEqual(await visitor.take(TEXTS.length), events);
});

test("a visitor of several channels gets them on one stream, and nothing else", async (t) => {
  const app = realtime();
  const visitor = visit(t, app, "channel=a&channel=b%20c");
  await visitor.connected("a", "b c");
  for (const name of ["a", "elsewhere", "b c", "a"]) {
    await say(app.channel(name), `to ${name}`);
    if (name !== "elsewhere") assert.deepEqual((await visitor.take(1)).map(withoutId), [said(name, `to ${name}`)]);
  }
});

test("visitors of a channel are one subscription of Redis, which ends with the last of them", async (t) => {
  const app = realtime();
  const visitors = Array.from({ length: 5 }, () => visit(t, app, "channel=room"));
  for (const visitor of visitors) await visitor.connected("room");
  assert.equal(await subscribers("room"), 1);
  await say(app.channel("room"), "to all");
  for (const visitor of visitors) assert.deepEqual((await visitor.take(1)).map(withoutId), [said("room", "to all")]);
  for (const visitor of visitors) visitor.leave();
  await until("nobody is subscribed", async () => (await subscribers("room")) === 0);
});

// Coming back

test("a visitor that comes back with what it saw last gets what it missed, then what comes, once each", async (t) => {
  const app = realtime();
  const room = app.channel("room");
  const before = visit(t, app, "channel=room");
  await before.connected("room");
  await say(room, "seen");
  const [{ id: seen }] = await before.take(1);
  before.leave();
  for (const text of ["missed, 1", "missed\n2"]) await say(room, text);

  const visitor = visit(t, app, `channel=room&last_ack_room=${seen}`);
  await visitor.connected("room");
  for (const text of ["live 1", "live 2"]) await say(room, text);
  const events = ["missed, 1", "missed\n2", "live 1", "live 2"].map((text) => said("room", text));
  assert.deepEqual((await visitor.take(4)).map(withoutId), events);
});

test("each channel goes on where its own visitor stood", async (t) => {
  const app = realtime();
  for (const text of ["1", "2"]) for (const name of ["a", "b"]) await say(app.channel(name), `${name}${text}`);
  const [[, lastOfA], [firstOfB]] = [await idsIn("a"), await idsIn("b")];
  const visitor = visit(t, app, `channel=a&channel=b&last_ack_a=${lastOfA}&last_ack_b=${firstOfB}`);
  const replayed = (await visitor.take(3)).filter(({ type }) => !type);
  assert.deepEqual(replayed.map(withoutId), [said("b", "b2")]);
  await app.replayed.take(1);
  for (const name of ["a", "b"]) {
    await say(app.channel(name), `${name}3`);
    assert.deepEqual((await visitor.take(1)).map(withoutId), [said(name, `${name}3`)]);
  }
});

test("a visitor that is sent away in time comes back and has missed nothing", async (t) => {
  const app = realtime({ maxDurationSecs: 4 });
  const room = app.channel("room");
  const before = visit(t, app, "channel=room");
  await before.connected("room");
  await say(room, "seen");
  const [{ id: seen }, { type }] = await before.take(2);
  assert.equal(type, "reconnect");
  assert.ok(await before.ended());
  await until("nobody is subscribed", async () => (await subscribers("room")) === 0);
  await say(room, "missed");

  const visitor = visit(t, app, `channel=room&last_ack_room=${seen}`);
  assert.deepEqual((await visitor.take(2)).map(withoutId), [connected("room"), said("room", "missed")]);
});

test("when Redis has dropped the gateway's subscriptions, events flow again on the same open stream", async (t) => {
  const app = realtime();
  const [room, hall] = [app.channel("room"), app.channel("hall")];
  const visitor = visit(t, app, "channel=room&channel=hall");
  await visitor.connected("hall", "room");
  for (const round of ["first", "second"]) {
    await say(room, `before the ${round}`);
    assert.deepEqual((await visitor.take(1)).map(withoutId), [said("room", `before the ${round}`)]);

    assert.equal(await tcp.call("CLIENT", "KILL", "TYPE", "pubsub"), 1);
    for (const name of ["room", "hall"]) await until(`${name} is heard`, async () => (await subscribers(name)) === 1);
    for (const [name, channel] of [["hall", hall], ["room", room]]) {
      await say(channel, `after the ${round}`);
      assert.deepEqual((await visitor.take(1)).map(withoutId), [said(name, `after the ${round}`)]);
    }
  }
});

test("what was emitted while the gateway's subscription was gone is there for a visitor that comes back", async (t) => {
  const app = realtime();
  const room = app.channel("room");
  const before = visit(t, app, "channel=room");
  await before.connected("room");
  await say(room, "seen");
  const [{ id: seen }] = await before.take(1);

  await emitWhileNobodyListens("room", "missed");
  await until("the room is heard", async () => (await subscribers("room")) === 1);
  await say(room, "heard");
  assert.deepEqual((await before.take(1)).map(withoutId), [said("room", "heard")], "only the history has the other");
  before.leave();

  const visitor = visit(t, app, `channel=room&last_ack_room=${seen}`);
  const events = ["missed", "heard"].map((text) => said("room", text));
  assert.deepEqual((await visitor.take(3)).map(withoutId), [connected("room"), ...events]);
});
