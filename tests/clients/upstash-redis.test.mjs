// The official client of Upstash, @upstash/redis, on the gateway. support.mjs says what it needs.

import { EventSource } from "eventsource";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  client, Inbox, listen, plainClient, readOnlyToken, refuses, subscribers, tcp, token, until, url, watchRequests,
} from "./support.mjs";

const NOT_A_NUMBER = "ERR value is not an integer or out of range";
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const TEXTS = [
  "žluťoučký kůň", "日本語", "العربية", "👩‍👩‍👧‍👦", "e\u0301 is not \u00e9", "\u0000 and \u2028",
  'a "quoted" \\ line\r\n', "",
];

const range = (count) => Array.from({ length: count }, (_, index) => index);
const sha1 = (script) => createHash("sha1").update(script).digest("hex");
const noPermission = (command) =>
  `NOPERM this user has no permissions to run the '${command}' command or its subcommand`;

// Values

test("any bytes go in by the path and the raw body, are in Redis as they are, and come back in base64", async () => {
  const headers = { authorization: `Bearer ${token}` };
  const written = await fetch(`${url}/set/bytes`, { method: "POST", headers, body: EVERY_BYTE });
  assert.deepEqual(await written.json(), { result: "OK" });
  assert.deepEqual(await tcp.getBuffer("bytes"), EVERY_BYTE);

  const read = await fetch(`${url}/get/bytes`, { headers: { ...headers, "upstash-encoding": "base64" } });
  assert.deepEqual(await read.json(), { result: EVERY_BYTE.toString("base64") });
});

test("bytes that are percent-encoded in the path are a key as they are", async () => {
  const headers = { authorization: `Bearer ${token}` };
  const written = await fetch(`${url}/set/%00%ff%2F%0A/v`, { headers });
  assert.deepEqual(await written.json(), { result: "OK" });
  assert.deepEqual(await tcp.keysBuffer("*"), [Buffer.from([0x00, 0xff, 0x2f, 0x0a])]);
});

for (const responseEncoding of ["base64", false]) {
  test(`text in any script arrives unchanged, with the encoding ${responseEncoding}`, async () => {
    const redis = client({ responseEncoding, automaticDeserialization: false });
    for (const text of TEXTS) {
      assert.equal(await redis.set(`key ${text}`, text), "OK");
      assert.deepEqual(await tcp.getBuffer(`key ${text}`), Buffer.from(text));
      assert.equal(await redis.get(`key ${text}`), text);
    }
    await redis.rpush("list", ...TEXTS);
    assert.deepEqual(await redis.lrange("list", 0, -1), TEXTS);
    assert.deepEqual((await redis.keys("*")).sort(), ["list", ...TEXTS.map((text) => `key ${text}`)].sort());
  });
}

test("the word OK that someone stored is no status", async () => {
  const redis = client();
  await redis.set("word", "OK");
  assert.equal(await redis.get("word"), "OK");
  assert.deepEqual(await redis.mget("word", "none"), ["OK", null]);
  assert.deepEqual(await redis.eval("return {'OK', {'OK'}, redis.status_reply('OK')}", [], []), ["OK", ["OK"], "OK"]);
});

test("objects, numbers, truth and nothing come back as what they were", async () => {
  const redis = client();
  const value = { name: "café", list: [1, 2.5, null], yes: true };
  await redis.set("object", value);
  assert.deepEqual(await redis.get("object"), value);
  await redis.hset("hash", { ...value, count: 3 });
  assert.deepEqual(await redis.hgetall("hash"), { ...value, count: 3 });
  assert.equal(await redis.get("none"), null);
  assert.equal(await redis.hgetall("none"), null);
});

test("whole numbers beyond 2^53 lose no digit", async () => {
  const redis = client();
  await tcp.mset("safe", "9007199254740990", "beyond", "9007199254740992", "least", "-9223372036854775807");
  assert.equal(await redis.incr("safe"), 9007199254740991);
  assert.equal(await redis.incr("beyond"), "9007199254740993");
  assert.equal(await redis.decr("least"), "-9223372036854775808");
  assert.deepEqual(
    await redis.multi().incrby("max", "9223372036854775806").incr("max").get("max").exec(),
    ["9223372036854775806", "9223372036854775807", "9223372036854775807"],
  );
});

// Several commands in a request

test("a pipeline that keeps errors says which items failed, and has the results of the others", async () => {
  await tcp.set("text", "no number");
  const pipeline = client().pipeline().set("a", 1).incr("text").lpush("a", "x").incr("a").get("none");
  assert.deepEqual(await pipeline.exec({ keepErrors: true }), [
    { result: "OK", error: undefined },
    { result: undefined, error: NOT_A_NUMBER },
    { result: undefined, error: "WRONGTYPE Operation against a key holding the wrong kind of value" },
    { result: 2, error: undefined },
    { result: null, error: undefined },
  ]);
});

