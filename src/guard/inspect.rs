//! ([`Bundle`], [`Anchors`]) -> [`Facts`], and facts at a moment -> findings. Pure.
//!
//! What does not depend on the date is found once, when the files change; what does is cheap and
//! asked again whenever time passes, so that `check --at` and the running guard take one path.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::anchors::Anchors;
use super::chain::{self, Completeness, Path};
use super::finding::{self, Effect, Finding, printable};
use super::load::{Bundle, Digest, Key, digest_of};
use crate::config::model::Role;
use crate::crypto::sha256_hex;
use crate::host::{HostName, HostPattern};

/// Whether a missing key is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be served.
    Serve,
    /// To be looked at.
    Look,
}

/// All there is to know of one bundle, whatever the date.
#[derive(Debug)]
pub(super) struct Facts {
    /// The chain's file.
    pub source: String,
    /// What it is for.
    pub role: Role,
    /// Of certificates, key and faults, not of bytes: a comment more is no change.
    pub content: Digest,
    /// The certificate to serve; none where nothing could be read.
    pub leaf: Option<Leaf>,
    /// Every certificate that was sent and could be parsed, in the order of the file.
    pub sent: Vec<Sent>,
    /// Every way from the leaf upwards.
    pub paths: Vec<Path>,
    /// The key, if it is the leaf's.
    pub key: Option<Key>,
    /// Findings that no date changes.
    pub findings: Vec<Finding>,
}

/// The certificate that clients check the name of.
#[derive(Debug)]
pub(super) struct Leaf {
    /// SHA-256 of its DER, lower-case hex.
    pub fingerprint: String,
    /// Index into [`Facts::sent`].
    pub index: usize,
    /// What it holds (subjectAltName only).
    pub names: Vec<HostPattern>,
    /// Extended key usages as dotted object identifiers; none where the extension is absent and
    /// every usage is allowed.
    pub usages: Option<Vec<String>>,
}

/// One certificate of a chain.
#[derive(Debug)]
pub(super) struct Sent {
    /// All of it.
    pub der: CertificateDer<'static>,
    /// For people.
    pub subject: String,
    /// For people.
    pub issuer: String,
    /// Its first second.
    pub not_before: OffsetDateTime,
    /// Its last second.
    pub not_after: OffsetDateTime,
    /// Whether subject and issuer are one.
    pub self_issued: bool,
    /// Why clients would refuse its key or signature.
    pub weak: Vec<Finding>,
}

/// The facts at one moment.
#[derive(Debug)]
pub(super) struct Inspection {
    /// All findings, those that no date changes among them.
    pub findings: Vec<Finding>,
    /// The best way upwards, as an index into [`Facts::paths`].
    pub path: Option<usize>,
    /// The earliest end of everything sent plus the anchor, when known (rule 6).
    pub effective_not_after: Option<OffsetDateTime>,
    /// How far the chain leads.
    pub completeness: Completeness,
}

impl Inspection {
    /// The findings that forbid serving.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.effect() == Effect::Refuses)
    }
}

/// Finds out everything that does not depend on the date.
pub(super) fn inspect(bundle: &Bundle, anchors: &Anchors, purpose: Purpose) -> Facts {
    let source = bundle.chain.path.display().to_string();
    let mut findings = bundle.chain.findings.clone();
    findings.extend(bundle.findings.iter().cloned());
    let ders: Vec<_> = bundle.chain.certs.iter().map(|cert| cert.der.clone()).collect();
    let parsed = parse_all(&ders, &source, &mut findings);
    let damaged = parsed.len() < ders.len();
    let leaf = leaf_index(&parsed, bundle.key.as_ref(), damaged);
    if parsed.is_empty() && findings.is_empty() {
        findings.push(finding::NO_CERTIFICATE.about(&[&source]));
    }
    let key = key_of(bundle, &parsed, leaf, purpose, &mut findings);
    let paths = leaf.map_or_else(Vec::new, |leaf| chain::paths(&parsed, leaf, anchors));
    if let Some(leaf) = leaf {
        findings.extend(chain::broken(&parsed, leaf, &paths, &source));
    }
    let sent: Vec<_> = parsed.iter().map(|cert| Sent::of(cert, &source)).collect();
    Facts {
        leaf: leaf.and_then(|index| {
            let cert = parsed.get(index)?;
            Some(Leaf::of(cert, index, &source, &mut findings))
        }),
        content: content(&ders, bundle, &findings),
        role: bundle.role,
        source,
        sent,
        paths,
        key,
        findings,
    }
}

/// Seconds since 1970 as a moment; certificates can name years that `time` does not know.
pub(super) fn moment(time: ASN1Time) -> OffsetDateTime {
    let seconds = time.timestamp();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(if seconds < 0 {
        OffsetDateTime::UNIX_EPOCH
    } else {
        time::macros::datetime!(9999-12-31 23:59:59 UTC)
    })
}

impl Facts {
    /// The leaf among the certificates sent.
    pub(super) fn leaf_sent(&self) -> Option<&Sent> {
        self.sent.get(self.leaf.as_ref()?.index)
    }

