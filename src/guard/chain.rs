//! The certificates sent + the roots known -> the ways from the leaf upwards. Pure.
//!
//! Clients build paths; so does this. A chain may offer several (a cross-signed root, AddTrust's
//! shape), and is as good as the best of them at the moment.

use std::cmp::Reverse;

use time::OffsetDateTime;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

use super::anchors::Anchors;
use super::finding::{self, Finding};
use super::inspect::Facts;
use crate::clock::rfc3339;

/// One way upwards.
#[derive(Debug)]
pub(super) struct Path {
    /// Indices into [`Facts::sent`], leaf first.
    pub certs: Vec<usize>,
    /// Where it ends.
    pub end: End,
}

/// Where a path ends.
#[derive(Debug)]
pub(super) enum End {
    /// At a root known here, sent or not.
    Known {
        /// For people.
        subject: String,
        /// The root's last second.
        not_after: OffsetDateTime,
        /// Whether the last certificate of the path is that root itself.
        sent: bool,
    },
    /// At a self-signed certificate that is sent and not known here.
    Root {
        /// Its last second.
        not_after: OffsetDateTime,
    },
    /// At a certificate whose issuer is neither sent nor known.
    Open,
}

/// How far a chain leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Completeness {
    /// Not beyond the leaf, whose issuer is unknown.
    Open,
    /// To an issuer or a root that is not known here, as in a private PKI.
    Private,
    /// To a root known here.
    Anchored,
}

/// Certificates from leaf to root; clients give up earlier.
const DEPTH_MAX: usize = 8;
/// Ways that are looked at. Hostile bundles can have factorially many.
const PATHS_MAX: usize = 16;
/// Signatures that are verified for one bundle: a bound on time, as above.
const VERIFICATIONS_MAX: usize = 64;

impl Path {
    /// How far it leads.
    pub(super) fn completeness(&self) -> Completeness {
        match self.end {
            End::Known { .. } => Completeness::Anchored,
            End::Open if self.certs.len() == 1 => Completeness::Open,
            End::Root { .. } | End::Open => Completeness::Private,
        }
    }

    /// The root's last second, if the root is known or sent.
    pub(super) fn anchor_end(&self) -> Option<OffsetDateTime> {
        match self.end {
            End::Known { not_after, .. } | End::Root { not_after } => Some(not_after),
            End::Open => None,
        }
    }

    /// Those between leaf and root: without one of them the path is none.
    fn intermediates(&self) -> &[usize] {
        let above = self.certs.get(1..).unwrap_or_default();
        match (self.end_is_sent(), above) {
            (true, [between @ .., _root]) => between,
            _ => above,
        }
    }

    /// Whether the last certificate is the root itself.
    fn end_is_sent(&self) -> bool {
        matches!(self.end, End::Root { .. } | End::Known { sent: true, .. })
    }
}

/// Every way from the leaf upwards, at least one.
pub(super) fn paths(parsed: &[X509Certificate<'_>], leaf: usize, anchors: &Anchors) -> Vec<Path> {
    let mut search = Search { parsed, anchors, paths: Vec::new(), verifications: 0 };
    search.extend(&mut vec![leaf]);
    search.paths
}

struct Search<'a> {
    parsed: &'a [X509Certificate<'a>],
    anchors: &'a Anchors,
    paths: Vec<Path>,
    verifications: usize,
}

