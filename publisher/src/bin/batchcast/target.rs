//! Addresses of servers.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// The address of a server: http or https, a host, perhaps a path in front of all routes. No user, no password: it is
/// printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    text: String,
    host: String,
    is_https: bool,
}

impl Target {
    /// The address of a route; `path` begins with a slash.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it is this machine, which only a developer's is.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "not an address of a server; it reads http://HOST:PORT or https://HOST";
        let text = text.trim().trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| FORM)?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(FORM),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(FORM)?.to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("holds a user or a password, which is not sent: take it out");
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("holds a query or a fragment: give the address of the server only");
        }
        Ok(Self { text: text.to_owned(), host, is_https })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_server_and_nothing_secret() {
        for (text, at) in [
            ("http://localhost:8787/", "http://localhost:8787/x"),
            ("https://photos.example.com", "https://photos.example.com/x"),
            (" http://[::1]:80/base/ ", "http://[::1]:80/base/x"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().at("/x"), at);
        }
        for bad in ["", "localhost:8787", "ftp://a", "http://", "http://u:hunter2@a", "http://a?b", "http://a#b", "/a"]
        {
            let problem = bad.parse::<Target>().unwrap_err();
            assert!(!problem.contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (text, loopback) in [
            ("http://localhost:8787", true),
            ("http://127.0.0.2", true),
            ("http://[::1]:1", true),
            ("https://example.com", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
