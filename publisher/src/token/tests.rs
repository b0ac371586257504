//! Signatures: the vectors of RFC 7515, what is refused, and both ways against another library.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken as jwt;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_795_389_030_000;
const OLD: &str = "an old secret of more than 32 bytes, kept for a while";
const NEW: &str = "a-new-secret-of-more-than-32-bytes-that-signs-now";

fn secrets(text: &str) -> Secrets {
    // In these tests blanks belong to a secret.
    Secret::new(text).unwrap().into()
}

fn claims() -> Claims {
    Claims::new(Grant::new("anna".to_owned(), Batches::All), 9_999_999_999_000)
}

fn check(token: &str, secrets: Option<&Secrets>, keys: &KeySet) -> Result<Claims, TokenError> {
    verify(token, secrets, keys, &Expected::default(), NOW)
}

fn by_secret(token: &str, text: &str) -> Result<Claims, TokenError> {
    check(token, Some(&secrets(text)), &KeySet::default())
}

/// A key pair, and the public key as its issuer serves it.
struct Issuer {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
    jwks: Value,
}

impl Issuer {
    fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let jwks = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] });
        Self { pkcs8: pkcs8.as_ref().to_vec(), pair, jwks }
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(self.jwks.to_string().as_bytes()).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = to_be_signed(header, claims);
        compact(&signed, self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref())
    }
}

fn to_be_signed(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn anna() -> Value {
    json!({ "sub": "anna", "batches": "*", "exp": 9_999_999_999_u64 })
}

/// RFC 7515, appendix A.1.
#[test]
fn hs256_is_the_one_of_the_rfc() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
    let secret = Secret::new(URL_SAFE_NO_PAD.decode(key).unwrap()).unwrap();
    assert!(secret.signed(signed.as_bytes(), &signature));
    assert!(!secret.signed(&signed.as_bytes()[1..], &signature) && !secret.signed(signed.as_bytes(), &signature[1..]));
}

/// RFC 7515, appendix A.3.
#[test]
fn es256_is_the_one_of_the_rfc() {
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let coordinate = |text: &str| part(text).try_into().unwrap();
    let key = Key {
        id: None,
        x: coordinate("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        y: coordinate("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    };
    let signed = "eyJhbGciOiJFUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = part("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    assert!(has_signed(&key, signed.as_bytes(), &signature));
    assert!(!has_signed(&key, &signed.as_bytes()[1..], &signature));
    assert!(!has_signed(&key, signed.as_bytes(), &[0; 64]), "CVE-2022-21449");
    let nowhere = Key { y: key.x, ..key };
    assert!(!has_signed(&nowhere, signed.as_bytes(), &signature), "a point that is not on the curve");
}

#[test]
fn a_token_is_good_for_whoever_knows_the_secret() {
    let token = mint(&secrets(NEW), &claims());
    assert_eq!(by_secret(&token, NEW), Ok(claims()));
    assert_eq!(by_secret(&token, OLD), Err(TokenError::Signature));
    assert_eq!(check(&token, None, &KeySet::default()), Err(TokenError::NoKey));
    let other = mint(&secrets(NEW), &Claims::new(Grant::user("bert"), claims().expires));
    let (header_and_claims, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(by_secret(&format!("{header_and_claims}.{signature}"), NEW), Err(TokenError::Signature));
}

#[test]
fn a_new_secret_signs_while_the_old_one_still_counts() {
    let (old, new) = (OLD.replace(' ', "-"), NEW);
    let both = Secrets::parse(&format!("{new}\n  {old}\n")).unwrap();
    assert_eq!(mint(&both, &claims()), mint(&secrets(new), &claims()));
    for secret in [new, &old] {
        assert_eq!(check(&mint(&secrets(secret), &claims()), Some(&both), &KeySet::default()), Ok(claims()));
    }
    let third = mint(&secrets("a third secret that stands nowhere"), &claims());
    assert_eq!(check(&third, Some(&both), &KeySet::default()), Err(TokenError::Signature));
}

#[test]
fn a_weak_secret_is_refused_with_the_way_to_a_strong_one() {
    let short = "x".repeat(31);
    for weak in ["", " \n", &short, &format!("{NEW} {short}"), &format!("{short} {NEW}")] {
        let error = Secrets::parse(weak).unwrap_err().to_string();
        assert!(error.contains("openssl rand -base64 32") && !error.contains("xxx"), "{error}");
    }
    assert!(Secrets::parse(&"x".repeat(32)).is_ok());
}

#[test]
fn a_secret_is_not_printed() {
    let printed = format!("{:?} {:?}", Secret::new(NEW).unwrap(), Secrets::parse(NEW).unwrap());
    assert!(!printed.contains("secret-of") && printed.starts_with("Secret(…) Secrets"), "{printed}");
}

#[test]
fn a_ticket_is_no_token() {
    let ticket = claims().ticket(&"b-1".parse().unwrap(), NOW);
    assert_eq!(by_secret(&mint(&secrets(NEW), &ticket), NEW), Err(TokenError::IsTicket));
}

#[test]
fn es256_is_checked_by_the_keys_of_the_set() {
    let (ours, theirs) = (Issuer::new("k-1"), Issuer::new("k-1"));
    let header = json!({ "alg": "ES256", "kid": "k-1" });
    assert_eq!(check(&ours.sign(&header, &anna()), None, &ours.keys()), Ok(claims()));
    assert_eq!(check(&ours.sign(&json!({ "alg": "ES256" }), &anna()), None, &ours.keys()), Ok(claims()));
    assert_eq!(check(&theirs.sign(&header, &anna()), None, &ours.keys()), Err(TokenError::Signature));
    let unknown = json!({ "alg": "ES256", "kid": "k-2" });
    assert_eq!(check(&ours.sign(&unknown, &anna()), None, &ours.keys()), Err(TokenError::NoKey));
    assert_eq!(
        check(&ours.sign(&header, &anna()), Some(&secrets(NEW)), &KeySet::default()),
        Err(TokenError::NoKey),
        "no secret checks ES256"
    );
}

/// The algorithm confusion of RFC 8725, section 2.1: whoever knows the public key, which is everyone, would sign.
#[test]
fn a_public_key_is_no_secret() {
    let issuer = Issuer::new("k-1");
    let json = issuer.jwks.to_string();
    let point = issuer.pair.public_key().as_ref().to_vec();
    let key = issuer.jwks["keys"][0].to_string();
    let x = issuer.jwks["keys"][0]["x"].as_str().unwrap().to_owned();
    for public in [point.clone(), point[1..].to_vec(), json.into_bytes(), key.into_bytes(), x.into_bytes()] {
        for header in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "kid": "k-1" })] {
            let signed = to_be_signed(&header, &anna());
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), signed.as_bytes());
            let token = compact(&signed, signature.as_ref());
            assert_eq!(check(&token, None, &issuer.keys()), Err(TokenError::NoKey));
            assert_eq!(check(&token, Some(&secrets(NEW)), &issuer.keys()), Err(TokenError::Signature));
            let renamed = token.replacen(
                &URL_SAFE_NO_PAD.encode(header.to_string()),
                &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#),
                1,
            );
            assert_eq!(check(&renamed, Some(&secrets(NEW)), &issuer.keys()), Err(TokenError::Signature));
        }
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let issuer = Issuer::new("k-1");
    for alg in ["none", "HS256", "ES256"] {
        let token = compact(&to_be_signed(&json!({ "alg": alg }), &anna()), b"");
        let error = check(&token, Some(&secrets(NEW)), &issuer.keys()).unwrap_err();
        assert_eq!(error, if alg == "none" { TokenError::Algorithm } else { TokenError::Signature });
    }
}

