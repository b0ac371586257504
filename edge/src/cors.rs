//! Which pages of other origins may call (Fetch standard, section "CORS protocol"). An origin that is not allowed is
//! refused rather than answered without the headers: its request may come with a cookie, and would cost as much.

use crate::problem::{Kind, Problem};

/// Methods, headers and lifetime of a preflight's answer. Browsers keep it for two hours at most.
const PREFLIGHT: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        "access-control-allow-headers",
        "authorization, cache-control, content-type, if-none-match, last-event-id, x-user-id",
    ),
    ("access-control-max-age", "7200"),
];

/// The headers that a page may read beside those that it always may.
const EXPOSED: &str = "age, etag, retry-after, x-cache, x-cache-source";

/// The other origin that asks, if it may; `None`: the page's own origin, or no page.
///
/// # Errors
/// 403 for an origin that is not in `allowed`.
pub fn check(origin: Option<&str>, own: &str, allowed: &[String]) -> Result<Option<String>, Problem> {
    match origin {
        None => Ok(None),
        Some(origin) if origin == own => Ok(None),
        Some(origin) if allowed.iter().any(|allowed| allowed == origin) => Ok(Some(origin.to_owned())),
        Some(_) => Err(Problem::new(
            Kind::OriginNotAllowed,
            "Pages of this origin may not call here. Add it to ALLOWED_ORIGINS if they should.",
        )),
    }
}

/// The headers that let a page of an allowed origin read an answer. Cookies are allowed, hence the origin by name and
/// never `*`.
pub fn headers(origin: &str) -> [(&'static str, &str); 4] {
    [
        ("access-control-allow-origin", origin),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", EXPOSED),
        ("vary", "Origin"),
    ]
}

/// What an answer to a preflight says beside [`headers`].
pub fn preflight() -> [(&'static str, &'static str); 3] {
    PREFLIGHT
}

/// The origins in a list separated by commas or white space.
///
/// # Errors
/// What is wrong with the first that is none.
pub fn parse_list(list: &str) -> Result<Vec<String>, &'static str> {
    let origins = list.split([',', ' ', '\t', '\n']).filter(|origin| !origin.is_empty());
    origins.map(|origin| is_origin(origin).map(|()| origin.to_owned())).collect()
}

/// As a browser writes it (RFC 6454, section 6.2): scheme, host in lower case, and a port if it is not the usual one.
fn is_origin(text: &str) -> Result<(), &'static str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b))
    };
    if text.contains('*') {
        return Err("name each origin: * would let any page read what the user may see");
    }
    let usual = text.starts_with("https://") && text.ends_with(":443") || text.ends_with(":80");
    if host.is_some_and(plain) && !usual {
        return Ok(());
    }
    Err("write each origin as a browser does: https://app.example.com, in lower case, without a path or the usual port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_page_and_allowed_ones_may_call_and_no_other() {
        let allowed = ["https://app.example.com".to_owned()];
        let asked = |origin| check(origin, "https://batches.example.com", &allowed);
        assert_eq!(asked(None), Ok(None));
        assert_eq!(asked(Some("https://batches.example.com")), Ok(None));
        assert_eq!(asked(Some("https://app.example.com")), Ok(Some("https://app.example.com".into())));
        for other in ["null", "", "http://app.example.com", "https://app.example.com.evil.com", "https://evil.com"] {
            assert_eq!(asked(Some(other)).unwrap_err().status(), 403, "{other}");
        }
    }

    #[test]
    fn a_list_of_origins_is_written_as_browsers_write_them() {
        assert_eq!(
            parse_list("https://a.example.com, http://localhost:5173\nhttp://[::1]:80800").map(|list| list.len()),
            Ok(3)
        );
        assert_eq!(parse_list("  "), Ok(vec![]));
        for bad in ["*", "https://*.example.com", "example.com", "https://A.com", "https://a.com/", "https://a.com:443"]
        {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
        assert!(parse_list("*").unwrap_err().contains("any page"));
    }
}
