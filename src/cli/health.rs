//! The verdict of a monitoring plug-in over a picture (pure): a word, an exit code, the reason.

use std::process::ExitCode;

use time::{Duration, OffsetDateTime};

use super::picture::{Certificate, Host, Level, Picture, Severity, State};
use super::print::clean;
use crate::clock::humane;
use crate::host::HostPattern;

/// How things stand, in the order in which the worst wins. A thing known to be broken outweighs
/// one that could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Ok,
    Warning,
    Unknown,
    Critical,
}

/// One reason not to be content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Concern {
    pub(super) health: Health,
    pub(super) reason: String,
}

impl Health {
    /// The exit code that monitoring plug-ins agree on.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    pub(super) fn exit(self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The worst of `concerns`; none is [`Health::Ok`].
pub(super) fn worst(concerns: &[Concern]) -> Health {
    let all = concerns.iter().map(|concern| concern.health);
    all.max().unwrap_or(Health::Ok)
}

/// The line that monitoring shows: the word, the worst reason, and `rest`, which may be empty.
pub(super) fn headline(concerns: &[Concern], rest: &str) -> String {
    let worst = worst(concerns);
    let mut reasons = concerns.iter().filter(|c| c.health == worst);
    let Some(first) = reasons.next() else {
        return format!("{} - {rest}", worst.word());
    };
    let more = match reasons.count() {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    let reason = clean(&first.reason);
    let gap = if rest.is_empty() { "" } else { "; " };
    format!("{} - {reason}{more}{gap}{rest}", worst.word())
}

/// Everything in the picture that somebody should act on.
pub(super) fn concerns(picture: &Picture) -> Vec<Concern> {
    let mut found = Vec::new();
    for host in &picture.hosts {
        found.extend(of_host(host, picture));
    }
    for certificate in &picture.certificates {
        found.extend(of_coverage(certificate, picture));
        found.extend(of_certificate(certificate, picture.now));
    }
    let active = |c: &Certificate| c.state == State::Active;
    if !picture.certificates.is_empty() && !picture.certificates.iter().any(active) {
        found.push(critical("no certificate can be served".to_owned()));
    }
    for finding in &picture.findings {
        found.extend(
            of_severity(finding.severity)
                .map(|health| Concern { health, reason: finding.message.clone() }),
        );
    }
    found
}

/// How many serve how many, and which ends first.
pub(super) fn summary(picture: &Picture) -> String {
    let active = picture.certificates.iter();
    let active = active.filter(|c| c.state == State::Active).count();
    let served = picture.hosts.iter().filter(|h| h.serving.is_some()).count();
    let mut text = format!(
        "{} {} {}",
        counted(active, "certificate"),
        if active == 1 { "serves" } else { "serve" },
        counted(served, "host"),
    );
    if let Some((host, end)) = first_end(picture)
        && let Some(now) = picture.now
    {
        let verb = if end < now { "ended" } else { "ends in" };
        text.push_str(&format!("; the first {verb} {} ({host})", left(end - now)));
    }
    text
}

/// Of one certificate by itself, as `inspect` looks at it and as part of a picture.
pub(super) fn of_certificate(
    certificate: &Certificate,
    now: Option<OffsetDateTime>,
) -> Vec<Concern> {
    let source = &certificate.source;
    let mut found = Vec::new();
    if certificate.state == State::Refused {
        let why = certificate.findings.iter();
        let why = why.max_by_key(|finding| finding.severity);
        let why = why.map_or(String::new(), |finding| format!(": {}", finding.message));
        found.push(warning(format!("{source} is refused{why}")));
        return found;
    }
    for finding in &certificate.findings {
        let health = of_severity(finding.severity).map(|health| match certificate.state {
            State::Active => health,
            // Nobody is served by it, so nobody is harmed as yet.
            _ => Health::Warning,
        });
        found.extend(
            health
                .map(|health| Concern { health, reason: format!("{source}: {}", finding.message) }),
        );
    }
    // The hosts of an active one speak for its level.
    if certificate.state != State::Active && certificate.level >= Level::Due {
        let when = when(certificate, now);
        found.push(warning(format!("{source} stands by and {when}")));
    }
    found
}

/// Of one certificate that is looked at alone: it counts as if it were served, so its level, its
/// findings and a refusal count in full.
pub(super) fn of_lone(certificate: &Certificate, now: OffsetDateTime) -> Vec<Concern> {
    let source = &certificate.source;
    let mut served = certificate.clone();
    if served.state == State::Refused {
        let mut concerns = of_certificate(&served, Some(now));
        for concern in &mut concerns {
            concern.health = Health::Critical;
        }
        return concerns;
    }
    served.state = State::Active;
    let mut concerns = of_certificate(&served, Some(now));
    concerns.extend(of_level(served.level).map(|health| {
        let when = when(&served, Some(now));
        let reason = format!("{source} {when}");
        Concern { health, reason }
    }));
    concerns
}

fn of_host(host: &Host, picture: &Picture) -> Option<Concern> {
    let name = &host.host;
    let Some(serving) = &host.serving else {
        return host
            .routed
            .then(|| critical(format!("{name} is dark: no certificate can be served for it")));
    };
    let health = of_level(host.level)?;
    let when = picture.certificate(serving).map_or_else(
        || format!("is at level {}", host.level.word()),
        |certificate| when(certificate, picture.now),
    );
    let reason = format!("the certificate of {name} {when}");
    Some(Concern { health, reason })
}

fn of_level(level: Level) -> Option<Health> {
    match level {
        Level::Ok => None,
        Level::Due | Level::Warning => Some(Health::Warning),
        Level::Critical | Level::Emergency | Level::Expired => Some(Health::Critical),
    }
}

/// A refused certificate whose names nobody else covers.
fn of_coverage(certificate: &Certificate, picture: &Picture) -> Option<Concern> {
    if certificate.state != State::Refused {
        return None;
    }
    let good = picture.certificates.iter();
    let good = good.filter(|c| !matches!(c.state, State::Refused | State::Held));
    let good: Vec<HostPattern> =
        good.flat_map(|c| &c.names).filter_map(|name| HostPattern::parse(name).ok()).collect();
    let bare = certificate.names.iter().find(|name| {
        let pattern = HostPattern::parse(name);
        !pattern.is_ok_and(|name| good.iter().any(|other| other.covers_pattern(&name)))
    })?;
    let source = &certificate.source;
    Some(critical(format!("{bare} is held by a refused certificate only ({source})")))
}

fn of_severity(severity: Severity) -> Option<Health> {
    match severity {
        Severity::Info => None,
        Severity::Warning => Some(Health::Warning),
        Severity::Critical => Some(Health::Critical),
    }
}

/// The host whose serving certificate ends first, and when.
fn first_end(picture: &Picture) -> Option<(&str, OffsetDateTime)> {
    let end = |host: &Host| picture.certificate(host.serving.as_deref()?)?.end();
    let ends = picture.hosts.iter();
    let ends = ends.filter_map(|host| Some((host.host.as_str(), end(host)?)));
    ends.min_by_key(|(_, end)| *end)
}

/// `ends in 3 d`, or the level where no end is known.
fn when(certificate: &Certificate, now: Option<OffsetDateTime>) -> String {
    match certificate.end().zip(now) {
        Some((end, now)) if end < now => format!("ended {}", left(end - now)),
        Some((end, now)) => format!("ends in {}", left(end - now)),
        None => format!("is at level {}", certificate.level.word()),
    }
}

/// A span for a headline: far ends need no hours.
pub(super) fn left(span: Duration) -> String {
    if span >= Duration::days(10) { format!("{} d", span.whole_days()) } else { humane(span) }
}

/// `1 host`, `2 hosts`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn warning(reason: String) -> Concern {
    let health = Health::Warning;
    Concern { health, reason }
}

/// A reason for [`Health::Unknown`].
pub(super) fn unknown(reason: String) -> Concern {
    let health = Health::Unknown;
    Concern { health, reason }
}

/// A reason for [`Health::Critical`].
pub(super) fn critical(reason: String) -> Concern {
    let health = Health::Critical;
    Concern { health, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn certificate(fingerprint: &str, name: &str, state: &str, level: &str) -> Value {
        json!({
            "fingerprint_sha256": fingerprint, "names": [name], "role": "primary",
            "state": state, "level": level, "source": format!("{fingerprint}.pem"),
            "effective_not_after": "2027-01-26T00:00:00Z", "findings": [],
        })
    }

    fn host(name: &str, serving: Option<&str>, level: &str, routed: bool) -> Value {
        json!({"host": name, "serving": serving, "level": level, "next": [], "routed": routed})
    }

    fn picture(hosts: Vec<Value>, certificates: Vec<Value>) -> Picture {
        serde_json::from_value(json!({
            "now": "2026-11-24T00:00:00Z", "hosts": hosts, "certificates": certificates,
        }))
        .unwrap()
    }

    fn with_finding(mut certificate: Value, severity: &str) -> Value {
        certificate["findings"] = json!([{
            "code": "a_code", "severity": severity, "message": "told", "remedy": "act",
        }]);
        certificate
    }

    #[test]
    fn exit_codes_are_those_of_monitoring_plug_ins() {
        let codes = [Health::Ok, Health::Warning, Health::Critical, Health::Unknown];
        assert_eq!(codes.map(Health::code), [0, 1, 2, 3]);
    }

    #[test]
    fn what_serves_decides_the_verdict() {
        let good = || certificate("aa", "a.test", "active", "ok");
        let served = || host("a.test", Some("aa"), "ok", true);
        let cases: Vec<(&str, Vec<Value>, Vec<Value>, Health)> = vec![
            ("all well", vec![served()], vec![good()], Health::Ok),
            ("nothing at all", vec![], vec![], Health::Ok),
            (
                "a routed host is dark",
                vec![served(), host("b.test", None, "expired", true)],
                vec![good()],
                Health::Critical,
            ),
            (
                "a level is due",
                vec![host("a.test", Some("aa"), "due", true)],
                vec![good()],
                Health::Warning,
            ),
            (
                "a level is critical",
                vec![host("a.test", Some("aa"), "critical", true)],
                vec![good()],
                Health::Critical,
            ),
            (
                "a refused one has another beside it",
                vec![served()],
                vec![good(), certificate("bb", "a.test", "refused", "ok")],
                Health::Warning,
            ),
            (
                "a refused one is alone with its name",
                vec![served(), host("b.test", None, "expired", false)],
                vec![good(), certificate("bb", "b.test", "refused", "ok")],
                Health::Critical,
            ),
            (
                "a standby is rotting",
                vec![served()],
                vec![good(), certificate("bb", "a.test", "ready", "critical")],
                Health::Warning,
            ),
            (
                "a finding of the served one",
                vec![served()],
                vec![with_finding(good(), "warning")],
                Health::Warning,
            ),
            ("a note", vec![served()], vec![with_finding(good(), "info")], Health::Ok),
            (
                "nothing serves",
                vec![],
                vec![certificate("aa", "a.test", "held", "ok")],
                Health::Critical,
            ),
        ];
        for (name, hosts, certificates, expected) in cases {
            let found = concerns(&picture(hosts, certificates));
            assert_eq!(worst(&found), expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_certificate_alone_counts_in_full() {
        let cases = [
            ("ready", "ok", "info", Health::Ok),
            ("ready", "ok", "warning", Health::Warning),
            ("ready", "ok", "critical", Health::Critical),
            ("ready", "due", "info", Health::Warning),
            ("ready", "emergency", "info", Health::Critical),
            ("refused", "ok", "critical", Health::Critical),
        ];
        let now = time::macros::datetime!(2026-11-24 0:00 UTC);
        for (state, level, severity, expected) in cases {
            let shown = with_finding(certificate("aa", "a.test", state, level), severity);
            let shown: Certificate = serde_json::from_value(shown).unwrap();
            assert_eq!(worst(&of_lone(&shown, now)), expected, "{state} {level} {severity}");
        }
    }

    #[test]
    fn the_headline_names_the_first_end() {
        let picture = picture(
            vec![
                host("app.internal", Some("aa"), "ok", true),
                host("b.test", Some("aa"), "ok", false),
            ],
            vec![certificate("aa", "app.internal", "active", "ok")],
        );
        assert_eq!(
            headline(&concerns(&picture), &summary(&picture)),
            "OK - 1 certificate serves 2 hosts; the first ends in 63 d (app.internal)"
        );
    }

    #[test]
    fn the_headline_names_the_worst_reason() {
        let picture = picture(
            vec![host("a.test", Some("aa"), "due", true), host("b.test", None, "expired", true)],
            vec![certificate("aa", "a.test", "active", "due")],
        );
        let line = headline(&concerns(&picture), &summary(&picture));
        assert!(line.starts_with("CRITICAL - b.test is dark"), "{line}");
    }
}
