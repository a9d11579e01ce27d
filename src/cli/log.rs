//! Starts the log of a running gate: on stderr, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form of the log, which goes to stderr
    #[arg(long, value_enum, default_value_t = Form::Text)]
    log: Form,
    /// How much is logged [default: info, or the filter in EVERGATE_LOG]
    #[arg(long, value_enum)]
    log_level: Option<LogLevel>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Starts the log of this process; a second call changes nothing.
pub(super) fn start(args: &Args) {
    let filter = filter(args.log_level, std::env::var("EVERGATE_LOG").ok());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Both forms stamp lines with RFC 3339 in UTC, which is the library's default.
    let started = match args.log {
        Form::Text => builder.compact().with_ansi(colours()).try_init(),
        Form::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
    // It fails only if a log was started before.
    drop(started);
}

/// The command line before the environment before `info`.
fn filter(level: Option<LogLevel>, environment: Option<String>) -> EnvFilter {
    let level = level.map(|level| match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    });
    let wanted = level.map(str::to_owned).or(environment);
    let wanted = wanted.filter(|text| !text.trim().is_empty());
    let Some(wanted) = wanted else {
        return EnvFilter::new("info");
    };
    EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        super::print::complain(&format!(
            "EVERGATE_LOG={wanted:?} is no filter ({error}); logging at info"
        ));
        EnvFilter::new("info")
    })
}

/// Colours for a person at a terminal who has not asked to go without (no-color.org).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let debug = Some("debug".to_owned());
        let cases = [
            (Some(LogLevel::Warn), debug.clone(), "warn"),
            (None, debug, "debug"),
            (None, Some("evergate=trace,h2=off".to_owned()), "evergate=trace,h2=off"),
            (None, Some(" ".to_owned()), "info"),
            (None, Some("a=b=c".to_owned()), "info"),
            (None, None, "info"),
        ];
        for (level, environment, expected) in cases {
            let sorted = |text: &str| {
                let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            let shown = filter(level, environment).to_string();
            assert_eq!(sorted(&shown), sorted(expected));
        }
    }
}
