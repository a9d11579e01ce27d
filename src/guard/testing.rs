//! A small language for tests: authorities, leaves, folders and guards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{Guard, Inventory, ReportHandle};
use crate::clock::ManualClock;
use crate::config::model::{CertPlace, CertSource, GuardPolicy, Role};
use crate::host::{HostName, HostPattern};
use crate::observe::event::Teller;
use crate::observe::metrics::GuardMetrics;

/// The day on which tests take place, unless they say otherwise.
pub(super) const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

/// Somebody who issues.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    /// Its own certificate.
    pub pem: String,
}

/// A leaf and all that belongs to it.
pub(super) struct Issued {
    /// The leaf alone.
    pub leaf: String,
    /// PKCS#8.
    pub key: String,
}

/// What is to be issued.
#[derive(Clone)]
pub(super) struct Spec {
    pub names: Vec<String>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    pub ca: bool,
}

/// A leaf for `names` from 30 days ago to 60 days ahead.
pub(super) fn spec(names: &[&str]) -> Spec {
    Spec {
        names: names.iter().map(ToString::to_string).collect(),
        not_before: NOW - Duration::days(30),
        not_after: NOW + Duration::days(60),
        usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ca: false,
    }
}

impl Spec {
    /// The same with other dates, as days from [`NOW`].
    pub(super) fn days(mut self, from: i64, to: i64) -> Self {
        self.not_before = NOW + Duration::days(from);
        self.not_after = NOW + Duration::days(to);
        self
    }
}

fn authority_params(name: &str, end: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = datetime!(2020-01-01 0:00 UTC);
    params.not_after = end;
    params
}

/// When authorities of tests end.
pub(super) const FAR: OffsetDateTime = datetime!(2120-01-01 0:00 UTC);

impl Authority {
    /// A root called `name`.
    pub(super) fn root(name: &str) -> Self {
        Self::root_until(name, FAR)
    }

