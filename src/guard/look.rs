//! `evergate inspect`: one file or one chain, looked at and not served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use super::anchors::Anchors;
use super::inspect::{Purpose, inspect};
use super::load::{Bundle, Cert, Material, read_file};
use super::picture::describe;
use super::report::{CertificateReport, State};
use crate::config::model::Role;

/// What a PEM file holds, as of `now`, with `roots` known beside the system's. A file without a
/// key is fine; one with a key that does not fit is not.
pub fn inspect_pem(path: &Path, roots: &[PathBuf], now: OffsetDateTime) -> CertificateReport {
    let chain = Arc::new(read_file(path));
    let belongs = |key: &&super::load::Key| chain.certs.iter().any(|cert| cert.spki == key.spki);
    let key = chain.keys.iter().find(belongs).or(chain.keys.first()).cloned();
    look(
        Bundle {
            role: Role::Primary,
            key,
            key_source: path.to_owned(),
            findings: Vec::new(),
            chain,
        },
        roots,
        now,
    )
}

/// What an endpoint sent, as of `now`: DER certificates in their order. `source` is shown.
pub fn inspect_chain(
    ders: Vec<Vec<u8>>,
    source: String,
    roots: &[PathBuf],
    now: OffsetDateTime,
) -> CertificateReport {
    let path = PathBuf::from(source);
    let chain = Material {
        path: path.clone(),
        digest: Default::default(),
        certs: ders.into_iter().map(Cert::from_der).collect(),
        keys: Vec::new(),
        findings: Vec::new(),
    };
    look(
        Bundle {
            role: Role::Primary,
            chain: Arc::new(chain),
            key: None,
            key_source: path,
            findings: Vec::new(),
        },
        roots,
        now,
    )
}

fn look(bundle: Bundle, roots: &[PathBuf], now: OffsetDateTime) -> CertificateReport {
    let anchors = Anchors::load(roots);
    let facts = inspect(&bundle, &anchors, Purpose::Look);
    let refused = facts.at(now).refusals().next().is_some();
    let mut report = describe(&facts, if refused { State::Refused } else { State::Ready }, 0, now);
    report.findings.extend(anchors.findings);
    report
}
