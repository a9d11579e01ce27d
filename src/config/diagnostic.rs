//! Complaints about a configuration: path:line:column, the line, a caret, a sentence, a remedy.
//!
//! [`Complaints`] gathers while a text is read and proved; [`Diagnostics`] is what people and
//! machines get. Nothing here knows what a configuration means.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A stretch of the text, in bytes.
pub(super) type Span = Range<usize>;

/// Whether a configuration can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't be used.
    Error,
    /// It can, but hardly as it was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One complaint with its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// Whether it forbids the configuration.
    pub severity: Severity,
    /// Where; none for something that is missing altogether.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// A place in the text, as editors count.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters that are meant, at least 1.
    pub width: usize,
    /// The line, cut to what is worth showing and free of control characters.
    #[serde(skip)]
    excerpt: String,
    /// Characters of the excerpt before the caret.
    #[serde(skip)]
    indent: usize,
}

/// Every complaint about one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostics {
    /// The file they are about.
    pub path: PathBuf,
    /// The complaints.
    #[serde(rename = "diagnostics")]
    pub list: Vec<Diagnostic>,
    /// Further complaints that were counted only.
    pub omitted: usize,
}

impl Diagnostics {
    /// Whether nothing was complained about.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether anything forbids the configuration.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write_one(f, &self.path, diagnostic)?;
        }
        if self.omitted > 0 {
            writeln!(f, "\n{}: and {} more", self.path.display(), self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

fn write_one(f: &mut fmt::Formatter<'_>, path: &Path, diagnostic: &Diagnostic) -> fmt::Result {
    let Diagnostic { severity, place, message, help } = diagnostic;
    let path = path.display();
    let mut margin = 1;
    match place {
        None => writeln!(f, "{path}: {severity}: {message}")?,
        Some(place) => {
            let (line, column) = (place.line, place.column);
            margin = line.to_string().len();
            // The underline ends where the excerpt does.
            let room = place.excerpt.chars().count().saturating_sub(place.indent);
            let carets = "^".repeat(place.width.min(room).max(1));
            let indent = " ".repeat(place.indent);
            writeln!(f, "{path}:{line}:{column}: {severity}: {message}")?;
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{line} | {}", place.excerpt)?;
            writeln!(f, "{:margin$} | {indent}{carets}", "")?;
        }
    }
    if help.is_empty() {
        return Ok(());
    }
    writeln!(f, "{:margin$} = help: {help}", "")
}

/// What is wrong with a value and what to do, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Puts a complaint together.
pub(super) fn complaint(message: impl Into<String>, help: impl Into<String>) -> Complaint {
    Complaint { message: message.into(), help: help.into() }
}

/// Gathers complaints about one text.
#[derive(Debug)]
pub(super) struct Complaints<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    errors: Vec<(Option<Span>, Complaint)>,
    warnings: Vec<(Option<Span>, Complaint)>,
    omitted: usize,
}

/// Complaints of one severity that are kept; a text of nonsense must not fill the memory.
const COMPLAINTS_MAX: usize = 100;

impl<'a> Complaints<'a> {
    /// No complaint so far.
    pub(super) fn new(text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            line_starts: std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect(),
            errors: Vec::new(),
            warnings: Vec::new(),
            omitted: 0,
        }
    }

    /// Something at `span` forbids the configuration.
    pub(super) fn error(&mut self, span: &Span, complaint: Complaint) {
        self.put(Severity::Error, Some(span.clone()), complaint);
    }

    /// Something is missing altogether.
    pub(super) fn missing(&mut self, complaint: Complaint) {
        self.put(Severity::Error, None, complaint);
    }

    /// Something at `span` is hardly meant.
    pub(super) fn warning(&mut self, span: &Span, complaint: Complaint) {
        self.put(Severity::Warning, Some(span.clone()), complaint);
    }

    /// Takes the value, or complains at `span`.
    pub(super) fn take<T>(&mut self, span: &Span, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.error(span, complaint)).ok()
    }

    /// Whether something forbids the configuration.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Counts one more error if no further ones are kept: its words need not be looked for.
    pub(super) fn overflows(&mut self) -> bool {
        let full = self.errors.len() >= COMPLAINTS_MAX;
        self.omitted += usize::from(full);
        full
    }

    /// The line on which `span` begins, from 1.
    pub(super) fn line(&self, span: &Span) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start)
    }

    /// Everything gathered, in the order of the text.
    pub(super) fn into_diagnostics(mut self, path: &Path) -> Diagnostics {
        let mut all: Vec<(Option<Span>, Severity, Complaint)> = Vec::new();
        for (severity, list) in [
            (Severity::Error, std::mem::take(&mut self.errors)),
            (Severity::Warning, std::mem::take(&mut self.warnings)),
        ] {
            all.extend(list.into_iter().map(|(span, what)| (span, severity, what)));
        }
        // A stable sort: what is missing comes first, then places, then the order of finding.
        all.sort_by_key(|(span, severity, _)| (span.as_ref().map(|s| s.start), *severity));
        let list = all.into_iter().map(|(span, severity, what)| Diagnostic {
            severity,
            place: span.map(|span| self.place(&span)),
            message: what.message,
            help: what.help,
        });
        Diagnostics { path: path.to_owned(), list: list.collect(), omitted: self.omitted }
    }

    fn put(&mut self, severity: Severity, span: Option<Span>, complaint: Complaint) {
        let list = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() < COMPLAINTS_MAX {
            list.push((span, complaint));
        } else {
            self.omitted += 1;
        }
    }

    fn place(&self, span: &Span) -> Place {
        let line = self.line(span);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        let shown = rest.lines().next().unwrap_or_default();
        let before = self.text.get(start..span.start).unwrap_or_default();
        let meant = self.text.get(span.clone()).unwrap_or_default();
        let (excerpt, indent) = excerpt(shown, before.chars().count());
        Place {
            line,
            column: before.chars().count() + 1,
            width: meant.lines().next().unwrap_or_default().chars().count().max(1),
            excerpt,
            indent,
        }
    }
}

