//! Which trace an update belongs to: [W3C Trace Context](https://www.w3.org/TR/trace-context/), section 3.2.
//!
//! ```
//! use batchcast_wire::TraceParent;
//!
//! // From the request that began it all, on to what is published about it.
//! let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
//! let step = header.parse::<TraceParent>()?.child(0x2a);
//! assert_eq!(step.as_str(), "00-0af7651916cd43dd8448eb211c80319c-000000000000002a-01");
//! # Ok::<(), batchcast_wire::TraceParentError>(())
//! ```

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Bytes of a `traceparent` of version 00.
const BYTES: usize = 55;
/// Where its parts end: version, trace id, parent id, flags.
const DASHES: [usize; 3] = [2, 35, 52];

/// The value of a `traceparent` header, as version 00.
///
/// ```
/// use batchcast_wire::TraceParent;
///
/// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
/// assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert!(trace.is_sampled());
/// # Ok::<(), batchcast_wire::TraceParentError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent([u8; BYTES]);

/// Why a text is no `traceparent`.
///
/// ```
/// use batchcast_wire::TraceParent;
///
/// // A header that can't be read: go on without a trace, as the specification asks for.
/// let trace = "0af7651916cd43dd".parse::<TraceParent>().ok();
/// assert_eq!(trace, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: it is 00-TRACEID-PARENTID-FLAGS, of 32, 16 and 2 lower-case hex digits, no id all zeros")]
#[non_exhaustive]
pub struct TraceParentError;

impl TraceParent {
    /// A trace of one's own. A zero, which is no id, is taken for one.
    ///
    /// ```
    /// use batchcast_wire::TraceParent;
    ///
    /// // Numbers of one's own, drawn at random.
    /// let trace = TraceParent::new(0x0af7_6519, 0xb7ad, true);
    /// assert_eq!(trace.as_str(), "00-0000000000000000000000000af76519-000000000000b7ad-01");
    /// ```
    pub fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Self {
        let text = format!("00-{:032x}-{:016x}-0{}", trace_id.max(1), parent_id.max(1), u8::from(sampled));
        let mut bytes = [b'0'; BYTES];
        bytes.copy_from_slice(text.as_bytes());
        Self(bytes)
    }

    /// The same trace, one step on: what `parent_id` names is now the parent.
    ///
    /// ```
    /// use batchcast_wire::TraceParent;
    ///
    /// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
    /// let step = trace.child(7); // What is done here, as a part of it.
    /// assert!(step.trace_id() == trace.trace_id() && step != trace);
    /// # Ok::<(), batchcast_wire::TraceParentError>(())
    /// ```
    #[must_use]
    pub fn child(self, parent_id: u64) -> Self {
        let mut bytes = self.0;
        bytes[DASHES[1] + 1..DASHES[2]].copy_from_slice(format!("{:016x}", parent_id.max(1)).as_bytes());
        Self(bytes)
    }

    /// The whole value.
    ///
    /// ```
    /// use batchcast_wire::TraceParent;
    ///
    /// let header = ("traceparent", TraceParent::new(1, 2, false));
    /// assert_eq!(header.1.as_str(), "00-00000000000000000000000000000001-0000000000000002-00");
    /// ```
    pub fn as_str(&self) -> &str {
        // Only ASCII passes `from_str`.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What all that belongs together has in common: 32 hex digits.
    ///
    /// ```
    /// use batchcast_wire::TraceParent;
    ///
    /// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
    /// // What to look for in the logs of all that had a part in it.
    /// assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    /// # Ok::<(), batchcast_wire::TraceParentError>(())
    /// ```
    pub fn trace_id(&self) -> &str {
        &self.as_str()[DASHES[0] + 1..DASHES[1]]
    }

    /// Whether whoever began the trace records it.
    ///
    /// ```
    /// use batchcast_wire::TraceParent;
    ///
    /// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
    /// assert!(trace.is_sampled()); // So a span of one's own will be looked at, too.
    /// # Ok::<(), batchcast_wire::TraceParentError>(())
    /// ```
    pub fn is_sampled(&self) -> bool {
        matches!(self.0[BYTES - 1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// A later version is read as far as version 00 goes, as the specification asks for.
    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let (head, rest) = text.as_bytes().split_first_chunk::<BYTES>().ok_or(TraceParentError)?;
        let mut bytes = *head;
        let well_formed = bytes.iter().enumerate().all(|(at, byte)| match byte {
            b'-' => DASHES.contains(&at),
            b'0'..=b'9' | b'a'..=b'f' => !DASHES.contains(&at),
            _ => false,
        });
        let may_end_here = rest.is_empty() || (!bytes.starts_with(b"00") && rest.starts_with(b"-"));
        let zeros = |from: usize, to: usize| bytes[from..to].iter().all(|byte| *byte == b'0');
        let no_id = zeros(DASHES[0] + 1, DASHES[1]) || zeros(DASHES[1] + 1, DASHES[2]);
        if !well_formed || !may_end_here || no_id || bytes.starts_with(b"ff") {
            return Err(TraceParentError);
        }
        bytes[..2].copy_from_slice(b"00");
        Ok(Self(bytes))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_specification_calls_invalid_is_refused() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b716920333-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(TraceParentError), "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in ["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &format!("01{}-new", &EXAMPLE[2..])] {
            assert_eq!(later.parse::<TraceParent>().unwrap().as_str(), EXAMPLE, "{later}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_and_a_child_stays_in_its_trace(trace in 1..u128::MAX, parent in 1..u64::MAX, on: bool) {
            let made = TraceParent::new(trace, parent, on);
            prop_assert_eq!(made.as_str().parse(), Ok(made));
            prop_assert_eq!((made.trace_id(), made.is_sampled()), (&*format!("{trace:032x}"), on));
            let child = made.child(!parent);
            prop_assert_eq!(child, TraceParent::new(trace, !parent, on));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<TraceParent>();
        }
    }
}