impl Search<'_> {
    fn extend(&mut self, certs: &mut Vec<usize>) {
        let Some(last) = certs.last().and_then(|index| self.parsed.get(*index)) else {
            return;
        };
        if self.paths.len() >= PATHS_MAX {
            return;
        }
        let found = self.paths.len();
        if let Some(end) = self.root(last) {
            self.paths.push(Path { certs: certs.clone(), end });
            return;
        }
        self.reach_anchors(last, certs);
        if certs.len() < DEPTH_MAX {
            for index in 0..self.parsed.len() {
                if self.issued(last, index, certs) {
                    certs.push(index);
                    self.extend(certs);
                    certs.pop();
                }
            }
        }
        if self.paths.len() == found && found < PATHS_MAX {
            self.paths.push(Path { certs: certs.clone(), end: End::Open });
        }
    }

    /// The end of the path, if `last` is a root.
    fn root(&self, last: &X509Certificate<'_>) -> Option<End> {
        let not_after = super::inspect::moment(last.validity().not_after);
        let der = last.as_raw().into();
        if self.anchors.holds(last.subject().as_raw(), &der) {
            let subject = last.subject().to_string();
            return Some(End::Known { subject, not_after, sent: true });
        }
        is_self_signed(last).then_some(End::Root { not_after })
    }

    fn reach_anchors(&mut self, last: &X509Certificate<'_>, certs: &[usize]) {
        let anchors = self.anchors;
        for anchor in anchors.named(last.issuer().as_raw()) {
            if let Ok((_, root)) = X509Certificate::from_der(&anchor.der)
                && self.verify(last, &root)
            {
                let end = End::Known {
                    subject: anchor.subject.clone(),
                    not_after: anchor.not_after,
                    sent: false,
                };
                self.paths.push(Path { certs: certs.to_vec(), end });
            }
        }
    }

    /// Whether the certificate at `index` issued `last` and is not on the way already.
    fn issued(&mut self, last: &X509Certificate<'_>, index: usize, certs: &[usize]) -> bool {
        let parsed = self.parsed;
        let Some(issuer) = parsed.get(index) else {
            return false;
        };
        let subject = issuer.subject().as_raw();
        let again = |other: &usize| {
            // The same key under the same name: a loop of cross-signatures.
            parsed.get(*other).is_some_and(|other| {
                other.subject().as_raw() == subject
                    && other.public_key().raw == issuer.public_key().raw
            })
        };
        // A certificate that is in the file twice leads nowhere the first does not.
        let twice = parsed.iter().take(index).any(|other| other.as_raw() == issuer.as_raw());
        subject == last.issuer().as_raw()
            && !twice
            && !certs.iter().any(again)
            && may_issue(issuer)
            && self.verify(last, issuer)
    }

    fn verify(&mut self, cert: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
        self.verifications += 1;
        self.verifications <= VERIFICATIONS_MAX && signed_by(cert, issuer)
    }
}

fn may_issue(cert: &X509Certificate<'_>) -> bool {
    // Roots of the nineties have no extensions at all.
    cert.is_ca() || (cert.version() == X509Version::V1 && is_self_signed(cert))
}

fn is_self_signed(cert: &X509Certificate<'_>) -> bool {
    cert.subject().as_raw() == cert.issuer().as_raw() && signed_by(cert, cert)
}

/// Whether the signature fits; one that can't be checked here (an exotic algorithm, a key too
/// short for the verifier) gets the benefit of the doubt, since other checks refuse weak ones.
fn signed_by(cert: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    match cert.verify_signature(Some(issuer.public_key())) {
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
        Err(_) => short_rsa(issuer),
    }
}

/// AWS-LC verifies SHA-2 signatures with RSA keys from 2048 bits on only.
fn short_rsa(cert: &X509Certificate<'_>) -> bool {
    use x509_parser::public_key::PublicKey;
    match cert.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => key.modulus.len() <= 256 && key.key_size() < 2048,
        _ => false,
    }
}

