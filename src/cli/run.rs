//! `evergate run`: reads the configuration, starts a gate, waits for its end.

use std::path::Path;
use std::process::ExitCode;

use super::print::{chain, complain};
use super::{CANNOT_BIND, CONFIG_DEFAULT, CONFIG_INVALID, FAILURE, NOTHING_TO_SERVE, RunArgs};
use super::{WRONG_USAGE, log};
use crate::admin;
use crate::clock;
use crate::config::model::{Config, ListenerMode};
use crate::config::{self, Proved};
use crate::gate::{Gate, Signals, StartError};

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: RunArgs) -> ExitCode {
    log::start(&args.log);
    match configuration(&args) {
        Ok(config) => hold(config, || {}),
        Err((code, complaint)) => {
            complain(&complaint);
            ExitCode::from(code)
        }
    }
}

/// Starts a gate, calls `ready` as soon as it accepts, and stays until it is told to stop.
pub(super) fn hold(config: Config, ready: impl FnOnce()) -> ExitCode {
    let modes: Vec<ListenerMode> = config.listeners.iter().map(|listener| listener.mode).collect();
    let gate = match Gate::start(config, clock::system(), Signals::Heed) {
        Ok(gate) => gate,
        Err(error) => {
            complain(&start_advice(&error));
            return ExitCode::from(start_code(&error));
        }
    };
    for (address, mode) in gate.addresses().iter().zip(modes) {
        let mode = match mode {
            ListenerMode::Tls => "https",
            ListenerMode::Plain => "http",
            ListenerMode::Redirect { .. } => "redirect to https",
        };
        tracing::info!(%address, mode, "listening");
    }
    if let Some(address) = gate.admin() {
        tracing::info!(%address, "admin listening");
    }
    ready();
    gate.wait();
    ExitCode::SUCCESS
}

/// What to serve, or the exit code and the complaint.
fn configuration(args: &RunArgs) -> Result<Config, (u8, String)> {
    if let (Some(cert), Some(key), Some(to)) = (&args.cert, &args.key, &args.to) {
        let config = config::from_flags(cert, key, to, args.listen.as_deref());
        return config.map_err(|flag| (WRONG_USAGE, flag.to_string()));
    }
    let default = Path::new(CONFIG_DEFAULT);
    let path = match &args.config {
        Some(path) => path.as_path(),
        None if default.exists() => default,
        None => return Err((CONFIG_INVALID, NO_CONFIGURATION.to_owned())),
    };
    let Proved { config, warnings } =
        config::load(path).map_err(|refusal| (CONFIG_INVALID, refusal.to_string()))?;
    if !warnings.is_empty() {
        complain(&warnings.to_string());
    }
    Ok(config)
}

fn start_code(error: &StartError) -> u8 {
    match error {
        StartError::NoServableCertificate => NOTHING_TO_SERVE,
        StartError::Bind(_) | StartError::Admin(admin::StartError::Bind(_)) => CANNOT_BIND,
        // What the configuration names can't be used: no other start would fare better.
        StartError::Plan(_) | StartError::Admin(_) => CONFIG_INVALID,
        StartError::System(_) => FAILURE,
    }
}

fn start_advice(error: &StartError) -> String {
    let said = chain(error);
    match error {
        StartError::NoServableCertificate => format!(
            "{said}\n  remedy: `evergate check` tells what is wrong with each certificate; \
             `[guard] start = \"wait\"` listens until there is a good one"
        ),
        _ => said,
    }
}

const NO_CONFIGURATION: &str = "there is nothing to serve. Three ways to say what:
  evergate run --config FILE       reads that configuration
  evergate run                     reads config/evergate.toml, which is not here
  evergate run --cert FILE --key FILE --to http://127.0.0.1:8080 [--listen ADDR]
                                   needs no configuration
To try Evergate without a certificate: evergate dev";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::BindError;
    use std::io::{Error, ErrorKind};

    #[test]
    fn each_way_to_fail_has_its_exit_code() {
        let bind = BindError {
            address: "[::]:443".parse().unwrap(),
            cause: Error::from(ErrorKind::AddrInUse),
        };
        assert_eq!(start_code(&StartError::NoServableCertificate), 4);
        assert!(start_advice(&StartError::NoServableCertificate).contains("evergate check"));
        assert_eq!(start_code(&StartError::Bind(bind)), 5);
        assert_eq!(start_code(&StartError::System(Error::other("no"))), 1);
    }
}
