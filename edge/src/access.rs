//! Who is asking, and what they may see.
//!
//! For now there is the development switch only: with `TRUST_USER_HEADER=true` everyone is let in, as the user named by
//! `x-user-id` where there is one.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    problem::{Kind, Problem},
    settings::Settings,
};

/// The header that names the user in development.
pub const USER_HEADER: &str = "x-user-id";

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The user; `None`: a developer, who sees everything.
    pub user: Option<String>,
}

impl Caller {
    /// Lets a caller in.
    ///
    /// # Errors
    /// 401 where nothing proves who is asking.
    pub fn admit(settings: &Settings, user_header: Option<String>) -> Result<Self, Problem> {
        if settings.trust_user_header {
            return Ok(Self { user: user_header });
        }
        Err(Problem::new(
            Kind::Unauthorized,
            "This deployment has no way to tell who is asking. For local development set TRUST_USER_HEADER=true.",
        ))
    }

    /// Whether a batch with this owner may be shown. A batch without an owner is everybody's who was let in.
    pub fn may_see(&self, owner: Option<&str>) -> bool {
        match (&self.user, owner) {
            (Some(user), Some(owner)) => user == owner,
            _ => true,
        }
    }
}

/// Checks the token of the metrics route, given as `Authorization: Bearer`.
///
/// # Errors
/// 401, also where no token is set: figures are never public by accident.
pub fn admit_metrics(settings: &Settings, authorization: Option<&str>) -> Result<(), Problem> {
    let Some(expected) = &settings.metrics_token else {
        return Err(Problem::new(Kind::Unauthorized, "Metrics are closed. Set METRICS_TOKEN to open them."));
    };
    let given = authorization.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(Kind::Unauthorized, "Send the METRICS_TOKEN as `Authorization: Bearer …`."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn without_the_development_switch_nobody_is_let_in() {
        let closed = settings(&[]);
        assert_eq!(Caller::admit(&closed, Some("user-1".into())).unwrap_err().status(), 401);
        let open = settings(&[("TRUST_USER_HEADER", "true")]);
        assert_eq!(Caller::admit(&open, None), Ok(Caller { user: None }));
    }

    #[test]
    fn a_batch_is_seen_by_its_owner() {
        let caller = Caller { user: Some("user-1".into()) };
        assert!(caller.may_see(Some("user-1")) && caller.may_see(None));
        assert!(!caller.may_see(Some("user-2")));
        assert!(Caller { user: None }.may_see(Some("user-2")));
    }

    #[test]
    fn metrics_open_to_their_token_alone() {
        let set = settings(&[("METRICS_TOKEN", "secret")]);
        assert_eq!(admit_metrics(&set, Some("Bearer secret")), Ok(()));
        for wrong in [None, Some("secret"), Some("Bearer secre"), Some("Bearer ")] {
            assert!(admit_metrics(&set, wrong).is_err(), "{wrong:?}");
        }
        assert!(admit_metrics(&settings(&[]), Some("Bearer ")).is_err());
    }
}
