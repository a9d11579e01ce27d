//! `evergate run`: reads the configuration, starts a gate, waits for its end.

use std::path::Path;
use std::process::ExitCode;

use super::print::{chain, complain};
use super::stub::config::{self, Proved};
use super::stub::gate::{Gate, Options, StartError};
use super::{CANNOT_BIND, CONFIG_DEFAULT, CONFIG_INVALID, FAILURE, NOTHING_TO_SERVE, RunArgs};
use super::{WRONG_USAGE, log};
use crate::clock;
use crate::config::model::{Config, ListenerMode};

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
    let listeners = config.listeners.clone();
    let gate = match Gate::start(config, clock::system(), Options::default()) {
        Ok(gate) => gate,
        Err(error) => {
            complain(&start_advice(&error));
            return ExitCode::from(start_code(&error));
        }
    };
    for listener in &listeners {
        let mode = match listener.mode {
            ListenerMode::Tls => "https",
            ListenerMode::Plain => "http",
            ListenerMode::Redirect { .. } => "redirect to https",
        };
        tracing::info!(address = %listener.address, mode, "listening");
    }
    ready();
    match gate.run_until_stopped() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&chain(&error));
            ExitCode::from(FAILURE)
        }
    }
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
        StartError::Bind { .. } => CANNOT_BIND,
        _ => FAILURE,
    }
}

fn start_advice(error: &StartError) -> String {
    let said = chain(error);
    let remedy = match error {
        StartError::NoServableCertificate => {
            "`evergate check` tells what is wrong with each certificate; \
             `[guard] start = \"wait\"` listens until there is a good one"
        }
        StartError::Bind { address, .. } if address.port() < 1024 => {
            "stop what listens there (`ss -ltnp` names it) or choose another address; a port \
             below 1024 needs CAP_NET_BIND_SERVICE"
        }
        StartError::Bind { .. } => {
            "stop what listens there (`ss -ltnp` names it) or choose another address"
        }
        _ => return said,
    };
    format!("{said}\n  remedy: {remedy}")
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
    use std::io::{Error, ErrorKind};

    #[test]
    fn each_way_to_fail_has_its_exit_code() {
        let bind = |address: &str| StartError::Bind {
            address: address.parse().unwrap(),
            source: Error::from(ErrorKind::AddrInUse),
        };
        assert_eq!(start_code(&StartError::NoServableCertificate), 4);
        assert_eq!(start_code(&bind("[::]:443")), 5);
        assert_eq!(start_code(&StartError::Other(Error::other("no"))), 1);
        assert!(start_advice(&bind("[::]:443")).contains("CAP_NET_BIND_SERVICE"));
        assert!(!start_advice(&bind("[::]:8443")).contains("CAP_NET_BIND_SERVICE"));
    }
}