test("a pipeline throws the first error, and all its commands have run", async () => {
  await tcp.set("text", "no number");
  const pipeline = client().pipeline().set("before", 1).incr("text").set("after", 1);
  await refuses(pipeline.exec(), `Command 2 [ incr ] failed: ${NOT_A_NUMBER}`);
  assert.deepEqual(await tcp.mget("before", "text", "after"), ["1", "no number", "1"]);
});

test("a pipeline of 1,000 commands is answered in its order, by one request", async (t) => {
  const requests = watchRequests(t);
  const pipeline = client().pipeline();
  for (const index of range(500)) pipeline.set(`key ${index}`, `value ${index}`).get(`key ${index}`);
  assert.deepEqual(await pipeline.exec(), range(500).flatMap((index) => ["OK", `value ${index}`]));
  assert.deepEqual(requests().map(({ path, body }) => [path, body.length]), [["/pipeline", 1000]]);
});

test("a transaction is answered item by item", async (t) => {
  const requests = watchRequests(t);
  const answers = await client().multi().set("n", 7).incr("n").get("n").hgetall("none").exec();
  assert.deepEqual(answers, ["OK", 8, 8, null]);
  assert.deepEqual(requests().map(({ path }) => path), ["/multi-exec"]);
});

test("nobody comes between the commands of a transaction", async () => {
  const redis = plainClient();
  const pairs = await Promise.all(range(100).map(() => redis.multi().incr("n").incr("n").exec()));
  for (const [first, second] of pairs) assert.equal(second, first + 1);
  assert.equal(await tcp.get("n"), "200");
});

test("an item that fails when it runs does not undo the transaction", async () => {
  await tcp.set("text", "no number");
  const transaction = () => client().multi().set("before", 1).incr("text").set("after", 1);
  assert.deepEqual(await transaction().exec({ keepErrors: true }), [
    { result: "OK", error: undefined },
    { result: undefined, error: NOT_A_NUMBER },
    { result: "OK", error: undefined },
  ]);
  await refuses(transaction().exec(), `Command 2 [ incr ] failed: ${NOT_A_NUMBER}`);
  assert.deepEqual(await tcp.mget("before", "text", "after"), ["1", "no number", "1"]);
});

test("a transaction with a command that Redis does not take is discarded whole", async () => {
  await refuses(
    client().multi().set("a", 1).del().exec(),
    'EXECABORT Transaction discarded because of previous errors., command was: [["set","a",1],["del"]]',
  );
  assert.equal(await tcp.dbsize(), 0);
  assert.deepEqual(await client().multi().set("a", 1).exec(), ["OK"], "the next transaction is not concerned");
});

test("reads that start together go out in one request, and writes in another", async (t) => {
  const redis = client();
  await tcp.mset(Object.fromEntries(range(100).map((index) => [`key ${index}`, `value ${index}`])));
  const requests = watchRequests(t);
  const reads = Promise.all(range(100).map((index) => redis.get(`key ${index}`)));
  const writes = Promise.all(range(50).map(() => redis.incr("n")));
  assert.deepEqual(await reads, range(100).map((index) => `value ${index}`));
  assert.deepEqual(await writes, range(50).map((index) => index + 1));
  assert.deepEqual(requests().map(({ path, body }) => [path, body.length]), [["/pipeline", 100], ["/pipeline", 50]]);
});

test("1,000 parallel requests are each answered with their own result", async (t) => {
  const requests = watchRequests(t);
  const redis = plainClient();
  const echoes = await Promise.all(range(1000).map((index) => redis.echo(`request ${index}`)));
  assert.deepEqual(echoes, range(1000).map((index) => `request ${index}`));
  assert.equal(requests().length, 1000);
});

test("1,000 parallel increments are counted once each", async () => {
  const redis = plainClient();
  const counts = await Promise.all(range(1000).map(() => redis.incr("n")));
  assert.deepEqual(counts.sort((a, b) => a - b), range(1000).map((index) => index + 1));
});

