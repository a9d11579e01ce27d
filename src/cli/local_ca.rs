//! The local CA of `dev`: made once, kept in a private folder, signs for names of this machine.
//!
//! Name constraints keep a stolen key from being worth anything: whoever trusts this CA trusts it
//! for [`PERMITTED_DOMAINS`] and loopback addresses only.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData, SanType,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

use super::files;
use crate::host::HostPattern;

/// Names that never leave a machine or a private network: RFC 6761, and `internal` by ICANN's
/// resolution of 2024-07-29.
pub(super) const PERMITTED_DOMAINS: [&str; 3] = ["localhost", "test", "internal"];

/// The CA's lifetime; people trust it by hand, so it should not change often.
const CA_LIFETIME: Duration = Duration::days(730);

/// A CA with less left is made anew at the start rather than in the middle of work.
const CA_LEFT_MIN: Duration = Duration::days(30);

/// A leaf's lifetime: short, so that renewal is exercised.
pub(super) const LEAF_LIFETIME: Duration = Duration::days(7);

/// Clocks of containers and virtual machines lag behind.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// A CA that can sign.
pub(super) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    /// What clients are to trust.
    pub(super) certificate: PathBuf,
}

/// Where a CA came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It lay in the folder and is still good.
    Reused,
    /// There was none.
    Made,
    /// There was one, and why it is no longer used.
    Replaced(String),
}

/// A certificate for names of this machine, not yet written.
pub(super) struct Leaf {
    chain: String,
    key: String,
}

/// Why there is no local certificate.
#[derive(Debug)]
pub(super) enum LocalCaError {
    /// A file or the folder.
    File { path: PathBuf, source: io::Error },
    /// Making or signing.
    Make(rcgen::Error),
    /// The name lies outside what the CA may sign.
    Outside(HostPattern),
}

impl fmt::Display for LocalCaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Make(_) => f.write_str("can't make a local certificate"),
            Self::Outside(name) => write!(
                f,
                "the local CA may not sign for {name}: take a name that ends in .localhost, .test \
                 or .internal, as in {}.localhost",
                name.to_string().trim_start_matches("*.").replace(['.', ':'], "-")
            ),
        }
    }
}

impl std::error::Error for LocalCaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Make(source) => Some(source),
            Self::Outside(_) => None,
        }
    }
}

impl From<rcgen::Error> for LocalCaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error)
    }
}

impl LocalCa {
    /// Takes the CA in `folder` if it is still good, or makes one there.
    pub(super) fn open(folder: &Path, now: OffsetDateTime) -> Result<(Self, Origin), LocalCaError> {
        files::private_folder(folder).map_err(at(folder))?;
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        let kept = read_kept(&certificate).and_then(|pem| Ok(pem.zip(read_kept(&key)?)))?;
        let origin = match kept {
            None => Origin::Made,
            Some((pem, key)) => match reusable(&pem, &key, now) {
                Ok(issuer) => {
                    let ca = Self { issuer, certificate };
                    return Ok((ca, Origin::Reused));
                }
                Err(why) => Origin::Replaced(why),
            },
        };
        let (pem, issuer) = make(now)?;
        let key_pem = issuer.key().serialize_pem();
        // The key first: a CA without its key would be replaced by the next start anyway.
        files::replace(&key, &key_pem, 0o600).map_err(at(&key))?;
        files::replace(&certificate, &pem, 0o600).map_err(at(&certificate))?;
        let ca = Self { issuer, certificate };
        Ok((ca, origin))
    }

    /// Signs a certificate for `names` that is good from now on for [`LEAF_LIFETIME`].
    pub(super) fn mint(
        &self,
        names: &[HostPattern],
        now: OffsetDateTime,
    ) -> Result<Leaf, LocalCaError> {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(subject_alt_name(name)?);
        }
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + LEAF_LIFETIME;
        params.distinguished_name = common_name("Evergate dev".to_owned());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { chain: leaf.pem(), key: key.serialize_pem() })
    }
}

impl Leaf {
    /// Writes `chain.pem` and `key.pem` into `folder`, each at once, the key first: until the
    /// chain follows, the pair does not match and the gate serves the old one.
    pub(super) fn write(&self, folder: &Path) -> Result<(), LocalCaError> {
        files::private_folder(folder).map_err(at(folder))?;
        for (name, text) in [("key.pem", &self.key), ("chain.pem", &self.chain)] {
            let path = folder.join(name);
            files::replace(&path, text, 0o600).map_err(at(&path))?;
        }
        Ok(())
    }
}

fn make(now: OffsetDateTime) -> Result<(String, Issuer<'static, KeyPair>), LocalCaError> {
    let mut params = CertificateParams::default();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CA_LIFETIME;
    let name = format!("Evergate local CA ({}, {})", machine(), now.date());
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let domains = PERMITTED_DOMAINS.map(|domain| GeneralSubtree::DnsName(domain.to_owned()));
    let mut permitted = domains.to_vec();
    let mut one = [0; 16];
    one[15] = 1;
    permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)));
    permitted.push(GeneralSubtree::IpAddress(CidrSubnet::V6(one, [0xff; 16])));
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