    /// How long the leaf lives from its first to its last second.
    pub(super) fn lifetime(&self) -> Duration {
        self.leaf_sent().map_or(Duration::ZERO, |leaf| leaf.not_after - leaf.not_before)
    }

    /// SHA-256 of the leaf, lower-case hex.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        self.leaf.as_ref().map(|leaf| leaf.fingerprint.as_str())
    }

    /// The names that the leaf holds.
    pub(super) fn names(&self) -> &[HostPattern] {
        self.leaf.as_ref().map_or(&[], |leaf| &leaf.names)
    }

    /// What is to be said at `now`.
    pub(super) fn at(&self, now: OffsetDateTime) -> Inspection {
        let mut findings = self.findings.clone();
        let Some(leaf) = self.leaf_sent() else {
            return Inspection {
                findings,
                path: None,
                effective_not_after: None,
                completeness: Completeness::Open,
            };
        };
        if leaf.not_after < now {
            let end = crate::clock::rfc3339(leaf.not_after);
            findings.push(finding::EXPIRED.about(&[&self.source, &end]));
        } else if now < leaf.not_before {
            let start = crate::clock::rfc3339(leaf.not_before);
            findings.push(finding::NOT_YET_VALID.about(&[&self.source, &start]));
        }
        findings.extend(leaf.weak.iter().cloned());
        let path = chain::best(self, now);
        let ends = path.and_then(|index| self.paths.get(index));
        if let Some(path) = ends {
            findings.extend(chain::findings(self, path, now));
        }
        Inspection {
            findings,
            path,
            effective_not_after: ends.map(|path| self.effective_end(path, now)),
            completeness: ends.map_or(Completeness::Open, Path::completeness),
        }
    }

    /// The earliest end at `now`: of the path, its anchor, and extras that live yet.
    pub(super) fn effective_end(&self, path: &Path, now: OffsetDateTime) -> OffsetDateTime {
        let on_path = |index: &usize| path.certs.contains(index);
        let extras = (0..self.sent.len()).filter(|index| !on_path(index));
        let living = extras.filter_map(|index| self.sent.get(index)).map(|sent| sent.not_after);
        path.certs
            .iter()
            .filter_map(|index| self.sent.get(*index))
            .map(|sent| sent.not_after)
            .chain(living.filter(|end| *end >= now))
            .chain(path.anchor_end())
            .min()
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// The first moment after `now` at which a certificate begins or ends.
    pub(super) fn next_change(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let ended = |end: OffsetDateTime| end.checked_add(Duration::NANOSECOND);
        let anchors = self.paths.iter().filter_map(Path::anchor_end).filter_map(ended);
        self.sent
            .iter()
            .flat_map(|sent| [Some(sent.not_before), ended(sent.not_after)])
            .flatten()
            .chain(anchors)
            .filter(|moment| *moment > now)
            .min()
    }
}

fn parse_all<'a>(
    ders: &'a [CertificateDer<'static>],
    source: &str,
    findings: &mut Vec<Finding>,
) -> Vec<X509Certificate<'a>> {
    let mut parsed = Vec::with_capacity(ders.len());
    for der in ders {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => parsed.push(certificate),
            Ok(_) => findings.push(finding::MALFORMED.about(&[&source, &"bytes follow its end"])),
            Err(error) => findings.push(finding::MALFORMED.about(&[&source, &error])),
        }
    }
    parsed
}

