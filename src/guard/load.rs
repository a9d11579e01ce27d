//! Disk -> [`Material`] and [`Bundle`]: what the files hold, without an opinion on it.
//!
//! There is no error branch: whatever is wrong with a file becomes a finding of its material.
//! Reading is bounded in bytes and can't hang: nothing but a regular file is ever read.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::SigningKey;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::finding::{self, Finding};
use super::pem::{self, Block};
use crate::config::model::Role;
use crate::crypto;
use crate::disk::{self, ReadError};

/// SHA-256 of some content.
pub(super) type Digest = [u8; 32];

/// What one file holds.
#[derive(Debug)]
pub(super) struct Material {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Of the bytes, or of the problem where there are none.
    pub digest: Digest,
    /// In the order of the file.
    pub certs: Vec<Cert>,
    /// In the order of the file.
    pub keys: Vec<Key>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// One certificate as it lies in a file.
#[derive(Debug, Clone)]
pub(super) struct Cert {
    /// All of it.
    pub der: CertificateDer<'static>,
    /// Its public key, as DER SubjectPublicKeyInfo; empty where the certificate can't be parsed.
    pub spki: Arc<[u8]>,
    /// Whether it may issue others.
    pub ca: bool,
    /// Whether it has a subjectAltName.
    pub named: bool,
}

/// A private key that the crypto provider takes.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Signs handshakes.
    pub signing: Arc<dyn SigningKey>,
    /// Its public half, as DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    pub spki: Arc<[u8]>,
}

/// A chain and its key as found: unjudged.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// What it is for.
    pub role: Role,
    /// The chain's file.
    pub chain: Arc<Material>,
    /// The key that belongs to it; or another, which `inspect` will find out.
    pub key: Option<Key>,
    /// Where the key came from, or was looked for.
    pub key_source: PathBuf,
    /// What went wrong with the key on the way.
    pub findings: Vec<Finding>,
}

impl Bundle {
    /// Of all that was read: tells whether the files are still being written.
    pub(super) fn digest(&self) -> Digest {
        let key = self.key.as_ref().map(|key| &*key.spki).unwrap_or_default();
        let mut parts = vec![self.chain.digest.as_slice(), key];
        parts.extend(self.findings.iter().map(|finding| finding.message.as_bytes()));
        digest_of(&parts)
    }
}

/// Reads files, and reads them again only when they have changed.
#[derive(Debug, Default)]
pub(super) struct Reader {
    known: HashMap<PathBuf, Known>,
    generation: u64,
}

#[derive(Debug)]
struct Known {
    signature: Option<Signature>,
    seen: u64,
    material: Arc<Material>,
}

/// What `stat` says about a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    dev: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Bytes of one file. The largest sensible chain with its key has some 30 KiB.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Certificates of one file; clients refuse paths far shorter than that.
pub(super) const CERTS_MAX: usize = 32;
/// Certificates of a bundle of roots; systems ship some 150.
const ROOTS_MAX: usize = 2_000;
/// Time stamps of files have the grain of the kernel's tick or, on some file systems, of
/// seconds: a file that changed this shortly before it was read may change again unnoticed.
const GRAIN_SECONDS: i64 = 2;

impl Reader {
    /// Begins a scan: what is not read until [`Reader::forget`] is dropped there.
    pub(super) fn begin(&mut self) {
        self.generation += 1;
    }

    /// Drops what this scan has not come across.
    pub(super) fn forget(&mut self) {
        let generation = self.generation;
        self.known.retain(|_, known| known.seen == generation);
    }

