//! The forms of an address.

use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult};

use crate::Credentials;

/// Redis' port where none is named.
pub const DEFAULT_PORT: u16 = 6379;
/// A sentinel's port where none is named.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Where Redis is, as `REDIS_URL` says it.
///
/// ```
/// use batchcast_redis_address::Address;
///
/// match "redis-cluster://app:secret@one,two:7001".parse()? {
///     Address::Server(server) => println!("one server: {}", server.addr()),
///     Address::Sentinel { master, .. } => println!("whichever server is {master}"),
///     Address::Cluster(nodes) => assert_eq!(nodes.hosts[1], ("two".to_owned(), 7001)),
///     _ => println!("a form of a later version"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Address {
    /// One server.
    Server(ConnectionInfo),
    /// The master that these sentinels name.
    Sentinel {
        /// The sentinels, and how to reach the master.
        nodes: Nodes,
        /// The name of the master.
        master: String,
    },
    /// A cluster that is found through these nodes.
    Cluster(Nodes),
}

/// Several servers in one address.
///
/// ```
/// use batchcast_redis_address::{Address, DEFAULT_PORT};
///
/// let Address::Cluster(nodes) = "redis-cluster://app:p%40ss@one,two:7001".parse()? else { panic!("no cluster") };
/// assert_eq!(nodes.hosts, [("one".to_owned(), DEFAULT_PORT), ("two".to_owned(), 7001)]);
/// assert_eq!(nodes.credentials.password.as_deref(), Some("p@ss"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nodes {
    /// Host and port of each; never empty.
    pub hosts: Vec<(String, u16)>,
    /// TLS to all of them.
    pub tls: bool,
    /// The user at Redis.
    pub credentials: Credentials,
    /// The database number.
    pub database: i64,
}

