//! The Redis model is true to the real script: the same calls, on both, give the same replies, leave the same fields and
//! publish the same messages.

use std::collections::BTreeMap;

use ::redis::{Script, aio::MultiplexedConnection, aio::PubSub, cmd};
use futures::StreamExt;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use stack::RedisServer;
use wire::{
    BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, keys,
    script::{self, Call, Reply, Settings, UPDATE_LUA},
};

use crate::redis::{Redis, Value};

const SETTINGS: Settings<'_> = Settings::new("", 60);
/// Each is some ten commands on a server of its own.
const CASES: u32 = 300;

#[derive(Debug, Clone)]
enum Step {
    /// Relative to a version, or everything.
    Update(Changes),
    Fill(Changes),
    Invalidate,
    Delete,
    /// A string stands under the key.
    Foreign,
    /// A hash that is no batch of ours, or not a whole one.
    ForeignHash(BTreeMap<String, String>),
}

fn changes() -> impl Strategy<Value = Changes> {
    let status = prop_oneof![
        3 => Just(BatchStatus::Processing),
        1 => Just(BatchStatus::Completed),
        1 => Just(BatchStatus::Cancelled),
    ];
    let owner = proptest::option::weighted(0.3, "[a-c]");
    (1..4_u64, 1..7_u64, 0..7_u64, any::<bool>(), status, owner, vec((0..4_u32, 1..7_u64), 0..4)).prop_map(
        |(epoch, version, from, full, status, owner, photos)| {
            let position = |version| Position::new(epoch, version).unwrap();
            let done = if status == BatchStatus::Completed { 4 } else { 1 };
            let counts = Counts { total: 4, queued: 4 - done, completed: done, ..Counts::default() };
            let head = Head::new(batch(), position(version), status, counts, String::new());
            let photos = photos.into_iter().map(|(id, at)| photo(id, at.min(version))).collect();
            Changes::new((!full).then(|| position(from.min(version))), head, photos).owned_by(owner)
        },
    )
}

fn photo(id: u32, version: u64) -> Photo {
    let (photo_id, status) = (PhotoId::new(&format!("p{id}")).unwrap(), PhotoStatus::Completed);
    Photo::new(photo_id, status, version)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let field = prop_oneof![
        Just(("epoch", "2")),
        Just(("version", "3")),
        Just(("epoch", "x")),
        Just(("version", "")),
        Just(("ended", "1")),
        Just(("owner", "b")),
        Just(("photo:p9", "{}")),
        Just(("progress", "10")),
    ];
    let foreign = vec(field, 1..4)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    let step = prop_oneof![
        12 => changes().prop_map(Step::Update),
        3 => changes().prop_map(|changes| Step::Fill(Changes::new(None, changes.head, changes.photos).owned_by(changes.owner))),
        1 => Just(Step::Invalidate),
        1 => Just(Step::Delete),
        1 => Just(Step::Foreign),
        2 => foreign.prop_map(Step::ForeignHash),
    ];
    vec(step, 1..16)
}

fn batch() -> BatchId {
    BatchId::new("a").unwrap()
}

/// The real script on a real server.
struct Real {
    connection: MultiplexedConnection,
    messages: PubSub,
    key: String,
    channel: String,
}

impl Real {
    async fn call(&mut self, call: &Call) -> (Reply, bool) {
        let script = Script::new(UPDATE_LUA);
        let mut invocation = script.prepare_invoke();
        invocation.key(&call.key).arg(&call.args);
        let (reply, replaced): (String, i64) = invocation.invoke_async(&mut self.connection).await.unwrap();
        (Reply::parse(&reply).unwrap(), replaced == 1)
    }

    async fn delete(&mut self) {
        cmd("DEL").arg(&self.key).exec_async(&mut self.connection).await.unwrap();
    }

    async fn put(&mut self, value: &Value) {
        self.delete().await;
        let put = match value {
            Value::Other => cmd("SET").arg(&self.key).arg("50 %").to_owned(),
            Value::Hash(fields) => cmd("HSET").arg(&self.key).arg(fields).to_owned(),
        };
        put.exec_async(&mut self.connection).await.unwrap();
    }

    async fn value(&mut self) -> Option<Value> {
        let kind: String = cmd("TYPE").arg(&self.key).query_async(&mut self.connection).await.unwrap();
        match kind.as_str() {
            "none" => None,
            "hash" => Some(Value::Hash(cmd("HGETALL").arg(&self.key).query_async(&mut self.connection).await.unwrap())),
            _ => Some(Value::Other),
        }
    }

    /// What was published since the last time.
    async fn published(&mut self) -> Vec<String> {
        const END: &str = "end";
        cmd("PUBLISH").arg(&self.channel).arg(END).exec_async(&mut self.connection).await.unwrap();
        let mut messages = self.messages.on_message();
        let mut published = Vec::new();
        loop {
            let next = tokio::time::timeout(stack::GUARD, messages.next()).await.expect("a message in time");
            let message: String = next.expect("a message").get_payload().unwrap();
            if message == END {
                return published;
            }
            published.push(message);
        }
    }
}

async fn same(steps: &[Step], real: &mut Real) {
    real.delete().await;
    let (mut model, mut published) = (Redis::default(), Vec::new());
    for step in steps {
        let call = match step {
            Step::Update(changes) => script::update(SETTINGS, changes, 7).unwrap(),
            Step::Fill(changes) => script::fill(SETTINGS, changes).unwrap(),
            Step::Invalidate => script::invalidate(SETTINGS, &batch()),
            Step::Delete => {
                model.delete(&real.key);
                real.delete().await;
                continue;
            }
            Step::Foreign => {
                model.set(&real.key, Value::Other);
                real.put(&Value::Other).await;
                continue;
            }
            Step::ForeignHash(fields) => {
                model.set(&real.key, Value::Hash(fields.clone()));
                real.put(&Value::Hash(fields.clone())).await;
                continue;
            }
        };
        let done = model.call(&call);
        assert_eq!((done.reply, done.replaced), real.call(&call).await, "{call:?}");
        assert_eq!(model.get(&real.key), real.value().await.as_ref(), "after {call:?}");
        published.extend(done.published.map(|(channel, message)| {
            assert_eq!(channel, real.channel);
            message
        }));
    }
    assert_eq!(published, real.published().await);
}

#[test]
fn the_model_of_redis_does_what_the_script_does_in_redis() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, mut real) = runtime.block_on(async {
        let server = RedisServer::start().await.unwrap();
        let (key, channel) = (keys::hash("", &batch()), keys::channel("", &batch()));
        let (connection, messages) = (server.connect().await.unwrap(), server.messages(&channel).await.unwrap());
        (server, Real { connection, messages, key, channel })
    });
    let real = std::cell::RefCell::new(&mut real);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let result = runner.run(&steps(), |steps| {
        runtime.block_on(same(&steps, &mut real.borrow_mut()));
        Ok(())
    });
    drop(server);
    result.unwrap_or_else(|error| panic!("{error}"));
}
