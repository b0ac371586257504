//! Which commands a server knows and which of them only read, learned by asking it before a command is sent for the
//! first time.
//!
//! Redis answers an unknown command with an error line that repeats the first 128 bytes of its arguments,
//! cut wherever that falls. Half a character there makes the client library give up the connection that all
//! requests share. So an unknown command is never sent; it is refused here, in Upstash's words.

use redis_rest::{Reply, refusal};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Reads, but is refused to a read-only token all the same, as at Upstash: it walks through all keys.
const REFUSED_TO_READERS: &[u8] = b"SCAN";

/// Not in Redis' category of reads, and harmless.
const GRANTED_TO_READERS: [&[u8]; 2] = [b"PING", b"ECHO"];

/// What is known of a command.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    reads: Reads,
}

#[derive(Debug, Clone)]
enum Reads {
    Always,
    Never,
    /// Only these subcommands, in capitals.
    By(Arc<HashSet<Vec<u8>>>),
}

impl Known {
    /// Whether a read-only token may send it.
    pub(crate) fn only_reads(&self, args: &[Vec<u8>]) -> bool {
        match &self.reads {
            Reads::Always => true,
            Reads::Never => false,
            Reads::By(subcommands) => {
                args.get(1).is_some_and(|subcommand| subcommands.contains(&subcommand.to_ascii_uppercase()))
            }
        }
    }
}

/// Commands of the server behind one connection, by name in capitals. Cheap to clone; clones learn together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue(Arc<RwLock<HashMap<Vec<u8>, Known>>>);

impl Catalogue {
    /// What was learned of `name`, which is in capitals.
    pub(crate) fn look(&self, name: &[u8]) -> Option<Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Takes up the server's answer to `COMMAND INFO name`. Only "there is none" refuses, in words: a user without the
    /// right to ask still has its commands.
    pub(crate) fn learn(&self, name: &[u8], answer: &Reply) -> Result<Known, String> {
        let infos = answer.as_array().unwrap_or_default();
        if infos == [Reply::Nil] {
            return Err(refusal::not_available(&String::from_utf8_lossy(name)));
        }
        let reads = infos.first().map_or(Reads::Never, reads);
        let reads = match reads {
            _ if name == REFUSED_TO_READERS => Reads::Never,
            _ if GRANTED_TO_READERS.contains(&name) => Reads::Always,
            reads => reads,
        };
        let known = Known { reads };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_vec(), known.clone());
        Ok(known)
    }
}

/// Whether a command of this `COMMAND INFO` reads. Since Redis 7 the subcommands stand in the tenth part.
fn reads(info: &Reply) -> Reads {
    let parts = info.as_array().unwrap_or_default();
    if only_reads(parts) {
        return Reads::Always;
    }
    let subcommands = parts.get(9).and_then(Reply::as_array).unwrap_or_default();
    let reading = subcommands.iter().filter_map(|subcommand| {
        let parts = subcommand.as_array()?;
        // Named `object|encoding`.
        let (_, name) = parts.first()?.as_str()?.split_once('|')?;
        only_reads(parts).then(|| name.to_ascii_uppercase().into_bytes())
    });
    let reading: HashSet<Vec<u8>> = reading.collect();
    if reading.is_empty() { Reads::Never } else { Reads::By(Arc::new(reading)) }
}

/// In the category of reads and not in that of what is dangerous: the rights of Upstash's own read-only user.
fn only_reads(info: &[Reply]) -> bool {
    let categories = info.get(6).and_then(Reply::as_array).unwrap_or_default();
    let is_in = |name: &str| categories.iter().any(|category| category.as_str() == Some(name));
    is_in("@read") && !is_in("@dangerous")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    fn info(name: &str, categories: &[&str], subcommands: Vec<Reply>) -> Reply {
        let categories = Reply::Array(categories.iter().copied().map(bulk).collect());
        let nothing = || Reply::Array(Vec::new());
        let numbers = (0..4).map(|_| Reply::Int(0));
        let parts = [bulk(name), Reply::Int(2)].into_iter().chain(numbers).chain([categories, nothing(), nothing()]);
        Reply::Array(parts.chain([Reply::Array(subcommands)]).collect())
    }

    fn learn(name: &str, info: Reply) -> Known {
        Catalogue::default().learn(name.as_bytes(), &Reply::Array(vec![info])).unwrap()
    }

    fn args(words: &str) -> Vec<Vec<u8>> {
        words.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_command_the_server_does_not_have_is_refused_and_asked_for_again() {
        let catalogue = Catalogue::default();
        let refused = catalogue.learn(b"FOO", &Reply::Array(vec![Reply::Nil])).unwrap_err();
        assert!(refused.starts_with("ERR Command is not available: 'FOO'."), "{refused}");
        assert!(catalogue.look(b"FOO").is_none());
    }

    #[test]
    fn a_known_command_is_asked_for_once() {
        let catalogue = Catalogue::default();
        catalogue.learn(b"GET", &Reply::Array(vec![info("get", &["@read"], vec![])])).unwrap();
        assert!(catalogue.look(b"GET").is_some());
    }

    #[test]
    fn a_server_that_does_not_tell_refuses_nothing_but_to_readers() {
        let noperm = Reply::Error("NOPERM this user has no permissions".into());
        let known = Catalogue::default().learn(b"GET", &noperm).unwrap();
        assert!(!known.only_reads(&args("GET k")));
    }

    #[test]
    fn readers_are_let_read_what_is_not_dangerous() {
        assert!(learn("GET", info("get", &["@read", "@fast"], vec![])).only_reads(&args("get k")));
        assert!(!learn("SET", info("set", &["@write"], vec![])).only_reads(&args("set k v")));
        assert!(!learn("KEYS", info("keys", &["@read", "@dangerous"], vec![])).only_reads(&args("keys *")));
        assert!(!learn("SCAN", info("scan", &["@read"], vec![])).only_reads(&args("scan 0")));
        assert!(learn("PING", info("ping", &["@connection"], vec![])).only_reads(&args("ping")));
    }

    #[test]
    fn subcommands_have_rights_of_their_own() {
        let subcommands = vec![info("xinfo|stream", &["@read"], vec![]), info("xinfo|help", &["@slow"], vec![])];
        let xinfo = learn("XINFO", info("xinfo", &["@slow"], subcommands));
        assert!(xinfo.only_reads(&args("xinfo STREAM s")));
        assert!(!xinfo.only_reads(&args("xinfo help")));
        assert!(!xinfo.only_reads(&args("xinfo")));
    }
}
