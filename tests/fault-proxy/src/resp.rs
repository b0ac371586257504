//! Where a Redis reply ends, and whether it is a pub/sub message. Holds no reply; refuses to interpret other replies.
//!
//! The formats are RESP2 and RESP3 as in <https://redis.io/docs/latest/develop/reference/protocol-spec/>, without
//! RESP3's streamed strings and aggregates, which Redis never sends.

/// No line with a number is longer: its kind, up to 20 digits with a sign, and the line break.
const MAX_NUMBER_LINE_BYTES: usize = 23;

/// How each frame of a message begins, with the count of strings that follow; the last of them is the payload.
const MESSAGE_HEADS: [(&[u8], usize); 4] = [
    (b"*3\r\n$7\r\nmessage\r\n", 2),
    (b">3\r\n$7\r\nmessage\r\n", 2),
    (b"*4\r\n$8\r\npmessage\r\n", 3),
    (b">4\r\n$8\r\npmessage\r\n", 3),
];

/// Whether a frame with this beginning may still turn out to be a message.
pub(crate) fn could_be_message(beginning: &[u8]) -> bool {
    MESSAGE_HEADS.iter().any(|(head, _)| head.starts_with(beginning) || beginning.starts_with(head))
}

/// The payload of a whole frame, when that frame is a message.
pub(crate) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let (mut rest, strings) =
        MESSAGE_HEADS.iter().find_map(|&(head, strings)| Some((frame.strip_prefix(head)?, strings)))?;
    let mut payload = None;
    for _ in 0..strings {
        let (string, behind) = bulk_string(rest)?;
        payload = Some(string);
        rest = behind;
    }
    payload
}

fn bulk_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let length = usize::try_from(number(bytes[..end].strip_prefix(b"$")?)?).ok()?;
    let (string, behind) = bytes[end + 1..].split_at_checked(length)?;
    Some((string, behind.strip_prefix(b"\r\n")?))
}

/// What [`Splitter::input`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// The frame ends behind so many of the given bytes.
    FrameEnd(usize),
    /// All bytes belong to a frame that goes on.
    Within,
    /// This is no RESP; from here on nothing is.
    Lost,
}

/// Finds the ends of frames, however the stream is cut into chunks.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Values of the current frame that are still to come, the one that is being read included. 0 between frames.
    pending: u64,
    at: At,
}

#[derive(Debug)]
enum At {
    /// In the line that begins a value. Holds its first bytes, one more than a number needs.
    Line(Vec<u8>),
    /// In a string, which with its line break has so many bytes left.
    Text { left: u64 },
    /// Behind something that is no RESP.
    Nonsense,
}

impl Default for At {
    fn default() -> Self {
        Self::Line(Vec::new())
    }
}

impl Splitter {
    /// Reads on to the end of the current frame.
    pub(crate) fn input(&mut self, bytes: &[u8]) -> Split {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            self.pending = self.pending.max(1);
            let value_ended = match &mut self.at {
                At::Nonsense => return Split::Lost,
                At::Text { left } => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    used += taken;
                    *left == 0
                }
                At::Line(line) => {
                    let end = rest.iter().position(|&byte| byte == b'\n');
                    let taken = end.map_or(rest.len(), |end| end + 1);
                    let room = (MAX_NUMBER_LINE_BYTES + 1).saturating_sub(line.len());
                    line.extend_from_slice(&rest[..taken.min(room)]);
                    used += taken;
                    let Some(value) = value(line, end.is_some()) else {
                        self.at = At::Nonsense;
                        return Split::Lost;
                    };
                    if end.is_none() {
                        continue;
                    }
                    match value {
                        Value::Line => true,
                        Value::Text(length) => {
                            self.at = At::Text { left: length + 2 };
                            continue;
                        }
                        Value::Values(count) => {
                            self.pending = self.pending.saturating_add(count);
                            true
                        }
                        // Attributes stand before the value they belong to and are none themselves.
                        Value::Attributes(count) => {
                            self.pending = self.pending.saturating_add(count + 1);
                            true
                        }
                    }
                }
            };
            if value_ended {
                self.at = At::default();
                self.pending -= 1;
                if self.pending == 0 {
                    return Split::FrameEnd(used);
                }
            }
        }
        Split::Within
    }
}

/// What the line that begins a value announces.
enum Value {
    Line,
    Text(u64),
    Values(u64),
    Attributes(u64),
}