test("each write is answered with another sync token, which the client sends with its next request", async (t) => {
  const requests = watchRequests(t);
  const redis = client();
  await redis.set("a", 1);
  await redis.pipeline().incr("a").incr("a").exec();
  await redis.multi().incr("a").exec();
  assert.equal(await redis.get("a"), 4);

  const seen = requests();
  const syncToken = async ({ response }) => (await response).headers.get("upstash-sync-token");
  const answered = await Promise.all(seen.map(syncToken));
  const sent = seen.map(({ headers }) => headers["upstash-sync-token"]);
  assert.deepEqual(sent, ["", ...answered.slice(0, 3)]);
  assert.equal(new Set(answered.slice(0, 3).filter(Boolean)).size, 3, answered.join());
});

// Scripts

for (const [readonly, kind] of [[false, "a script"], [true, "a read-only script"]]) {
  test(`${kind} goes by its digest, and whole only when Redis does not know it`, async (t) => {
    await tcp.set("greeting", "hello");
    const script = client().createScript("return redis.call('GET', KEYS[1]) .. ', ' .. ARGV[1]", { readonly });
    const requests = watchRequests(t);
    const [byDigest, whole] = readonly ? ["evalsha_ro", "eval_ro"] : ["evalsha", "eval"];
    assert.equal(await script.exec(["greeting"], ["you"]), "hello, you");
    assert.equal(await script.exec(["greeting"], ["all"]), "hello, all");
    await tcp.script("FLUSH");
    assert.equal(await script.exec(["greeting"], ["again"]), "hello, again");
    assert.deepEqual(requests().map(({ body }) => body[0][0]), [byDigest, whole, byDigest, byDigest, whole]);
  });
}

test("a script that was loaded exists and runs by its digest, until scripts are flushed", async () => {
  const redis = plainClient();
  const script = "return {KEYS[1], ARGV[1], 7}";
  const digest = sha1(script);
  assert.equal(await redis.scriptLoad(script), digest);
  assert.deepEqual(await redis.scriptExists(digest, sha1("another")), [1, 0]);
  assert.deepEqual(await redis.evalsha(digest, ["k"], ["v"]), ["k", "v", 7]);
  assert.equal(await redis.scriptFlush(), "OK");
  assert.deepEqual(await redis.scriptExists(digest), [0]);
  await refuses(
    redis.evalsha(digest, ["k"], ["v"]),
    `NOSCRIPT No matching script. Please use EVAL., command was: ["evalsha","${digest}",1,"k","v"]`,
  );
});

test("a script with Upstash's own flag is known by the digest that its client computes", async () => {
  const redis = plainClient();
  const script = "#!lua flags=allow-key-locking\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])";
  assert.equal(await redis.scriptLoad(script), sha1(script));
  assert.deepEqual(await redis.scriptExists(sha1(script)), [1]);
  assert.equal(await redis.evalsha(sha1(script), ["n"], [4]), 4);
  assert.equal(await redis.eval(script, ["n"], [3]), 7);
});

test("a read-only script reads, and may not write", async () => {
  const redis = plainClient();
  await tcp.set("k", "v");
  assert.equal(await redis.evalRo("return redis.call('GET', KEYS[1])", ["k"], []), "v");
  await assert.rejects(
    redis.evalRo("return redis.call('SET', KEYS[1], 'w')", ["k"], []),
    { message: /^ERR Write commands are not allowed from read-only scripts\./ },
  );
  assert.equal(await tcp.get("k"), "v");
});

test("an error that a script makes arrives in its words", async () => {
  const script = "return redis.error_reply('BUSY try later')";
  await refuses(plainClient().eval(script, [], []), `BUSY try later, command was: ["eval","${script}",0]`);
});

// Subscriptions

test("payloads with commas and without anything arrive whole", async (t) => {
  const heard = await listen(t, client().subscribe("chat"));
  const payloads = ["a,b,,c", ",", "", "message,other,evil", " leading and trailing ", "日本 👩‍👩‍👧‍👦", "data: x"];
  for (const payload of payloads) assert.equal(await tcp.publish("chat", payload), 1);
  assert.deepEqual(await heard.take(payloads.length), payloads.map((message) => ({ channel: "chat", message })));
});

test("what a client publishes, its subscribers hear: objects, numbers, text", async (t) => {
  const redis = client();
  const heard = await listen(t, redis.subscribe("chat"));
  const messages = [{ text: "line\nbreak, comma", n: 1 }, 42, "plain", [1, "two"], null, true];
  for (const message of messages) assert.equal(await redis.publish("chat", message), 1);
  assert.deepEqual(await heard.take(messages.length), messages.map((message) => ({ channel: "chat", message })));
});

