//! What an operator types.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use time::OffsetDateTime;

use self::print::Format;

mod accept;
mod backstage;
mod check;
mod date;
mod dev;
mod echo;
mod files;
mod health;
mod inspect;
mod local_ca;
mod log;
mod mapping;
mod picture;
mod print;
mod run;
mod status;

/// The program: reads the command line, does what it says, answers with an exit code.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { command }) => dispatch(command),
        Err(error) => {
            // Nothing is left to be said if even that can't be written.
            let _ = error.print();
            usage_code(&error)
        }
    }
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run::run(args),
        Command::Dev(args) => dev::run(args),
        Command::Check(args) => check::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Status(args) => status::run(args),
        Command::Reload(args) => status::reload(args),
        Command::Accept(args) => accept::run(args),
    }
}

/// 64 (EX_USAGE of sysexits.h) for what can't be understood; help and version were asked for.
fn usage_code(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
}

/// A front door whose certificates are guarded.
#[derive(Debug, Parser)]
#[command(name = "evergate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens the front door
    #[command(after_help = "Exit codes: 0 ok, 1 failure, 3 configuration invalid, 4 no \
        certificate can be served, 5 an address can't be bound, 64 wrong usage.")]
    Run(RunArgs),
    /// Local TLS at once: a local CA, a certificate for each name, and an upstream that echoes
    #[command(after_help = "Names end in localhost, .test or .internal. Examples: evergate dev, \
        evergate dev 3000, evergate dev app.localhost=3000 api.localhost=unix:./api.sock")]
    Dev(DevArgs),
    /// Judges configuration and certificates as `run` would, and serves nothing
    #[command(after_help = MONITORING_CODES)]
    Check(CheckArgs),
    /// Tells what a PEM file holds or an endpoint serves
    #[command(after_help = MONITORING_CODES)]
    Inspect(InspectArgs),
    /// Asks a running gate for its certificates
    #[command(after_help = MONITORING_CODES)]
    Status(StatusArgs),
    /// Asks a running gate to read its configuration anew
    #[command(after_help = "Exit codes: 0 in force, 1 failure, 3 configuration invalid (the old \
        one stays in force), 64 wrong usage.")]
    Reload(AdminArgs),
    /// Has a running gate serve a certificate that it holds back
    #[command(after_help = "Exit codes: 0 served, 1 not accepted or no answer, 64 wrong usage.")]
    Accept(AcceptArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration [default: config/evergate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Instead of a configuration: the certificate chain, PEM
    #[arg(long, value_name = "FILE", conflicts_with = "config", requires_all = ["key", "to"])]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Where requests go, as in http://127.0.0.1:8080
    #[arg(long, value_name = "URL", requires = "cert")]
    to: Option<String>,
    /// Where to listen [default: [::]:443]
    #[arg(long, value_name = "ADDR", requires = "cert")]
    listen: Option<String>,
    #[command(flatten)]
    log: log::Args,
}

#[derive(Debug, Args)]
struct DevArgs {
    /// Which name leads where: NAME=PORT, NAME=URL, or a PORT or URL for localhost
    #[arg(value_name = "NAME=PORT|URL", value_parser = mapping::parse)]
    mappings: Vec<mapping::Mapping>,
    /// Where to listen, an address or a port of loopback
    #[arg(long, value_name = "ADDR", default_value = "8443", value_parser = dev::parse_listen)]
    listen: dev::Listen,
    #[command(flatten)]
    log: log::Args,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Folders or PEM files to judge instead of a configuration
    #[arg(value_name = "PATH", conflicts_with = "config")]
    paths: Vec<PathBuf>,
    /// The configuration [default: config/evergate.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    judge: JudgeArgs,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// PEM files, or endpoints as in app.internal:443 and [::1]:8443
    #[arg(value_name = "FILE|HOST:PORT", required = true)]
    targets: Vec<String>,
    /// The server name to ask endpoints for, instead of their host
    #[arg(long, value_name = "SNI")]
    name: Option<String>,
    #[command(flatten)]
    judge: JudgeArgs,
}

#[derive(Debug, Args)]
struct JudgeArgs {
    /// Judges as of that day: 2027-03-01 or RFC 3339
    #[arg(long, value_name = "DATE", value_parser = date::parse)]
    at: Option<OffsetDateTime>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl JudgeArgs {
    /// The moment to judge at.
    fn now(&self) -> OffsetDateTime {
        self.at.unwrap_or_else(|| crate::clock::system().now())
    }
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The form of the answer; json is what the gate itself says
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct AcceptArgs {
    /// SHA-256 of the certificate as `status` shows it, or at least its first 8 digits
    #[arg(value_name = "FINGERPRINT", value_parser = accept::parse)]
    fingerprint: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
struct AdminArgs {
    /// The gate's admin address: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180",
        value_parser = status::parse_admin)]
    admin: status::Admin,
    /// A file with the bearer token, if the gate asks for one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A runtime for one question on this thread.
///
/// It is left behind rather than joined at the end: a name server that doesn't answer must not
/// hold up the exit.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(answer)
}

const FAILURE: u8 = 1;
const CONFIG_INVALID: u8 = 3;
const NOTHING_TO_SERVE: u8 = 4;
const CANNOT_BIND: u8 = 5;
const WRONG_USAGE: u8 = 64;

const MONITORING_CODES: &str = "Exit codes, as of monitoring plug-ins: 0 OK, 1 WARNING, \
    2 CRITICAL, 3 UNKNOWN (also: configuration invalid), 64 wrong usage.";

/// The configuration that `run` and `check` look for without being told.
const CONFIG_DEFAULT: &str = "config/evergate.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn usage(line: &str) -> Option<ExitCode> {
        let words = line.split_whitespace();
        Cli::try_parse_from(words).err().map(|e| usage_code(&e))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_64_and_help_is_0() {
        let cases = [
            ("evergate", Some(64)),
            ("evergate fly", Some(64)),
            ("evergate run --cert a.pem --key a.pem", Some(64)),
            ("evergate run --to http://127.0.0.1:1", Some(64)),
            ("evergate run --config a --cert a --key a --to http://a", Some(64)),
            ("evergate check --at tomorrow", Some(64)),
            ("evergate check --config a.toml certs", Some(64)),
            ("evergate inspect", Some(64)),
            ("evergate dev app.localhost=", Some(64)),
            ("evergate dev --listen nowhere", Some(64)),
            ("evergate status --admin nowhere", Some(64)),
            ("evergate accept", Some(64)),
            ("evergate accept abc/../reload", Some(64)),
            ("evergate accept 0123abcd --admin 127.0.0.1:1", None),
            ("evergate --help", Some(0)),
            ("evergate --version", Some(0)),
            ("evergate check --help", Some(0)),
            ("evergate run", None),
            ("evergate run --cert a --key b --to http://a --listen [::]:1", None),
            ("evergate check certs --at 2027-03-01 --format json", None),
            ("evergate inspect a.pem [::1]:443 --name a.test", None),
            ("evergate status --admin unix:/run/a.sock", None),
            ("evergate dev 3000 app.localhost=3001 --listen 127.0.0.1:1", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(ExitCode::from);
            assert_eq!(usage(line), expected, "{line}");
        }
    }
}