/// Reads the first bytes of a line. When it has not `ended`, only its kind is looked at.
fn value(line: &[u8], ended: bool) -> Option<Value> {
    let (kind, rest) = line.split_first()?;
    if matches!(kind, b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') {
        return Some(Value::Line);
    }
    if !matches!(kind, b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|') || line.len() > MAX_NUMBER_LINE_BYTES {
        return None;
    }
    if !ended {
        return Some(Value::Line);
    }
    let number = number(rest.strip_suffix(b"\n")?)?;
    let Ok(count) = u64::try_from(number) else {
        return (number == -1).then_some(Value::Line); // RESP2's null.
    };
    Some(match kind {
        b'$' | b'!' | b'=' => Value::Text(count),
        b'%' => Value::Values(count * 2),
        b'|' => Value::Attributes(count * 2),
        _ => Value::Values(count),
    })
}

/// A number and the carriage return behind it. Bounded so that adding to it or doubling it cannot overflow.
fn number(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes.strip_suffix(b"\r")?).ok()?;
    text.parse().ok().filter(|&number| number < 1 << 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [&[u8]; 20] = [
        b"+OK\r\n",
        b"-ERR a text that is longer than any number of the protocol\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$0\r\n\r\n",
        b"$6\r\na\r\n*1\n\r\n",
        b"*0\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n",
        b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$2\r\n\r\n\r\n",
        b"*2\r\n*2\r\n:1\r\n*1\r\n+a\r\n%1\r\n+k\r\n~2\r\n_\r\n#t\r\n",
        b"|1\r\n+k\r\n*1\r\n,1.5\r\n*2\r\n:1\r\n:2\r\n",
        b"|0\r\n+OK\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!3\r\nERR\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"*1\r\n|1\r\n+a\r\n+b\r\n:9\r\n",
        b"%0\r\n",
    ];

    fn frames(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut frames, mut frame) = (Splitter::default(), Vec::new(), Vec::new());
        for mut chunk in chunks.iter().copied() {
            while !chunk.is_empty() {
                match splitter.input(chunk) {
                    Split::FrameEnd(taken) => {
                        frame.extend_from_slice(&chunk[..taken]);
                        frames.push(std::mem::take(&mut frame));
                        chunk = &chunk[taken..];
                    }
                    Split::Within => {
                        frame.extend_from_slice(chunk);
                        break;
                    }
                    Split::Lost => panic!("lost in {chunk:?}"),
                }
            }
        }
        assert_eq!(frame, b"", "an unfinished frame");
        frames
    }

    #[test]
    fn any_cut_gives_the_same_frames() {
        let stream = FRAMES.concat();
        assert_eq!(frames(&[&stream]), FRAMES);
        assert_eq!(frames(&stream.chunks(1).collect::<Vec<_>>()), FRAMES);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                assert_eq!(frames(&[&stream[..first], &stream[first..second], &stream[second..]]), FRAMES);
            }
        }
    }

    #[test]
    fn what_is_no_resp_is_lost_at_once_and_for_good() {
        let endless: &[u8] = &[b"*".as_slice(), &[b'1'; 100]].concat();
        for nonsense in [
            b"HTTP/1.1 200 OK\r\n".as_slice(),
            b"\r\n",
            b"*x\r\n",
            b"$-2\r\n",
            b"*1\n",
            b"$9999999999999999\r\n",
            endless,
        ] {
            let mut splitter = Splitter::default();
            assert_eq!(splitter.input(nonsense), Split::Lost, "{nonsense:?}");
            assert_eq!(splitter.input(b"+OK\r\n"), Split::Lost);
        }
    }

    #[test]
    fn only_messages_have_a_payload() {
        let payloads: Vec<&[u8]> = FRAMES.iter().filter_map(|frame| payload(frame)).collect();
        assert_eq!(payloads, [b"hi".as_slice(), b"", b"\r\n"]);
        assert_eq!(payload(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n"), None);
    }

    #[test]
    fn a_beginning_is_ruled_out_at_the_first_byte_that_differs() {
        assert!(could_be_message(b""));
        assert!(could_be_message(b"*"));
        assert!(could_be_message(b"*4\r\n$8\r\npmess"));
        assert!(could_be_message(b">3\r\n$7\r\nmessage\r\n$1\r\n"));
        assert!(!could_be_message(b"*3\r\n$9"));
        assert!(!could_be_message(b"+"));
    }
}
