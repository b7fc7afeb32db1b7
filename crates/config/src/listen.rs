//! Where a server listens.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form;

/// A TCP address, written `HOST:PORT`; an IPv6 address stands in brackets.
///
/// The host is a name or an address; a name is looked up by the one who listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    V6(Ipv6Addr),
    /// An IPv4 address or a name.
    Named(String),
}

impl Listen {
    /// The host, without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::V6(address) => address.to_string(),
            Host::Named(name) => name.clone(),
        }
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can come: 127.0.0.0/8, `[::1]` or `localhost`. Any other name counts as one that everybody can reach.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::V6(address) => address.is_loopback(),
            Host::Named(name) => {
                name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
            }
        }
    }
}

impl FromStr for Listen {
    type Err = ();

    fn from_str(text: &str) -> Result<Listen, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => Host::V6(address.parse().map_err(|_| ())?),
            None if form::host(host) && !host.contains(':') => Host::Named(host.into()),
            None => return Err(()),
        };
        // `parse` would take a sign.
        let port = port.bytes().all(|digit| digit.is_ascii_digit()).then(|| port.parse().ok()).flatten();
        port.filter(|port| *port > 0).map(|port| Listen { host, port }).ok_or(())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(address) => write!(f, "[{address}]:{}", self.port),
            Host::Named(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listen, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| de::Error::custom("not HOST:PORT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port, loopback) in [
            ("127.0.0.1:9000", "127.0.0.1", 9000, true),
            ("127.255.0.9:1", "127.255.0.9", 1, true),
            ("[::1]:65535", "::1", 65535, true),
            ("[0:0:0:0:0:0:0:1]:80", "::1", 80, true),
            ("localhost:80", "localhost", 80, true),
            ("LocalHost:80", "LocalHost", 80, true),
            ("0.0.0.0:80", "0.0.0.0", 80, false),
            ("[::]:80", "::", 80, false),
            ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, false),
            ("128.0.0.1:80", "128.0.0.1", 80, false),
            // Not how addresses are written: a name, for all that is known.
            ("127.1:80", "127.1", 80, false),
            ("localhost.evil.example:80", "localhost.evil.example", 80, false),
            ("127.0.0.1.evil.example:80", "127.0.0.1.evil.example", 80, false),
            ("node-7:80", "node-7", 80, false),
        ] {
            let listen: Listen = text.parse().unwrap_or_else(|()| panic!("{text}"));
            assert_eq!((listen.host().as_str(), listen.port(), listen.is_loopback()), (host, port, loopback), "{text}");
            assert_eq!(listen.to_string().parse(), Ok(listen), "{text}");
        }
        for bad in
            ["", "80", ":80", "h", "h:", "h:0", "h:65536", "h:+80", "h:80:80", "::1:80", "[::1]", "[::1", "[x]:80", "http://h:80", "a b:80"]
        {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
