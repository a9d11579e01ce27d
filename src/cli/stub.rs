//! Stands in for `config::load`, `guard::assess` and `gate::Gate` until they are merged.
//!
//! The commands say `use super::stub::{config, gate, guard}`; with the real parts in place these
//! lines become `use crate::{...}` and this file goes away.

pub(super) mod config {
    use std::fmt;
    use std::path::Path;

    use crate::config::model::Config;

    #[derive(Debug, serde::Serialize)]
    pub(crate) struct Diagnostics(String);

    impl Diagnostics {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }

    impl fmt::Display for Diagnostics {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    pub(crate) type Refusal = Diagnostics;
    pub(crate) type BadFlag = Diagnostics;

    #[derive(Debug)]
    pub(crate) struct Proved {
        pub(crate) config: Config,
        pub(crate) warnings: Diagnostics,
    }

    pub(crate) fn load(path: &Path) -> Result<Proved, Refusal> {
        let path = path.display();
        Err(Diagnostics(format!("{path}: not read as yet")))
    }

    pub(crate) fn from_flags(
        _cert: &Path,
        _key: &Path,
        _to: &str,
        _listen: Option<&str>,
    ) -> Result<Config, BadFlag> {
        Err(Diagnostics("--to: not read as yet".to_owned()))
    }
}

pub(super) mod guard {
    use std::path::{Path, PathBuf};

    use time::OffsetDateTime;

    use crate::config::model::{CertSource, GuardPolicy, Role};
    use crate::guard::{CertificateReport, Level, Report, State};
    use crate::host::HostPattern;

    pub(crate) fn assess(
        _sources: &[CertSource],
        _policy: &GuardPolicy,
        _routed: &[HostPattern],
        now: OffsetDateTime,
    ) -> Report {
        Report {
            now,
            hosts: Vec::new(),
            certificates: Vec::new(),
            watched: Vec::new(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn inspect_pem(
        path: &Path,
        _roots: &[PathBuf],
        now: OffsetDateTime,
    ) -> CertificateReport {
        inspect_chain(Vec::new(), path.display().to_string(), now)
    }

    pub(crate) fn inspect_chain(
        der: Vec<Vec<u8>>,
        source: String,
        _now: OffsetDateTime,
    ) -> CertificateReport {
        CertificateReport {
            fingerprint_sha256: der.first().map(|leaf| crate::crypto::sha256_hex(leaf)),
            names: Vec::new(),
            role: Role::Primary,
            state: State::Ready,
            level: Level::Ok,
            not_before: None,
            not_after: None,
            effective_not_after: None,
            issuer: None,
            source,
            findings: Vec::new(),
        }
    }
}

pub(super) mod gate {
    use std::fmt;
    use std::net::SocketAddr;

    use crate::clock::SharedClock;
    use crate::config::model::Config;

    #[derive(Debug, Default)]
    pub(crate) struct Options {}

    #[derive(Debug)]
    #[expect(dead_code, reason = "the real one fills them")]
    pub(crate) enum StartError {
        NoServableCertificate,
        Bind {
            address: SocketAddr,
            source: std::io::Error,
        },
        Other(std::io::Error),
    }

    impl fmt::Display for StartError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    impl std::error::Error for StartError {}

    #[derive(Debug)]
    pub(crate) struct Gate {}

    impl Gate {
        pub(crate) fn start(
            _config: Config,
            _clock: SharedClock,
            _options: Options,
        ) -> Result<Self, StartError> {
            Err(StartError::Other(std::io::Error::other(
                "the gate is not built yet",
            )))
        }

        pub(crate) fn run_until_stopped(self) -> Result<(), std::io::Error> {
            Ok(())
        }
    }
}