    /// A root that ends at `end`.
    pub(super) fn root_until(name: &str, end: OffsetDateTime) -> Self {
        let params = authority_params(name, end);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// An intermediate of this authority.
    pub(super) fn intermediate(&self, name: &str, end: OffsetDateTime) -> Self {
        let params = authority_params(name, end);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    /// The certificate of `other`'s name and key, signed by this authority.
    pub(super) fn cross_sign(&self, other: &Self, end: OffsetDateTime) -> String {
        let mut params = other.params.clone();
        params.not_after = end;
        params.signed_by(&other.key, &self.issuer()).unwrap().pem()
    }

    /// A leaf of this authority.
    pub(super) fn issue(&self, spec: &Spec) -> Issued {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf_params(spec).signed_by(&key, &self.issuer()).unwrap().pem();
        Issued { leaf, key: key.serialize_pem() }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// A leaf that signed itself.
pub(super) fn self_signed(spec: &Spec) -> Issued {
    let key = KeyPair::generate().unwrap();
    let leaf = leaf_params(spec).self_signed(&key).unwrap().pem();
    Issued { leaf, key: key.serialize_pem() }
}

fn leaf_params(spec: &Spec) -> CertificateParams {
    let mut params = CertificateParams::new(spec.names.clone()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = spec.not_before;
    params.not_after = spec.not_after;
    params.extended_key_usages = spec.usages.clone();
    if spec.ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

/// A root, its intermediate, and leaves of that: what the public web looks like.
pub(super) struct Pki {
    pub root: Authority,
    pub issuer: Authority,
}

impl Pki {
    pub(super) fn new() -> Self {
        let root = Authority::root("Test Root");
        let issuer = root.intermediate("Test Issuer", FAR);
        Self { root, issuer }
    }

    /// A leaf and the full chain of it.
    pub(super) fn issue(&self, spec: &Spec) -> (String, String) {
        let issued = self.issuer.issue(spec);
        (issued.leaf + &self.issuer.pem, issued.key)
    }
}

/// A guard over a folder of its own, with a clock that stands where it is put.
pub(super) struct Bench {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub teller: Teller,
    pub metrics: GuardMetrics,
    pub guard: Guard,
    pub inventory: Inventory,
    pub picture: ReportHandle,
}

/// What a bench is made from.
pub(super) struct Setup {
    pub folder: TempDir,
    pub sources: Vec<CertSource>,
    pub policy: GuardPolicy,
    pub routed: Vec<HostPattern>,
}

impl Setup {
    /// Nothing yet, in an empty folder.
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            sources: Vec::new(),
            policy: GuardPolicy::default(),
            routed: Vec::new(),
        }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.crt` and `NAME.key`, and has them served.
    pub(super) fn pair(self, name: &str, role: Role, (chain, key): &(String, String)) -> Self {
        write(&self.at(&format!("{name}.crt")), chain);
        write(&self.at(&format!("{name}.key")), key);
        let place = CertPlace::Pair {
            chain: self.at(&format!("{name}.crt")),
            key: self.at(&format!("{name}.key")),
        };
        self.source(place, role)
    }

    /// Has everything below the folder `name` served.
    pub(super) fn directory(self, name: &str) -> Self {
        fs::create_dir_all(self.at(name)).unwrap();
        let place = CertPlace::Directory(self.at(name));
        self.source(place, Role::Primary)
    }

    pub(super) fn source(mut self, place: CertPlace, role: Role) -> Self {
        self.sources.push(CertSource { place, role });
        self
    }

    pub(super) fn routed(mut self, names: &[&str]) -> Self {
        self.routed = names.iter().map(|name| HostPattern::parse(name).unwrap()).collect();
        self
    }

    /// A guard that has read once.
    pub(super) fn start(self) -> Bench {
        let clock = ManualClock::at(NOW);
        let (teller, metrics) = (Teller::new(), GuardMetrics::default());
        let guard = Guard::new(
            self.sources,
            self.policy,
            self.routed,
            Arc::clone(&clock) as crate::clock::SharedClock,
            teller.clone(),
            metrics.clone(),
        );
        guard.scan();
        let (inventory, picture) = (guard.inventory(), guard.picture());
        Bench { folder: self.folder, clock, teller, metrics, guard, inventory, picture }
    }
}

impl Bench {
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Fingerprints of who answers for `host`, best first.
    pub(super) fn serving(&self, host: &str) -> Vec<String> {
        serving(&self.inventory, host)
    }

    /// Puts the clock to `span` after [`NOW`] and lets it tick.
    pub(super) fn tick_at(&self, span: Duration) {
        self.clock.set(NOW + span);
        self.guard.tick();
    }

    /// The codes of everything the picture finds now.
    pub(super) fn codes(&self) -> Vec<&'static str> {
        let report = self.picture.report(crate::clock::Clock::now(&*self.clock));
        let certificates = report.certificates.iter().flat_map(|one| &one.findings);
        certificates.chain(&report.findings).map(|finding| finding.code).collect()
    }

    /// Events of one name, as their codes, oldest first.
    pub(super) fn told(&self, event: &str) -> Vec<&'static str> {
        let recent = self.teller.recent();
        recent.iter().filter(|told| told.event == event).map(|told| told.code).collect()
    }
}

pub(super) fn serving(inventory: &Inventory, host: &str) -> Vec<String> {
    let host = HostName::parse(host).unwrap();
    let snapshot = inventory.current();
    snapshot.candidates(&host).iter().map(|one| one.fingerprint().to_owned()).collect()
}

/// The fingerprint of the first certificate in `pem`.
pub(super) fn fingerprint(pem: &str) -> String {
    let block = super::pem::parse(pem.as_bytes()).blocks.into_iter().next().unwrap();
    crate::crypto::sha256_hex(&block.der)
}

/// Writes in place, as spiffe-helper and careless scripts do.
pub(super) fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(path, text).unwrap();
}

/// Writes beside and renames over, as careful ones do.
pub(super) fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}
