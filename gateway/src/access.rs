//! Who may ask, and as whom they reach Redis: tokens and what they stand for.
//!
//! In scope: tokens, their comparison, their file. Out of scope: HTTP, and what a command does.

use crate::config::Secret;
use redis_address::Credentials;
use std::fmt;
use std::path::Path;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The most tokens: each request is compared with all of them.
pub(crate) const MAX_TOKENS: usize = 1_000;

/// The shortest token in a file, in bytes.
pub(crate) const MIN_TOKEN_BYTES: usize = 8;

/// What a token may do, beyond what Redis allows its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    All,
    /// Commands that read; subscriptions.
    Read,
}

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The place of its user's connections; 0 are those of `REDIS_URL`.
    pub(crate) backend: usize,
    pub(crate) rights: Rights,
}

/// A token that stands for an ACL user of Redis.
#[derive(Debug, Clone)]
pub(crate) struct UserToken {
    /// What the client presents.
    pub token: Secret,
    /// The user, with its password.
    pub credentials: Credentials,
}

/// All tokens of a gateway.
pub(crate) struct Access(Vec<(Secret, Grant)>);

impl Access {
    /// The standard token, the read-only one, and those of users, in the order of their backends.
    pub(crate) fn new(standard: &Secret, read_only: Option<&Secret>, users: &[UserToken]) -> Self {
        let mut tokens = vec![(standard.clone(), Grant { backend: 0, rights: Rights::All })];
        tokens.extend(read_only.map(|token| (token.clone(), Grant { backend: 0, rights: Rights::Read })));
        let users = users.iter().enumerate();
        tokens.extend(users.map(|(at, user)| (user.token.clone(), Grant { backend: at + 1, rights: Rights::All })));
        Self(tokens)
    }

    /// What the token stands for. Takes the same time for any token of one length: all are compared, and none ends it.
    pub(crate) fn grant(&self, presented: &[u8]) -> Option<Grant> {
        let mut found = 0_u32;
        for (at, (token, _)) in (1..).zip(&self.0) {
            let equal: Choice = token.expose().as_bytes().ct_eq(presented);
            found = u32::conditional_select(&found, &at, equal);
        }
        self.0.get((found as usize).checked_sub(1)?).map(|(_, grant)| *grant)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({} tokens)", self.0.len())
    }
}

/// Why a file of tokens cannot be used. Never says a token or a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// A line is not understood.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are too many.
    #[error("{0} tokens; at most {MAX_TOKENS} are taken")]
    TooMany(usize),
}

/// Reads a file of tokens.
///
/// # Errors
/// [`TokenFileError`], with the line.
pub(crate) fn read_tokens(file: &Path) -> Result<Vec<UserToken>, TokenFileError> {
    parse_tokens(&std::fs::read_to_string(file)?)
}

/// Reads lines of `TOKEN USER PASSWORD`, separated by white space. Empty lines and those that begin with `#` say
/// nothing.
fn parse_tokens(text: &str) -> Result<Vec<UserToken>, TokenFileError> {
    let mut tokens: Vec<UserToken> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let refuse = |problem| TokenFileError::Line { line, problem };
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            [token, user, password] => {
                if token.len() < MIN_TOKEN_BYTES {
                    return Err(refuse("the token is shorter than 8 bytes"));
                }
                if tokens.iter().any(|known| known.token.expose() == token) {
                    return Err(refuse("the token stands on an earlier line, too"));
                }
                let credentials = Credentials { user: Some(user.to_owned()), password: Some(password.to_owned()) };
                tokens.push(UserToken { token: token.into(), credentials });
            }
            _ => return Err(refuse("a line is TOKEN USER PASSWORD")),
        }
    }
    if tokens.len() > MAX_TOKENS { Err(TokenFileError::TooMany(tokens.len())) } else { Ok(tokens) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_stands_for_its_own() {
        let users = parse_tokens("# ours\n\ntoken-of-ann ann s3cret\n  token-of-bob\tbob  hunter2 \n").unwrap();
        let access = Access::new(&"standard".into(), Some(&"read-only".into()), &users);
        let all = |backend| Some(Grant { backend, rights: Rights::All });
        assert_eq!(access.grant(b"standard"), all(0));
        assert_eq!(access.grant(b"read-only"), Some(Grant { backend: 0, rights: Rights::Read }));
        assert_eq!(access.grant(b"token-of-ann"), all(1));
        assert_eq!(access.grant(b"token-of-bob"), all(2));
        for wrong in [&b"token-of-eve"[..], b"", b"standard ", b"standar"] {
            assert_eq!(access.grant(wrong), None);
        }
        assert!(!format!("{access:?} {users:?}").contains("s3cret"));
        assert!(!format!("{access:?} {users:?}").contains("token-of"));
    }

    #[test]
    fn a_line_that_is_wrong_is_named_without_what_it_says() {
        for (text, words) in [
            ("token-of-ann ann", "line 1: a line is TOKEN USER PASSWORD"),
            ("\ntoken-of-ann ann pass word", "line 2: a line is TOKEN USER PASSWORD"),
            ("short ann pass", "line 1: the token is shorter than 8 bytes"),
            ("token-of-ann ann a\ntoken-of-ann bob b", "line 2: the token stands on an earlier line, too"),
        ] {
            assert_eq!(parse_tokens(text).unwrap_err().to_string(), words);
        }
    }
}
