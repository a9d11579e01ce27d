//! The guard's report as it reads from outside: of this process or of a running gate.
//!
//! `check`, `inspect` and `status` judge and print this one form, so that they can't disagree. It
//! is parsed from the public JSON, and leaves out what nobody prints.

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::guard::{CertificateReport, Report};

/// What `/api/certificates` answers.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Picture {
    #[serde(default, deserialize_with = "moment")]
    pub(super) now: Option<OffsetDateTime>,
    #[serde(default)]
    pub(super) hosts: Vec<Host>,
    #[serde(default)]
    pub(super) certificates: Vec<Certificate>,
    #[serde(default)]
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Host {
    pub(super) host: String,
    pub(super) serving: Option<String>,
    pub(super) level: Level,
    #[serde(default)]
    pub(super) next: Vec<String>,
    // A gate lists a host that no route names only because a certificate holds it.
    #[serde(default)]
    pub(super) routed: bool,
    #[serde(default)]
    pub(super) client_alerts: Vec<ClientAlerts>,
}

/// What one host's clients said when they broke off.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ClientAlerts {
    pub(super) alert: String,
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) count_last_minute: u64,
    pub(super) count: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Certificate {
    pub(super) fingerprint_sha256: Option<String>,
    #[serde(default)]
    pub(super) names: Vec<String>,
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) level: Level,
    #[serde(default, deserialize_with = "moment")]
    pub(super) not_before: Option<OffsetDateTime>,
    #[serde(default, deserialize_with = "moment")]
    pub(super) not_after: Option<OffsetDateTime>,
    #[serde(default, deserialize_with = "moment")]
    pub(super) effective_not_after: Option<OffsetDateTime>,
    #[serde(default)]
    pub(super) issuer: Option<String>,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Finding {
    pub(super) code: String,
    pub(super) severity: Severity,
    pub(super) message: String,
    #[serde(default)]
    pub(super) remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Due,
    Warning,
    Critical,
    Emergency,
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Info,
    Warning,
    Critical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Active,
    Ready,
    Held,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Primary,
    Standby,
}

impl Picture {
    /// The report of this process, by way of its public form.
    pub(super) fn of_report(report: &Report) -> Result<Self, serde_json::Error> {
        serde_json::to_value(report).and_then(serde_json::from_value)
    }

    /// The certificate with this fingerprint.
    pub(super) fn certificate(&self, fingerprint: &str) -> Option<&Certificate> {
        let same = |c: &&Certificate| c.fingerprint_sha256.as_deref() == Some(fingerprint);
        let held = || self.certificates.iter().filter(same);
        // The same leaf can lie in two places, of which one may be broken.
        held().find(|c| c.state != State::Refused).or_else(|| held().next())
    }
}

impl Certificate {
    /// One certificate of this process, by way of its public form.
    pub(super) fn of_report(report: &CertificateReport) -> Result<Self, serde_json::Error> {
        serde_json::to_value(report).and_then(serde_json::from_value)
    }

    /// When it stops being of use: the earliest end that is known.
    pub(super) fn end(&self) -> Option<OffsetDateTime> {
        self.effective_not_after.or(self.not_after)
    }
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Due => "due",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
            Self::Expired => "expired",
        }
    }
}

impl Severity {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ready => "ready",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }
}

/// A time that can't be read is none rather than an unreadable report: certificates hold years
/// that RFC 3339 can't write.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()))
}