#[test]
fn another_library_takes_what_is_minted_here() {
    let token = mint(&secrets(NEW), &claims());
    let mut rules = jwt::Validation::new(jwt::Algorithm::HS256);
    let read = jwt::decode::<Value>(&token, &jwt::DecodingKey::from_secret(NEW.as_bytes()), &rules).unwrap();
    assert_eq!(read.claims, anna());
    assert!(jwt::decode::<Value>(&token, &jwt::DecodingKey::from_secret(OLD.as_bytes()), &rules).is_err());

    rules.set_audience(&["app"]);
    rules.set_issuer(&["us"]);
    let mut full = claims();
    (full.issuer, full.audience) = (Some("us".into()), vec!["app".into(), "edge".into()]);
    let key = jwt::DecodingKey::from_secret(NEW.as_bytes());
    assert_eq!(jwt::decode::<Value>(&mint(&secrets(NEW), &full), &key, &rules).unwrap().claims["iss"], "us");
}

#[test]
fn what_another_library_signs_is_taken_here() {
    let token = jwt::encode(&jwt::Header::default(), &anna(), &jwt::EncodingKey::from_secret(NEW.as_bytes())).unwrap();
    assert_eq!(by_secret(&token, NEW), Ok(claims()));
    assert_eq!(by_secret(&token, OLD), Err(TokenError::Signature));

    let issuer = Issuer::new("k-1");
    let header = jwt::Header { kid: Some("k-1".into()), ..jwt::Header::new(jwt::Algorithm::ES256) };
    let token = jwt::encode(&header, &anna(), &jwt::EncodingKey::from_ec_der(&issuer.pkcs8)).unwrap();
    assert_eq!(check(&token, None, &issuer.keys()), Ok(claims()));
    let set: jwt::jwk::JwkSet = serde_json::from_value(issuer.jwks.clone()).unwrap();
    let key = jwt::DecodingKey::from_jwk(&set.keys[0]).unwrap();
    let ours = issuer.sign(&json!({ "alg": "ES256" }), &anna());
    assert!(jwt::decode::<Value>(&ours, &key, &jwt::Validation::new(jwt::Algorithm::ES256)).is_ok());

    for alg in [jwt::Algorithm::HS384, jwt::Algorithm::HS512] {
        let key = jwt::EncodingKey::from_secret(NEW.as_bytes());
        let token = jwt::encode(&jwt::Header::new(alg), &anna(), &key).unwrap();
        assert_eq!(by_secret(&token, NEW), Err(TokenError::Algorithm));
    }
}
