//! What the guard says about itself: one serialisable picture, the same for `check`, `status`,
//! `/api/certificates` and the metrics.

use serde::Serialize;
use time::OffsetDateTime;

use super::clients::AlertCount;
use super::finding::Finding;
use crate::clock::serialize_rfc3339;
use crate::config::model::Role;
use crate::host::HostPattern;

/// The guard's picture at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When it was drawn.
    #[serde(serialize_with = "serialize_rfc3339")]
    pub now: OffsetDateTime,
    /// Every routed host and every name that a certificate holds, in order of name.
    pub hosts: Vec<HostReport>,
    /// Everything that was read, served or not.
    pub certificates: Vec<CertificateReport>,
    /// Other things that expire. Empty as yet.
    pub watched: Vec<serde_json::Value>,
    /// What is wrong with no certificate in particular: a source that can't be read, a routed
    /// host that nothing covers.
    pub findings: Vec<Finding>,
}

/// One host name and who answers for it.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// The name, or a wildcard.
    pub host: HostPattern,
    /// The fingerprint of the certificate that new handshakes get; none for a dark host.
    pub serving: Option<String>,
    /// How near the end is: of the serving certificate, or `expired` for a dark host.
    pub level: Level,
    /// Who would take over, best first.
    pub next: Vec<String>,
    /// Whether a route names it.
    pub routed: bool,
    /// Why clients broke off handshakes with it; only of a running gate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_alerts: Vec<AlertCount>,
}

/// One certificate.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateReport {
    /// SHA-256 of the leaf's DER, lower-case hex. None where no leaf could be read.
    pub fingerprint_sha256: Option<String>,
    /// The DNS names and IP addresses it holds (subjectAltName only).
    pub names: Vec<String>,
    /// What it is for.
    pub role: Role,
    /// What became of it.
    pub state: State,
    /// How near the end is.
    pub level: Level,
    /// The leaf's first second.
    #[serde(serialize_with = "optional_rfc3339")]
    pub not_before: Option<OffsetDateTime>,
    /// The leaf's last second.
    #[serde(serialize_with = "optional_rfc3339")]
    pub not_after: Option<OffsetDateTime>,
    /// The earliest end of everything sent plus the anchor, when known (rule 6).
    #[serde(serialize_with = "optional_rfc3339")]
    pub effective_not_after: Option<OffsetDateTime>,
    /// The leaf's issuer, as a distinguished name.
    pub issuer: Option<String>,
    /// The file it came from.
    pub source: String,
    /// Since when its file holds something else; only of what is served.
    #[serde(serialize_with = "optional_rfc3339", skip_serializing_if = "Option::is_none")]
    pub drift_since: Option<OffsetDateTime>,
    /// What there is to say about it.
    pub findings: Vec<Finding>,
}

/// What became of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers for at least one host.
    Active,
    /// It is good and waits behind another.
    Ready,
    /// It is good but suspicious, and waits for a decision (rule 4).
    Held,
    /// It is not good and is not served.
    Refused,
}

/// How near the end is, relative to the lifetime (rule 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No renewal is owed yet.
    Ok,
    /// A renewal should have happened.
    Due,
    /// A fifth of the lifetime is left.
    Warning,
    /// A tenth is left.
    Critical,
    /// A twentieth is left.
    Emergency,
    /// Nothing is left.
    Expired,
}

fn optional_rfc3339<S: serde::Serializer>(
    moment: &Option<OffsetDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serialize_rfc3339(moment, serializer),
        None => serializer.serialize_none(),
    }
}
