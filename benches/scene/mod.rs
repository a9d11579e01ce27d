//! What the benchmarks share: a real gate over loopback, an upstream, certificates.

#![allow(dead_code, reason = "each benchmark is a program of its own and uses a part of this")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use evergate::clock;
use evergate::config;
use evergate::gate::{Gate, Signals};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use time::Duration;

/// Who issues, with ECDSA P-256 throughout.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Bench Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// An authority that this one vouches for.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let mut params = self.params.clone();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        Self { params, key, pem }
    }

    /// A leaf and its key, both as PEM.
    pub(crate) fn issue(&self, names: Vec<String>) -> (String, String) {
        let now = clock::system().now();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        (params.not_before, params.not_after) = (now - Duration::DAY, now + Duration::days(89));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A gate for `localhost` before an upstream that answers with 1 KiB.
pub(crate) struct Scene {
    pub(crate) gate: Gate,
    pub(crate) address: SocketAddr,
    root: String,
    _folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (chain, key) = authority.issue(vec!["localhost".to_owned()]);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("tls.crt", &chain).unwrap();
        write("tls.key", &key).unwrap();
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[cert]]\nchain = \"tls.crt\"\nkey = \"tls.key\"\n\
             [[route]]\nto = \"http://{}\"\n",
            upstream()
        );
        let path: &Path = &folder.path().join("evergate.toml");
        let config = config::parse(&text, path).unwrap().config;
        let gate = Gate::start(config, clock::system(), Signals::Leave).unwrap();
        let address = gate.addresses()[0];
        Self { gate, address, root: authority.pem, _folder: folder }
    }

    /// A client that trusts the gate's root and speaks `protocol`.
    pub(crate) fn client(&self, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        let provider = evergate::crypto::provider();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(evergate::crypto::VERSIONS)
            .unwrap()
            .with_root_certificates(Arc::new(roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    }
}

/// A server that answers everything with 1 KiB, on a thread that ends with the process.
fn upstream() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let answer = async |_: Request<Incoming>| {
                    let body = Full::new(Bytes::from_static(&[b'x'; 1024]));
                    Ok::<_, hyper::Error>(Response::new(body))
                };
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(connection);
            }
        });
    });
    address
}
