//! The properties on stable: over the corpus, and over random mutations of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Each target with how many mutations of its corpus are tried: about a second's worth.
macro_rules! targets {
    ($($target:ident: $cases:literal,)+) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),+];
        $(mod $target {
            #[test]
            fn holds_for_the_corpus() {
                super::replay(stringify!($target), batchcast_fuzz::$target);
            }

            #[test]
            fn holds_for_mutations_of_the_corpus() {
                super::mutate(stringify!($target), batchcast_fuzz::$target, $cases);
            }
        })+
    };
}

targets! {
    event_stream: 4_000,
    image: 1_000,
    message: 4_000,
    name: 10_000,
    position: 10_000,
    rest_reply: 10_000,
    rest_request: 10_000,
    state: 10_000,
    token: 10_000,
}

#[test]
fn what_the_fuzzer_tries_is_tried_here() {
    let names = |dir: &str| {
        let paths = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir));
        paths.into_iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("fuzz_targets"), TARGETS);
    assert_eq!(names("corpus"), TARGETS);
}

fn replay(name: &str, target: fn(&[u8])) {
    for path in corpus(name) {
        // Shown when the test fails.
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
    }
}

fn mutate(name: &str, target: fn(&[u8]), cases: u32) {
    let seeds: Vec<Vec<u8>> = corpus(name).iter().map(|path| fs::read(path).unwrap()).collect();
    let strategy = (any::<Index>(), vec(edits(), 1..6));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |(seed, edits)| {
        let mut bytes = seed.get(&seeds).clone();
        edits.iter().for_each(|edit| edit.apply(&mut bytes, &seeds));
        println!("{:?}", String::from_utf8_lossy(&bytes));
        target(&bytes);
        Ok(())
    });
    // The last input printed is the smallest that was found.
    result.unwrap();
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = files(&dir);
    assert!(!files.is_empty(), "{} is empty", dir.display());
    files
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// One change of an input. A place is an index into it.
#[derive(Debug, Clone)]
enum Edit {
    /// Another byte there.
    Set(Index, u8),
    /// More bytes there.
    Insert(Index, Vec<u8>),
    /// Nothing from here to there.
    Remove(Index, Index),
    /// The same once more, at the end.
    Repeat(Index, Index),
    /// From there on as another input is.
    Splice(Index, Index),
}

fn edits() -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        3 => (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        // Digits, signs and line ends, of which most of our formats are made.
        3 => (place(), "[0-9.,:\"{}\\[\\]\\\\ \r\n-]{1,3}").prop_map(|(at, text)| Edit::Insert(at, text.into_bytes())),
        1 => (place(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (place(), place()).prop_map(|(from, to)| Edit::Remove(from, to)),
        1 => (place(), place()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        1 => (place(), place()).prop_map(|(at, other)| Edit::Splice(at, other)),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let end = bytes.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(end), to.index(end));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Set(at, byte) if !bytes.is_empty() => *at.get_mut(bytes) = *byte,
            Self::Set(_, byte) => bytes.push(*byte),
            Self::Insert(at, more) => {
                let at = at.index(end);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove(from, to) => drop(bytes.drain(range(from, to))),
            Self::Repeat(from, to) => bytes.extend_from_within(range(from, to)),
            Self::Splice(at, other) => {
                let (at, other) = (at.index(end), other.get(seeds));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
}
