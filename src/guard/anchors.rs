//! The roots known here: those of the system and those of `[guard] roots`.
//!
//! They decide nothing about who may connect; they tell how clients will see a chain, and when
//! a root itself ends, which verifiers disagree about: webpki never looks, OpenSSL does.

use std::collections::HashMap;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::finding::{self, Finding, printable};
use super::load::read_roots;

/// Roots by their subject.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    by_subject: HashMap<Vec<u8>, Vec<Anchor>>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

/// One root.
#[derive(Debug)]
pub(super) struct Anchor {
    /// All of it; parsed again when a signature is to be verified.
    pub der: CertificateDer<'static>,
    /// For people.
    pub subject: String,
    /// Its last second.
    pub not_after: OffsetDateTime,
}

impl Anchors {
    /// The system's roots and those in `files`. What can't be read is a finding.
    pub(super) fn load(files: &[PathBuf]) -> Self {
        let mut anchors = Self::default();
        let system = rustls_native_certs::load_native_certs();
        if let Some(error) = system.errors.first() {
            let place = "the system's store";
            anchors.findings.push(finding::ROOTS_UNREADABLE.about(&[&place, error]));
        }
        for der in system.certs {
            anchors.add(der);
        }
        for path in files {
            let material = read_roots(path);
            for problem in &material.findings {
                let things: [&dyn std::fmt::Display; 2] = [&path.display(), &problem.message];
                anchors.findings.push(finding::ROOTS_UNREADABLE.about(&things));
            }
            for cert in &material.certs {
                anchors.add(cert.der.clone());
            }
        }
        anchors
    }

    /// The roots whose subject is `name`, a DER distinguished name.
    pub(super) fn named(&self, name: &[u8]) -> &[Anchor] {
        self.by_subject.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether `der` is a root known here.
    pub(super) fn holds(&self, subject: &[u8], der: &CertificateDer<'_>) -> bool {
        self.named(subject).iter().any(|anchor| &anchor.der == der)
    }

    fn add(&mut self, der: CertificateDer<'static>) {
        let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
            return;
        };
        let subject = parsed.subject().as_raw().to_owned();
        let anchor = Anchor {
            subject: printable(&parsed.subject().to_string()),
            not_after: super::inspect::moment(parsed.validity().not_after),
            der: der.clone(),
        };
        self.by_subject.entry(subject).or_default().push(anchor);
    }
}
