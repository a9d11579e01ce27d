//! `evergate accept`: has a running gate serve what it holds back.

use std::process::ExitCode;

use http::Method;
use serde::Deserialize;

use super::print::{answer, clean, complain};
use super::status::{AskError, ask};
use super::{AcceptArgs, FAILURE};

/// What the gate says to it.
#[derive(Debug, Deserialize)]
struct Told {
    accepted: Option<Accepted>,
    problem: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    fingerprint_sha256: String,
    sources: Vec<String>,
    doubts: Vec<Doubt>,
}

#[derive(Debug, Deserialize)]
struct Doubt {
    message: String,
}

/// Asks, and tells what came of it.
pub(super) fn run(args: AcceptArgs) -> ExitCode {
    let path = format!("/api/certificates/{}/accept", args.fingerprint);
    let told = match ask(&args.admin, Method::POST, &path) {
        Ok(told) => told,
        Err(error) => return failed(&error.advice(&args.admin.admin)),
    };
    let said: Option<Told> = serde_json::from_slice(&told.body).ok();
    match said {
        Some(Told { accepted: Some(accepted), .. }) if told.status.is_success() => {
            answer(&sentence(&accepted));
            ExitCode::SUCCESS
        }
        Some(Told { problem: Some(problem), .. }) => {
            failed(&format!("not accepted: {}", clean(&problem)))
        }
        _ => failed(&AskError::Refused { status: told.status }.advice(&args.admin.admin)),
    }
}

/// Takes hex digits, with colons between them as other tools print them.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) && (8..=64).contains(&digits.len()) {
        return Ok(digits);
    }
    Err("write the 64 hex digits that `evergate status` shows, or at least the first 8".to_owned())
}

fn sentence(accepted: &Accepted) -> String {
    let sources = accepted.sources.join(", ");
    let shown = accepted.fingerprint_sha256.get(..16).unwrap_or_default();
    let mut text = format!("{} from {} is served now", clean(shown), clean(&sources));
    for doubt in &accepted.doubts {
        text.push_str(&format!("\n  although {}", clean(&doubt.message)));
    }
    text
}

fn failed(why: &str) -> ExitCode {
    complain(why);
    ExitCode::from(FAILURE)
}
