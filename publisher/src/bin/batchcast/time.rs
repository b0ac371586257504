//! Times as people write them, and the clock.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The longest time that is taken, in seconds: a year. A token can't be taken back before it expires, except by
/// changing the secret.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// A time of whole seconds, from a second to a year, as `90s`, `15m`, `1h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) fn secs(self) -> u64 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_secs(span.0)
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a whole number and a unit: 90s, 15m, 1h or 7d; at least 1s, at most 365d";
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 60 * 60,
            Some(b'd') => 24 * 60 * 60,
            _ => return Err(FORM),
        };
        let digits = text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(FORM)?;
        let secs = number.checked_mul(unit).filter(|secs| (1..=LONGEST).contains(secs));
        secs.map(Self).ok_or(FORM)
    }
}

/// Seconds in the largest unit that they fill: `59s`, `2m`, `26h`, `3d`. Two days at least before days are told, so that
/// a life of 24 hours does not jump.
pub(crate) fn short(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs}s"),
        120..7_200 => format!("{}m", secs / 60),
        7_200..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// Milliseconds since the Unix epoch; 0 on a clock that stands before it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        let secs = |text: &str| text.parse::<Span>().map(Span::secs).ok();
        let good = ["90s", "15m", "1h", "7d", "365d"].map(secs);
        assert_eq!(good, [Some(90), Some(900), Some(3_600), Some(604_800), Some(LONGEST)]);
        for bad in ["", "h", "1", "0s", "1.5h", "-1h", "+1h", "1w", "366d", "1é", "é", "99999999999999999999d"] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_is_told_in_the_unit_that_it_fills_twice() {
        let told = [0, 119, 120, 7_199, 7_200, 86_400, 172_800].map(short);
        assert_eq!(told, ["0s", "119s", "2m", "119m", "2h", "24h", "2d"]);
    }
}
