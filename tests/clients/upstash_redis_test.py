"""The official Python client of Upstash, upstash-redis, on the gateway.

UPSTASH_REDIS_REST_URL     the gateway; its Redis is emptied before each test
UPSTASH_REDIS_REST_TOKEN   its token
UPSTASH_READ_ONLY_TOKEN    its read-only token
"""

import asyncio
import hashlib
import os
import re
import unittest

from upstash_redis import Redis
from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError

NOT_A_NUMBER = "ERR value is not an integer or out of range"
TEXTS = ["žluťoučký kůň", "日本語", "العربية", "👩‍👩‍👧‍👦", "\x00 and \u2028", 'a "quoted" \\ line\r\n', "", "OK"]


def need(name):
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set. {__file__} says what it needs.")
    return value


URL = need("UPSTASH_REDIS_REST_URL")
TOKEN = need("UPSTASH_REDIS_REST_TOKEN")
READ_ONLY_TOKEN = need("UPSTASH_READ_ONLY_TOKEN")


def sha1(script):
    return hashlib.sha1(script.encode()).hexdigest()


def no_permission(command):
    return f"NOPERM this user has no permissions to run the '{command}' command or its subcommand"


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.redis = self.client(TOKEN)
        self.redis.flushall()
        self.redis.script_flush()

    def client(self, token, **options):
        """A client that does not try again: what fails shall be seen."""
        client = Redis(URL, token, rest_retries=0, **options)
        self.addCleanup(client.close)
        return client

    def refuses(self, message):
        return self.assertRaisesRegex(UpstashError, rf"^{re.escape(message)}\Z")


class Values(ClientTest):
    def test_text_in_any_script_arrives_unchanged_with_and_without_base64(self):
        for encoding in ("base64", None):
            redis = self.client(TOKEN, rest_encoding=encoding)
            for text in TEXTS:
                with self.subTest(encoding=encoding, text=text):
                    self.assertIs(redis.set(f"key {text}", text), True)
                    self.assertEqual(redis.get(f"key {text}"), text)
            redis.delete("list")
            redis.rpush("list", *TEXTS)
            self.assertEqual(redis.lrange("list", 0, -1), TEXTS)

    def test_what_is_not_there_is_none(self):
        self.assertIsNone(self.redis.get("none"))
        self.assertEqual(self.redis.mget("none", "none"), [None, None])
        self.assertEqual(self.redis.hgetall("none"), {})

    def test_a_hash_is_a_dict(self):
        fields = {"name": "café", "count": "3", "empty": ""}
        self.assertEqual(self.redis.hset("hash", values=fields), 3)
        self.assertEqual(self.redis.hgetall("hash"), fields)
        self.assertEqual(self.redis.hmget("hash", "count", "none"), ["3", None])

    def test_answers_have_the_types_of_the_client(self):
        self.assertEqual(self.redis.incr("n"), 1)
        self.assertEqual(self.redis.incrbyfloat("n", 1.5), 2.5)
        self.assertIs(self.redis.expire("n", 1000), True)
        self.assertIs(self.redis.expire("none", 1000), False)
        self.assertEqual(self.redis.type("n"), "string")
        self.assertEqual(self.redis.ping(), "PONG")
        self.assertEqual(self.redis.geoadd("places", (13.361389, 38.115556, "Palermo")), 1)
        self.assertAlmostEqual(self.redis.geopos("places", "Palermo")[0][0], 13.361389, places=5)

    def test_a_sorted_set_has_scores(self):
        scores = {"a": 1, "b": 2.5, "c": 1e300, "d": -1e300}
        self.assertEqual(self.redis.zadd("scores", scores), 4)
        in_order = [("d", -1e300), ("a", 1.0), ("b", 2.5), ("c", 1e300)]
        self.assertEqual(self.redis.zrange("scores", 0, -1, withscores=True), in_order)
        self.assertEqual(self.redis.zrange("scores", 0, -1), [member for member, _ in in_order])
        self.assertEqual(self.redis.zscore("scores", "b"), 2.5)

    def test_a_scan_finds_each_key_and_no_other(self):
        keys = [f"key:{index}" for index in range(200)]
        self.redis.mset({key: "v" for key in keys} | {f"other:{index}": "v" for index in range(50)})
        self.redis.hset("key:hash", "f", "v")
        self.assertEqual(self.scan(match="key:*", count=20), sorted([*keys, "key:hash"]))
        self.assertEqual(self.scan(match="key:*", type="hash"), ["key:hash"])

    def scan(self, **options):
        cursor, found = self.redis.scan(0, **options)
        while cursor != 0:
            cursor, page = self.redis.scan(cursor, **options)
            found += page
        return sorted(set(found))


