//! What of a page can be run: its fenced blocks with a mark in the info string.
//!
//! | info string | |
//! |---|---|
//! | `js file=app.mjs` (or another language) | the block is that file |
//! | `sh test` | each of its lines is a command, run in the page's own scenario |
//! | `sh test=NAME` | the same in another scenario: with something broken, or set otherwise |
//!
//! Below a command, lines that begin with `#> ` are lines that it prints, in this order, others between them; `…` stands for
//! anything. With such lines its exit code is not looked at; without any it must succeed. A command whose comment says
//! `Ctrl-C` is ended once it has printed them. A line that is indented belongs to the command above; other lines that begin
//! with `#` are for the reader.

use anyhow::{Result, bail, ensure};

/// A block that can be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Block {
    File { name: String, text: String },
    Commands { scenario: Option<String>, commands: Vec<Command> },
}

/// What a reader types, and sees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its line in the page, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) prints: Vec<String>,
    /// It does not end by itself.
    pub(crate) is_endless: bool,
}

/// The blocks of a page, in their order. A mark that is not known is an error: it would pass for a block that runs.
pub(crate) fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((fence, begin)) = lines.next() {
        let Some(info) = fence.strip_prefix("```") else { continue };
        let body: Vec<_> = lines.by_ref().take_while(|(line, _)| *line != "```").collect();
        let mut words = info.split_whitespace().skip(1);
        let Some(mark) = words.next() else { continue };
        ensure!(words.next().is_none(), "line {begin}: one mark a block: {info}");
        blocks.push(match mark.split_once('=') {
            None if mark == "test" => Block::Commands { scenario: None, commands: commands(&body)? },
            Some(("test", name)) => Block::Commands { scenario: Some(name.to_owned()), commands: commands(&body)? },
            Some(("file", name)) => {
                let text = body.iter().map(|(line, _)| format!("{line}\n")).collect();
                Block::File { name: name.to_owned(), text }
            }
            _ => bail!("line {begin}: the mark {mark} is not known"),
        });
    }
    Ok(blocks)
}

fn commands(body: &[(&str, usize)]) -> Result<Vec<Command>> {
    let mut commands: Vec<Command> = Vec::new();
    for (text, line) in body {
        let (is_indented, last) = (text.starts_with(' '), commands.last_mut());
        match (text.strip_prefix("#> "), last) {
            (Some(printed), Some(command)) => command.prints.push(printed.trim_end().to_owned()),
            (Some(_), None) => bail!("line {line}: no command prints this"),
            (None, Some(command)) if is_indented => command.text = format!("{}\n{text}", command.text),
            _ if text.trim().is_empty() || text.starts_with('#') => {}
            _ => {
                let is_endless = text.split_once(" # ").is_some_and(|(_, comment)| comment.contains("Ctrl-C"));
                commands.push(Command { line: *line, text: (*text).to_owned(), is_endless, ..Command::default() });
            }
        }
    }
    ensure!(!commands.is_empty(), "a block without a command");
    for command in &commands {
        let line = command.line;
        ensure!(!command.is_endless || !command.prints.is_empty(), "line {line}: without a line that ends it");
    }
    Ok(commands)
}

/// Whether a line is the one that the page shows; `…` stands for anything.
pub(crate) fn is_shown(shown: &str, line: &str) -> bool {
    let mut pieces = shown.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| line.trim_end().strip_prefix(first)) else { return false };
    let mut is_open = false;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        (rest, is_open) = (after, piece.is_empty());
    }
    // The last piece stands at the end; an earlier place of the same words is as good as that one.
    is_open || rest.is_empty() || shown.rsplit_once('…').is_some_and(|(_, last)| line.trim_end().ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_found_and_others_left_alone() {
        let page = "\
Words.
```js
not run
```
```js file=a.mjs
one

two
```
```sh test
# Look:
first  # as it comes; Ctrl-C ends it
#> a … b
#> c
second \\
  more
```
```sh test=away
third
```
";
        let first = Command {
            line: 12,
            text: "first  # as it comes; Ctrl-C ends it".into(),
            prints: vec!["a … b".into(), "c".into()],
            is_endless: true,
        };
        let second = Command { line: 15, text: "second \\\n  more".into(), ..Command::default() };
        let third = Command { line: 19, text: "third".into(), ..Command::default() };
        assert_eq!(
            blocks(page).unwrap(),
            [
                Block::File { name: "a.mjs".into(), text: "one\n\ntwo\n".into() },
                Block::Commands { scenario: None, commands: vec![first, second] },
                Block::Commands { scenario: Some("away".into()), commands: vec![third] },
            ]
        );
    }

    #[test]
    fn what_could_pass_for_a_test_is_refused() {
        for (page, words) in [
            ("```sh tset\na\n```", "tset is not known"),
            ("```sh test twice\na\n```", "one mark"),
            ("```sh test\n#> b\n```", "no command"),
            ("```sh test\n# only words\n```", "without a command"),
            ("```sh test\na  # until Ctrl-C\n```", "without a line"),
        ] {
            let error = blocks(page).unwrap_err().to_string();
            assert!(error.contains(words), "{page}: {error}");
        }
    }

    #[test]
    fn a_line_is_shown_whole_or_with_gaps() {
        for (shown, line) in
            [("a b", "a b \r"), ("a…", "abc"), ("…c", "abc"), ("a…c", "acbc"), ("a…b…d", "a-b-c-d"), ("…", "")]
        {
            assert!(is_shown(shown, line), "{shown} {line}");
        }
        for (shown, line) in [("a", "ab"), ("b", "ab"), ("a…c", "abd"), ("…a", "ab"), ("a…b…c", "acb"), ("", "a")]
        {
            assert!(!is_shown(shown, line), "{shown} {line}");
        }
    }
}
