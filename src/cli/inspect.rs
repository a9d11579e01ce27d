//! `evergate inspect`: what a PEM file holds or an endpoint serves, with findings.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::health::{Concern, Health, critical, headline, left, of_lone, unknown, worst};
use super::picture::Certificate;
use super::print::{self, Format, answer, answer_json, chain, clean};
use super::{InspectArgs, block_on};
use crate::clock::rfc3339;
use crate::guard;
use crate::guard::{CertificateReport, Finding, Severity};
use crate::host::{HostName, HostPattern};
use crate::tls::probe::{self, Peer, ProbeError};

/// Connecting and shaking hands together.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// Inspects each target and answers with the worst verdict.
pub(super) fn run(args: InspectArgs) -> ExitCode {
    let now = args.judge.now();
    let name = args.name.as_deref();
    let looks: Vec<Look> = args.targets.iter().map(|target| look_at(target, name, now)).collect();
    match args.judge.format {
        Format::Text => {
            let texts: Vec<String> = looks.iter().map(|look| look.text(now)).collect();
            answer(&texts.join("\n"));
        }
        Format::Json => {
            let documents: Vec<Value> = looks.iter().map(|look| look.json(now)).collect();
            answer_json(&json!({ "now": rfc3339(now), "inspected": documents }));
        }
    }
    let healths = looks.iter().map(|look| worst(&look.concerns(now)));
    healths.max().unwrap_or(Health::Unknown).exit()
}

/// What was found at one target.
struct Look {
    target: String,
    seen: Result<Seen, Concern>,
}

struct Seen {
    certificate: CertificateReport,
    /// For people: `TLSv1.3, h2`; none for a file.
    handshake: Option<Handshake>,
}

struct Handshake {
    version: Option<String>,
    alpn: Option<String>,
    failure: Option<String>,
}

fn look_at(target: &str, name: Option<&str>, now: OffsetDateTime) -> Look {
    let path = Path::new(target);
    let seen = if path.exists() {
        Ok(Seen { certificate: guard::inspect_pem(path, &[], now), handshake: None })
    } else {
        match endpoint(target) {
            Some((host, port)) => shake_hands(host, port, name, now),
            None => Err(unknown(format!(
                "{target} is no file here and no endpoint: an endpoint is HOST:PORT, as in \
                 app.internal:443 or [::1]:443"
            ))),
        }
    };
    Look { target: target.to_owned(), seen }
}

/// The two halves of `HOST:PORT`; `[::1]:443` and `https://host:443/` are taken too.
fn endpoint(target: &str) -> Option<(&str, u16)> {
    let bare = target.strip_prefix("https://").map(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        (rest, Some(443))
    });
    let (authority, port_default) = bare.unwrap_or((target, None));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, port_default?),
    };
    let in_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if in_brackets.is_none() && host.contains(':') {
        return None;
    }
    let host = in_brackets.unwrap_or(host);
    (HostName::parse(host).is_ok() && port > 0).then_some((host, port))
}

fn shake_hands(
    host: &str,
    port: u16,
    name: Option<&str>,
    now: OffsetDateTime,
) -> Result<Seen, Concern> {
    let asked = name.unwrap_or(host);
    let peer = block_on(probe::peer_chain(host, port, asked, PROBE_LIMIT))
        .map_err(|error| unknown(error.to_string()))?
        .map_err(|error| unreachable(&error))?;
    let Peer { chain, version, alpn, failure } = peer;
    let source =
        if asked == host { format!("{host}:{port}") } else { format!("{host}:{port} for {asked}") };
    let mut certificate = guard::inspect_chain(chain, source, &[], now);
    certificate.findings.extend(wrong_name(&certificate, asked));
    let handshake = Some(Handshake { version, alpn, failure });
    Ok(Seen { certificate, handshake })
}

/// A good certificate of somebody else is as bad as none: clients turn away.
fn wrong_name(certificate: &CertificateReport, asked: &str) -> Option<Finding> {
    let host = HostName::parse(asked).ok()?;
    let covers = |name: &String| HostPattern::parse(name).is_ok_and(|name| name.covers(&host));
    let unread = certificate.fingerprint_sha256.is_none();
    if unread || certificate.names.iter().any(covers) {
        return None;
    }
    Some(Finding {
        code: "wrong_name",
        severity: Severity::Critical,
        message: format!("the endpoint was asked for {asked}, which its certificate doesn't hold"),
        remedy: format!("serve a certificate with {asked} in subjectAltName, or ask by --name"),
    })
}