/// Why an address is none. Never says the address itself, which may hold a password.
///
/// ```
/// use batchcast_redis_address::{Address, AddressError};
///
/// let error = "redis-sentinel://:hunter2@one,two".parse::<Address>().unwrap_err();
/// assert!(matches!(error, AddressError::Nodes(_)));
/// assert_eq!(error.to_string(), "the master's name is missing behind #"); // For people, without the password.
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// One server's address is not understood.
    #[error("{0}")]
    Server(#[from] redis::RedisError),
    /// A list of servers is not understood.
    #[error("{0}")]
    Nodes(&'static str),
    /// The address is understood, and this build can't go there.
    #[error("this program was built without the feature `{0}`, which such an address needs")]
    Feature(&'static str),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(Self::Server(url.into_connection_info()?)) };
        if scheme.starts_with("rediss") && cfg!(not(feature = "tls")) {
            return Err(AddressError::Feature("tls"));
        }
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
        match scheme {
            "redis-sentinel" | "rediss-sentinel" => {
                let master = fragment.filter(|name| !name.is_empty());
                let master = master.ok_or(AddressError::Nodes("the master's name is missing behind #"))?.to_owned();
                let nodes = Nodes::parse(rest, scheme.starts_with("rediss"), DEFAULT_SENTINEL_PORT)?;
                Ok(Self::Sentinel { nodes, master })
            }
            "redis-cluster" | "rediss-cluster" => {
                let nodes = Nodes::parse(rest, scheme.starts_with("rediss"), DEFAULT_PORT)?;
                if nodes.database != 0 {
                    return Err(AddressError::Nodes("a cluster has only database 0"));
                }
                Ok(Self::Cluster(nodes))
            }
            _ => Ok(Self::Server(url.into_connection_info()?)),
        }
    }
}

impl Nodes {
    /// Reads `[user:password@]host[:port],…[/database]`.
    fn parse(text: &str, tls: bool, default_port: u16) -> Result<Self, AddressError> {
        let (text, database) = text.split_once('/').unwrap_or((text, ""));
        let database = if database.is_empty() { "0" } else { database };
        let database = database.parse().map_err(|_| AddressError::Nodes("the database is not a number"))?;
        let (credentials, hosts) = text.rsplit_once('@').map_or((None, text), |(user, hosts)| (Some(user), hosts));
        let credentials = credentials.map(Credentials::parse).transpose()?.unwrap_or_default();
        let hosts = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, tls, credentials, database })
    }

    /// Where each of them is.
    ///
    /// ```
    /// use batchcast_redis_address::Address;
    ///
    /// let Address::Cluster(nodes) = "redis-cluster://one,two:7001".parse()? else { panic!("no cluster") };
    /// let tried: Vec<_> = nodes.addresses().map(|address| address.to_string()).collect();
    /// assert_eq!(tried, ["one:6379", "two:7001"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> + '_ {
        self.hosts.iter().map(|(host, port)| self.address(host, *port))
    }

    /// Another server of the same kind: one that a cluster or a sentinel named.
    ///
    /// ```
    /// use batchcast_redis_address::Address;
    ///
    /// let Address::Cluster(nodes) = "redis-cluster://one".parse()? else { panic!("no cluster") };
    /// // A node said "MOVED 3999 10.0.0.7:6381".
    /// assert_eq!(nodes.address("10.0.0.7", 6381).to_string(), "10.0.0.7:6381");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.to_owned();
        if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    /// Such a server with user, password and database.
    ///
    /// ```
    /// use batchcast_redis_address::Address;
    ///
    /// let url = "redis-sentinel://app:secret@one,two/2#main";
    /// let Address::Sentinel { nodes, .. } = url.parse()? else { panic!("no sentinels") };
    /// let master = nodes.server("10.0.0.7", 6379)?; // What a sentinel answered.
    /// assert_eq!((master.redis_settings().username(), master.redis_settings().db()), (Some("app"), 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The library's.
    pub fn server(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        let info = self.address(host, port).into_connection_info()?;
        let mut settings = info.redis_settings().clone().set_db(self.database);
        if let Some(user) = &self.credentials.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.credentials.password {
            settings = settings.set_password(password);
        }
        Ok(info.set_redis_settings(settings))
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    // An IPv6 address stands in brackets, as in any URL.
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(AddressError::Nodes("a host is missing; they stand as host:port,host:port"));
    }
    let port = port.map_or(Ok(default_port), str::parse).map_err(|_| AddressError::Nodes("a port is not a number"))?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(url: &str) -> Nodes {
        match url.parse().unwrap() {
            Address::Sentinel { nodes, .. } | Address::Cluster(nodes) => nodes,
            Address::Server(_) => panic!("{url} is one server"),
        }
    }

    #[test]
    fn sentinels_stand_in_a_list_with_the_master_behind_a_hash() {
        let Address::Sentinel { nodes, master } =
            "redis-sentinel://app:p%40ss@one:26380,two,[::1]:3/2#main".parse().unwrap()
        else {
            panic!("not Sentinel")
        };
        assert_eq!(master, "main");
        let hosts = [("one".to_owned(), 26380), ("two".to_owned(), 26379), ("::1".to_owned(), 3)];
        assert_eq!((nodes.hosts.as_slice(), nodes.database, nodes.tls), (hosts.as_slice(), 2, false));
        let credentials = Credentials { user: Some("app".into()), password: Some("p@ss".into()) };
        assert_eq!(nodes.credentials, credentials);
        let master = nodes.server("three", 7).unwrap();
        assert_eq!((master.addr().to_string().as_str(), master.redis_settings().db()), ("three:7", 2));
    }

    #[test]
    fn a_cluster_is_a_list_of_nodes() {
        let cluster = nodes("redis-cluster://:secret@one,two:7001");
        assert_eq!(cluster.hosts, [("one".to_owned(), 6379), ("two".to_owned(), 7001)]);
        assert!(!cluster.tls);
        assert_eq!(cluster.credentials, Credentials { user: None, password: Some("secret".into()) });
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_s_in_the_scheme_is_tls_to_all() {
        assert!(nodes("rediss-cluster://one,two:7001").tls && nodes("rediss-sentinel://one#main").tls);
        let Address::Server(info) = "rediss://h".parse().unwrap() else { panic!("not one server") };
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn an_address_by_tls_names_the_feature_that_is_missing() {
        for url in ["rediss://h", "rediss-cluster://h", "rediss-sentinel://h#main"] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("the feature `tls`"), "{url}: {error}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        for url in [
            "redis-sentinel://:hunter2@one:26379",
            "redis-cluster://:hunter2@",
            "redis-cluster://:hunter2@one:port",
            "redis-cluster://:hunter2@one/3",
            "redis-sentinel://:hunter2@one/first#main",
            "http://:hunter2@one",
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    proptest! {
        /// Whatever stands there: no panic, and no password in what is said.
        #[test]
        fn any_text_is_an_address_or_an_error_that_hides_it(
            scheme in "(redis|rediss|unix|redis-sentinel|redis-cluster|http)", rest in "[ -~]{0,40}",
        ) {
            let url = format!("{scheme}://app:hunter2hunter2@{rest}");
            match url.parse::<Address>() {
                Ok(address) => {
                    let shown = format!("{address:?}");
                    // Of a socket it is the path.
                    prop_assert!(!shown.contains("hunter2") || scheme == "unix", "{}", shown);
                }
                Err(error) => prop_assert!(!error.to_string().contains("hunter2"), "{}", error),
            }
        }
    }
}
