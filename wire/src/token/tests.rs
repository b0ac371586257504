//! What a token may say and what it may not, rule by rule, and properties over any claims.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_795_389_030_000;

/// A token with this header and these claims; its signature is the four bytes `sign`.
fn token(header: &str, claims: &str) -> String {
    compact(&format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)), b"sign")
}

fn hs256(claims: &str) -> String {
    token(r#"{"alg":"HS256"}"#, claims)
}

fn admit(token: &str) -> Result<Claims, TokenError> {
    Unverified::parse(token)?.admit(true, Kind::Access, &Expected::default(), NOW)
}

fn id(text: &str) -> BatchId {
    text.parse().unwrap()
}

#[test]
fn a_token_says_who_asks_and_what_for() {
    let claims = admit(&hs256(r#"{"sub":"anna","batches":["b-1"],"exp":1795389031.5,"more":1}"#)).unwrap();
    assert_eq!(claims.grant.subject.as_deref(), Some("anna"));
    assert_eq!(claims.grant.batches, Batches::These(vec![id("b-1")]));
    assert_eq!((claims.expires, claims.streams_until()), (NOW + 1_500, NOW + 1_500));
    assert_eq!(admit(&hs256(r#"{"batches":"*","exp":9999999999}"#)).unwrap().grant.batches, Batches::All);
}

#[test]
fn what_is_signed_and_by_what_is_told_to_whoever_checks_it() {
    let text = token(r#"{"alg":"ES256","kid":"k-1","typ":"at+jwt"}"#, r#"{"sub":"a","exp":9999999999}"#);
    let token = Unverified::parse(&text).unwrap();
    assert_eq!((token.algorithm(), token.key_id()), (Algorithm::Es256, Some("k-1")));
    assert_eq!(token.signature(), b"sign");
    assert_eq!(token.signed(), text.rsplit_once('.').unwrap().0.as_bytes());
}

#[test]
fn no_other_algorithm_is_taken() {
    for alg in ["none", "None", "NONE", "", "HS512", "RS256", "hs256", "ES256K"] {
        let text = token(&format!(r#"{{"alg":"{alg}"}}"#), r#"{"sub":"a","exp":9999999999}"#);
        assert_eq!(Unverified::parse(&text).unwrap_err(), TokenError::Algorithm, "{alg}");
    }
}

#[test]
fn a_wrong_signature_is_said_before_anything_else() {
    let text = hs256(r#"{"sub":"anna","exp":1}"#);
    let wrong = Unverified::parse(&text).unwrap().admit(false, Kind::Access, &Expected::default(), NOW);
    assert_eq!(wrong, Err(TokenError::Signature));
    assert_eq!(admit(&text), Err(TokenError::Expired));
}

#[test]
fn times_count() {
    assert_eq!(admit(&hs256(r#"{"sub":"a","exp":1795389030}"#)), Err(TokenError::Expired));
    assert!(admit(&hs256(r#"{"sub":"a","exp":1795389030.001}"#)).is_ok());
    assert!(matches!(admit(&hs256(r#"{"sub":"a"}"#)), Err(TokenError::Claim(words)) if words.contains("exp")));
    for bad in ["-1", "1e300", "253402300800", "\"soon\"", "null"] {
        assert!(admit(&hs256(&format!(r#"{{"sub":"a","exp":{bad}}}"#))).is_err(), "{bad}");
    }
    assert!(admit(&hs256(r#"{"sub":"a","exp":9999999999,"nbf":1795389090}"#)).is_ok());
    assert_eq!(admit(&hs256(r#"{"sub":"a","exp":9999999999,"nbf":1795389091}"#)), Err(TokenError::TooEarly));
}

#[test]
fn a_token_for_others_or_by_others_is_refused() {
    let expecting = |issuer: Option<&str>, audience: Option<&str>, claims: &str| {
        let expected = Expected { issuer: issuer.map(str::to_owned), audience: audience.map(str::to_owned) };
        let text = hs256(&format!(r#"{{"sub":"a","exp":9999999999{claims}}}"#));
        Unverified::parse(&text)?.admit(true, Kind::Access, &expected, NOW).map(drop)
    };
    assert_eq!(expecting(Some("us"), None, r#","iss":"us""#), Ok(()));
    assert_eq!(expecting(Some("us"), None, r#","iss":"them""#), Err(TokenError::Issuer));
    assert_eq!(expecting(Some("us"), None, ""), Err(TokenError::Issuer));
    assert_eq!(expecting(None, Some("here"), r#","aud":"here""#), Ok(()));
    assert_eq!(expecting(None, Some("here"), r#","aud":["there","here"]"#), Ok(()));
    assert_eq!(expecting(None, Some("here"), r#","aud":"there""#), Err(TokenError::Audience));
    assert_eq!(expecting(None, Some("here"), ""), Err(TokenError::Audience));
    assert_eq!(expecting(None, None, r#","aud":"there""#), Err(TokenError::Audience));
}

#[test]
fn what_is_no_token_is_refused_in_words() {
    let exp = r#"{"sub":"a","exp":9999999999}"#;
    for (text, words) in [
        (String::new(), "three parts"),
        ("a.b".into(), "three parts"),
        ("a.b.c.d".into(), "header"),
        ("!.!.!".into(), "header"),
        (token("{}", exp), "header"),
        (hs256("7"), "claims"),
        (hs256(r#"{"sub":"","exp":9999999999}"#), "sub"),
        (hs256(r#"{"sub":"a\nb","exp":9999999999}"#), "control"),
        (hs256(r#"{"exp":9999999999}"#), "opens nothing"),
        (hs256(r#"{"sub":"a","exp":9999999999,"batches":"b"}"#), "batches"),
        (hs256(r#"{"sub":"a","exp":9999999999,"batches":["a*"]}"#), "batches"),
        (hs256(r#"{"sub":"a","sub":"b","exp":9999999999}"#), "claims"),
        (hs256(&format!(r#"{{"sub":"{}","exp":1}}"#, "x".repeat(257))), "sub"),
        (token(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, exp), "crit"),
        (token(r#"{"alg":"HS256","typ":"secevent+jwt"}"#, exp), "typ"),
        ("x".repeat(MAX_TOKEN_BYTES + 1), "4096 bytes"),
    ] {
        let error = Unverified::parse(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_ticket_is_no_token_and_a_token_is_no_ticket() {
    let claims = admit(&hs256(r#"{"sub":"anna","batches":["b-1"],"exp":9999999999}"#)).unwrap();
    let ticket = compact(&claims.ticket(&id("b-1"), NOW).to_be_signed(), b"sign");
    let read = |text: &str, kind, now| Unverified::parse(text)?.admit(true, kind, &Expected::default(), now);
    assert_eq!(read(&ticket, Kind::Access, NOW), Err(TokenError::IsTicket));
    let token = compact(&claims.to_be_signed(), b"sign");
    assert_eq!(read(&token, Kind::Access, NOW).as_ref(), Ok(&claims));
    assert_eq!(read(&token, Kind::Ticket, NOW), Err(TokenError::IsNoTicket));
    assert!(read(&ticket, Kind::Ticket, NOW + TICKET_LIFE - 1).is_ok());
    assert_eq!(read(&ticket, Kind::Ticket, NOW + TICKET_LIFE), Err(TokenError::Expired));
}

#[test]
fn a_ticket_opens_for_five_minutes_what_lives_as_long_as_its_token() {
    let claims = admit(&hs256(r#"{"sub":"anna","exp":1795392630}"#)).unwrap();
    let ticket = claims.ticket(&id("b-1"), NOW);
    assert_eq!((ticket.expires, ticket.streams_until()), (NOW + TICKET_LIFE, NOW + 3_600_000));
    assert!(ticket.grant.may_see(&id("b-1"), Some("anna")) && !ticket.grant.may_see(&id("b-2"), Some("anna")));
    let late = claims.ticket(&id("b-1"), NOW + 3_590_000);
    assert_eq!((late.expires, late.streams_until()), (NOW + 3_600_000, NOW + 3_600_000));
}

/// Pinned: applications mint these by other libraries, and tickets that are out must stay good over a deploy.
#[test]
fn the_bytes_that_are_signed_are_unchanged() {
    let decoded = |signed: String| {
        let parts = signed.split('.').map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
        parts.collect::<Vec<_>>()
    };
    let grant = Grant { subject: Some("anna".into()), batches: Batches::These(vec![id("b-1")]), only: None };
    let claims = Claims::new(grant, NOW);
    assert_eq!(
        decoded(claims.to_be_signed()),
        [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"sub":"anna","batches":["b-1"],"exp":1795389030}"#]
    );
    assert_eq!(
        decoded(claims.ticket(&id("b-1"), NOW - 2_500).to_be_signed()),
        [
            r#"{"alg":"HS256","typ":"ticket+jwt"}"#,
            r#"{"sub":"anna","batches":["b-1"],"batch":"b-1","exp":1795389030,"until":1795389030}"#
        ]
    );
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let batches = prop_oneof![
        Just(Batches::All),
        prop::collection::vec("[A-Za-z0-9_-]{1,64}".prop_map(|text| id(&text)), 0..4).prop_map(Batches::These),
    ];
    let texts = ("[^\\p{Cc}]{1,40}", prop::option::of(".{0,20}"), prop::collection::vec(".{0,20}", 0..3));
    (batches, texts, 0..253_402_300_799_000_u64, any::<bool>()).prop_map(|(batches, texts, millis, ticket)| {
        let (subject, issuer, audience) = texts;
        let only = ticket.then(|| id("b-1"));
        let until = ticket.then_some(millis);
        Claims { grant: Grant { subject: Some(subject), batches, only }, expires: millis, until, issuer, audience }
    })
}

proptest! {
    #[test]
    fn claims_survive_their_token(claims in any_claims()) {
        let text = compact(&claims.to_be_signed(), b"sign");
        prop_assert_eq!(Unverified::parse(&text).unwrap().claims, claims);
    }

    #[test]
    fn no_text_makes_the_reader_fall(text in ".{0,200}", parts in prop::array::uniform3("[ -~]{0,60}")) {
        let _ = Unverified::parse(&text);
        let encoded = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let _ = Unverified::parse(&encoded);
    }

    #[test]
    fn a_ticket_gives_no_more_than_its_token(claims in any_claims(), batch in "[ab]", asked in "[ab]", owner in prop::option::of(".{1,3}")) {
        let (batch, asked) = (id(&batch), id(&asked));
        let ticket = claims.ticket(&batch, NOW);
        let seen = ticket.grant.may_see(&asked, owner.as_deref());
        prop_assert!(!seen || (asked == batch && claims.grant.may_see(&asked, owner.as_deref())));
        prop_assert!(ticket.streams_until() <= claims.streams_until() && ticket.expires <= claims.streams_until());
    }
}