/// Whether the certificates sent do not belong together: the leaf's path ends, and either the
/// issuer it names is there and did not sign, or only strangers are.
pub(super) fn broken(
    parsed: &[X509Certificate<'_>],
    leaf: usize,
    paths: &[Path],
    source: &str,
) -> Option<Finding> {
    if paths.iter().any(|path| !matches!(path.end, End::Open)) {
        return None;
    }
    let longest = paths.iter().max_by_key(|path| path.certs.len())?;
    let last = longest.certs.last().and_then(|index| parsed.get(*index))?;
    let named = |cert: &&X509Certificate<'_>| cert.subject().as_raw() == last.issuer().as_raw();
    let impostor = parsed.iter().any(|cert| named(&cert) && cert.as_raw() != last.as_raw());
    let strangers = longest.certs.len() == 1
        && parsed.iter().enumerate().any(|(index, cert)| index != leaf && cert.is_ca());
    let thing = format!("{} in {source}", last.subject());
    (impostor || strangers)
        .then(|| finding::CHAIN_BROKEN.about(&[&thing, &last.issuer().to_string()]))
}

/// The best way upwards at `now`: valid before invalid, strong before weak, known before
/// unknown, long-lived before short-lived, short before long.
pub(super) fn best(facts: &Facts, now: OffsetDateTime) -> Option<usize> {
    let weight = |path: &Path| {
        let between = path.intermediates().iter().filter_map(|index| facts.sent.get(*index));
        let (mut valid, mut strong) = (true, true);
        for cert in between {
            valid &= cert.not_before <= now && now <= cert.not_after;
            strong &= cert.weak.is_empty();
        }
        let rooted = path.anchor_end().is_none_or(|end| now <= end);
        let end = facts.effective_end(path, now);
        (valid, strong, path.completeness(), rooted, end, Reverse(path.certs.len()))
    };
    let indices = 0..facts.paths.len();
    // The first of equals, as `max_by_key` would take the last.
    indices.rev().max_by_key(|index| facts.paths.get(*index).map(weight))
}

/// What there is to say about a chain whose best way is `path`.
pub(super) fn findings(facts: &Facts, path: &Path, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    for cert in path.intermediates().iter().filter_map(|index| facts.sent.get(*index)) {
        let thing = format!("{} in {}", cert.subject, facts.source);
        if cert.not_after < now {
            findings.push(finding::CHAIN_EXPIRED.about(&[&thing, &rfc3339(cert.not_after)]));
        } else if now < cert.not_before {
            let start = rfc3339(cert.not_before);
            findings.push(finding::CHAIN_NOT_YET_VALID.about(&[&thing, &start]));
        }
        findings.extend(cert.weak.iter().cloned());
    }
    findings.extend(end_findings(facts, path, now));
    let in_order = path.certs.first() == Some(&0) && path.certs.is_sorted();
    if !in_order {
        findings.push(finding::CHAIN_ORDER.about(&[&facts.source]));
    }
    for index in (0..facts.sent.len()).filter(|index| !path.certs.contains(index)) {
        findings.extend(extra(facts, index, now));
    }
    // A chain that is broken has one thing wrong with it, not three.
    let is_broken = |finding: &Finding| finding.code == finding::CHAIN_BROKEN.code;
    if facts.findings.iter().any(is_broken) {
        let consequences = [finding::ISSUER_NOT_SENT.code, finding::CHAIN_EXTRA.code];
        findings.retain(|finding| !consequences.contains(&finding.code));
    }
    findings
}

fn end_findings(facts: &Facts, path: &Path, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(last) = path.certs.last().and_then(|index| facts.sent.get(*index)) else {
        return findings;
    };
    let source = &facts.source;
    let leaf_only = path.certs.len() == 1;
    let root = match &path.end {
        End::Known { subject, .. } => subject,
        End::Root { .. } | End::Open => &last.issuer,
    };
    match &path.end {
        End::Known { .. } => {}
        End::Root { .. } if leaf_only => findings.push(finding::SELF_SIGNED.about(&[source])),
        End::Open if leaf_only => {
            findings.push(finding::ISSUER_NOT_SENT.about(&[source, &last.issuer]));
        }
        End::Root { .. } | End::Open => {
            findings.push(finding::PRIVATE_ROOT.about(&[source, root]));
        }
    }
    if path.end_is_sent() && !leaf_only {
        let thing = format!("{} in {source}", last.subject);
        findings.push(finding::ROOT_SENT.about(&[&thing]));
    }
    // A self-signed leaf is its own root, and has its date told already.
    if let Some(end) = path.anchor_end()
        && end < now
        && !(leaf_only && path.end_is_sent())
    {
        findings.push(finding::ROOT_EXPIRED.about(&[root, source, &rfc3339(end)]));
    }
    findings
}

fn extra(facts: &Facts, index: usize, now: OffsetDateTime) -> Option<Finding> {
    let cert = facts.sent.get(index)?;
    let thing = format!("{} in {}", cert.subject, facts.source);
    if cert.not_after < now {
        return Some(finding::EXTRA_EXPIRED.about(&[&thing, &rfc3339(cert.not_after)]));
    }
    let mut others = facts.paths.iter().filter(|path| path.certs.contains(&index));
    match others.next() {
        // Another way, such as a cross-signature for old clients, is welcome.
        Some(_) if !cert.self_issued => None,
        Some(_) => Some(finding::ROOT_SENT.about(&[&thing])),
        None => Some(finding::CHAIN_EXTRA.about(&[&thing])),
    }
}