/// Characters of a line that are shown.
const EXCERPT_MAX: usize = 120;

/// Cuts a line around column `at`, and counts the characters before it in what is left.
fn excerpt(line: &str, at: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= EXCERPT_MAX {
        return (line.chars().map(tame).collect(), at);
    }
    let from = at.saturating_sub(EXCERPT_MAX / 3).min(length - EXCERPT_MAX);
    let mut cut: String = line.chars().skip(from).take(EXCERPT_MAX).map(tame).collect();
    if from + EXCERPT_MAX < length {
        cut.push('…');
    }
    if from == 0 {
        return (cut, at);
    }
    (format!("…{cut}"), at - from + 1)
}

/// A text as it stands in a message: quoted, short, and free of control characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_MAX).map(tame).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Keeps a file from steering the terminal that shows it: control characters and those that
/// reorder text (Unicode TR 36 section 2.6) are replaced one for one, so that columns hold.
fn tame(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// The candidate that `typed` was probably meant to be.
pub(super) fn nearest<'c>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Longer than any name that has a meaning here, and the distance takes quadratic time.
    const TYPED_MAX: usize = 64;
    if typed.len() > TYPED_MAX {
        return None;
    }
    let lower = typed.to_ascii_lowercase().replace('-', "_");
    let tolerance = (typed.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= TYPED_MAX)
        .map(|candidate| {
            let plain = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::osa_distance(&lower, &plain), candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, span: Span) -> String {
        let mut complaints = Complaints::new(text);
        complaints.error(&span, complaint("it is wrong", "mend it"));
        complaints.into_diagnostics(Path::new("a.toml")).to_string()
    }

    #[test]
    fn a_caret_stands_under_what_is_meant() {
        let text = "[gate]\n\tköln = \"x\"\r\nlast = 1";
        let at = text.find('x').unwrap();
        let expected = [
            "a.toml:2:10: error: it is wrong",
            "  |",
            "2 |  köln = \"x\"",
            "  |          ^",
            "  = help: mend it\n",
        ]
        .join("\n");
        assert_eq!(rendered(text, at..at + 1), expected);
        assert!(rendered(text, text.len()..text.len()).starts_with("a.toml:3:9:"));
        assert!(rendered("", 0..0).starts_with("a.toml:1:1:"));
        assert!(rendered("a\n", 2..2).starts_with("a.toml:2:1:"));
    }

    #[test]
    fn a_long_line_is_cut_around_its_caret() {
        let text = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let shown = rendered(&text, 5000..5004);
        assert!(shown.contains("HERE"));
        assert!(shown.lines().all(|line| line.chars().count() < 140));
        let (line, caret) = (shown.lines().nth(2).unwrap(), shown.lines().nth(3).unwrap());
        let column = |line: &str, c| line.chars().position(|x| x == c);
        assert_eq!(column(line, 'H'), column(caret, '^'));
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        let shown = rendered("a = \u{1b}[2J\u{202e}", 0..1);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(quoted("a\u{7}b"), "`a\u{fffd}b`");
    }

    #[test]
    fn complaints_beyond_the_limit_are_counted() {
        let mut complaints = Complaints::new("x");
        for _ in 0..COMPLAINTS_MAX + 7 {
            complaints.error(&(0..1), complaint("no", ""));
        }
        // Warnings never crowd out errors, nor the other way round.
        complaints.warning(&(0..1), complaint("hm", ""));
        let diagnostics = complaints.into_diagnostics(Path::new("a.toml"));
        assert_eq!(diagnostics.list.len(), COMPLAINTS_MAX + 1);
        assert_eq!(diagnostics.omitted, 7);
        assert!(diagnostics.to_string().ends_with("a.toml: and 7 more\n"));
    }

    #[test]
    fn machines_get_the_same_in_json() {
        let mut complaints = Complaints::new("ab");
        complaints.error(&(1..2), complaint("no", "mend"));
        complaints.missing(complaint("none", "add"));
        let json = serde_json::to_value(complaints.into_diagnostics(Path::new("a.toml"))).unwrap();
        let expected = serde_json::json!({
            "path": "a.toml",
            "diagnostics": [
                {"severity": "error", "message": "none", "help": "add"},
                {"severity": "error", "line": 1, "column": 2, "width": 1, "message": "no",
                 "help": "mend"},
            ],
            "omitted": 0,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let words = ["address", "tls", "redirect", "https_port"];
        let cases = [
            ("adress", Some("address")),
            ("Address", Some("address")),
            ("https-port", Some("https_port")),
            ("tsl", Some("tls")),
            ("colour", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, words), expected, "{typed}");
        }
    }
}