test("a payload with line breaks is no message of another channel", async (t) => {
  const heard = await listen(t, client().subscribe(["chat", "other"]));
  const forged = ["message,other,evil", "data: message,other,evil", "", "data: message,other,evil", "event: x"];
  for (const lineBreak of ["\n", "\r\n", "\r"]) {
    await tcp.publish("chat", ["x", ...forged].join(lineBreak));
    await tcp.publish("chat", "next");
    const [first, second] = await heard.take(2);
    assert.equal(first.channel, "chat");
    assert.match(first.message, /^x/);
    assert.deepEqual(second, { channel: "chat", message: "next" });
  }
  await tcp.publish("other", "true");
  assert.deepEqual(await heard.take(1), [{ channel: "other", message: true }]);
});

test("a reader of event streams gets a payload with line breaks whole", async (t) => {
  const source = new EventSource(`${url}/subscribe/chat?_token=${token}`);
  t.after(() => source.close());
  const heard = new Inbox();
  source.onmessage = ({ data }) => heard.put(data);
  source.onerror = ({ message }) => heard.fail(new Error(message));
  assert.deepEqual(await heard.take(1), ["subscribe,chat,1"]);
  const payloads = ["x\nmessage,other,evil", "\n\n", "", " a\n b ", "data: x\n\ndata: y"];
  for (const payload of payloads) await tcp.publish("chat", payload);
  assert.deepEqual(await heard.take(payloads.length), payloads.map((payload) => `message,chat,${payload}`));
});

test("a pattern hears all channels that match it, with commas, line breaks and nothing in the payload", async (t) => {
  const heard = await listen(t, client({ automaticDeserialization: false }).psubscribe("room:*"));
  const messages = [["room:1", "a,b,,c"], ["room:2", ""], ["elsewhere", "not heard"], ["room:é", '{"a":1}']];
  for (const [channel, payload] of messages) await tcp.publish(channel, payload);
  await tcp.publish("room:1", "x\npmessage,room:*,room:2,evil");
  await tcp.publish("room:3", "last");
  const pattern = "room:*";
  assert.deepEqual(await heard.take(5), [
    { pattern, channel: "room:1", message: "a,b,,c" },
    { pattern, channel: "room:2", message: "" },
    { pattern, channel: "room:é", message: '{"a":1}' },
    { pattern, channel: "room:1", message: "x" },
    { pattern, channel: "room:3", message: "last" },
  ]);
});

test("several channels are heard apart", async (t) => {
  const subscriber = client().subscribe(["a", "b", "c d"]);
  const heard = await listen(t, subscriber);
  const ofB = new Inbox();
  subscriber.on("message:b", (message) => ofB.put(message));
  for (const channel of ["a", "b", "c d"]) {
    assert.equal(await tcp.publish(channel, `to ${channel}`), 1);
    assert.deepEqual(await heard.take(1), [{ channel, message: `to ${channel}` }]);
  }
  assert.deepEqual(await ofB.take(1), [{ channel: "b", message: "to b" }]);
});

test("many subscribers of a channel are one to Redis, and all hear everything in order", async (t) => {
  const ears = await Promise.all(range(20).map(() => listen(t, client().subscribe("chat"))));
  assert.equal(await subscribers("chat"), 1);
  for (const index of range(50)) assert.equal(await tcp.publish("chat", String(index)), 1);
  for (const heard of ears) {
    assert.deepEqual((await heard.take(50)).map(({ message }) => message), range(50));
  }
});

test("the Redis subscription ends with the last subscriber", async (t) => {
  const first = client().subscribe("chat");
  await listen(t, first);
  const last = client().subscribe("chat");
  const heard = await listen(t, last);
  await first.unsubscribe();
  await tcp.publish("chat", "still here");
  assert.deepEqual(await heard.take(1), [{ channel: "chat", message: "still here" }]);
  await last.unsubscribe();
  await until("nobody is subscribed", async () => (await subscribers("chat")) === 0);
});

test("unsubscribing from one channel leaves the others", async (t) => {
  const subscriber = client().subscribe(["leave", "stay"]);
  const heard = await listen(t, subscriber);
  await subscriber.unsubscribe(["leave"]);
  await until("nobody is subscribed", async () => (await subscribers("leave")) === 0);
  assert.equal(await tcp.publish("leave", "gone"), 0);
  assert.equal(await tcp.publish("stay", "here"), 1);
  assert.deepEqual(await heard.take(1), [{ channel: "stay", message: "here" }]);
});

test("the subscription of a pattern ends with its last subscriber", async (t) => {
  const subscriber = client().psubscribe("room:*");
  await listen(t, subscriber);
  assert.equal(await tcp.pubsub("NUMPAT"), 1);
  await subscriber.unsubscribe();
  await until("no pattern is left", async () => (await tcp.pubsub("NUMPAT")) === 0);
});

// What Upstash understands and plain Redis does not

