//! What a token gives a right to.

use serde::{Deserialize, Serialize};

use crate::BatchId;

/// Who is asking, and which batches they may see.
///
/// ```
/// use batchcast_wire::{BatchId, token::{Batches, Grant}};
///
/// // A link to one batch for someone without an account.
/// let holiday = BatchId::new("holiday")?;
/// let guest = Grant::new(None, Batches::These(vec![holiday.clone()]));
/// assert!(guest.may_see(&holiday, Some("anna")) && !guest.may_change(&holiday, Some("anna")));
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Grant {
    /// `sub`: the user. They see the batches that they own.
    pub subject: Option<String>,
    /// `batches`: seen whoever owns them.
    pub batches: Batches,
    /// A ticket's only batch.
    pub only: Option<BatchId>,
}

/// The claim `batches`. Another form of it would be another claim, so that all may be matched.
///
/// ```
/// use batchcast_wire::token::{Batches, Grant};
///
/// // For a support desk that may look at each batch.
/// let support = Grant::new("support".to_owned(), Batches::All);
/// assert!(support.may_see(&"holiday".parse()?, Some("anna")));
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Batches {
    /// `"*"`: each one.
    All,
    /// These.
    These(Vec<BatchId>),
}

impl Grant {
    /// A user, or a guest (`None`), who sees these batches beside their own.
    ///
    /// ```
    /// use batchcast_wire::token::{Batches, Grant};
    ///
    /// let support = Grant::new("support".to_owned(), Batches::All);
    /// assert!(support.may_see(&"holiday".parse()?, Some("anna")) && support.only.is_none());
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn new(subject: impl Into<Option<String>>, batches: Batches) -> Self {
        Self { subject: subject.into(), batches, only: None }
    }

    /// A user, who sees what they own.
    ///
    /// ```
    /// use batchcast_wire::token::Grant;
    ///
    /// let anna = Grant::user("anna");
    /// assert!(anna.may_see(&"holiday".parse()?, Some("anna")) && !anna.may_see(&"holiday".parse()?, Some("bert")));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn user(subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), batches: Batches::none(), only: None }
    }

    /// Whether a batch with this owner may be seen: one that the token names, or one's own.
    ///
    /// ```
    /// use batchcast_wire::token::Grant;
    ///
    /// let (anna, owner) = (Grant::user("anna"), None);
    /// // A batch that nobody owns is not everybody's.
    /// assert!(!anna.may_see(&"holiday".parse()?, owner));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn may_see(&self, batch: &BatchId, owner: Option<&str>) -> bool {
        self.is_for(batch) && (self.batches.cover(batch) || self.owns(owner))
    }

    /// Whether a batch with this owner may be changed: one's own, or any with a token for all. A token that names
    /// batches shows them to someone; it does not give them away.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, token::{Batches, Grant}};
    ///
    /// let holiday = BatchId::new("holiday")?;
    /// let bert = Grant::new("bert".to_owned(), Batches::These(vec![holiday.clone()]));
    /// assert!(bert.may_see(&holiday, Some("anna")) && !bert.may_change(&holiday, Some("anna")));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn may_change(&self, batch: &BatchId, owner: Option<&str>) -> bool {
        self.is_for(batch) && (self.batches == Batches::All || self.owns(owner))
    }

    /// Whether it is for this batch at all: a ticket is for one.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, token::{Claims, Grant}};
    ///
    /// let holiday = BatchId::new("holiday")?;
    /// let ticket = Claims::new(Grant::user("anna"), 1_000).ticket(&holiday, 0).grant;
    /// assert!(ticket.is_for(&holiday) && !ticket.is_for(&BatchId::new("wedding")?));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn is_for(&self, batch: &BatchId) -> bool {
        self.only.as_ref().is_none_or(|only| only == batch)
    }

    /// The same, for one batch alone.
    pub(super) fn narrowed_to(&self, batch: &BatchId) -> Self {
        let covered = self.is_for(batch) && self.batches.cover(batch);
        let batches = if covered { Batches::These(vec![batch.clone()]) } else { Batches::none() };
        // A ticket made of a ticket stays that one's.
        let only = Some(self.only.clone().unwrap_or_else(|| batch.clone()));
        Self { subject: self.subject.clone(), batches, only }
    }

    fn owns(&self, owner: Option<&str>) -> bool {
        owner.is_some() && self.subject.as_deref() == owner
    }
}

impl Batches {
    /// None but one's own.
    ///
    /// ```
    /// use batchcast_wire::token::{Batches, Grant};
    ///
    /// assert_eq!(Grant::user("anna").batches, Batches::none());
    /// ```
    pub fn none() -> Self {
        Self::These(Vec::new())
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::none()
    }

    fn cover(&self, batch: &BatchId) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(batch),
        }
    }

    pub(super) fn from_claim(claim: Option<serde_json::Value>) -> Option<Self> {
        match claim {
            None => Some(Self::none()),
            Some(serde_json::Value::String(all)) => (all == "*").then_some(Self::All),
            Some(these) => serde_json::from_value(these).ok().map(Self::These),
        }
    }

    pub(super) fn to_claim(&self) -> Option<serde_json::Value> {
        match self {
            Self::All => Some("*".into()),
            Self::These(these) if these.is_empty() => None,
            Self::These(these) => Some(these.iter().map(BatchId::as_str).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> BatchId {
        text.parse().unwrap()
    }

    #[test]
    fn a_batch_is_seen_by_its_owner_and_by_whom_the_token_names_it_to() {
        let anna = Grant::user("anna");
        assert!(anna.may_see(&id("a"), Some("anna")));
        assert!(!anna.may_see(&id("a"), Some("bert")) && !anna.may_see(&id("a"), None));
        let shown = Grant { subject: None, batches: Batches::These(vec![id("a")]), only: None };
        assert!(shown.may_see(&id("a"), Some("bert")) && shown.may_see(&id("a"), None));
        assert!(!shown.may_see(&id("b"), None), "a token without a user owns nothing, also what nobody owns");
        let all = Grant { subject: None, batches: Batches::All, only: None };
        assert!(all.may_see(&id("b"), Some("bert")));
    }

    #[test]
    fn a_batch_is_changed_by_its_owner_and_not_by_whom_it_is_shown_to() {
        let shown = Grant { subject: Some("anna".into()), batches: Batches::These(vec![id("a")]), only: None };
        assert!(!shown.may_change(&id("a"), Some("bert")) && !shown.may_change(&id("a"), None));
        assert!(shown.may_change(&id("b"), Some("anna")));
        let all = Grant { subject: None, batches: Batches::All, only: None };
        assert!(all.may_change(&id("a"), Some("bert")) && all.may_change(&id("a"), None));
    }

    #[test]
    fn a_grant_for_one_batch_gives_no_more_than_it_was_made_of() {
        let grant = Grant { subject: Some("anna".into()), batches: Batches::These(vec![id("a")]), only: None };
        let (a, b) = (grant.narrowed_to(&id("a")), grant.narrowed_to(&id("b")));
        assert!(a.may_see(&id("a"), Some("bert")) && !a.may_see(&id("b"), Some("anna")));
        assert!(!b.may_see(&id("b"), Some("bert")) && b.may_see(&id("b"), Some("anna")));
        let of_ticket = a.narrowed_to(&id("b"));
        assert!(!of_ticket.may_see(&id("b"), Some("anna")) && !of_ticket.may_see(&id("b"), None));
    }
}
