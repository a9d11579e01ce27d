//! What the guard's picture says in numbers, drawn anew for each scrape: a certificate that is
//! gone leaves no series behind, and none is ever 0 for "none".

use std::fmt::Write;

use time::OffsetDateTime;

use crate::guard::{CertificateReport, Report};

/// Appends the certificate gauges to `text`, in the OpenMetrics text format.
pub(super) fn write(report: &Report, text: &mut String) {
    certificates(
        text,
        "evergate_cert_not_after_timestamp_seconds",
        "The last second of the certificate itself",
        report,
        |certificate| certificate.not_after.map(seconds),
    );
    certificates(
        text,
        "evergate_cert_effective_not_after_timestamp_seconds",
        "The earliest end of everything that is sent, and of the anchor where it is known",
        report,
        |certificate| certificate.effective_not_after.map(seconds),
    );
    certificates(
        text,
        "evergate_cert_lifetime_remaining_ratio",
        "Share of the lifetime that is left; negative once it is over",
        report,
        |certificate| remaining(certificate, report.now),
    );
    let drift = "How long the files have differed from what is served of them";
    certificates(text, "evergate_cert_drift_seconds", drift, report, |certificate| {
        certificate.drift_since.map(|since| (report.now - since).as_seconds_f64().max(0.0))
    });
    head(text, "evergate_cert_level", "0 ok, 1 due, 2 warning, 3 critical, 4 emergency, 5 expired");
    for host in &report.hosts {
        let name = escaped(&host.host.to_string());
        let _ = write!(text, "evergate_cert_level{{host=\"{name}\"");
        if let Some(fingerprint) = &host.serving {
            let _ = write!(text, ",fingerprint=\"{fingerprint}\"");
        }
        let _ = writeln!(text, "}} {}", host.level as u8);
    }
}

fn certificates(
    text: &mut String,
    name: &str,
    help: &str,
    report: &Report,
    value: impl Fn(&CertificateReport) -> Option<f64>,
) {
    head(text, name, help);
    for certificate in &report.certificates {
        let (Some(fingerprint), Some(value)) =
            (&certificate.fingerprint_sha256, value(certificate))
        else {
            continue;
        };
        let source = escaped(&certificate.source);
        let role = word(&certificate.role);
        let state = word(&certificate.state);
        let _ = writeln!(
            text,
            "{name}{{fingerprint=\"{fingerprint}\",role=\"{role}\",state=\"{state}\",\
             source=\"{source}\"}} {value}"
        );
    }
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn seconds(moment: OffsetDateTime) -> f64 {
    moment.unix_timestamp() as f64
}

fn remaining(certificate: &CertificateReport, now: OffsetDateTime) -> Option<f64> {
    let (from, end) = (certificate.not_before?, certificate.effective_not_after?);
    let lifetime = (certificate.not_after? - from).as_seconds_f64();
    (lifetime > 0.0).then(|| (end - now).as_seconds_f64() / lifetime)
}

/// A variant's name as the JSON interface has it.
fn word(variant: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(variant).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Role;
    use crate::guard::{HostReport, Level, State};
    use crate::host::HostPattern;
    use time::macros::datetime;

    #[test]
    fn a_dark_host_has_a_level_and_a_missing_date_no_series() {
        let certificate = CertificateReport {
            fingerprint_sha256: Some("ab".to_owned()),
            names: vec!["a.test".to_owned()],
            role: Role::Standby,
            state: State::Ready,
            level: Level::Ok,
            not_before: Some(datetime!(2026-01-01 0:00 UTC)),
            not_after: Some(datetime!(2026-01-11 0:00 UTC)),
            effective_not_after: None,
            issuer: None,
            source: "a \"b\"\\".to_owned(),
            drift_since: None,
            findings: Vec::new(),
        };
        let host = HostReport {
            host: HostPattern::parse("a.test").unwrap(),
            serving: None,
            level: Level::Expired,
            next: Vec::new(),
            routed: true,
            client_alerts: Vec::new(),
        };
        let report = Report {
            now: datetime!(2026-01-06 0:00 UTC),
            hosts: vec![host],
            certificates: vec![certificate],
            watched: Vec::new(),
            findings: Vec::new(),
        };
        let mut text = String::new();
        write(&report, &mut text);
        assert!(text.contains("evergate_cert_level{host=\"a.test\"} 5\n"), "{text}");
        let series = "evergate_cert_not_after_timestamp_seconds{fingerprint=\"ab\",\
                      role=\"standby\",state=\"ready\",source=\"a \\\"b\\\"\\\\\"} 1768089600\n";
        assert!(text.contains(series), "{text}");
        assert!(!text.contains("\nevergate_cert_effective_not_after_timestamp_seconds{"), "{text}");
    }
}
