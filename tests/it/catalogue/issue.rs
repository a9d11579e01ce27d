//! How the certificates of certs/ are made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use time::OffsetDateTime;
use time::macros::datetime;

/// Good ones must not rot.
const START: OffsetDateTime = datetime!(2020-01-01 0:00 UTC);
const END: OffsetDateTime = datetime!(2120-01-01 0:00 UTC);
/// Past on the day as of which cases are judged.
const PAST: OffsetDateTime = datetime!(2025-06-01 0:00 UTC);
/// Ahead of that day.
const AHEAD: OffsetDateTime = datetime!(2040-01-01 0:00 UTC);

/// Somebody who issues: name, key and own certificate.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn root(name: &str, end: OffsetDateTime) -> Self {
        let (params, key) = (authority(name, end), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn under(&self, name: &str, end: OffsetDateTime) -> Self {
        let (params, key) = (authority(name, end), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    fn cross_sign(&self, other: &Self, end: OffsetDateTime) -> String {
        let mut params = other.params.clone();
        params.not_after = end;
        params.signed_by(&other.key, &self.issuer()).unwrap().pem()
    }

    fn leaf(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        params.signed_by(key, &self.issuer()).unwrap()
    }
}

fn authority(name: &str, end: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (START, end);
    params
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (START, END);
    params
}

/// The PKI of the catalogue and where it goes.
struct Catalogue {
    folder: PathBuf,
    root: Authority,
    issuer: Authority,
}

/// Issues every case anew.
pub(super) fn all(folder: &Path) {
    let root = Authority::root("Evergate Test Root", END);
    let issuer = root.under("Evergate Test Issuer", END);
    let catalogue = Catalogue { folder: folder.to_owned(), root, issuer };
    catalogue.kinds_of_keys();
    catalogue.layouts();
    catalogue.names();
    catalogue.chains();
    catalogue.broken_chains();
    catalogue.leaves();
    catalogue.texts();
    catalogue.keys();
    catalogue.openssl();
}

impl Catalogue {
    /// Writes one file of a case. With the root known, a good chain has no finding at all.
    fn put(&self, case: &str, file: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.join(case).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn known(&self, case: &str) {
        self.put(case, "known-roots.pem", &self.root.pem);
    }

    /// A chain and its key as two files.
    fn pair(&self, case: &str, chain: &str, key: &str) {
        self.put(case, "chain.pem", chain);
        self.put(case, "key.pem", key);
        self.known(case);
    }

    /// Leaf and issuer for `params`, and a new key.
    fn full(&self, params: &CertificateParams) -> (String, String) {
        self.full_with(params, &PKCS_ECDSA_P256_SHA256)
    }

    fn full_with(
        &self,
        params: &CertificateParams,
        kind: &'static SignatureAlgorithm,
    ) -> (String, String) {
        let key = KeyPair::generate_for(kind).unwrap();
        let chain = self.issuer.leaf(params, &key).pem() + &self.issuer.pem;
        (chain, key.serialize_pem())
    }

    fn kinds_of_keys(&self) {
        for (case, kind) in [
            ("good-ecdsa-p256", &PKCS_ECDSA_P256_SHA256),
            ("good-ecdsa-p384", &PKCS_ECDSA_P384_SHA384),
            ("good-ed25519", &PKCS_ED25519),
            ("good-rsa", &PKCS_RSA_SHA256),
        ] {
            let (chain, key) = self.full_with(&leaf(&["app.test"]), kind);
            self.pair(case, &chain, &key);
        }
    }

    fn layouts(&self) {
        let (chain, key) = self.full(&leaf(&["app.test"]));
        let (alone, issuer) = chain.split_at(chain.find("-----END").unwrap() + 26);
        let layouts = [
            (
                "good-layout-kubernetes",
                vec![("tls.crt", chain.as_str()), ("tls.key", &key), ("ca.crt", &self.root.pem)],
            ),
            (
                "good-layout-certbot",
                vec![
                    ("app.test/fullchain.pem", chain.as_str()),
                    ("app.test/privkey.pem", &key),
                    ("app.test/cert.pem", alone),
                    ("app.test/chain.pem", issuer),
                    ("README", "This directory contains your keys and certificates."),
                ],
            ),
            ("good-layout-step", vec![("app.test.crt", chain.as_str()), ("app.test.key", &key)]),
            (
                "good-layout-mkcert",
                vec![("app.test.pem", chain.as_str()), ("app.test-key.pem", &key)],
            ),
        ];
        for (case, files) in layouts {
            for (file, content) in files {
                self.put(case, file, content);
            }
            self.known(case);
        }
        self.put("good-combined-key-last", "combined.pem", format!("{chain}{key}"));
        self.put("good-combined-key-first", "combined.pem", format!("{key}{chain}"));
        self.known("good-combined-key-last");
        self.known("good-combined-key-first");
        let (other, other_key) = self.full_with(&leaf(&["app.test"]), &PKCS_RSA_SHA256);
        for (file, content) in [
            ("ecdsa.crt", &chain),
            ("ecdsa.key", &key),
            ("rsa.crt", &other),
            ("rsa.key", &other_key),
        ] {
            self.put("good-ecdsa-beside-rsa", file, content);
        }
        self.known("good-ecdsa-beside-rsa");
    }

    fn names(&self) {
        for (case, names) in [
            ("good-wildcard", vec!["*.app.test"]),
            ("good-ip-address", vec!["192.0.2.1", "2001:db8::1"]),
            ("good-many-names", vec!["app.test", "www.app.test", "*.api.app.test", "192.0.2.1"]),
        ] {
            let (chain, key) = self.full(&leaf(&names));
            self.pair(case, &chain, &key);
        }
        let mut only_cn = leaf(&[]);
        only_cn.distinguished_name.push(DnType::CommonName, "app.test");
        let (chain, key) = self.full(&only_cn);
        self.pair("bad-no-names", &chain, &key);
    }

    fn chains(&self) {
        let params = leaf(&["app.test"]);
        let key = KeyPair::generate().unwrap();
        let alone = self.issuer.leaf(&params, &key).pem();
        let (issuer, root) = (&self.issuer.pem, &self.root.pem);
        let key = key.serialize_pem();
        self.pair("odd-order-wrong", &format!("{issuer}{alone}"), &key);
        self.pair("odd-root-sent", &format!("{alone}{issuer}{root}"), &key);
        self.pair("odd-issuer-not-sent", &alone, &key);
        self.pair("odd-leaf-twice", &format!("{alone}{alone}{issuer}"), &key);
        let (other, _) = self.full(&leaf(&["other.test"]));
        self.pair("odd-two-leaves", &format!("{alone}{issuer}{other}"), &key);
        let stranger = Authority::root("Stranger", END).under("Strange Issuer", END);
        self.pair("odd-stranger-sent", &format!("{alone}{issuer}{}", stranger.pem), &key);
        self.put("odd-root-unknown", "chain.pem", format!("{alone}{issuer}"));
        self.put("odd-root-unknown", "key.pem", &key);

        // AddTrust, 30 May 2020: the old root's signature over the new one ends, and those who
        // know the new root need not care.
        let old = Authority::root("Old Root", END);
        let cross = old.cross_sign(&self.root, PAST);
        self.pair("odd-addtrust", &format!("{alone}{issuer}{cross}"), &key);
        // The same for those who know the old root only.
        self.put("bad-addtrust-old-root", "chain.pem", format!("{alone}{issuer}{cross}"));
        self.put("bad-addtrust-old-root", "key.pem", &key);
        self.put("bad-addtrust-old-root", "known-roots.pem", &old.pem);
        let living = old.cross_sign(&self.root, END);
        self.pair("good-cross-signed", &format!("{alone}{issuer}{living}"), &key);

        let own = KeyPair::generate().unwrap();
        let self_signed = params.self_signed(&own).unwrap().pem();
        self.pair("odd-self-signed", &self_signed, &own.serialize_pem());

        let gone = Authority::root("Expired Root", PAST);
        let issuer = gone.under("Issuer of an expired Root", END);
        let key = KeyPair::generate().unwrap();
        let chain = issuer.leaf(&params, &key).pem() + &issuer.pem;
        self.put("odd-root-expired", "chain.pem", chain);
        self.put("odd-root-expired", "key.pem", key.serialize_pem());
        self.put("odd-root-expired", "known-roots.pem", gone.pem);
    }

    fn broken_chains(&self) {
        let params = leaf(&["app.test"]);
        let key = KeyPair::generate().unwrap();
        let alone = self.issuer.leaf(&params, &key).pem();
        let pem = key.serialize_pem();
        let stranger = Authority::root("Stranger", END).under("Strange Issuer", END);
        self.pair("bad-chain-of-strangers", &format!("{alone}{}", stranger.pem), &pem);
        // The authority was set up anew under its old name.
        let impostor = self.root.under("Evergate Test Issuer", END);
        self.pair("bad-chain-wrong-issuer", &format!("{alone}{}", impostor.pem), &pem);

        let mut early = authority("Issuer of tomorrow", END);
        early.not_before = AHEAD;
        let early_key = KeyPair::generate().unwrap();
        let early_pem = early.signed_by(&early_key, &self.root.issuer()).unwrap().pem();
        let early = Authority { params: early, key: early_key, pem: early_pem };
        let expired = self.root.under("Expired Issuer", PAST);
        for (case, issuer) in [("bad-chain-expired", expired), ("bad-chain-not-yet-valid", early)] {
            let chain = issuer.leaf(&params, &key).pem() + &issuer.pem;
            self.pair(case, &chain, &pem);
        }
        let upper = self.root.under("Upper Issuer", END);
        let lower = upper.under("Lower Issuer", END);
        let lower_leaf = lower.leaf(&params, &key).pem();
        self.pair("bad-chain-gap", &format!("{lower_leaf}{}", upper.pem), &pem);
        let full = format!("{lower_leaf}{}{}", lower.pem, upper.pem);
        self.pair("good-two-issuers", &full, &pem);
        let tail = format!("{lower_leaf}{}{}", upper.pem, lower.pem);
        self.pair("odd-issuers-swapped", &tail, &pem);
    }

    fn leaves(&self) {
        let mut cases = Vec::new();
        let mut case = |name, change: &dyn Fn(&mut CertificateParams)| {
            let mut params = leaf(&["app.test"]);
            change(&mut params);
            cases.push((name, params));
        };
        case("bad-expired", &|params| params.not_after = PAST);
        case("bad-not-yet-valid", &|params| params.not_before = AHEAD);
        case("bad-ca-leaf", &|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        case("bad-client-auth-only", &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        case("good-any-usage", &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        });
        case("good-no-usage", &|params| params.extended_key_usages = Vec::new());
        case("good-hostile-subject", &|params| {
            let hostile = "\u{1b}[2J\nlevel=INFO all is well";
            params.distinguished_name.push(DnType::CommonName, hostile);
        });
        case("odd-names-ignored", &|params| {
            let name = rcgen::SanType::DnsName("not a host".try_into().unwrap());
            params.subject_alt_names.push(name);
        });
        for (name, params) in cases {
            let (chain, key) = self.full(&params);
            self.pair(name, &chain, &key);
        }
    }

    /// What becomes of files on their way.
    fn texts(&self) {
        let (chain, key) = self.full(&leaf(&["app.test"]));
        let second = chain.rfind("-----BEGIN").unwrap();
        let base64_line = chain.find('\n').unwrap() + 10;
        let damaged = chain.replacen("MII", "AAA", 1);
        let text = format!("Certificate:\n    Data:\n        Version: 3\n{chain}");
        let many = chain.clone() + &self.root.pem.repeat(40);
        let der = pem_to_der(&chain);
        self.put("bad-der", "key.pem", &key);
        self.put("bad-der", "chain.pem", der);
        for (case, chain) in [
            ("bad-empty", ""),
            ("bad-garbage", "<html><body>404 Not Found</body></html>\n"),
            ("bad-truncated", &chain[..base64_line]),
            ("bad-cut-in-second", &chain[..second + 100]),
            ("bad-cut-header", &chain[..second + 7]),
            ("bad-malformed", &damaged),
            ("bad-too-many", &many),
            ("odd-cut-between-blocks", &chain[..second]),
            ("good-crlf", &chain.replace('\n', "\r\n")),
            ("good-text-before", &text),
            ("bad-key-only", &key),
        ] {
            self.pair(case, chain, &key);
        }
    }

    fn keys(&self) {
        let (chain, key) = self.full(&leaf(&["app.test"]));
        let (other, other_key) = self.full(&leaf(&["app.test"]));
        self.pair("bad-key-mismatch", &chain, &other_key);
        self.pair("bad-key-truncated", &chain, &key[..key.len() / 2]);
        self.pair("bad-key-missing", &chain, &other);
        self.put("bad-no-key-in-folder", "app.test.crt", &chain);
        self.known("bad-no-key-in-folder");
        self.pair("bad-key-der", &chain, "");
        self.put("bad-key-der", "key.pem", pem_to_der(&key));
        self.pair("bad-key-garbage", &chain, &key.replacen('M', "A", 1));
    }

    /// What rcgen does not make.
    fn openssl(&self) {
        let (chain, key) = self.full(&leaf(&["app.test"]));
        let encrypted = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:test"];
        self.pair("bad-key-encrypted", &chain, &openssl(&encrypted, &key));
        let parameters = openssl(&["ecparam", "-name", "prime256v1"], "");
        let sec1 = parameters + &openssl(&["ec"], &key);
        self.pair("good-key-sec1", &chain, &sec1);
        let (chain, key) = self.full_with(&leaf(&["app.test"]), &PKCS_RSA_SHA256);
        self.pair("good-key-pkcs1", &chain, &openssl(&["rsa", "-traditional"], &key));
        let old = ["rsa", "-traditional", "-aes128", "-passout", "pass:test"];
        self.pair("bad-key-encrypted-pkcs1", &chain, &openssl(&old, &key));
        for (case, bits, hash) in
            [("bad-rsa-1024", "rsa:1024", "-sha256"), ("bad-sha1", "rsa:2048", "-sha1")]
        {
            let key = openssl(&["genrsa", "-traditional", &bits[4..]], "");
            let path = self.folder.join(case).join("key.pem");
            self.put(case, "key.pem", key);
            let path = path.to_str().unwrap();
            let chain = openssl(
                &[
                    "req",
                    "-x509",
                    "-new",
                    "-key",
                    path,
                    hash,
                    "-days",
                    "36500",
                    "-subj",
                    "/CN=app",
                    "-addext",
                    "subjectAltName=DNS:app.test",
                    "-addext",
                    "basicConstraints=critical,CA:FALSE",
                ],
                "",
            );
            self.put(case, "chain.pem", chain);
        }
    }
}

/// Runs openssl with `input` and gives what it prints.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("UPDATE=1 needs openssl");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The first block.
fn pem_to_der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .map(str::trim)
        .collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}
