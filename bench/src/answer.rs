//! Answers of HTTP/1.1, as their bytes come.

use anyhow::{Context as _, Result, bail};

/// The status of an answer without a body to who knows it already.
pub(crate) const NOT_MODIFIED: u16 = 304;

/// What ends a head.
const BLANK: &[u8] = b"\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// The length of an answer with its head; `None`: more has to come before it is known. An answer other than 2xx or 304 is
/// an error.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = find(bytes, BLANK) else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let body = end + BLANK.len();
    match status(head)? {
        204 | NOT_MODIFIED => return Ok(Some(body)),
        200..300 => {}
        _ => bail!("not a success: {head}"),
    }
    match header(head, "content-length") {
        Some(length) => Ok(Some(body + length.parse::<usize>()?)),
        None => {
            let encoding = header(head, "transfer-encoding").unwrap_or_default();
            anyhow::ensure!(encoding.eq_ignore_ascii_case("chunked"), "an answer without a length: {head}");
            chunks_end(bytes, body)
        }
    }
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> Result<u16> {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.with_context(|| format!("no answer of HTTP/1.1: {answer}"))?.parse().context("a status that is no number")
}

/// The value of the first header of this name.
pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let headers = answer.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    let mut values = headers.filter_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    values.next()
}

/// Where the chunks end that begin at `at`; `None`: there are more. No trailers are taken.
fn chunks_end(bytes: &[u8], mut at: usize) -> Result<Option<usize>> {
    loop {
        let Some(line) = bytes.get(at..).and_then(|rest| find(rest, LINE_END)) else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[at..at + line])?;
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk of {size:?} bytes"))?;
        at += line + LINE_END.len() + size + LINE_END.len();
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(length(answer).unwrap(), Some(answer.len()));
        assert_eq!(length(&answer[..30]).unwrap(), None);
        assert!(length(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn an_answer_in_chunks_ends_behind_the_empty_one() {
        let answer =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\na\r\n0123456789\r\n0\r\n\r\n";
        for cut in 0..answer.len() {
            let known = length(&answer[..cut]).unwrap();
            assert!(known.is_none_or(|length| length == answer.len()), "cut at {cut}: {known:?}");
        }
        assert_eq!(length(answer).unwrap(), Some(answer.len()));
    }

    #[test]
    fn not_modified_has_no_body() {
        let answer = "HTTP/1.1 304 Not Modified\r\nETag: \"7-1\"\r\n\r\n";
        assert_eq!(length(answer.as_bytes()).unwrap(), Some(answer.len()));
        assert_eq!((status(answer).unwrap(), header(answer, "etag")), (NOT_MODIFIED, Some("\"7-1\"")));
        assert_eq!(header("HTTP/1.1 200 OK\r\n\r\netag: in the body", "etag"), None);
    }
}
