//! Which commands must not pass over REST, and in which words they are refused.
//!
//! Requests share connections. So a command that waits would hold up everybody's, and one that changes the
//! connection would change everybody's. What a token may do is not decided here.
//!
//! ```
//! use batchcast_redis_rest::{Encoding, Reply, refusal::refusal, request};
//!
//! // A server, before it passes a command on over a connection that others use too.
//! let args = request::parse_command(br#"["BLPOP","queue","0"]"#)?;
//! let answer = refusal(&args).map(|words| Reply::Error(words).to_body(Encoding::Plain));
//! assert!(answer.is_some_and(|body| body.starts_with(r#"{"error":"ERR Command is not available: 'BLPOP'."#)));
//! # Ok::<(), batchcast_redis_rest::request::RequestError>(())
//! ```

/// Commands that wait for another client or for a replica.
const BLOCKING: &[&str] =
    &["BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT", "WAITAOF"];

/// Commands that change the connection, speak outside request and reply, or have an endpoint of their own.
const CONNECTION: &[&str] = &[
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
];

/// The longest command name that is repeated in a refusal, in bytes.
const QUOTED_NAME_BYTES: usize = 64;

/// The error text for a command that must not pass; `None` for one that may.
///
/// ```
/// use batchcast_redis_rest::refusal::refusal;
/// let args = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
/// assert_eq!(refusal(&args(&["get", "k"])), None);
/// assert!(refusal(&args(&["multi"])).is_some());
/// ```
pub fn refusal(args: &[Vec<u8>]) -> Option<String> {
    let Some((name, rest)) = args.split_first() else {
        return Some("ERR empty command".to_owned());
    };
    // Names of commands are plain ASCII. Redis repeats an unknown name in its error line, where other
    // bytes would end the text of a reply that clients read line by line.
    // One with a bar is how Redis itself names a subcommand: it tells about it and does not take it.
    if name.len() > QUOTED_NAME_BYTES || !name.iter().all(u8::is_ascii_graphic) || name.contains(&b'|') {
        return Some(not_available(&String::from_utf8_lossy(&name[..name.len().min(QUOTED_NAME_BYTES)])));
    }
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    if CONNECTION.contains(&name.as_str()) {
        return Some(format!("ERR Command \"{name}\" is not allowed in REST or it has a special context path"));
    }
    (BLOCKING.contains(&name.as_str()) || blocks_by_option(&name, rest)).then(|| not_available(&name))
}

/// `XREAD` and `XREADGROUP` wait when `BLOCK` is one of their options, which come in any order before `STREAMS`.
/// Behind it, and as the value of an option, it is a name like any other.
fn blocks_by_option(name: &str, args: &[Vec<u8>]) -> bool {
    if !matches!(name, "XREAD" | "XREADGROUP") {
        return false;
    }
    let mut at = 0;
    while let Some(option) = args.get(at) {
        at += match option.to_ascii_uppercase().as_slice() {
            b"BLOCK" => return true,
            b"STREAMS" => return false,
            b"GROUP" => 3,
            b"COUNT" => 2,
            _ => 1,
        };
    }
    false
}

/// The error text for a command that the server does not have, or does not let through.
///
/// ```
/// use batchcast_redis_rest::refusal::not_available;
///
/// // In the place of Redis' own "unknown command", which clients of Upstash do not know.
/// assert!(not_available("FOO").starts_with("ERR Command is not available: 'FOO'."));
/// ```
pub fn not_available(name: &str) -> String {
    format!(
        "ERR Command is not available: '{name}'. \
         See https://upstash.com/docs/redis/overall/rediscompatibility for details"
    )
}

/// The error text for a command that the token's rights do not cover.
///
/// ```
/// use batchcast_redis_rest::refusal::no_permission;
///
/// // For a token that may only read. Clients look for the first word.
/// assert!(no_permission("SET").starts_with("NOPERM ") && no_permission("SET").contains("'set'"));
/// ```
pub fn no_permission(name: &str) -> String {
    format!("NOPERM this user has no permissions to run the '{}' command or its subcommand", name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> Option<String> {
        refusal(&words.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// Pinned: Upstash's words.
    #[test]
    fn connection_commands_are_refused_in_upstash_words() {
        let expected = "ERR Command \"MULTI\" is not allowed in REST or it has a special context path";
        assert_eq!(refused("multi").as_deref(), Some(expected));
        for name in CONNECTION {
            assert!(refused(name).is_some(), "{name}");
        }
    }

    #[test]
    fn commands_that_wait_are_refused() {
        let expected = "ERR Command is not available: 'BLPOP'. \
                        See https://upstash.com/docs/redis/overall/rediscompatibility for details";
        assert_eq!(refused("BlPop k 0").as_deref(), Some(expected));
        assert!(refused("XREAD COUNT 2 block 0 STREAMS s $").is_some());
        assert!(refused("XREADGROUP GROUP g c BLOCK 0 STREAMS s >").is_some());
        assert!(refused("XREADGROUP BLOCK 0 GROUP g c STREAMS s >").is_some());
        assert!(refused("XREADGROUP COUNT 1 GROUP STREAMS c NOACK BLOCK 0 STREAMS s >").is_some());
    }

    #[test]
    fn block_as_a_name_is_not_an_option() {
        assert_eq!(refused("XREAD COUNT 2 STREAMS block 0"), None);
        assert_eq!(refused("XREADGROUP GROUP block block STREAMS s >"), None);
        assert_eq!(refused("XREADGROUP COUNT block GROUP g c STREAMS s >"), None);
        assert_eq!(refused("SET block BLOCK"), None);
    }

    #[test]
    fn ordinary_commands_pass() {
        for command in ["PING", "get k", "EVALSHA abc 0", "JSON.SET k $ {}", "PUBLISH c m", "PUBSUB NUMSUB c"] {
            assert_eq!(refused(command), None, "{command}");
        }
    }

    #[test]
    fn a_name_that_no_command_has_is_refused() {
        assert!(refusal(&[b"G\xffT".to_vec()]).is_some());
        assert!(refusal(&[vec![b'A'; 10_000]]).unwrap().len() < 300);
        assert!(refusal(&[b"GET\r\nX".to_vec()]).is_some());
        assert!(refused("object|encoding k").is_some());
        assert!(refusal(&[]).is_some());
    }
}
