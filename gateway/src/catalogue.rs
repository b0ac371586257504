//! Which commands a server knows, learned by asking it before a command is sent for the first time.
//!
//! Redis answers an unknown command with an error line that repeats the first 128 bytes of its arguments,
//! cut wherever that falls. Half a character there makes the client library give up the connection that all
//! requests share. So an unknown command is never sent; it is refused here, in Upstash's words.

use redis_rest::{Reply, refusal};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

/// May be sent, or is refused in these words.
pub(crate) type Verdict = Result<(), String>;

/// Names that are known to the server behind one connection. Cheap to clone; clones learn together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue(Arc<RwLock<HashSet<Vec<u8>>>>);

impl Catalogue {
    /// Whether `name`, in any case, was learned.
    pub(crate) fn knows(&self, name: &[u8]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&name.to_ascii_uppercase())
    }

    /// Takes up the server's answer to `COMMAND INFO name`. Only "there is none" refuses: a user without the
    /// right to ask still has its commands.
    pub(crate) fn learn(&self, name: &[u8], answer: Option<&Reply>) -> Verdict {
        if answer.and_then(Reply::as_array).is_some_and(|infos| infos == [Reply::Nil]) {
            return Err(refusal::not_available(&String::from_utf8_lossy(name)));
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_uppercase());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_the_server_does_not_have_is_refused_and_asked_for_again() {
        let catalogue = Catalogue::default();
        let refused = catalogue.learn(b"FOO", Some(&Reply::Array(vec![Reply::Nil]))).unwrap_err();
        assert!(refused.starts_with("ERR Command is not available: 'FOO'."), "{refused}");
        assert!(!catalogue.knows(b"FOO"));
    }

    #[test]
    fn a_known_command_is_asked_for_once() {
        let catalogue = Catalogue::default();
        let info = Reply::Array(vec![Reply::Array(vec![Reply::Bulk(b"get".to_vec())])]);
        assert_eq!(catalogue.learn(b"get", Some(&info)), Ok(()));
        assert!(catalogue.knows(b"GET"));
    }

    #[test]
    fn a_server_that_does_not_tell_refuses_nothing() {
        let noperm = Reply::Error("NOPERM this user has no permissions".into());
        assert_eq!(Catalogue::default().learn(b"GET", Some(&noperm)), Ok(()));
    }
}
