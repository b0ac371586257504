//! Request bodies: one command (`["SET","k","v"]`) or a list of them, written by a client and read by a server.
//!
//! A JSON body carries text. Arguments that are not UTF-8 travel in the path form ([`crate::path`]).
//!
//! ```
//! use batchcast_redis_rest::request;
//!
//! // Whatever stands in a value, it is read as it was written: nothing is put together by hand.
//! let body = request::command(["SET", "k", "\"quoted\"\n"]);
//! assert_eq!(request::parse_command(body.as_bytes())?[2], b"\"quoted\"\n");
//! # Ok::<(), request::RequestError>(())
//! ```

use crate::{Args, json};
use serde_json::value::RawValue;

/// The body of `POST /` for one command.
///
/// ```
/// assert_eq!(batchcast_redis_rest::request::command(["HGETALL", "k"]), r#"["HGETALL","k"]"#);
/// ```
pub fn command(args: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut body = String::new();
    push_command(&mut body, args);
    body
}

/// The body of `POST /pipeline` and `POST /multi-exec`.
///
/// ```
/// let body = batchcast_redis_rest::request::pipeline([vec!["GET", "k"], vec!["PING"]]);
/// assert_eq!(body, r#"[["GET","k"],["PING"]]"#);
/// ```
pub fn pipeline(commands: impl IntoIterator<Item = impl IntoIterator<Item = impl AsRef<str>>>) -> String {
    let mut body = String::new();
    json::push_array(&mut body, commands, push_command);
    body
}

fn push_command(body: &mut String, args: impl IntoIterator<Item = impl AsRef<str>>) {
    json::push_array(body, args, |body, arg| json::push_string(body, arg.as_ref()));
}

/// Reads the body of `POST /`: an array with at least the command's name.
///
/// Numbers keep their source text (`1e+21` stays `1e+21`), booleans become `true` and `false`.
///
/// ```
/// use batchcast_redis_rest::request::parse_command;
///
/// // Clients send numbers as numbers; Redis gets the very digits.
/// assert_eq!(parse_command(br#"["EXPIRE","k",1e3]"#)?, [&b"EXPIRE"[..], b"k", b"1e3"]);
/// assert!(parse_command(br#"["SET","k",null]"#).is_err());
/// # Ok::<(), batchcast_redis_rest::request::RequestError>(())
/// ```
///
/// # Errors
/// [`RequestError`], in the words the client is to read.
pub fn parse_command(body: &[u8]) -> Result<Args, RequestError> {
    parse_row(array_text(body)?)
}

/// Reads the body of `POST /pipeline` and `POST /multi-exec`: at most `max_commands` commands.
///
/// ```
/// use batchcast_redis_rest::request::parse_pipeline;
///
/// let body = br#"[["INCR","a"],["INCR","b"]]"#;
/// assert_eq!(parse_pipeline(body, 1_000)?.len(), 2);
/// assert!(parse_pipeline(body, 1).is_err()); // Refused before any of it runs.
/// # Ok::<(), batchcast_redis_rest::request::RequestError>(())
/// ```
///
/// # Errors
/// [`RequestError`]; one malformed command refuses the whole request, so that nothing runs halfway.
pub fn parse_pipeline(body: &[u8], max_commands: usize) -> Result<Vec<Args>, RequestError> {
    let rows: Vec<&RawValue> = serde_json::from_str(array_text(body)?)?;
    if rows.is_empty() {
        return Err(RequestError::EmptyPipeline);
    }
    if rows.len() > max_commands {
        return Err(RequestError::TooManyCommands { limit: max_commands, actual: rows.len() });
    }
    rows.into_iter().map(|row| array_text(row.get().as_bytes()).and_then(parse_row)).collect()
}

