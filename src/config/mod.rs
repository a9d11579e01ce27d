//! What the operator wants.
//!
//! [`load`] reads a file, `file` takes it as typed, `prove` makes of it what is meant, which is
//! [`model::Config`]; `keys` describes what can be typed. Every complaint comes at once, as
//! [`Diagnostics`].

mod diagnostic;
mod file;
mod keys;
pub mod model;
mod place;
mod prove;
pub mod schema;
mod units;
mod value;
mod words;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use diagnostic::{Complaint, Diagnostic, Diagnostics, Place, Severity};

use crate::disk::{self, ReadError};
use diagnostic::{Complaints, complaint, quoted};
use model::{
    CertPlace, CertSource, Config, GateSettings, GuardPolicy, ListenerMode, ListenerSettings,
    PathPattern, Role, RouteSettings,
};

/// A configuration that can be used, and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proved {
    /// The configuration as meant.
    pub config: Config,
    /// Warnings only; mostly empty.
    pub warnings: Diagnostics,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Refusal {
    /// The file couldn't be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The file was read, and is wrong.
    Invalid(Diagnostics),
}

/// Bytes of the longest configuration that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where `run` listens if neither a file nor `--listen` says.
const LISTEN_DEFAULT: &str = "[::]:443";

/// Reads and proves the file at `path`. Never waits: what is no regular file is refused.
pub fn load(path: &Path) -> Result<Proved, Refusal> {
    let bytes = read(path)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let lossy = String::from_utf8_lossy(error.as_bytes());
            let mut complaints = Complaints::new(&lossy);
            let help = "save the file as UTF-8";
            complaints.error(
                &(at..at + char::REPLACEMENT_CHARACTER.len_utf8()),
                complaint("this byte is no UTF-8", help),
            );
            return Err(Refusal::Invalid(complaints.into_diagnostics(path)));
        }
    };
    parse(&text, path).map_err(Refusal::Invalid)
}

/// Proves `text`, read from `path`; relative paths in it start from the folder of `path`.
pub fn parse(text: &str, path: &Path) -> Result<Proved, Diagnostics> {
    let mut complaints = Complaints::new(text);
    let config = file::read(text, &mut complaints)
        .map(|file| prove::prove(&file, path, &mut complaints))
        .filter(|_| !complaints.has_errors());
    let diagnostics = complaints.into_diagnostics(path);
    match config {
        Some(config) => Ok(Proved { config, warnings: diagnostics }),
        None => Err(diagnostics),
    }
}

/// What is wrong with a flag of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFlag {
    /// The flag, such as `--to`.
    pub flag: &'static str,
    /// What is wrong with its value, and what to do.
    pub complaint: Complaint,
}

impl fmt::Display for BadFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { message, help } = &self.complaint;
        write!(f, "{}: {message}\n  = help: {help}", self.flag)
    }
}

impl std::error::Error for BadFlag {}

/// The configuration of `run --cert F --key F --to URL [--listen ADDR]`: one TLS listener (on
/// `[::]:443` unless told), one certificate, one route for everything. No admin listener: a port
/// that nobody asked for would be a surprise, and could clash with another gate's.
pub fn from_flags(
    cert: &Path,
    key: &Path,
    to: &str,
    listen: Option<&str>,
) -> Result<Config, BadFlag> {
    let bad = |flag| move |complaint| BadFlag { flag, complaint };
    let upstream = place::unnamed_upstream(to, Path::new("")).map_err(bad("--to"))?;
    let address = listen.unwrap_or(LISTEN_DEFAULT);
    let address = place::listen_address(address).map_err(bad("--listen"))?;
    let path = PathPattern::Prefix("/".to_owned());
    Ok(Config {
        path: None,
        gate: GateSettings::default(),
        listeners: vec![ListenerSettings { address, mode: ListenerMode::Tls }],
        certs: vec![CertSource {
            place: CertPlace::Pair { chain: cert.to_owned(), key: key.to_owned() },
            role: Role::Primary,
        }],
        routes: vec![RouteSettings { name: "*/".to_owned(), hosts: Vec::new(), path, upstream: 0 }],
        upstreams: vec![upstream],
        hosts: Vec::new(),
        guard: GuardPolicy::default(),
        admin: None,
    })
}

/// Reads a file of the operator's: the configuration itself, or one that it names.
///
/// # Errors
/// It is no readable regular file of at most 1 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refuse = |reason: &str, help: &str| Refusal::Unreadable {
        path: path.to_owned(),
        reason: reason.to_owned(),
        help: help.to_owned(),
    };
    let content = disk::read(path, FILE_BYTES_MAX).map_err(|error| match &error {
        ReadError::System(cause) if cause.kind() == io::ErrorKind::NotFound => refuse(
            "there is no such file",
            "name one with --config, or run without any: --cert FILE --key FILE --to URL",
        ),
        ReadError::System(cause) if cause.kind() == io::ErrorKind::PermissionDenied => refuse(
            "permission denied",
            "let the user that runs evergate read it and enter its folders",
        ),
        ReadError::System(cause) => refuse(&cause.to_string(), "see whether `cat` can read it"),
        ReadError::Folder => refuse("it is a folder", "name the file in it, such as evergate.toml"),
        ReadError::NotRegular => {
            refuse("it is no regular file", "copy its text into a file and name that")
        }
        ReadError::TooLong(_) => {
            refuse("it is longer than 1 MiB", "check that it is the right file")
        }
    })?;
    Ok(content.bytes)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason, help } => {
                let path = quoted(&path.display().to_string());
                writeln!(f, "error: can't read {path}: {reason}\n  = help: {help}")
            }
            Self::Invalid(diagnostics) => diagnostics.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}