/// The certificate that the key belongs to; for want of one, the first that issues nothing.
/// Where one is damaged, that may have been the leaf, and nobody is named instead of it.
fn leaf_index(parsed: &[X509Certificate<'_>], key: Option<&Key>, damaged: bool) -> Option<usize> {
    let belongs =
        |cert: &X509Certificate<'_>| key.is_some_and(|key| *key.spki == *cert.public_key().raw);
    parsed
        .iter()
        .position(belongs)
        .or_else(|| parsed.iter().position(|cert| !cert.is_ca()))
        .or((!parsed.is_empty() && !damaged).then_some(0))
}

fn key_of(
    bundle: &Bundle,
    parsed: &[X509Certificate<'_>],
    leaf: Option<usize>,
    purpose: Purpose,
    findings: &mut Vec<Finding>,
) -> Option<Key> {
    let (source, place) = (bundle.chain.path.display(), bundle.key_source.display());
    let leaf = parsed.get(leaf?)?;
    match &bundle.key {
        Some(key) if *key.spki == *leaf.public_key().raw => Some(key.clone()),
        Some(_) => {
            findings.push(finding::KEY_MISMATCH.about(&[&place, &source]));
            None
        }
        // A key that is cut off or encrypted has its finding already.
        None => {
            let told = findings.iter().any(|finding| finding.effect() == Effect::Refuses);
            if purpose == Purpose::Serve && !told {
                findings.push(finding::NO_KEY.about(&[&source, &place]));
            }
            None
        }
    }
}

/// What is served would be the same: the same certificates, key, faults and role.
fn content(ders: &[CertificateDer<'_>], bundle: &Bundle, findings: &[Finding]) -> Digest {
    let mut parts: Vec<&[u8]> = ders.iter().map(|der| der.as_ref()).collect();
    parts.push(bundle.key.as_ref().map(|key| &*key.spki).unwrap_or_default());
    parts.push(if bundle.role == Role::Primary { b"primary" } else { b"standby" });
    let refusals = findings.iter().filter(|finding| finding.effect() == Effect::Refuses);
    parts.extend(refusals.map(|finding| finding.code.as_bytes()));
    digest_of(&parts)
}

impl Leaf {
    fn of(
        cert: &X509Certificate<'_>,
        index: usize,
        source: &str,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let (names, ignored) = names(cert);
        if names.is_empty() {
            findings.push(finding::NO_NAMES.about(&[&source]));
        }
        if let Some(first) = ignored {
            findings.push(finding::NAME_IGNORED.about(&[&source, &first]));
        }
        if cert.is_ca() {
            findings.push(finding::CA_LEAF.about(&[&source]));
        }
        let usages = usages(cert);
        let serves = |usages: &Vec<String>| usages.iter().any(|u| u == SERVER_AUTH || u == ANY);
        if !usages.as_ref().is_none_or(serves) {
            findings.push(finding::NO_SERVER_AUTH.about(&[&source]));
        }
        Self { fingerprint: sha256_hex(cert.as_raw()), index, names, usages }
    }
}

/// id-kp-serverAuth, RFC 5280 section 4.2.1.12.
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
/// anyExtendedKeyUsage, RFC 5280 section 4.2.1.12.
const ANY: &str = "2.5.29.37.0";

/// The names that clients can ask for, sorted and each once, and the first other entry.
fn names(cert: &X509Certificate<'_>) -> (Vec<HostPattern>, Option<String>) {
    let (mut names, mut ignored) = (HashSet::new(), None);
    if let Ok(Some(extension)) = cert.subject_alternative_name() {
        for name in &extension.value.general_names {
            let pattern = match name {
                GeneralName::DNSName(name) => HostPattern::parse(name).ok(),
                GeneralName::IPAddress(bytes) => address(bytes)
                    .and_then(|address| HostName::parse(&address.to_string()).ok())
                    .map(HostPattern::Exact),
                // Mail addresses, URIs (SPIFFE) and the like are not for servers' names.
                GeneralName::Invalid(..) => None,
                _ => continue,
            };
            match pattern {
                Some(pattern) => {
                    names.insert(pattern);
                }
                None => {
                    ignored.get_or_insert_with(|| name.to_string());
                }
            }
        }
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    (names, ignored)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

fn usages(cert: &X509Certificate<'_>) -> Option<Vec<String>> {
    let extension = match cert.extended_key_usage() {
        Ok(extension) => extension?,
        // Two of them: no client would take either.
        Err(_) => return Some(Vec::new()),
    };
    let value = extension.value;
    let known = [
        (value.any, ANY),
        (value.server_auth, SERVER_AUTH),
        (value.client_auth, "1.3.6.1.5.5.7.3.2"),
        (value.code_signing, "1.3.6.1.5.5.7.3.3"),
        (value.email_protection, "1.3.6.1.5.5.7.3.4"),
        (value.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (value.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let mut usages: Vec<_> =
        known.iter().filter(|(set, _)| *set).map(|(_, oid)| (*oid).to_owned()).collect();
    usages.extend(value.other.iter().map(|oid| oid.to_id_string()));
    Some(usages)
}

impl Sent {
    fn of(cert: &X509Certificate<'_>, source: &str) -> Self {
        let subject = printable(&cert.subject().to_string());
        let thing = format!("{subject} in {source}");
        Self {
            der: CertificateDer::from(cert.as_raw().to_vec()),
            issuer: printable(&cert.issuer().to_string()),
            not_before: moment(cert.validity().not_before),
            not_after: moment(cert.validity().not_after),
            self_issued: cert.subject().as_raw() == cert.issuer().as_raw(),
            weak: weaknesses(cert, &thing),
            subject,
        }
    }
}

fn weaknesses(cert: &X509Certificate<'_>, thing: &str) -> Vec<Finding> {
    let mut weak = Vec::new();
    if let Ok(PublicKey::RSA(key)) = cert.public_key().parsed() {
        let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
        let head = key.modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = (key.modulus.len() - zeros) * 8 - head;
        if bits < 2048 {
            weak.push(finding::WEAK_KEY.about(&[&thing, &bits]));
        }
    }
    let algorithm = cert.signature_algorithm.algorithm.to_id_string();
    let hash = match algorithm.as_str() {
        "1.2.840.113549.1.1.2" => "MD2",
        "1.2.840.113549.1.1.4" => "MD5",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => {
            "SHA-1"
        }
        _ => return weak,
    };
    weak.push(finding::WEAK_SIGNATURE.about(&[&thing, &hash]));
    weak
}

/// Facts are shared between the slot, the snapshot and the picture.
pub(super) type SharedFacts = Arc<Facts>;