/// Why a body is not a request. The texts are Upstash's where Upstash's are known.
///
/// ```
/// use batchcast_redis_rest::request::{RequestError, parse_pipeline};
///
/// // Its text is the answer's; what is to be counted or told apart is matched.
/// let error = parse_pipeline(br#"[["PING"],["PING"]]"#, 1).unwrap_err();
/// assert!(matches!(error, RequestError::TooManyCommands { limit: 1, actual: 2 }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no body.
    #[error("EOF")]
    Empty,
    /// The body, or a row of a pipeline, is something else than an array.
    #[error("expected JSON array")]
    NotAnArray,
    /// A command without a name.
    #[error("ERR empty command")]
    EmptyCommand,
    /// A pipeline without commands.
    #[error("ERR empty pipeline request")]
    EmptyPipeline,
    /// A pipeline with more commands than the server takes.
    #[error("ERR too many commands in one request. Limit: {limit}, Actual: {actual}")]
    TooManyCommands {
        /// The most commands the server takes.
        limit: usize,
        /// How many there were.
        actual: usize,
    },
    /// An argument is `null`.
    #[error("ERR null args are not supported")]
    NullArg,
    /// An argument is an array or an object; the field is its opening bracket.
    #[error("ERR unsupported arg type: \"{0}\": json.Delim")]
    NestedArg(char),
    /// The body is not JSON.
    #[error("ERR invalid JSON in the request body: {0}")]
    InvalidJson(#[from] serde_json::Error),
    /// The body is not UTF-8.
    #[error("ERR the request body is not UTF-8; send binary values with the path form")]
    NotUtf8(#[source] std::str::Utf8Error),
}

/// The body as text, once it is known to open an array: the parser's own message for that is harder to read.
fn array_text(body: &[u8]) -> Result<&str, RequestError> {
    match body.trim_ascii_start().first() {
        None => Err(RequestError::Empty),
        Some(b'[') => std::str::from_utf8(body).map_err(RequestError::NotUtf8),
        Some(_) => Err(RequestError::NotAnArray),
    }
}

fn parse_row(text: &str) -> Result<Args, RequestError> {
    let args: Vec<&RawValue> = serde_json::from_str(text)?;
    if args.is_empty() {
        return Err(RequestError::EmptyCommand);
    }
    args.into_iter().map(parse_arg).collect()
}

fn parse_arg(arg: &RawValue) -> Result<Vec<u8>, RequestError> {
    let text = arg.get();
    match text.as_bytes().first() {
        Some(b'"') => Ok(serde_json::from_str::<String>(text)?.into_bytes()),
        Some(b'n') => Err(RequestError::NullArg),
        Some(&bracket @ (b'[' | b'{')) => Err(RequestError::NestedArg(char::from(bracket))),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(args: &Args) -> Vec<&str> {
        args.iter().map(|arg| std::str::from_utf8(arg).unwrap()).collect()
    }

    fn refusal(body: &str) -> String {
        parse_command(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn numbers_and_booleans_keep_their_source_text() {
        let args = parse_command(br#" ["SET", "k", 1e+21, 100, -0.50, true, false] "#).unwrap();
        assert_eq!(texts(&args), ["SET", "k", "1e+21", "100", "-0.50", "true", "false"]);
    }

    #[test]
    fn strings_are_unescaped() {
        let args = parse_command(br#"["SET","k","\u00e9\n\"\ud83d\ude00"]"#).unwrap();
        assert_eq!(texts(&args), ["SET", "k", "é\n\"😀"]);
    }

    /// Pinned: the texts that Upstash's own server gives, which clients match on.
    #[test]
    fn refusals_are_in_upstash_words() {
        assert_eq!(refusal(""), "EOF");
        assert_eq!(refusal(" \n"), "EOF");
        assert_eq!(refusal("[]"), "ERR empty command");
        assert_eq!(refusal(r#"{"a":1}"#), "expected JSON array");
        assert_eq!(refusal("GET k"), "expected JSON array");
        assert_eq!(refusal(r#"["SET","k",null]"#), "ERR null args are not supported");
        assert_eq!(refusal(r#"["SET","k",["a"]]"#), r#"ERR unsupported arg type: "[": json.Delim"#);
        assert_eq!(refusal(r#"["SET","k",{"a":1}]"#), r#"ERR unsupported arg type: "{": json.Delim"#);
    }

    #[test]
    fn broken_json_is_named_as_such() {
        assert!(refusal(r#"["GET","k""#).starts_with("ERR invalid JSON"));
        assert!(refusal(r#"["GET","k"] x"#).starts_with("ERR invalid JSON"));
        assert!(parse_command(b"[\"GET\",\"\xff\"]").unwrap_err().to_string().contains("not UTF-8"));
    }

    #[test]
    fn one_malformed_row_refuses_the_whole_pipeline() {
        let refusal = |body: &str| parse_pipeline(body.as_bytes(), 10).unwrap_err().to_string();
        assert_eq!(refusal(r#"[["PING"],[]]"#), "ERR empty command");
        assert_eq!(refusal(r#"[["PING"],"PING"]"#), "expected JSON array");
        assert_eq!(refusal(r#"[["GET",null]]"#), "ERR null args are not supported");
        assert_eq!(refusal("[]"), "ERR empty pipeline request");
        assert_eq!(refusal(""), "EOF");
    }

    #[test]
    fn a_pipeline_is_refused_above_its_length_limit() {
        let body = pipeline([["PING"], ["PING"], ["PING"]]);
        assert_eq!(parse_pipeline(body.as_bytes(), 3).unwrap().len(), 3);
        let refusal = parse_pipeline(body.as_bytes(), 2).unwrap_err().to_string();
        assert_eq!(refusal, "ERR too many commands in one request. Limit: 2, Actual: 3");
    }
}
