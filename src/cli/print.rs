//! Findings and tables, for people.
//!
//! Plain text without colours: it ends up in mails and in monitoring as often as on a screen.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use time::OffsetDateTime;

use super::health::left;
use super::picture::{Certificate, Finding, Picture, Role};
use crate::clock::rfc3339;

/// Which form an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Writes an answer to stdout.
pub(super) fn answer(text: &str) {
    // `evergate check | head -1` closes the pipe early, and that is no failure of ours.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Writes a JSON answer to stdout.
pub(super) fn answer_json(document: &serde_json::Value) {
    answer(&format!("{document:#}"));
}

/// Writes a complaint to stderr, with everything that caused it.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "evergate: {text}");
}

/// A failure and its causes in one line; only the command line prints the chain.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some libraries repeat the cause in their own sentence.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Hosts, certificates and findings below a headline.
pub(super) fn picture(picture: &Picture) -> String {
    let mut text = String::new();
    if !picture.hosts.is_empty() {
        text.push_str("\nHosts\n");
        text.push_str(&hosts(picture));
    }
    if !picture.certificates.is_empty() {
        text.push_str("\nCertificates\n");
    }
    for certificate_ in &picture.certificates {
        text.push_str(&certificate(certificate_, picture.now));
    }
    if !picture.findings.is_empty() {
        text.push_str("\nFindings\n");
    }
    for found in &picture.findings {
        text.push_str(&finding(found, "  "));
    }
    text
}

/// One certificate with its findings.
pub(super) fn certificate(shown: &Certificate, now: Option<OffsetDateTime>) -> String {
    let role = match shown.role {
        Role::Primary => "",
        Role::Standby => " (standby)",
    };
    let mut text = format!("  {:<8} {}{role}\n", shown.state.word(), clean(&shown.source));
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "    {what:<7} {}", clean(value));
    };
    if !shown.names.is_empty() {
        line("names", &shown.names.join(", "));
    }
    if let (Some(from), Some(until)) = (shown.not_before, shown.not_after) {
        line("valid", &format!("{} to {}", rfc3339(from), rfc3339(until)));
    }
    if let Some(end) = shown.end() {
        line("ends", &format!("{}, {}", until(end, now), shown.level.word()));
    }
    if let Some(issuer) = &shown.issuer {
        line("issuer", issuer);
    }
    if let Some(fingerprint) = &shown.fingerprint_sha256 {
        line("sha256", fingerprint);
    }
    for found in &shown.findings {
        text.push_str(&finding(found, "    "));
    }
    text
}

/// One finding: code and sentence, and the remedy below.
pub(super) fn finding(found: &Finding, indent: &str) -> String {
    let Finding { code, severity, message, remedy } = found;
    let severity = severity.word();
    let mut text = format!("{indent}{severity} {code}: {}\n", clean(message));
    if !remedy.is_empty() {
        let _ = writeln!(text, "{indent}  remedy: {}", clean(remedy));
    }
    text
}

/// Text that came from outside, on one line and without control characters: a certificate's
/// subject must not steer a terminal or feign a line of its own.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Columns under headings, as wide as their widest cell.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| clean(cell))).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let mut text = String::from("  ");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    };
    let mut text = line(headings);
    for row in &rows {
        text.push_str(&line(row.each_ref().map(AsRef::as_ref)));
    }
    text
}

fn hosts(picture: &Picture) -> String {
    let rows: Vec<[String; 5]> = picture
        .hosts
        .iter()
        .map(|host| {
            let serving = host.serving.as_deref();
            let end = serving.and_then(|f| picture.certificate(f)?.end());
            let next = host.next.iter().map(|f| short(f));
            [
                host.host.clone(),
                serving.map_or_else(|| "dark".to_owned(), short),
                host.level.word().to_owned(),
                end.map_or_else(|| "-".to_owned(), |end| until(end, picture.now)),
                next.reduce(|a, b| format!("{a} {b}")).unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let mut text = table(["host", "serving", "level", "ends", "next"], &rows);
    for host in &picture.hosts {
        for said in &host.client_alerts {
            let line = format!(
                "{}: clients said {} {} times, {} in the last minute, certificate {}",
                host.host,
                said.alert,
                said.count,
                said.count_last_minute,
                short(&said.fingerprint)
            );
            let _ = writeln!(text, "  {}", clean(&line));
        }
    }
    text
}

/// Enough of a fingerprint to tell one from another on one page.
fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

fn until(end: OffsetDateTime, now: Option<OffsetDateTime>) -> String {
    match now {
        Some(now) if end < now => format!("{} ({})", rfc3339(end), left(end - now)),
        Some(now) => format!("{} (in {})", rfc3339(end), left(end - now)),
        None => rfc3339(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["a.test".to_owned(), "ok".to_owned()], ["ü".to_owned(), String::new()]];
        let expected = "  host    level\n  a.test  ok\n  ü\n";
        assert_eq!(table(["host", "level"], &rows), expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("CN=a\u{1b}[2J\nOK"), "CN=a\\u{1b}[2J\\nOK");
        assert_eq!(clean("CN=Tür"), "CN=Tür");
    }

    #[test]
    fn a_finding_comes_with_its_remedy() {
        let found = Finding {
            code: "expired".to_owned(),
            severity: super::super::picture::Severity::Critical,
            message: "a.pem ended 2 d ago".to_owned(),
            remedy: "renew it".to_owned(),
        };
        assert_eq!(
            finding(&found, "  "),
            "  critical expired: a.pem ended 2 d ago\n    remedy: renew it\n"
        );
    }
}