fn unreachable(error: &ProbeError) -> Concern {
    let reason = chain(error);
    match error {
        // The endpoint is there, and clients can't get in.
        ProbeError::Handshake { .. } => critical(reason),
        _ => unknown(reason),
    }
}

impl Look {
    fn concerns(&self, now: OffsetDateTime) -> Vec<Concern> {
        match &self.seen {
            Err(Concern { health, reason }) => {
                vec![Concern { health: *health, reason: reason.clone() }]
            }
            Ok(seen) => seen.concerns(now),
        }
    }

    fn headline(&self, concerns: &[Concern], now: OffsetDateTime) -> String {
        // A concern names the target itself.
        if !concerns.is_empty() {
            return headline(concerns, "");
        }
        let end = self.seen.as_ref().ok().and_then(|seen| {
            let certificate = &seen.certificate;
            certificate.effective_not_after.or(certificate.not_after)
        });
        let end = end.map_or(String::new(), |end| format!(" ends in {}", left(end - now)));
        headline(concerns, &format!("{}{end}", clean(&self.target)))
    }

    fn text(&self, now: OffsetDateTime) -> String {
        let mut text = format!("{}\n", self.headline(&self.concerns(now), now));
        let Ok(seen) = &self.seen else {
            return text;
        };
        if let Ok(certificate) = Certificate::of_report(&seen.certificate) {
            text.push_str(&print::certificate(&certificate, Some(now)));
        }
        if let Some(handshake) = &seen.handshake {
            let version = handshake.version.as_deref().unwrap_or("not finished");
            let alpn = handshake.alpn.as_deref().unwrap_or("no ALPN");
            text.push_str(&format!("    TLS     {version}, {}\n", clean(alpn)));
            if let Some(failure) = &handshake.failure {
                text.push_str(&format!("    broken  {}\n", clean(failure)));
            }
        }
        text
    }

    fn json(&self, now: OffsetDateTime) -> Value {
        let concerns = self.concerns(now);
        let mut document = json!({
            "target": self.target,
            "verdict": worst(&concerns).word(),
            "summary": self.headline(&concerns, now),
        });
        let (Ok(seen), Value::Object(fields)) = (&self.seen, &mut document) else {
            return document;
        };
        fields.insert("certificate".to_owned(), json!(seen.certificate));
        if let Some(handshake) = &seen.handshake {
            let Handshake { version, alpn, failure } = handshake;
            let told = json!({ "version": version, "alpn": alpn, "failure": failure });
            fields.insert("tls".to_owned(), told);
        }
        document
    }
}

impl Seen {
    fn concerns(&self, now: OffsetDateTime) -> Vec<Concern> {
        let certificate = match Certificate::of_report(&self.certificate) {
            Ok(certificate) => certificate,
            Err(error) => return vec![unknown(error.to_string())],
        };
        let mut concerns = of_lone(&certificate, now);
        if let Some(failure) = self.handshake.as_ref().and_then(|h| h.failure.as_ref()) {
            concerns.push(Concern {
                health: Health::Warning,
                reason: format!("the handshake broke off after the certificate: {failure}"),
            });
        }
        concerns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        let cases = [
            ("app.internal:443", Some(("app.internal", 443))),
            ("[::1]:8443", Some(("::1", 8443))),
            ("127.0.0.1:1", Some(("127.0.0.1", 1))),
            ("https://a.test", Some(("a.test", 443))),
            ("https://a.test:8443/", Some(("a.test", 8443))),
            ("https://[::1]/", Some(("::1", 443))),
            ("app.internal", None),
            ("::1:443", None),
            ("a.test:", None),
            ("a.test:0", None),
            ("a.test:99999", None),
            ("missing/file.pem", None),
            (":443", None),
        ];
        for (text, expected) in cases {
            assert_eq!(endpoint(text), expected, "{text}");
        }
    }
}
