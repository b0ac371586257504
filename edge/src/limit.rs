//! How often one user, or one address, may open streams and read. The runtime's rate limits count where they are bound
//! (`OPENS` and `READS` in `wrangler.toml`); elsewhere each isolate counts for itself, here.

use std::{collections::HashMap, net::Ipv6Addr};

use hub::Millis;
use wire::limits::{MAX_OPENS, MAX_READS, RATE_PERIOD_SECS};

use crate::access::Caller;

/// Callers that are counted at the same time. With more than these the older counts are dropped, in favour of callers.
const MAX_CALLERS: usize = 10_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Opening a stream.
    Open,
    /// A cached read, a ticket.
    Read,
}

impl Action {
    /// The name of the runtime's rate limit.
    pub fn binding(self) -> &'static str {
        match self {
            Self::Open => "OPENS",
            Self::Read => "READS",
        }
    }

    /// How often within [`RATE_PERIOD_SECS`].
    pub fn limit(self) -> u32 {
        match self {
            Self::Open => MAX_OPENS,
            Self::Read => MAX_READS,
        }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A user's.
    User(String),
    /// Those of an address that show no user.
    Address(String),
}

impl Key {
    /// Whom to count; `None`: a developer, who is not counted. `address` is as it is told by whoever stands in front.
    pub fn of(caller: Option<&Caller>, address: Option<&str>) -> Option<Self> {
        match caller {
            Some(Caller::Developer(None)) => None,
            Some(caller) if caller.user().is_some() => caller.user().map(|user| Self::User(user.to_owned())),
            _ => Some(Self::Address(address.map_or_else(String::new, network))),
        }
    }

    /// As the runtime's rate limits want it.
    pub fn into_text(self) -> String {
        match self {
            Self::User(user) => format!("user {user}"),
            Self::Address(address) => format!("address {address}"),
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has them all.
fn network(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}")
            }
        },
        Err(_) => address.to_owned(),
    }
}

/// Counts of one isolate, period by period. Users' and addresses' stand apart: addresses can be made up.
#[derive(Debug, Default)]
pub struct Counts {
    users: Period,
    addresses: Period,
}

#[derive(Debug, Default)]
struct Period {
    number: Millis,
    counts: HashMap<(Action, String), u32>,
}

impl Counts {
    /// Counts one more; false: it is more than may be.
    pub fn count(&mut self, action: Action, key: Key, now: Millis) -> bool {
        match key {
            Key::User(user) => self.users.count(action, user, now),
            Key::Address(address) => self.addresses.count(action, address, now),
        }
    }
}

impl Period {
    fn count(&mut self, action: Action, key: String, now: Millis) -> bool {
        let number = now / (RATE_PERIOD_SECS * 1_000);
        if number != self.number || self.counts.len() >= MAX_CALLERS {
            self.counts.clear();
            self.number = number;
        }
        let count = self.counts.entry((action, key)).or_default();
        *count = count.saturating_add(1);
        *count <= action.limit()
    }
}

#[cfg(test)]
mod tests {
    use wire::token::{Batches, Grant};

    use super::*;

    fn user(name: &str) -> Key {
        Key::User(name.to_owned())
    }

    fn counted(counts: &mut Counts, name: &str, times: u32, now: Millis) -> usize {
        (0..times).filter(|_| counts.count(Action::Open, user(name), now)).count()
    }

    #[test]
    fn each_caller_has_the_limit_in_each_period() {
        let mut counts = Counts::default();
        assert_eq!(counted(&mut counts, "a", 600, 5_000), MAX_OPENS as usize);
        assert_eq!(counted(&mut counts, "b", 3, 5_001), 3);
        assert!(counts.count(Action::Read, user("a"), 5_002), "reads are counted apart");
        assert_eq!(counted(&mut counts, "a", 1, 9_999), 0);
        assert_eq!(counted(&mut counts, "a", 1, 10_000), 1);
    }

    #[test]
    fn many_addresses_fill_no_memory_and_forgive_no_user() {
        let mut counts = Counts::default();
        assert_eq!(counted(&mut counts, "a", 600, 1), MAX_OPENS as usize);
        (0..3 * MAX_CALLERS).for_each(|n| assert!(counts.count(Action::Open, Key::Address(n.to_string()), 1)));
        assert!(counts.addresses.counts.len() <= MAX_CALLERS);
        assert_eq!(counted(&mut counts, "a", 1, 1), 0);
    }

    #[test]
    fn a_user_is_counted_as_such_and_others_by_address() {
        let holder = |subject: Option<&str>| {
            let grant = Grant::new(subject.map(str::to_owned), Batches::none());
            Caller::Holder { grant, until: 1 }
        };
        assert_eq!(Key::of(Some(&holder(Some("anna"))), Some("1.2.3.4")), Some(user("anna")));
        for (address, network) in [
            (Some("1.2.3.4"), "1.2.3.4"),
            (Some("2001:db8:1:2:3::4"), "2001:db8:1:2"),
            (Some("::ffff:1.2.3.4"), "1.2.3.4"),
            (None, ""),
        ] {
            assert_eq!(Key::of(Some(&holder(None)), address), Some(Key::Address(network.into())));
            assert_eq!(Key::of(None, address), Some(Key::Address(network.into())));
        }
        assert_eq!(Key::of(Some(&Caller::Developer(None)), Some("1.2.3.4")), None);
    }

    /// The runtime's rate limits are set beside these constants, and must say the same.
    #[test]
    fn the_limits_bound_in_wrangler_toml_are_these() {
        let config = include_str!("../../wrangler.toml");
        for action in [Action::Open, Action::Read] {
            let (_, rest) = config.split_once(&format!("name = \"{}\"", action.binding())).expect("it is bound");
            let simple = format!("simple = {{ limit = {}, period = {RATE_PERIOD_SECS} }}", action.limit());
            assert!(rest.lines().take(4).any(|line| line == simple), "{simple}");
        }
    }
}
