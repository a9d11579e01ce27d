//! A root, its intermediate, and leaves of that: what an internal CA gives out.

use evergate::clock;
use evergate::crypto::sha256_hex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Who issues.
pub(super) struct Pki {
    issuer: (CertificateParams, KeyPair),
    /// What clients trust.
    pub(super) root_pem: String,
    issuer_pem: String,
    /// Dates are counted from here.
    pub(super) now: OffsetDateTime,
}

/// A leaf and its key.
pub(super) struct Pair {
    /// PEM: the leaf and its issuer.
    pub(super) chain: String,
    /// PEM: the leaf alone.
    pub(super) leaf: String,
    /// PEM: the issuer alone.
    pub(super) issuer: String,
    /// PKCS#8
    pub(super) key: String,
    /// SHA-256 of the leaf, lower-case hex.
    pub(super) fingerprint: String,
}

impl Pki {
    pub(super) fn new() -> Self {
        let now = clock::system().now();
        let root_key = KeyPair::generate().unwrap();
        let root = (authority("Peers Root", now), root_key);
        let root_pem = root.0.self_signed(&root.1).unwrap().pem();
        let issuer = (authority("Peers Issuer", now), KeyPair::generate().unwrap());
        let signer = Issuer::from_params(&root.0, &root.1);
        let issuer_pem = issuer.0.signed_by(&issuer.1, &signer).unwrap().pem();
        Self { issuer, root_pem, issuer_pem, now }
    }

    /// Writes the root where clients can read it.
    pub(super) fn root_in(&self, folder: &Path) -> PathBuf {
        let path = folder.join("root.pem");
        std::fs::write(&path, &self.root_pem).unwrap();
        path
    }

    /// The certificate of round `n`: each was issued a second after the one before, as renewals
    /// are; what is older than the one it replaces would be held.
    pub(super) fn round(&self, names: &[&str], n: usize) -> Pair {
        let later = Duration::seconds(i64::try_from(n).unwrap());
        let (from, to) = (Duration::days(-30) + later, Duration::days(60) + later);
        self.issue(names, from, to)
    }

    /// A leaf with a new key, valid from and to these distances from now.
    pub(super) fn issue(&self, names: &[&str], from: Duration, to: Duration) -> Pair {
        self.issue_for(&KeyPair::generate().unwrap(), names, from, to)
    }

    /// A leaf for a key that is there already.
    pub(super) fn issue_for(
        &self,
        key: &KeyPair,
        names: &[&str],
        from: Duration,
        to: Duration,
    ) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        (params.not_before, params.not_after) = (self.now + from, self.now + to);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let signer = Issuer::from_params(&self.issuer.0, &self.issuer.1);
        let leaf = params.signed_by(key, &signer).unwrap();
        Pair {
            chain: leaf.pem() + &self.issuer_pem,
            leaf: leaf.pem(),
            issuer: self.issuer_pem.clone(),
            key: key.serialize_pem(),
            fingerprint: sha256_hex(leaf.der()),
        }
    }
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key` in place.
    pub(super) fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.crt")), &self.chain).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }
}

fn authority(name: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - Duration::days(365);
    params.not_after = now + Duration::days(3650);
    params
}