class SeveralCommands(ClientTest):
    def test_a_pipeline_is_answered_in_its_order(self):
        pipeline = self.redis.pipeline().set("a", 1).incr("a").get("none").hset("h", "f", "é").hgetall("h")
        self.assertEqual(pipeline.exec(), [True, 2, None, 1, {"f": "é"}])

    def test_a_pipeline_of_1000_commands_is_answered_in_its_order(self):
        pipeline = self.redis.pipeline()
        for _ in range(1000):
            pipeline.incr("n")
        self.assertEqual(pipeline.exec(), list(range(1, 1001)))

    def test_a_pipeline_with_a_failing_item_raises_its_error_and_the_others_have_run(self):
        self.redis.set("text", "no number")
        with self.refuses(NOT_A_NUMBER):
            self.redis.pipeline().set("before", 1).incr("text").set("after", 1).exec()
        self.assertEqual(self.redis.mget("before", "text", "after"), ["1", "no number", "1"])

    def test_a_transaction_is_answered_item_by_item(self):
        transaction = self.redis.multi().set("n", 7).incr("n").get("n").zadd("z", {"m": 1})
        transaction.zrange("z", 0, -1, withscores=True)
        self.assertEqual(transaction.exec(), [True, 8, "8", 1, [("m", 1.0)]])

    def test_a_transaction_with_a_command_that_redis_does_not_take_is_discarded_whole(self):
        # The client expects a list and stumbles over the one error of the whole transaction.
        with self.assertRaises((UpstashError, AttributeError)):
            self.redis.multi().set("a", 1).execute(["GET"]).exec()
        self.assertEqual(self.redis.exists("a"), 0)

    def test_requests_of_the_async_client_at_once_are_each_answered_with_their_own_result(self):
        async def echo_all():
            async with AsyncRedis(URL, TOKEN, rest_retries=0) as redis:
                return await asyncio.gather(*(redis.echo(f"request {index}") for index in range(200)))

        self.assertEqual(asyncio.run(echo_all()), [f"request {index}" for index in range(200)])


class Scripts(ClientTest):
    SCRIPT = "return {KEYS[1], ARGV[1], 7, {'OK'}}"

    def test_a_script_runs_with_its_keys_and_arguments(self):
        self.assertEqual(self.redis.eval(self.SCRIPT, keys=["clé"], args=["v,\n"]), ["clé", "v,\n", 7, ["OK"]])

    def test_a_script_that_was_loaded_exists_and_runs_by_its_digest_until_scripts_are_flushed(self):
        digest = sha1(self.SCRIPT)
        self.assertEqual(self.redis.script_load(self.SCRIPT), digest)
        self.assertEqual(self.redis.script_exists(digest, sha1("another")), [True, False])
        self.assertEqual(self.redis.evalsha(digest, keys=["k"], args=["v"]), ["k", "v", 7, ["OK"]])
        self.assertIs(self.redis.script_flush(), True)
        self.assertEqual(self.redis.script_exists(digest), [False])
        with self.refuses("NOSCRIPT No matching script. Please use EVAL."):
            self.redis.evalsha(digest, keys=["k"], args=["v"])

    def test_a_script_with_the_flag_of_upstash_is_known_by_the_digest_that_its_client_computes(self):
        script = "#!lua flags=allow-key-locking\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])"
        with self.assertRaisesRegex(UpstashError, "^NOSCRIPT "):
            self.redis.evalsha(sha1(script), keys=["n"], args=["4"])
        self.assertEqual(self.redis.eval(script, keys=["n"], args=["4"]), 4)
        self.assertEqual(self.redis.evalsha(sha1(script), keys=["n"], args=["3"]), 7)
        self.assertEqual(self.redis.script_load(script), sha1(script))

    def test_a_read_only_script_reads_and_may_not_write(self):
        self.redis.set("k", "v")
        self.assertEqual(self.redis.eval_ro("return redis.call('GET', KEYS[1])", keys=["k"]), "v")
        with self.assertRaisesRegex(UpstashError, r"^ERR Write commands are not allowed from read-only scripts\."):
            self.redis.eval_ro("return redis.call('SET', KEYS[1], 'w')", keys=["k"])
        self.assertEqual(self.redis.get("k"), "v")


class Refusals(ClientTest):
    def test_an_error_of_redis_arrives_in_its_words(self):
        self.redis.set("text", "no number")
        with self.refuses(NOT_A_NUMBER):
            self.redis.incr("text")
        with self.refuses("WRONGTYPE Operation against a key holding the wrong kind of value"):
            self.redis.lpush("text", "x")

    def test_the_read_only_token_reads(self):
        self.redis.set("k", "v")
        self.redis.hset("h", "f", "v")
        reader = self.client(READ_ONLY_TOKEN)
        self.assertEqual(reader.get("k"), "v")
        self.assertEqual(reader.hgetall("h"), {"f": "v"})
        self.assertEqual(reader.pipeline().get("k").exists("h").exec(), ["v", 1])

    def test_the_read_only_token_is_refused_what_is_more_than_reading(self):
        self.redis.set("k", "v")
        reader = self.client(READ_ONLY_TOKEN)
        refused = {
            "set": lambda: reader.set("k", "w"),
            "eval": lambda: reader.eval("return 1"),
            "evalsha": lambda: reader.evalsha(sha1("return 1")),
            "keys": lambda: reader.keys("*"),
            "scan": lambda: reader.scan(0),
            "flushall": lambda: reader.flushall(),
        }
        for command, call in refused.items():
            with self.subTest(command), self.refuses(no_permission(command)):
                call()
        self.assertEqual(self.redis.get("k"), "v")

    def test_a_wrong_token_is_refused_in_the_words_of_upstash(self):
        with self.refuses(
            "WRONGPASS invalid or missing auth token. "
            "See https://docs.upstash.com/redis/troubleshooting/http_unauthorized for details."
        ):
            self.client("wrong").get("k")


class SyncTokens(ClientTest):
    def test_each_write_is_answered_with_another_sync_token(self):
        tokens = []
        for _ in range(3):
            self.redis.incr("n")
            tokens.append(self.redis._sync_token)
        self.assertEqual(len(set(filter(None, tokens))), 3, tokens)


if __name__ == "__main__":
    unittest.main()
