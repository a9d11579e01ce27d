//! Who may connect: verifiers of client certificates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::config::model::ClientAuth;
use crate::crypto;
use crate::disk::{self, ReadError};

/// Why a bundle of roots can't be used.
#[derive(Debug)]
pub enum BundleError {
    /// It can't be read.
    Read(PathBuf, ReadError),
    /// It is no PEM, or one of its certificates is broken.
    Parse(PathBuf, String),
    /// It holds no certificate.
    Empty(PathBuf),
    /// The TLS library refused it.
    Library(rustls::Error),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, cause) => write!(f, "can't read {}: {cause}", path.display()),
            Self::Parse(path, cause) => write!(f, "{} is no PEM bundle: {cause}", path.display()),
            Self::Empty(path) => write!(f, "{} holds no certificate", path.display()),
            Self::Library(cause) => write!(f, "the TLS library refuses it: {cause}"),
        }
    }
}

impl std::error::Error for BundleError {}

/// The largest bundle that is read: the system's own of 140 roots takes a quarter of it.
const BUNDLE_BYTES_MAX: u64 = 1024 * 1024;

pub(super) fn verifier(
    auth: &ClientAuth,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, BundleError> {
    let (ca, anonymous) = match auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Request { ca } => (ca, true),
        ClientAuth::Require { ca } => (ca, false),
    };
    let roots = Arc::new(read_roots(ca)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, crypto::provider());
    if anonymous {
        builder = builder.allow_unauthenticated();
    }
    let verifier =
        builder.build().map_err(|cause| BundleError::Parse(ca.clone(), cause.to_string()))?;
    Ok(Some(verifier))
}

/// Reads the certificates of a PEM file as roots.
pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, BundleError> {
    let content = disk::read(path, BUNDLE_BYTES_MAX)
        .map_err(|cause| BundleError::Read(path.to_owned(), cause))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&content.bytes) {
        let certificate =
            certificate.map_err(|cause| BundleError::Parse(path.to_owned(), cause.to_string()))?;
        roots
            .add(certificate)
            .map_err(|cause| BundleError::Parse(path.to_owned(), cause.to_string()))?;
    }
    if roots.is_empty() {
        return Err(BundleError::Empty(path.to_owned()));
    }
    Ok(roots)
}
