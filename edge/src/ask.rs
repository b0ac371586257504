//! What the entry Worker asks of a hub object: one header of a request made for the purpose, so that nothing a client
//! sent reaches the object unchecked. And which object it asks.

use serde::{Deserialize, Serialize};
use wire::{BatchId, Position, Seen};

use crate::access::Caller;

/// The header that carries an [`Ask`].
pub const HEADER: &str = "x-batchcast-ask";

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Which batch.
    pub batch: BatchId,
    /// Who is asking.
    pub caller: Caller,
    /// The other origin whose page asks, and may read the answer.
    pub origin: Option<String>,
    /// What for.
    pub what: What,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The state.
    #[serde(rename_all = "camelCase")]
    Read {
        /// `Cache-Control: no-cache`: ask Redis even if memory could answer.
        reread: bool,
        /// `If-None-Match`.
        if_none_match: Option<String>,
    },
    /// The stream.
    Stream {
        /// `Last-Event-ID`, if it is one of ours.
        seen: Option<Seen>,
    },
}

/// The `ETag` of a state: its position.
pub fn etag(position: Position) -> String {
    format!("\"{position}\"")
}

/// Whether an `If-None-Match` names the position (RFC 9110, section 13.1.2: weak comparison, a list, or `*`).
pub fn matches(if_none_match: &str, position: Position) -> bool {
    let etag = etag(position);
    let named = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if_none_match.split(',').any(|tag| named(tag.trim()))
}

/// The name of the object that holds a batch: its own with no shards, else one of `shards`.
pub fn object_name(batch: &BatchId, shards: u64) -> String {
    // FNV-1a: spreads ids evenly, and the same in every version of this Worker.
    let hash = batch
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    match hash.checked_rem(shards) {
        Some(shard) => format!("shard:{shards}:{shard}"),
        None => format!("batch:{batch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_matched_alone_in_a_list_or_by_a_star() {
        let position = "7-3".parse().unwrap();
        for yes in ["\"7-3\"", "W/\"7-3\"", "\"7-2\", \"7-3\"", "*"] {
            assert!(matches(yes, position), "{yes}");
        }
        for no in ["7-3", "\"7-33\"", "", "\"7-2\""] {
            assert!(!matches(no, position), "{no}");
        }
    }

    /// Pinned: another spreading would cut every stream and double every room during a deploy.
    #[test]
    fn a_batch_stays_with_its_object() {
        let batch = "batch-123".parse().unwrap();
        assert_eq!(object_name(&batch, 0), "batch:batch-123");
        assert_eq!(object_name(&batch, 16), "shard:16:6");
    }

    #[test]
    fn a_question_survives_its_header() {
        let ask = Ask {
            batch: "b".parse().unwrap(),
            caller: Caller::Developer(Some("ü\n".into())),
            origin: Some("https://app.example.com".into()),
            what: What::Stream { seen: "7-3~idle".parse().ok() },
        };
        assert_eq!(serde_json::from_str::<Ask>(&serde_json::to_string(&ask).unwrap()).unwrap(), ask);
    }
}
