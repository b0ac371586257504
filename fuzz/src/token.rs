//! Access tokens, tickets and key sets.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::BatchId;
use wire::limits::{MAX_CANDIDATE_KEYS, MAX_INTEGER, MAX_TOKEN_BYTES};
use wire::token::{Claims, Expected, KeySet, Kind, TICKET_LIFE, TokenError, Unverified, compact};

const NOW: u64 = 1_795_389_030_000;

/// A key set, a token, or what stands in one: a line with the header, the rest the claims.
///
/// Claims are given out for a good signature and the right kind only, and never past their time. They survive the token
/// that is made of them. A ticket gives no right that its token does not give, nor for longer.
pub fn token(data: &[u8]) {
    if let Ok(set) = KeySet::parse(data) {
        assert!(set.candidates(None).len() <= MAX_CANDIDATE_KEYS);
    }
    let text = String::from_utf8_lossy(data);
    compact_form(text.trim_end());
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, &text));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    compact_form(&compact(&signed, b"sign"));
}

fn compact_form(text: &str) {
    let Ok(token) = Unverified::parse(text) else { return };
    assert!(text.len() <= MAX_TOKEN_BYTES);
    assert!(text.as_bytes().starts_with(token.signed()) && text.as_bytes()[token.signed().len()] == b'.');
    for kind in [Kind::Access, Kind::Ticket] {
        for now in [0, NOW, MAX_INTEGER, u64::MAX] {
            let admit = |is_signed, expected: &Expected| token.clone().admit(is_signed, kind, expected, now);
            assert_eq!(admit(false, &Expected::default()), Err(TokenError::Signature));
            if let Ok(claims) = admit(true, &Expected::default()) {
                assert!(claims.audience.is_empty(), "it is for somebody else");
                admitted(&claims, kind, now);
            }
            let strict = Expected::new("us".to_owned(), "here".to_owned());
            if let Ok(claims) = admit(true, &strict) {
                assert_eq!(claims.issuer, strict.issuer);
                assert!(claims.audience.contains(&"here".into()));
            }
        }
    }
}

fn admitted(claims: &Claims, kind: Kind, now: u64) {
    assert!(now < claims.expires && claims.expires <= MAX_INTEGER);
    assert_eq!(claims.until.is_some() && claims.grant.only.is_some(), kind == Kind::Ticket);
    survives(claims, kind, now);
    let batch = claims.grant.only.clone().unwrap_or(BatchId::new("b-1").expect("an id"));
    let ticket = claims.ticket(&batch, now);
    assert!(ticket.expires <= now + TICKET_LIFE && ticket.streams_until() <= claims.streams_until());
    gives_no_more(&ticket, claims);
    if now < ticket.expires {
        survives(&ticket, Kind::Ticket, now);
    }
}

fn survives(claims: &Claims, kind: Kind, now: u64) {
    let text = compact(&claims.to_be_signed(), b"sign");
    // Our header may be longer than the one it came with.
    if text.len() > MAX_TOKEN_BYTES {
        return;
    }
    let again = Unverified::parse(&text).expect("what we write we read");
    assert_eq!(again.admit(true, kind, &Expected::default(), now).as_ref(), Ok(claims));
}

fn gives_no_more(ticket: &Claims, claims: &Claims) {
    for batch in ["b-1", "b-2"].map(|id| BatchId::new(id).expect("an id")) {
        for owner in [None, Some("anna"), claims.grant.subject.as_deref()] {
            let (less, more) = (&ticket.grant, &claims.grant);
            assert!(!less.may_see(&batch, owner) || more.may_see(&batch, owner));
            assert!(!less.may_change(&batch, owner) || more.may_change(&batch, owner));
        }
    }
}
