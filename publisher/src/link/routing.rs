//! Which node of a cluster a key belongs to. Plain data.

use std::{collections::BTreeMap, ops::RangeInclusive};

use redis::Value;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Host and port.
pub(super) type Node = (String, u16);

/// The masters by the last slot of each of their ranges; the first slot stands beside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slots(BTreeMap<u16, (u16, Node)>);

impl Slots {
    /// Reads the reply to `CLUSTER SLOTS` of `asked`: a node that does not know its own name leaves it empty.
    pub(super) fn read(reply: &Value, asked: &Node) -> Option<Self> {
        let ranges = reply.as_sequence()?.iter().map(|range| {
            let [first, last, master, ..] = range.as_sequence()? else { return None };
            let [host, port, ..] = master.as_sequence()? else { return None };
            let host = match host {
                Value::Nil => asked.0.clone(),
                named => text(named).filter(|host| *host != "?").map_or_else(|| asked.0.clone(), str::to_owned),
            };
            let host = if host.is_empty() { asked.0.clone() } else { host };
            Some((slot(last)?, (slot(first)?, (host, number(port)?))))
        });
        ranges.collect::<Option<_>>().map(Self)
    }

    /// Whose a slot is.
    pub(super) fn master(&self, slot: u16) -> Option<&Node> {
        let (_, (first, node)) = self.0.range(slot..).next()?;
        (*first <= slot).then_some(node)
    }

    /// All masters, each once.
    pub(super) fn masters(&self) -> Vec<&Node> {
        let mut masters: Vec<_> = self.0.values().map(|(_, node)| node).collect();
        masters.sort_unstable();
        masters.dedup();
        masters
    }

    /// A node says that `slot` is `node`'s now. Its neighbours of the same range are asked for when their turn comes.
    pub(super) fn moved(&mut self, slot: u16, node: Node) {
        let found = self.0.range(slot..).next().map(|(last, (first, before))| (*first..=*last, before.clone()));
        if let Some((range, before)) = found.filter(|(range, _)| range.contains(&slot)) {
            self.0.remove(range.end());
            self.insert(*range.start()..=slot.saturating_sub(1), &before, slot > *range.start());
            self.insert(slot + 1..=*range.end(), &before, slot < *range.end());
        }
        self.0.insert(slot, (slot, node));
    }

    fn insert(&mut self, range: RangeInclusive<u16>, node: &Node, any: bool) {
        if any {
            self.0.insert(*range.end(), (*range.start(), node.clone()));
        }
    }
}

/// Reads `host:port` of a redirection from `asked`, which may leave the host empty, or not know it (`?`): its own.
pub(super) fn node(text: &str, asked: &Node) -> Option<Node> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { &asked.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

/// The slot of a key: of what stands between its first braces, or of all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let end = rest.iter().position(|byte| *byte == b'}').filter(|end| *end > 0)?;
        Some(&rest[..end])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as Redis' specification of clusters has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn slot(value: &Value) -> Option<u16> {
    number(value).filter(|slot| *slot < SLOTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, port), node(bulk("replica"), 1)])
    }

    fn three() -> Slots {
        let ranges =
            [range(0, 5460, bulk("a"), 1), range(5461, 10_922, Value::Nil, 2), range(10_924, 16_383, bulk("c"), 3)];
        Slots::read(&Value::Array(ranges.to_vec()), &("asked".into(), 9)).unwrap()
    }

    /// Pinned: `CLUSTER KEYSLOT` says so.
    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!((slot_of(b"foo"), slot_of(b"{foo}.bar"), slot_of(b"x{foo}{bar}")), (12_182, 12_182, 12_182));
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % SLOTS);
    }

    #[test]
    fn a_slot_is_its_masters_and_one_between_ranges_nobodys() {
        let slots = three();
        assert_eq!(slots.master(0), Some(&("a".into(), 1)));
        assert_eq!(slots.master(5461), Some(&("asked".into(), 2)), "who does not name itself is who was asked");
        assert_eq!(slots.master(10_923), None);
        assert_eq!(slots.master(16_383), Some(&("c".into(), 3)));
        assert_eq!(slots.masters().len(), 3);
    }

    #[test]
    fn what_is_no_map_is_none() {
        let asked = ("asked".to_owned(), 9);
        assert_eq!(Slots::read(&Value::Int(1), &asked), None);
        assert_eq!(Slots::read(&Value::Array(vec![range(0, 16_384, bulk("a"), 1)]), &asked), None);
        assert_eq!(Slots::read(&Value::Array(vec![range(0, 1, bulk("a"), 70_000)]), &asked), None);
        assert_eq!(Slots::read(&Value::Array(vec![]), &asked), Some(Slots::default()));
    }

    #[test]
    fn a_redirection_names_a_node_or_the_port_of_the_same_one() {
        let asked = ("asked".to_owned(), 9);
        assert_eq!(node("10.0.0.1:6380", &asked), Some(("10.0.0.1".into(), 6380)));
        assert_eq!(node(":6380", &asked), Some(("asked".into(), 6380)));
        assert_eq!(node("?:6380", &asked), Some(("asked".into(), 6380)));
        assert_eq!((node("host", &asked), node("host:x", &asked)), (None, None));
    }

    proptest! {
        #[test]
        fn a_moved_slot_is_the_new_nodes_and_no_other_slot_changes(slot in 0..SLOTS, other in 0..SLOTS) {
            let (before, mut after) = (three(), three());
            let new = ("new".to_owned(), 7);
            after.moved(slot, new.clone());
            prop_assert_eq!(after.master(slot), Some(&new));
            if other != slot {
                prop_assert_eq!(after.master(other), before.master(other));
            }
        }
    }
}
