//! What Upstash understands and plain Redis does not: commands are rewritten on their way, and replies on theirs back.
//!
//! In scope: the flag `allow-key-locking` in front of scripts, `SCAN … WITHTYPE`, `UNLINK` without keys, `COPY` of a
//! key onto itself. Out of scope: sockets. What is not understood here goes on as it is. A command stays one command,
//! so that all of this holds in pipelines and transactions, too.

use redis_rest::{Args, Reply};
use sha1_smol::Sha1;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The first line of a script names its engine and its flags.
const SHEBANG: &str = "#!lua";
const KEY_LOCKING: &str = "allow-key-locking";

/// The most scripts whose other digest is remembered. When there are more all are forgotten: clients then send the
/// script again, because Redis does not know the digest.
const MAX_SCRIPTS: usize = 4096;

/// A page of `SCAN` with the type behind each key, in one call, so that it keeps its place in a pipeline.
const SCAN_WITH_TYPES: &[u8] = b"
local page = redis.pcall('SCAN', unpack(ARGV))
if page.err then return page end
local typed = {}
for _, key in ipairs(page[2]) do
    typed[#typed + 1] = key
    typed[#typed + 1] = redis.call('TYPE', key).ok
end
return {page[1], typed}";

/// How Redis refuses to copy a key onto itself. Upstash says that nothing was copied.
const COPY_ONTO_ITSELF: &str = "ERR source and destination objects are the same";

/// What is done with a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Nothing.
    AsIs,
    /// Where Redis refused because both keys are the same, nothing was copied.
    Copied,
    /// The digest of the script that was sent gives way to that of the script that came.
    Digest(String),
}

impl Finish {
    /// What the client gets for what Redis said.
    pub(crate) fn reply(self, reply: Reply) -> Reply {
        match (self, reply) {
            (Self::Copied, Reply::Error(words)) if words == COPY_ONTO_ITSELF => Reply::Int(0),
            (Self::Digest(digest), Reply::Bulk(_)) => Reply::Bulk(digest.into_bytes()),
            (_, reply) => reply,
        }
    }
}

/// Digests that clients know, and those of what Redis got instead.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<HashMap<String, String>>);

impl Scripts {
    fn remember(&self, script: &[u8], sent: &[u8]) -> String {
        let digest = Sha1::from(script).digest().to_string();
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= MAX_SCRIPTS {
            digests.clear();
        }
        digests.insert(digest.clone(), Sha1::from(sent).digest().to_string());
        digest
    }

    fn rewrite(&self, digest: &mut Vec<u8>) {
        let known = String::from_utf8_lossy(digest).to_ascii_lowercase();
        if let Some(sent) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&known) {
            *digest = sent.clone().into_bytes();
        }
    }
}

/// Rewrites a command, whose `name` is given in capitals.
pub(crate) fn translate(name: &[u8], command: &mut Args, scripts: &Scripts) -> Finish {
    match name {
        b"EVAL" | b"EVAL_RO" => {
            if let Some(script) = command.get_mut(1) {
                unlock(script, scripts);
            }
        }
        b"EVALSHA" | b"EVALSHA_RO" => {
            if let Some(digest) = command.get_mut(1) {
                scripts.rewrite(digest);
            }
        }
        b"SCRIPT" => return translate_script(command, scripts),
        b"SCAN" if take_with_type(command) => {
            command.splice(..1, [b"EVAL".to_vec(), SCAN_WITH_TYPES.to_vec(), b"0".to_vec()]);
        }
        // Redis misses an argument where there is nothing to unlink.
        b"UNLINK" if command.len() == 1 => *command = vec![b"EVAL".to_vec(), b"return 0".to_vec(), b"0".to_vec()],
        b"COPY" => return Finish::Copied,
        _ => {}
    }
    Finish::AsIs
}

fn translate_script(command: &mut Args, scripts: &Scripts) -> Finish {
    let Some(subcommand) = command.get(1).map(|word| word.to_ascii_uppercase()) else { return Finish::AsIs };
    match &subcommand[..] {
        b"LOAD" => {
            let digest = command.get_mut(2).and_then(|script| unlock(script, scripts));
            digest.map_or(Finish::AsIs, Finish::Digest)
        }
        b"EXISTS" => {
            command.iter_mut().skip(2).for_each(|digest| scripts.rewrite(digest));
            Finish::AsIs
        }
        _ => Finish::AsIs,
    }
}

/// Takes the flag off a script; the digest that its client knows it by, if it had one.
fn unlock(script: &mut Vec<u8>, scripts: &Scripts) -> Option<String> {
    let unlocked = without_key_locking(script)?;
    let digest = scripts.remember(script, &unlocked);
    *script = unlocked;
    Some(digest)
}

/// The script without the flag that only Upstash knows. Without any other flag the whole line goes, but for its end,
/// so that lines keep their numbers: an older Redis does not know such lines at all.
fn without_key_locking(script: &[u8]) -> Option<Vec<u8>> {
    let end = script.iter().position(|byte| *byte == b'\n').unwrap_or(script.len());
    let (line, rest) = script.split_at(end);
    let words = std::str::from_utf8(line).ok()?.strip_prefix(SHEBANG)?;
    if !words.contains(KEY_LOCKING) {
        return None;
    }
    let words: Vec<String> = words.split_whitespace().filter_map(without_flag).collect();
    let mut line = if words.is_empty() { String::new() } else { format!("{SHEBANG} {}", words.join(" ")) }.into_bytes();
    line.extend_from_slice(rest);
    Some(line)
}

