//! Which pages of other origins may call (Fetch standard, section "CORS protocol"). An origin that is not allowed is
//! refused rather than answered without the headers: its request may come with a cookie, and would cost as much.

use crate::problem::Problem;

/// Methods, headers and lifetime of a preflight's answer. Browsers keep it for two hours at most.
const PREFLIGHT: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        "access-control-allow-headers",
        "authorization, cache-control, content-type, if-none-match, last-event-id, x-user-id",
    ),
    ("access-control-max-age", "7200"),
];

/// The header by which a cache learns that an answer depends on who asks, and its value.
pub const VARY: (&str, &str) = ("vary", "Origin");

/// The headers that a page may read beside those that it always may.
const EXPOSED: &str = "age, etag, retry-after, x-cache, x-cache-source";

/// The other origin that asks, if it may; `None`: the page's own origin, or no page.
///
/// # Errors
/// 403 for an origin that is not in `allowed`.
pub fn check(origin: Option<&str>, own: &str, allowed: &[String]) -> Result<Option<String>, Problem> {
    match origin {
        None => Ok(None),
        Some(origin) if origin == own && !own.is_empty() => Ok(None),
        Some(origin) if allowed.iter().any(|allowed| allowed == origin) => Ok(Some(origin.to_owned())),
        Some(_) => Err(Problem::other_origin()),
    }
}

/// Whether a page of another site asks without saying from where, as an image or a script does. Such a request carries
/// the cookie of a site that is the same but for its host, and nobody could read the answer. The values are those of
/// Fetch Metadata (W3C), which a page can't set.
pub fn is_embedded(site: Option<&str>, mode: Option<&str>) -> bool {
    mode == Some("no-cors") && matches!(site, Some("cross-site" | "same-site"))
}

/// The headers that let a page of an allowed origin read an answer. Cookies are allowed, hence the origin by name and
/// never `*`. What is answered also depends on it: [`VARY`].
pub fn headers(origin: &str) -> [(&'static str, &str); 3] {
    [
        ("access-control-allow-origin", origin),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", EXPOSED),
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
        assert_eq!(check(Some(""), "", &allowed).unwrap_err().status(), 403);
        for other in ["null", "", "http://app.example.com", "https://app.example.com.evil.com", "https://evil.com"] {
            assert_eq!(asked(Some(other)).unwrap_err().status(), 403, "{other}");
        }
    }

    #[test]
    fn what_another_site_embeds_is_no_call() {
        assert!(is_embedded(Some("cross-site"), Some("no-cors")) && is_embedded(Some("same-site"), Some("no-cors")));
        for (site, mode) in [
            (None, None),
            (Some("same-origin"), Some("no-cors")),
            (Some("none"), Some("navigate")),
            (Some("cross-site"), Some("cors")),
            (Some("cross-site"), Some("navigate")),
        ] {
            assert!(!is_embedded(site, mode), "{site:?} {mode:?}");
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
