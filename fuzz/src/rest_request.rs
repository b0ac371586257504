//! Requests of Redis over HTTP, as the gateway reads them, and the frames of a subscription, as a client reads them.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use redis_rest::event_stream::{Decoder, Event, Item};
use redis_rest::{Args, Frame, path, refusal, request};

const MAX_COMMANDS: usize = 20;

/// A body, a path and query, or the data of an event.
///
/// What is read and written again is read as the same. A refusal is short, whatever it refuses. A payload never
/// becomes a frame of its own.
pub fn rest_request(data: &[u8]) {
    bodies(data);
    paths(data);
    if let Ok(text) = std::str::from_utf8(data) {
        undecoded(text);
        frame(text);
    }
}

fn bodies(body: &[u8]) {
    if let Ok(args) = request::parse_command(body) {
        may_travel(&args);
        let again = request::command(texts(&args));
        assert_eq!(request::parse_command(again.as_bytes()).expect("what we write we read"), args);
    }
    if let Ok(commands) = request::parse_pipeline(body, MAX_COMMANDS) {
        assert!((1..=MAX_COMMANDS).contains(&commands.len()));
        commands.iter().for_each(|args| may_travel(args));
        let again = request::pipeline(commands.iter().map(texts));
        assert_eq!(request::parse_pipeline(again.as_bytes(), MAX_COMMANDS).expect("what we write we read"), commands);
    }
}

fn texts(args: &Args) -> Vec<&str> {
    args.iter().map(|arg| std::str::from_utf8(arg).expect("a body carries text")).collect()
}

fn may_travel(args: &[Vec<u8>]) {
    assert!(!args.is_empty());
    if let Some(words) = refusal::refusal(args) {
        assert!(words.len() < 512, "{words}");
    }
}

/// The lines of `data` as arguments of the path form, the last also as its body: they arrive as the bytes they are.
fn paths(data: &[u8]) {
    let args: Args = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let segments = |args: &[Vec<u8>]| {
        args.iter().map(|arg| format!("/{}", percent_encode(arg, NON_ALPHANUMERIC))).collect::<String>()
    };
    if args[0].is_empty() {
        return; // No command has no name.
    }
    assert_eq!(path::command(&segments(&args), None, b""), args);
    let (body, rest) = args.split_last().expect("there is a first one");
    if !rest.is_empty() && !body.is_empty() {
        assert_eq!(path::command(&segments(rest), Some("_token=secret"), body), args);
    }
}

/// A path and a query that nobody has encoded.
fn undecoded(text: &str) {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let args = path::command(path, query, b"");
    assert!(args.iter().map(Vec::len).sum::<usize>() <= text.len());
    may_travel(&[&[b"GET".to_vec()], &args[..]].concat());
    if path::token(query).is_some() {
        assert!(query.is_some_and(|query| query.split('&').any(path::is_token)));
    }
    assert!(path::channel(path).len() <= path.len());
}

fn frame(text: &str) {
    let Ok(frame) = Frame::parse(text) else { return };
    assert_eq!(Frame::parse(&frame.to_string()), Ok(frame));
    let event = frame.to_event();
    let mut items = Vec::new();
    Decoder::default().decode(event.as_bytes(), &mut items);
    let data = frame.to_string().replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(items, [Item::Event(Event::new("", "message", data))]);
    // Upstash's client takes each line that begins so for a frame, and no frame begins with a space.
    let mut others = event.split(['\r', '\n']).skip(1).filter_map(|line| line.strip_prefix("data: "));
    assert!(others.all(|line| line.starts_with(' ')), "{event:?}");
}