/// The issuer in these files, or why it can't be used any more.
fn reusable(pem: &str, key: &str, now: OffsetDateTime) -> Result<Issuer<'static, KeyPair>, String> {
    let key = KeyPair::from_pem(key).map_err(|error| format!("its key can't be read: {error}"))?;
    let (_, block) =
        parse_x509_pem(pem.as_bytes()).map_err(|_| "it can't be read as PEM".to_owned())?;
    let certificate =
        block.parse_x509().map_err(|_| "it can't be read as a certificate".to_owned())?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("its key belongs to another certificate".to_owned());
    }
    let validity = certificate.validity();
    if validity.not_before.to_datetime() > now {
        return Err("it is not valid yet".to_owned());
    }
    let left = validity.not_after.to_datetime() - now;
    if left <= CA_LEFT_MIN {
        return Err(format!("it has {} left", crate::clock::humane(left)));
    }
    if !certificate.is_ca() {
        return Err("it is no CA".to_owned());
    }
    if !certificate.name_constraints().is_ok_and(|c| c.is_some()) {
        return Err("it may sign for every name".to_owned());
    }
    Issuer::from_ca_cert_pem(pem, key).map_err(|error| error.to_string())
}

fn subject_alt_name(name: &HostPattern) -> Result<SanType, LocalCaError> {
    let outside = || LocalCaError::Outside(name.clone());
    let (HostPattern::Exact(host) | HostPattern::Wildcard(host)) = name;
    if let Some(address) = host.as_ip() {
        let permitted = match address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.is_loopback(),
        };
        let exact = matches!(name, HostPattern::Exact(_));
        return if permitted && exact { Ok(SanType::IpAddress(address)) } else { Err(outside()) };
    }
    let last = host.as_str().rsplit('.').next().unwrap_or_default();
    if !PERMITTED_DOMAINS.contains(&last) {
        return Err(outside());
    }
    Ok(SanType::DnsName(name.to_string().try_into()?))
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// What this machine calls itself, short enough for a common name of 64 characters.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name: String = name.trim().chars().filter(fits).take(30).collect();
    if name.is_empty() { "this machine".to_owned() } else { name }
}

fn read_kept(path: &Path) -> Result<Option<String>, LocalCaError> {
    match files::read_small(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LocalCaError {
    let path = path.to_owned();
    move |source| LocalCaError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 3:00 UTC);

    fn patterns(names: &[&str]) -> Vec<HostPattern> {
        let parse = |name: &&str| HostPattern::parse(name).unwrap();
        names.iter().map(parse).collect()
    }

    fn opened(folder: &Path, now: OffsetDateTime) -> (LocalCa, Origin) {
        LocalCa::open(folder, now).unwrap()
    }

    #[test]
    fn a_good_ca_is_reused_and_a_bad_one_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("certs/local");
        let (pem, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        assert_eq!(opened(&folder, NOW).1, Origin::Made);
        let first = std::fs::read(&pem).unwrap();
        assert_eq!(opened(&folder, NOW + Duration::days(699)).1, Origin::Reused);
        assert_eq!(std::fs::read(&pem).unwrap(), first);

        let worn = opened(&folder, NOW + Duration::days(701)).1;
        assert!(matches!(&worn, Origin::Replaced(why) if why == "it has 29 d left"), "{worn:?}");
        let early = opened(&folder, NOW).1;
        assert!(matches!(&early, Origin::Replaced(why) if why.contains("not valid yet")));

        let other = KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(&key, other).unwrap();
        let foreign = opened(&folder, NOW).1;
        assert!(matches!(&foreign, Origin::Replaced(why) if why.contains("another")));
        std::fs::write(&pem, "half-writ").unwrap();
        assert!(matches!(opened(&folder, NOW).1, Origin::Replaced(_)));
        assert_eq!(opened(&folder, NOW).1, Origin::Reused);
    }

    #[test]
    fn only_the_owner_may_look_at_keys() {
        let place = tempfile::tempdir().unwrap();
        let (ca, _) = opened(place.path(), NOW);
        let leaf = place.path().join("leaf");
        ca.mint(&patterns(&["localhost"]), NOW).unwrap().write(&leaf).unwrap();
        let mode = |name: &str| {
            let path = place.path().join(name);
            path.metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode("leaf")), (0o700, 0o700));
        assert_eq!((mode("ca-key.pem"), mode("leaf/key.pem")), (0o600, 0o600));
    }

    #[test]
    fn a_leaf_leads_to_the_ca_by_any_judge_of_the_web() {
        let place = tempfile::tempdir().unwrap();
        opened(place.path(), NOW);
        // Read back from disk, which is how every start but the first has it.
        let (ca, origin) = opened(place.path(), NOW);
        assert_eq!(origin, Origin::Reused);
        let names = patterns(&["localhost", "app.localhost", "*.a.test", "127.0.0.1", "::1"]);
        let leaf = ca.mint(&names, NOW).unwrap();
        let der = |pem: &str| parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
        let root = der(&std::fs::read_to_string(&ca.certificate).unwrap()).into();
        let leaf = der(&leaf.chain).into();
        let anchor = webpki::anchor_from_trusted_cert(&root).unwrap();
        let entity = webpki::EndEntityCert::try_from(&leaf).unwrap();
        let seconds = u64::try_from((NOW + Duration::days(6)).unix_timestamp()).unwrap();
        let moment = std::time::Duration::from_secs(seconds);
        entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &[],
                rustls::pki_types::UnixTime::since_unix_epoch(moment),
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .unwrap();
        for name in ["localhost", "app.localhost", "x.a.test", "127.0.0.1", "::1"] {
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            entity.verify_is_valid_for_subject_name(&name).unwrap();
        }
    }

    #[test]
    fn a_name_of_the_wide_world_is_not_signed() {
        let place = tempfile::tempdir().unwrap();
        let (ca, _) = opened(place.path(), NOW);
        for name in ["example.com", "x", "localhost.com", "10.0.0.1", "*.127.0.0.1", "2001:db8::1"]
        {
            let outcome = ca.mint(&patterns(&[name]), NOW);
            let outside = matches!(outcome, Err(LocalCaError::Outside(_)));
            assert!(outside, "{name}");
        }
    }
}
