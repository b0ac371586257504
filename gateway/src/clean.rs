//! Replies of Redis whose texts are UTF-8, whatever Redis says.
//!
//! Redis repeats what it was sent in some of its error lines, byte by byte and cut anywhere: `EVAL "é"` is answered with
//! half a character. The client library takes an error line that is not UTF-8 for a broken connection, which all
//! requests share. So those bytes are replaced on their way in; values are not touched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Stands for what is not UTF-8.
const REPLACEMENT: u8 = b'?';

/// Where in RESP2's bytes a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the byte that tells what follows.
    Begin,
    /// In a line of text: a status or an error.
    Text,
    /// In a line without text, a number.
    Line,
    /// In the length of a value: its digits so far; `None` when it is negative, and there is no value.
    Length(Option<usize>),
    /// In a value: so many bytes are left of it and its line break.
    Value(usize),
}

/// Follows a stream of replies.
#[derive(Debug)]
struct Cleaner(Place);

impl Cleaner {
    /// Replaces what is not UTF-8 in texts. Returns how many bytes are ready: the last few may be the beginning of a
    /// character, and want to be given again in front of those that follow.
    fn clean(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &mut bytes[at..];
            let line = || rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
            let (next, step) = match self.0 {
                Place::Begin => match rest[0] {
                    b'+' | b'-' => (Place::Text, 1),
                    b'$' => (Place::Length(Some(0)), 1),
                    _ => (Place::Line, 1),
                },
                Place::Line => {
                    let step = line();
                    (if rest[step - 1] == b'\n' { Place::Begin } else { Place::Line }, step)
                }
                Place::Text => {
                    let step = line();
                    let whole = rest[step - 1] == b'\n';
                    let ready = replace(&mut rest[..step], whole);
                    if ready < step {
                        return at + ready;
                    }
                    (if whole { Place::Begin } else { Place::Text }, step)
                }
                Place::Length(digits) => match rest[0] {
                    b'\n' => (digits.map_or(Place::Begin, |length| Place::Value(length + 2)), 1),
                    b'-' => (Place::Length(None), 1),
                    digit @ b'0'..=b'9' => {
                        let grown = |length: usize| length.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                        (Place::Length(digits.map(grown)), 1)
                    }
                    _ => (self.0, 1),
                },
                Place::Value(left) => {
                    let step = left.min(rest.len());
                    (if step == left { Place::Begin } else { Place::Value(left - step) }, step)
                }
            };
            self.0 = next;
            at += step;
        }
        at
    }
}

/// Replaces what is not UTF-8 in a text, which may go on behind `text` unless it is `whole`. Returns how much is ready.
fn replace(text: &mut [u8], whole: bool) -> usize {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&text[from..]) {
        let begin = from + error.valid_up_to();
        match error.error_len() {
            None if !whole => return begin,
            length => {
                let end = length.map_or(text.len(), |length| begin + length);
                text[begin..end].fill(REPLACEMENT);
                from = end;
            }
        }
    }
    text.len()
}

/// A connection to Redis whose replies are clean.
#[derive(Debug)]
pub(crate) struct Cleaned<S> {
    stream: S,
    cleaner: Cleaner,
    /// What may be the beginning of a character: at most three bytes.
    kept: Vec<u8>,
}

impl<S> Cleaned<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, cleaner: Cleaner(Place::Begin), kept: Vec::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cleaned<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() <= this.kept.len() {
            // The library reads into kilobytes; nobody could make way for a character in less than one.
            return Poll::Ready(Err(io::Error::other("the buffer is too small")));
        }
        loop {
            let begin = buffer.filled().len();
            buffer.put_slice(&this.kept);
            if Pin::new(&mut this.stream).poll_read(context, buffer)?.is_pending() {
                buffer.set_filled(begin);
                return Poll::Pending;
            }
            if buffer.filled().len() == begin + this.kept.len() {
                // The end of the stream. Half a character at it belongs to no reply.
                buffer.set_filled(begin);
                return Poll::Ready(Ok(()));
            }
            let read = &mut buffer.filled_mut()[begin..];
            let ready = this.cleaner.clean(read);
            this.kept = read[ready..].to_vec();
            buffer.set_filled(begin + ready);
            if ready > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cleaned<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    /// What a reader gets who reads these pieces, each by itself.
    fn read(pieces: &[&[u8]]) -> Vec<u8> {
        let mut builder = tokio_test_stream(pieces);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut out = Vec::new();
        runtime.block_on(Cleaned::new(&mut builder).read_to_end(&mut out)).unwrap();
        out
    }

    /// A reader that gives one piece at a time.
    fn tokio_test_stream(pieces: &[&[u8]]) -> impl AsyncRead + Unpin + use<> {
        let pieces: Vec<io::Result<bytes::Bytes>> =
            pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| Ok(piece.to_vec().into())).collect();
        tokio_util::io::StreamReader::new(futures::stream::iter(pieces))
    }

    fn clean(bytes: &[u8]) -> Vec<u8> {
        read(&[bytes])
    }

    #[test]
    fn a_text_is_made_utf_8_and_a_value_is_not_touched() {
        assert_eq!(clean(b"-ERR near '\xc3'\r\n$2\r\n\xc3\xff\r\n"), b"-ERR near '?'\r\n$2\r\n\xc3\xff\r\n");
        assert_eq!(clean("-ERR é\r\n+é\r\n".as_bytes()), "-ERR é\r\n+é\r\n".as_bytes());
        assert_eq!(clean(b"*2\r\n$7\r\n-\xff\r\n\xff\r\n\r\n-\xff\r\n"), b"*2\r\n$7\r\n-\xff\r\n\xff\r\n\r\n-?\r\n");
        assert_eq!(clean(b"$-1\r\n-\xff\r\n:1\r\n-\xff\r\n"), b"$-1\r\n-?\r\n:1\r\n-?\r\n");
    }

    #[test]
    fn a_character_in_two_pieces_stays_one() {
        assert_eq!(read(&[b"-ERR \xc3", b"\xa9\r\n"]), "-ERR é\r\n".as_bytes());
        assert_eq!(read(&[b"-ERR \xf0\x9f", b"\x98", b"\x80\r\n"]), "-ERR 😀\r\n".as_bytes());
        assert_eq!(read(&[b"-ERR \xc3", b"\r\n"]), b"-ERR ?\r\n");
    }

    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let text = vec(prop_oneof![Just(b'a'), Just(0xc3), Just(0xa9), Just(0xf0), Just(0x9f), Just(b'\r')], 0..12);
        let line = |kind: &'static str| text.clone().prop_map(move |text| [kind.as_bytes(), &text, b"\r\n"].concat());
        let value = vec(any::<u8>(), 0..20)
            .prop_map(|value| [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat());
        prop_oneof![line("-"), line("+"), value, Just(b"$-1\r\n".to_vec()), Just(b"*3\r\n".to_vec())]
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_is_cleaned_alike(replies in vec(reply(), 0..8), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
            let whole = replies.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            let cleaned = clean(&whole);
            prop_assert_eq!(cleaned.len(), whole.len());
            prop_assert_eq!(read(&pieces), cleaned);
        }
    }
}
