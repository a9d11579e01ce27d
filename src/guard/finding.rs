//! The catalogue: every finding with its code, severity, sentence and remedy.

use serde::Serialize;

pub use crate::observe::event::Severity;

/// One fact worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable code such as `key_mismatch`; docs/findings.md has an entry for each.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence that names the thing.
    pub message: String,
    /// One sentence: what to do.
    pub remedy: String,
}
