//! Host names and patterns: one definition for configuration, certificates, SNI and Host.
//!
//! Comparison is by lower-case ASCII. Internationalised names are taken in their A-label form
//! (RFC 5890), as they travel in SNI and certificates.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// A host name as it is compared: lower case, without port and trailing dot, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

/// Why a text is no host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing between the separators.
    Empty,
    /// More than 253 bytes, or a label over 63 (RFC 1035 section 2.3.4).
    TooLong,
    /// A character that no host name has.
    Character(char),
    /// A `*` that is not the whole leftmost label (RFC 6125 section 6.4.3).
    Wildcard,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a label is empty"),
            Self::TooLong => f.write_str("a name has at most 253 bytes, a label at most 63"),
            Self::Character(c) => write!(f, "{c:?} can't stand in a host name"),
            Self::Wildcard => f.write_str("a `*` must be the whole leftmost label"),
        }
    }
}

impl std::error::Error for Malformed {}

impl HostName {
    /// Takes a bare name or IP address; brackets of an IPv6 literal are dropped.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            return Ok(Self(address.to_string().into()));
        }
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        check_labels(bare)?;
        Ok(Self(lowered(bare)))
    }

    /// Takes the host out of an authority such as `app.internal:8443` (RFC 9110 section 7.2).
    pub fn from_authority(authority: &str) -> Result<Self, Malformed> {
        let host = match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => {
                let (host, port) = authority.split_at(colon);
                let port = port.trim_start_matches(':');
                if let Some(c) = port.chars().find(|c| !c.is_ascii_digit()) {
                    return Err(Malformed::Character(c));
                }
                if port.len() > 5 || port.parse::<u32>().is_ok_and(|p| p > 65_535) {
                    return Err(Malformed::TooLong);
                }
                host
            }
            _ => authority,
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(Malformed::Character(':'));
        }
        Self::parse(host)
    }

    /// The name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The IP address, if the name is one.
    pub fn as_ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// What follows the first label: `b.test` of `a.b.test`. None where there is nothing a
    /// wildcard could cover.
    pub fn parent(&self) -> Option<&str> {
        if self.as_ip().is_some() {
            return None;
        }
        self.0.split_once('.').map(|(_, parent)| parent)
    }
}

/// Equal and hashed as its text is, so that maps can be asked with a `&str`.
impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for HostName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One exact name, or `*.parent`, which covers exactly one more label (RFC 6125 section 6.4.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This name and no other.
    Exact(HostName),
    /// Every name of one label more than this parent.
    Wildcard(HostName),
}

impl HostPattern {
    /// Takes `app.internal`, `*.app.internal` or an IP address.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        match text.strip_prefix("*.") {
            Some(parent) if parent.contains('*') => Err(Malformed::Wildcard),
            Some(parent) => HostName::parse(parent).map(Self::Wildcard),
            None if text.contains('*') => Err(Malformed::Wildcard),
            None => HostName::parse(text).map(Self::Exact),
        }
    }

    /// Whether `host` is one of the names this pattern stands for.
    pub fn covers(&self, host: &HostName) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(parent) => host.parent() == Some(parent.as_str()),
        }
    }

    /// Whether every name that `other` stands for is covered too.
    pub fn covers_pattern(&self, other: &Self) -> bool {
        match other {
            Self::Exact(host) => self.covers(host),
            Self::Wildcard(_) => self == other,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl serde::Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn check_labels(name: &str) -> Result<(), Malformed> {
    if name.is_empty() {
        return Err(Malformed::Empty);
    }
    if name.len() > 253 {
        return Err(Malformed::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(Malformed::Empty);
        }
        if label.len() > 63 {
            return Err(Malformed::TooLong);
        }
        // Underscores are no host name by RFC 952, but internal zones use them.
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if let Some(c) = label.chars().find(|c| !fits(*c)) {
            return Err(if c == '*' { Malformed::Wildcard } else { Malformed::Character(c) });
        }
    }
    Ok(())
}

fn lowered(name: &str) -> Arc<str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn a_wildcard_covers_exactly_one_more_label() {
        let pattern = HostPattern::parse("*.App.internal").unwrap();
        let cases = [
            ("a.app.internal", true),
            ("A.APP.internal.", true),
            ("app.internal", false),
            ("b.a.app.internal", false),
            ("aapp.internal", false),
        ];
        for (name, covered) in cases {
            assert_eq!(pattern.covers(&host(name)), covered, "{name}");
        }
    }

    #[test]
    fn an_authority_gives_its_host() {
        let cases = [
            ("app.internal", "app.internal"),
            ("APP.internal:8443", "app.internal"),
            ("[::1]:443", "::1"),
            ("[2001:DB8::0]", "2001:db8::"),
            ("127.0.0.1:80", "127.0.0.1"),
        ];
        for (authority, expected) in cases {
            assert_eq!(HostName::from_authority(authority).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", ".", "a..b", "a b", "a/b", "user@a", "a:b", "a:1:2", "a:99999", "*.a"] {
            assert!(HostName::from_authority(text).is_err(), "{text}");
        }
        for text in ["*", "a.*.b", "*.*.b", "f*.b"] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_has_no_wildcard() {
        assert_eq!(host("10.0.0.1").parent(), None);
        assert!(host("10.0.0.1").as_ip().is_some());
    }
}
