//! A byte string sought in a stream. Holds how far a match has come; refuses to keep the stream itself.

/// Finds the first occurrence of a byte string, however the stream is cut into chunks.
#[derive(Debug)]
pub(crate) struct Matcher {
    needle: Vec<u8>,
    /// For each length of a partial match, the longest shorter one that is its suffix (Knuth, Morris and Pratt).
    fallback: Vec<usize>,
    /// What is held back: the needle's first so many bytes, so they need no buffer of their own.
    matched: usize,
}

impl Matcher {
    /// An empty needle is never found.
    pub(crate) fn new(needle: &[u8]) -> Self {
        let mut fallback = vec![0; needle.len() + 1];
        let mut length = 0;
        for end in 1..needle.len() {
            while length > 0 && needle[length] != needle[end] {
                length = fallback[length];
            }
            length += usize::from(needle[length] == needle[end]);
            fallback[end + 1] = length;
        }
        Self { needle: needle.to_vec(), fallback, matched: 0 }
    }

    /// Appends to `out` what certainly stands before the needle. When the needle is complete, gives how many of
    /// `bytes` were taken, and has forgotten the match; otherwise all were.
    pub(crate) fn input(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if self.needle.is_empty() {
            out.extend_from_slice(bytes);
            return None;
        }
        for (at, &byte) in bytes.iter().enumerate() {
            while self.matched > 0 && self.needle[self.matched] != byte {
                let shorter = self.fallback[self.matched];
                out.extend_from_slice(&self.needle[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.needle[self.matched] != byte {
                out.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.needle.len() {
                self.matched = 0;
                return Some(at + 1);
            }
        }
        None
    }

    /// What is sought.
    pub(crate) fn needle(&self) -> &[u8] {
        &self.needle
    }

    /// Gives back the partial match that was held back.
    pub(crate) fn release(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.needle[..self.matched]);
        self.matched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came out, and the count of bytes up to the end of the needle.
    fn run(needle: &[u8], chunks: &[&[u8]]) -> (Vec<u8>, Option<usize>) {
        let (mut matcher, mut out, mut before) = (Matcher::new(needle), Vec::new(), 0);
        for chunk in chunks {
            if let Some(taken) = matcher.input(chunk, &mut out) {
                return (out, Some(before + taken));
            }
            before += chunk.len();
        }
        matcher.release(&mut out);
        (out, None)
    }

    /// Every stream of up to nine bytes over two letters, with every needle of up to four, byte by byte and cut in two.
    #[test]
    fn any_cut_finds_the_first_occurrence_and_loses_nothing() {
        let words = |length: u32| {
            (0..1_u32 << length).map(move |bits| (0..length).map(|at| b'a' + ((bits >> at) & 1) as u8).collect())
        };
        let needles: Vec<Vec<u8>> = (1..=4).flat_map(words).collect();
        for text in (0..=9).flat_map(words).collect::<Vec<Vec<u8>>>() {
            for needle in &needles {
                let found = text.windows(needle.len()).position(|window| window == needle);
                let expected = found.map_or((text.clone(), None), |at| (text[..at].to_vec(), Some(at + needle.len())));
                assert_eq!(run(needle, &text.chunks(1).collect::<Vec<_>>()), expected, "{needle:?} in {text:?}");
                for cut in 0..=text.len() {
                    assert_eq!(run(needle, &[&text[..cut], &text[cut..]]), expected, "{needle:?} in {text:?} at {cut}");
                }
            }
        }
    }

    #[test]
    fn an_empty_needle_is_never_found() {
        assert_eq!(run(b"", &[b"abc"]), (b"abc".to_vec(), None));
    }
}