test("SCAN says the type of each key", async () => {
  const redis = client();
  await tcp.pipeline().set("type:string", 1).hset("type:hash", "f", 1).rpush("type:list", 1).sadd("type:set", 1)
    .zadd("type:zset", 1, "m").xadd("type:stream", "*", "f", 1).exec();
  await tcp.mset(Object.fromEntries(range(100).map((index) => [`other:${index}`, index])));

  const found = {};
  let [cursor, pages] = ["0", 0];
  do {
    const [next, page] = await redis.scan(cursor, { match: "type:*", count: 10, withType: true });
    for (const { key, type } of page) found[key] = type;
    [cursor, pages] = [next, pages + 1];
  } while (cursor !== "0");
  const types = ["string", "hash", "list", "set", "zset", "stream"];
  assert.deepEqual(found, Object.fromEntries(types.map((type) => [`type:${type}`, type])));
  assert.ok(pages > 1, "the cursor leads on");
});

test("COPY of a key onto itself copies nothing, alone and among others", async () => {
  await tcp.mset("a", "1", "b", "2");
  const redis = client();
  assert.equal(await redis.copy("a", "a"), "NOT_COPIED");
  assert.equal(await redis.copy("a", "b"), "NOT_COPIED");
  assert.equal(await redis.copy("a", "b", { replace: true }), "COPIED");
  assert.equal(await tcp.get("b"), "1");
  assert.deepEqual(await redis.multi().copy("a", "a").copy("a", "c").exec(), ["NOT_COPIED", "COPIED"]);
});

test("UNLINK counts the keys that were there, and none is no mistake", async () => {
  await tcp.mset("a", "1", "b", "2");
  const redis = client();
  assert.equal(await redis.unlink("a", "b", "c"), 2);
  assert.equal(await tcp.dbsize(), 0);
  assert.equal(await redis.unlink(), 0);
});

// Tokens

test("the read-only token reads", async (t) => {
  const redis = plainClient({ token: readOnlyToken });
  await tcp.set("k", "v");
  await tcp.hset("h", "f", "v");
  assert.equal(await redis.get("k"), "v");
  assert.deepEqual(await redis.hgetall("h"), { f: "v" });
  assert.deepEqual(await redis.pipeline().get("k").exists("h").exec(), ["v", 1]);
  const heard = await listen(t, redis.subscribe("chat"));
  await tcp.publish("chat", "hello");
  assert.deepEqual(await heard.take(1), [{ channel: "chat", message: "hello" }]);
});

const REFUSED = {
  set: (redis) => redis.set("k", "w"),
  del: (redis) => redis.del("k"),
  eval: (redis) => redis.eval("return 1", [], []),
  evalsha: (redis) => redis.evalsha(sha1("return 1"), [], []),
  keys: (redis) => redis.keys("*"),
  scan: (redis) => redis.scan(0),
  publish: (redis) => redis.publish("chat", "hello"),
  flushall: (redis) => redis.flushall(),
};
for (const [command, call] of Object.entries(REFUSED)) {
  test(`the read-only token is refused ${command}`, async (t) => {
    await tcp.set("k", "v");
    const requests = watchRequests(t);
    const answer = call(plainClient({ token: readOnlyToken }));
    await refuses(answer, `${noPermission(command)}, command was: ${JSON.stringify(requests()[0].body)}`);
    assert.equal(await tcp.get("k"), "v");
  });
}

test("the read-only token is refused what writes, also in a pipeline and a transaction", async () => {
  await tcp.set("k", "v");
  const redis = client({ token: readOnlyToken });
  assert.deepEqual(await redis.pipeline().get("k").set("k", "w").exec({ keepErrors: true }), [
    { result: "v", error: undefined },
    { result: undefined, error: noPermission("set") },
  ]);
  await refuses(
    redis.multi().get("k").set("k", "w").exec(),
    `${noPermission("set")}, command was: [["get","k"],["set","k","w"]]`,
  );
  assert.equal(await tcp.get("k"), "v");
});

test("a wrong token is refused in Upstash's words, also a subscription", async () => {
  const words = "WRONGPASS invalid or missing auth token. "
    + "See https://docs.upstash.com/redis/troubleshooting/http_unauthorized for details.";
  const redis = plainClient({ token: "wrong" });
  await refuses(redis.get("k"), `${words}, command was: ["get","k"]`);

  const subscriber = redis.subscribe("secret");
  const errors = new Inbox();
  subscriber.on("error", (error) => errors.put(error.message));
  assert.deepEqual(await errors.take(1), [`${words}, command was: []`]);
  assert.equal(await subscribers("secret"), 0);
});
