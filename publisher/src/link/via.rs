//! A link as the `redis` library's scripts see a connection; and which key a command touches.

use redis::{Arg, Cmd, Pipeline, RedisError, RedisFuture, Value, aio::ConnectionLike};

use super::{Link, Trouble};

/// A link on which everything goes to where one key is: a script is loaded where it will be called.
pub(super) struct Via<'a> {
    link: &'a Link,
    key: &'a str,
    /// The last error is of the making of a connection.
    connecting: bool,
}

impl<'a> Via<'a> {
    pub(super) fn new(link: &'a Link, key: &'a str) -> Self {
        Self { link, key, connecting: false }
    }

    /// What kind of trouble the library's error was.
    pub(super) fn trouble(&self, error: RedisError) -> Trouble {
        if self.connecting { Trouble::Connecting(error) } else { Trouble::Answer(error) }
    }
}

impl ConnectionLike for Via<'_> {
    fn req_packed_command<'b>(&'b mut self, command: &'b Cmd) -> RedisFuture<'b, Value> {
        Box::pin(async move {
            self.link.ask(command, Some(self.key.as_bytes())).await.map_err(|trouble| match trouble {
                Trouble::Connecting(error) => {
                    self.connecting = true;
                    error
                }
                Trouble::Answer(error) => error,
            })
        })
    }

    fn req_packed_commands<'b>(&'b mut self, _: &'b Pipeline, _: usize, _: usize) -> RedisFuture<'b, Vec<Value>> {
        Box::pin(async { Err(std::io::Error::other("a script is no pipeline").into()) })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// The key that a command touches: its first argument. Of those that have none there, the library sends only `EVALSHA`
/// and `SCRIPT LOAD`, with the key beside them.
pub(super) fn key(command: &Cmd) -> Option<&[u8]> {
    match command.args_iter().nth(1)? {
        Arg::Simple(key) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_command_is_its_first_argument() {
        let mut command = redis::cmd("HGETALL");
        assert_eq!(key(&command), None);
        assert_eq!(key(command.arg("batch:progress:a").arg("x")), Some(b"batch:progress:a".as_slice()));
    }
}
