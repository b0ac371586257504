//! Clients of one server.

use redis::{Client, ConnectionInfo, ProtocolVersion, RedisResult, io::tcp::TcpSettings};

use crate::{Certificates, Credentials};

/// How connections are made, beside where to.
///
/// ```
#[doc = include_str!("examples/settings.txt")]
/// let mut settings = settings;
/// settings.user = Some(Credentials { user: Some("reader".into()), password: Some("secret".into()) });
/// settings.certificates = Certificates::default().with_authority("the PEM of an authority");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Instead of user and password of the address.
    pub user: Option<Credentials>,
    /// Who the program is to the sentinels, which have users of their own.
    pub sentinel: Credentials,
    /// For TLS.
    pub certificates: Certificates,
    /// What is spoken.
    pub protocol: ProtocolVersion,
    /// How sockets behave.
    pub tcp: TcpSettings,
}

impl Settings {
    /// As the address says, with these sockets.
    ///
    /// ```
    /// use batchcast_redis_address::Settings;
    /// use redis::{ProtocolVersion, io::tcp::TcpSettings};
    ///
    /// // RESP3 carries messages beside answers; small commands leave at once.
    /// let settings = Settings::new(ProtocolVersion::RESP3, TcpSettings::default().set_nodelay(true));
    /// ```
    #[must_use]
    pub fn new(protocol: ProtocolVersion, tcp: TcpSettings) -> Self {
        let (user, sentinel, certificates) = Default::default();
        Self { user, sentinel, certificates, protocol, tcp }
    }
}

/// A client of one server; nothing is connected.
///
/// ```
#[doc = include_str!("examples/settings.txt")]
/// let Address::Server(server) = "redis://app:secret@localhost/2".parse()? else { panic!("not one server") };
/// let client = client(&server, &settings)?; // Nothing is connected yet.
/// assert_eq!(client.get_connection_info().redis_settings().db(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the address or a certificate cannot be used.
pub fn client(info: &ConnectionInfo, settings: &Settings) -> RedisResult<Client> {
    let mut redis = info.redis_settings().clone().set_protocol(settings.protocol);
    if let Some(Credentials { user: Some(name), password }) = &settings.user {
        redis = redis.set_username(name).set_password(password.as_deref().unwrap_or_default());
    }
    let info = info.clone().set_redis_settings(redis).set_tcp_settings(settings.tcp.clone());
    #[cfg(feature = "tls")]
    if matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
        crate::install_provider();
        if let Some(certificates) = settings.certificates.for_redis() {
            return Client::build_with_tls(info, certificates);
        }
    }
    Client::open(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn one_server_is_reached_by_tcp_or_socket_and_by_tls_where_it_is_built_in() {
        let settings = Settings::new(ProtocolVersion::RESP3, TcpSettings::default());
        let tls = cfg!(feature = "tls").then_some("rediss://h");
        let urls = ["redis://u:p@h:1/2", "unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=1"];
        for url in urls.into_iter().chain(tls) {
            let Address::Server(info) = url.parse().unwrap() else { panic!("{url} is not one server") };
            assert!(client(&info, &settings).is_ok(), "{url}");
        }
    }

    #[test]
    fn another_user_takes_the_place_of_the_addresss() {
        let mut settings = Settings::new(ProtocolVersion::RESP2, TcpSettings::default());
        settings.user = Some(Credentials { user: Some("other".into()), password: Some("p".into()) });
        let Address::Server(info) = "redis://first:q@h".parse().unwrap() else { panic!("not one server") };
        let client = client(&info, &settings).unwrap();
        assert_eq!(client.get_connection_info().redis_settings().username(), Some("other"));
    }
}
