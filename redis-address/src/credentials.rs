//! User and password.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;

use crate::AddressError;

/// Who a connection belongs to.
///
/// ```
/// use batchcast_redis_address::Credentials;
///
/// let watcher = Credentials { user: Some("watcher".into()), password: Some("hunter2".into()) };
/// assert!(!format!("{watcher:?}").contains("hunter2")); // May be logged.
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None`: the default user.
    pub user: Option<String>,
    /// The password; `None`: none is sent.
    pub password: Option<String>,
}

impl Credentials {
    /// Reads `user:password`, each percent-encoded.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let decode = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            text.map(Cow::into_owned).map_err(|_| AddressError::Nodes("user or password is not UTF-8"))
        };
        let (user, password) = text.split_once(':').map_or((text, None), |(user, rest)| (user, Some(rest)));
        let user = (!user.is_empty()).then(|| decode(user)).transpose()?;
        Ok(Self { user, password: password.map(decode).transpose()? })
    }
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