fn without_flag(word: &str) -> Option<String> {
    let Some(flags) = word.strip_prefix("flags=") else { return Some(word.to_owned()) };
    let others: Vec<&str> = flags.split(',').filter(|flag| *flag != KEY_LOCKING).collect();
    (!others.is_empty()).then(|| format!("flags={}", others.join(",")))
}

/// Takes `WITHTYPE` off a `SCAN`, where it is an option and not the value of one.
fn take_with_type(command: &mut Args) -> bool {
    let mut at = 2;
    while let Some(word) = command.get(at) {
        if word.eq_ignore_ascii_case(b"WITHTYPE") {
            command.remove(at);
            return true;
        }
        at += 2; // MATCH, COUNT and TYPE have a value.
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Args {
        words.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn translated(words: &str) -> (Args, Finish) {
        let mut command = args(words);
        let name = command[0].to_ascii_uppercase();
        let finish = translate(&name, &mut command, &Scripts::default());
        (command, finish)
    }

    fn stripped(script: &str) -> Option<String> {
        without_key_locking(script.as_bytes()).map(|script| String::from_utf8(script).unwrap())
    }

    #[test]
    fn the_flag_goes_and_other_flags_stay() {
        assert_eq!(stripped("#!lua flags=allow-key-locking\nreturn 1").as_deref(), Some("\nreturn 1"));
        assert_eq!(stripped("#!lua flags=allow-key-locking").as_deref(), Some(""));
        let two = "#!lua flags=no-writes,allow-key-locking\r\nreturn 1";
        assert_eq!(stripped(two).as_deref(), Some("#!lua flags=no-writes\nreturn 1"));
        assert_eq!(stripped("#!lua flags=no-writes\nreturn 1"), None);
        assert_eq!(stripped("return 'allow-key-locking'"), None);
        assert_eq!(stripped("#!lua name=x\n-- allow-key-locking"), None);
    }

    /// Pinned: `@upstash/ratelimit` computes the digest of the script as it has it.
    #[test]
    fn a_digest_of_a_script_with_the_flag_finds_the_script_without() {
        let scripts = Scripts::default();
        let script = b"#!lua flags=allow-key-locking\nreturn 1".to_vec();
        let (known, sent) = (Sha1::from(&script).digest().to_string(), Sha1::from(b"\nreturn 1").digest().to_string());
        let mut by_digest = vec![b"EVALSHA".to_vec(), known.to_uppercase().into_bytes()];
        translate(b"EVALSHA", &mut by_digest, &scripts);
        assert_eq!(by_digest[1], known.to_uppercase().into_bytes(), "not known yet");

        let mut load = vec![b"SCRIPT".to_vec(), b"load".to_vec(), script.clone()];
        assert_eq!(translate(b"SCRIPT", &mut load, &scripts), Finish::Digest(known.clone()));
        assert_eq!(load[2], b"\nreturn 1");
        for (name, place) in [("EVALSHA", 1), ("EVALSHA_RO", 1), ("SCRIPT", 3)] {
            let mut command = vec![name.into(), b"EXISTS".to_vec(), b"x".to_vec(), b"y".to_vec()];
            command[place] = known.to_uppercase().into_bytes();
            translate(name.as_bytes(), &mut command, &scripts);
            assert_eq!(command[place], sent.as_bytes(), "{name}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scripts = Scripts::default();
        for number in 0..2 * MAX_SCRIPTS {
            scripts.remember(number.to_string().as_bytes(), b"sent");
        }
        assert!(scripts.0.lock().unwrap().len() <= MAX_SCRIPTS);
    }

    #[test]
    fn the_client_gets_the_digest_of_what_it_sent() {
        let finish = || Finish::Digest("known".into());
        assert_eq!(finish().reply(Reply::Bulk(b"sent".to_vec())), Reply::Bulk(b"known".to_vec()));
        let refused = Reply::Error("ERR Error compiling script".into());
        assert_eq!(finish().reply(refused.clone()), refused);
    }

    #[test]
    fn with_type_is_an_option_of_scan_and_nothing_else() {
        let options = |words: &str| translated(words).0.split_off(3);
        assert_eq!(translated("scan 0 withtype").0[0], b"EVAL");
        assert_eq!(options("scan 0 withtype"), args("0"));
        assert_eq!(options("SCAN 0 COUNT 5 WITHTYPE MATCH a*"), args("0 COUNT 5 MATCH a*"));
        let named = "SCAN 0 MATCH WITHTYPE";
        assert_eq!(translated(named), (args(named), Finish::AsIs));
    }

    #[test]
    fn what_redis_calls_an_error_and_upstash_does_not_is_nought() {
        assert_eq!(translated("unlink").0, [&b"EVAL"[..], b"return 0", b"0"]);
        assert_eq!(translated("UNLINK k").0, args("UNLINK k"));
        let (command, finish) = translated("COPY k k");
        assert_eq!(command, args("COPY k k"));
        assert_eq!(finish.reply(Reply::Error(COPY_ONTO_ITSELF.into())), Reply::Int(0));
        assert_eq!(Finish::Copied.reply(Reply::Error("ERR no".into())), Reply::Error("ERR no".into()));
        assert_eq!(Finish::AsIs.reply(Reply::Error(COPY_ONTO_ITSELF.into())), Reply::Error(COPY_ONTO_ITSELF.into()));
    }
}