    /// What `path` holds at `now`; without reading it where nothing can have changed since.
    pub(super) fn read(&mut self, path: &Path, now: OffsetDateTime, force: bool) -> Arc<Material> {
        let signature = std::fs::metadata(path).ok().map(|of| Signature::of(&of));
        if let Some(known) = self.known.get_mut(path) {
            let same = !force && signature.is_some() && known.signature == signature;
            // Both a second file of one scan and an unchanged one come from here.
            if same || known.seen == self.generation && !force {
                known.seen = self.generation;
                return Arc::clone(&known.material);
            }
        }
        let (material, opened) = read(path, CERTS_MAX);
        let material = Arc::new(material);
        let settled = opened.filter(|signature| {
            let age = now.unix_timestamp() - signature.changed.0.max(signature.modified.0);
            age > GRAIN_SECONDS
        });
        self.known.insert(
            path.to_owned(),
            Known { signature: settled, seen: self.generation, material: Arc::clone(&material) },
        );
        material
    }
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a pair of files so that both come from the same folder, where `..data` of a Kubernetes
/// mount may be swapped between the two: the links are resolved before and after, and the pair
/// is read once more if they moved.
pub(super) fn read_pair(
    reader: &mut Reader,
    (chain, key): (&Path, &Path),
    now: OffsetDateTime,
    force: bool,
) -> (Arc<Material>, Arc<Material>) {
    let resolve = || (chain.canonicalize().ok(), key.canonicalize().ok());
    let before = resolve();
    let pair = (reader.read(chain, now, force), reader.read(key, now, force));
    if before == resolve() {
        return pair;
    }
    (reader.read(chain, now, true), reader.read(key, now, true))
}

/// Reads a bundle of roots, which may hold more certificates than a chain.
pub(super) fn read_roots(path: &Path) -> Material {
    read(path, ROOTS_MAX).0
}

/// Reads one file, once.
pub(super) fn read_file(path: &Path) -> Material {
    read(path, CERTS_MAX).0
}

/// Reads and parses one file.
fn read(path: &Path, certs_max: usize) -> (Material, Option<Signature>) {
    let mut material = Material {
        path: path.to_owned(),
        digest: Digest::default(),
        certs: Vec::new(),
        keys: Vec::new(),
        findings: Vec::new(),
    };
    match read_bytes(path) {
        Ok((bytes, signature)) => {
            material.digest = Sha256::digest(&bytes).into();
            material.parse(&bytes, certs_max);
            (material, Some(signature))
        }
        Err(finding) => {
            material.digest = Sha256::digest(&finding.message).into();
            material.findings.push(finding);
            (material, None)
        }
    }
}

/// The bytes of a regular file of sensible size.
fn read_bytes(path: &Path) -> Result<(Vec<u8>, Signature), Finding> {
    let shown = path.display();
    let content = disk::read(path, FILE_BYTES_MAX).map_err(|error| match &error {
        ReadError::System(cause) => finding::UNREADABLE.about(&[&shown, cause]),
        ReadError::Folder | ReadError::NotRegular => finding::NOT_A_FILE.about(&[&shown]),
        ReadError::TooLong(max) => finding::TOO_LARGE.about(&[&shown, max]),
    })?;
    let signature = signature_after(&content.file, &content.before);
    Ok((content.bytes, signature))
}

/// The signature of what was read. A file that changed under the reading has none that would
/// ever match again, so that it is read at the next scan.
fn signature_after(file: &File, before: &Metadata) -> Signature {
    let mut signature = Signature::of(before);
    let unchanged = file.metadata().is_ok_and(|after| Signature::of(&after) == signature);
    if !unchanged {
        signature.inode = 0;
    }
    signature
}

impl Material {
    fn parse(&mut self, bytes: &[u8], certs_max: usize) {
        let shown = self.path.display().to_string();
        let shown: &dyn std::fmt::Display = &shown;
        if bytes.trim_ascii().is_empty() {
            return self.findings.push(finding::EMPTY.about(&[shown]));
        }
        let parsed = pem::parse(bytes);
        if let Some(damage) = &parsed.damage {
            self.findings.push(finding::TRUNCATED.about(&[shown, damage]));
        } else if parsed.blocks.is_empty() {
            // A DER certificate or key is a SEQUENCE with a length of two bytes.
            let kind = if bytes.starts_with(&[0x30, 0x82]) || bytes.starts_with(&[0x30, 0x81]) {
                finding::DER
            } else {
                finding::NOT_PEM
            };
            self.findings.push(kind.about(&[shown]));
        }
        for block in parsed.blocks {
            self.take(block, shown, certs_max);
        }
        if self.certs.len() > certs_max {
            self.certs.truncate(certs_max);
            self.findings.push(finding::TOO_MANY.about(&[shown, &certs_max]));
        }
    }

    fn take(&mut self, block: Block, shown: &dyn std::fmt::Display, certs_max: usize) {
        let key = match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                // Those over the limit are counted by one, not kept.
                if self.certs.len() <= certs_max {
                    self.certs.push(Cert::from_der(block.der));
                }
                return;
            }
            "ENCRYPTED PRIVATE KEY" => None,
            "PRIVATE KEY" => Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(block.der))),
            "RSA PRIVATE KEY" => Some(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(block.der))),
            "EC PRIVATE KEY" => Some(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(block.der))),
            // EC PARAMETERS, DH PARAMETERS, PUBLIC KEY and the like are nobody's harm.
            _ => return,
        };
        match key.filter(|_| !block.encrypted) {
            None => self.findings.push(finding::KEY_ENCRYPTED.about(&[shown])),
            Some(key) => match Key::from_der(&key) {
                // A second key is one too many, a thousand are an attack on the reader's time.
                Ok(key) if self.keys.len() < KEYS_MAX => self.keys.push(key),
                Ok(_) => {}
                Err(why) => self.findings.push(finding::KEY_UNUSABLE.about(&[shown, &why])),
            },
        }
    }
}

/// Keys of one file: one for each kind there is, and then some.
const KEYS_MAX: usize = 8;

impl Cert {
    /// Takes any bytes: those that are no certificate are left for `inspect` to complain about.
    pub(super) fn from_der(der: Vec<u8>) -> Self {
        let (mut spki, mut ca, mut named) = (Arc::default(), false, false);
        if let Ok((_, parsed)) = X509Certificate::from_der(&der) {
            spki = Arc::from(parsed.public_key().raw);
            ca = parsed.is_ca();
            named = parsed.subject_alternative_name().is_ok_and(|name| name.is_some());
        }
        Self { der: CertificateDer::from(der), spki, ca, named }
    }
}

impl Key {
    fn from_der(der: &PrivateKeyDer<'static>) -> Result<Self, String> {
        let signing = crypto::provider()
            .key_provider
            .load_private_key(der.clone_key())
            .map_err(|error| error.to_string())?;
        let spki = match signing.public_key() {
            Some(spki) => Arc::from(spki.as_ref()),
            None => return Err("its public half is not known".to_owned()),
        };
        Ok(Self { signing, spki })
    }
}

/// Several digests as one.
pub(super) fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
