//! The path form of a command: `/SET/key?EX=100`, with an optional raw body as the value.
//!
//! The only form that is safe for binary values. Decoding is lenient: the official client does not encode
//! channel names, so a stray `%` stays what it is and is no reason to refuse a request.
//!
//! ```
//! use batchcast_redis_rest::path;
//!
//! // curl "$URL/set/greeting/hello?EX=60": a command without a body, typed by hand.
//! let args = path::command("/set/greeting/hello", Some("EX=60"), b"");
//! assert_eq!(args.join(&b' '), b"set greeting hello EX 60");
//! ```

use crate::Args;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The query parameter that may carry the bearer token; never an argument.
pub const TOKEN_PARAM: &str = "_token";

/// The command in an undecoded `path` and `query`: the segments, then a body that is not empty, then the query.
///
/// A slash encoded as `%2F` is data. `EX=100` is two arguments, a bare `NX` one. Empty without a command.
///
/// ```
/// use batchcast_redis_rest::path;
/// let args = path::command("/set/a%2Fb", Some("EX=100&_token=t"), b"\xff");
/// assert_eq!(args, [&b"set"[..], b"a/b", b"\xff", b"EX", b"100"]);
/// ```
pub fn command(path: &str, query: Option<&str>, body: &[u8]) -> Args {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Args::new();
    }
    let mut args: Args = path.split('/').map(decode).collect();
    if !body.is_empty() {
        args.push(body.to_vec());
    }
    for (name, value) in params(query).filter(|(name, _)| *name != TOKEN_PARAM) {
        args.push(decode_param(name));
        args.extend(value.map(decode_param));
    }
    args
}

/// The token in a query, decoded.
///
/// ```
/// use batchcast_redis_rest::path;
///
/// // From a client that can't set a header, as a browser's `EventSource`.
/// assert_eq!(path::token(Some("EX=60&_token=a%2Bb")), Some(b"a+b".to_vec()));
/// assert_eq!(path::token(Some("EX=60")), None);
/// ```
pub fn token(query: Option<&str>) -> Option<Vec<u8>> {
    params(query).find(|(name, _)| *name == TOKEN_PARAM).map(|(_, value)| decode_param(value.unwrap_or_default()))
}

/// Whether a parameter of a query, undecoded, carries the token, however its name is written.
///
/// ```
/// use batchcast_redis_rest::path;
///
/// // What a log may show of a query.
/// let shown: Vec<&str> = "EX=60&%5Ftoken=secret".split('&').filter(|param| !path::is_token(param)).collect();
/// assert_eq!(shown, ["EX=60"]);
/// ```
pub fn is_token(param: &str) -> bool {
    decode_param(param.split('=').next().unwrap_or_default()) == TOKEN_PARAM.as_bytes()
}

/// The channel or pattern in what follows `/subscribe/`, undecoded.
///
/// Everything up to the query is **one** name, slashes included: the official client puts names into the
/// path as they are, so the channel `a/b` arrives as `/subscribe/a/b`.
///
/// ```
/// use batchcast_redis_rest::path;
///
/// let address = "/subscribe/team/1%20a";
/// let channel = address.strip_prefix("/subscribe/").map(path::channel);
/// assert_eq!(channel.as_deref(), Some(&b"team/1 a"[..]));
/// ```
pub fn channel(rest: &str) -> Vec<u8> {
    decode(rest)
}

fn params(query: Option<&str>) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.unwrap_or_default().split('&').filter(|param| !param.is_empty()).map(|param| match param.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (param, None),
    })
}

fn decode(segment: &str) -> Vec<u8> {
    Cow::from(percent_decode(segment.as_bytes())).into_owned()
}

/// As [`decode`], and `+` is a space, as forms and URL builders write it in a query.
fn decode_param(param: &str) -> Vec<u8> {
    decode(&param.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(path: &str, query: Option<&str>, body: &str) -> Vec<String> {
        command(path, query, body.as_bytes()).into_iter().map(|arg| String::from_utf8(arg).unwrap()).collect()
    }

    #[test]
    fn the_body_stands_between_the_path_and_the_query() {
        assert_eq!(texts("/set/k", Some("EX=100&NX"), "v"), ["set", "k", "v", "EX", "100", "NX"]);
    }

    #[test]
    fn the_token_is_not_an_argument() {
        assert_eq!(texts("/get/k", Some("_token=secret"), ""), ["get", "k"]);
        assert_eq!(token(Some("a=b&_token=s%20x")), Some(b"s x".to_vec()));
        assert_eq!(token(Some("a=b")), None);
        assert_eq!(token(None), None);
    }

    #[test]
    fn a_stray_percent_sign_stays() {
        assert_eq!(texts("/publish/100%/a%2", None, ""), ["publish", "100%", "a%2"]);
        assert_eq!(channel("100%"), b"100%");
    }

    #[test]
    fn plus_is_a_space_in_the_query_only() {
        assert_eq!(texts("/set/a+b", Some("x=c+d"), ""), ["set", "a+b", "x", "c d"]);
    }

    #[test]
    fn an_empty_segment_is_an_empty_argument_but_no_command() {
        assert_eq!(texts("/set/k/", None, ""), ["set", "k", ""]);
        assert!(texts("/", None, "body").is_empty());
    }

    #[test]
    fn slashes_belong_to_a_channel() {
        assert_eq!(channel("a/b%20c"), b"a/b c");
    }

    proptest! {
        #[test]
        fn any_path_and_query_are_read(path in any::<String>(), query in any::<String>(), body in any::<Vec<u8>>()) {
            let args = command(&path, Some(&query), &body);
            prop_assert!(args.len() <= path.len() + 2 * query.len() + 2);
            let _ = token(Some(&query));
        }
    }
}
