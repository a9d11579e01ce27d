//! The shape of the code as a test: what a review would otherwise have to say twice.
//!
//! It reads sources as text, in the form that rustfmt gives them. Each complaint says where and
//! what to do; the tests at the end prove that each check can fail.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly; Clippy's exception covers test functions only"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// One thing to change.
#[derive(Debug, PartialEq)]
struct Complaint {
    place: String,
    what: String,
}

/// A source file, and the same text with comments and the insides of literals taken apart.
struct Source {
    path: String,
    lines: Vec<String>,
    code: Vec<String>,
    comments: Vec<String>,
}

#[test]
fn the_sources_keep_their_shape() {
    let order = module_order(&read("src/lib.rs"));
    assert!(order.len() > 5, "src/lib.rs has lost its list of modules");
    let mut complaints = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "benches"] {
        for path in files_below(&root().join(folder), "rs") {
            let source = Source::new(&relative(&path), &read(&relative(&path)));
            seen += 1;
            complaints.extend(source.shape());
            complaints.extend(source.functions());
            complaints.extend(source.forbidden());
            complaints.extend(source.imports(&order));
        }
    }
    assert!(seen > 10, "only {seen} files were found: look at the test");
    conclude(&complaints);
}

#[test]
fn the_commands_in_the_readme_exist() {
    let Ok(readme) = std::fs::read_to_string(root().join("README.md")) else {
        return; // No README yet, so nothing it could promise.
    };
    let mut complaints = Vec::new();
    for (number, command) in shown_commands(&readme) {
        let help = help_of(&command.name);
        complaints.extend(command.check(help.as_deref(), &format!("README.md:{number}")));
    }
    conclude(&complaints);
}

#[test]
fn every_page_is_linked() {
    let indexes: Vec<String> = ["README.md", "docs/architecture.md"]
        .iter()
        .filter_map(|page| std::fs::read_to_string(root().join(page)).ok())
        .collect();
    if indexes.is_empty() {
        return; // No page yet that could link.
    }
    let complaints: Vec<Complaint> = std::fs::read_dir(root().join("docs"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "architecture.md")
        .filter(|name| !is_linked(name, &indexes))
        .map(|name| Complaint {
            place: format!("docs/{name}:1"),
            what: "no page leads here: link it in README.md or docs/architecture.md".to_owned(),
        })
        .collect();
    conclude(&complaints);
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (code, comments) = take_apart(text);
        Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            code,
            comments,
        }
    }

    fn complaint(&self, index: usize, what: String) -> Complaint {
        let place = format!("{}:{}", self.path, index + 1);
        Complaint { place, what }
    }

    /// Length, width and the opening comment.
    fn shape(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        if !self.lines.first().is_some_and(|l| l.starts_with("//!")) {
            found.push(self.complaint(0, "open the file with `//!`: what is it for?".to_owned()));
        }
        let count = self.lines.len();
        if count > FILE_LINES_MAX {
            let what = format!("{count} lines: split it, {FILE_LINES_MAX} are the most");
            found.push(self.complaint(FILE_LINES_MAX, what));
        }
        for (index, line) in self.lines.iter().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                let what = format!("{columns} columns: break the line at {COLUMNS_MAX}");
                found.push(self.complaint(index, what));
            }
        }
        found
    }

    /// Functions that don't fit on a screen.
    fn functions(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        for (start, line) in self.code.iter().enumerate() {
            let Some(name) = function_name(line) else {
                continue;
            };
            let length = self.function_length(start);
            if length > FUNCTION_LINES_MAX {
                let what = format!(
                    "`{name}` has {length} lines: take a step out of it, \
                     {FUNCTION_LINES_MAX} are the most"
                );
                found.push(self.complaint(start, what));
            }
        }
        found
    }

    /// Lines from the signature to the closing brace, which rustfmt puts below the `fn`.
    fn function_length(&self, start: usize) -> usize {
        let first = &self.code[start];
        let indent = &first[..first.len() - first.trim_start().len()];
        let end = format!("{indent}}}");
        let mut in_body = false;
        for (offset, line) in self.code[start..].iter().enumerate() {
            let line = line.trim_end();
            let ends_here =
                if in_body { *line == end } else { line.ends_with(';') || line.ends_with('}') };
            if ends_here {
                return offset + 1;
            }
            in_body |= line.ends_with('{');
        }
        self.code.len() - start
    }

    /// Words that may not stand in code, and reminders without a reason.
    fn forbidden(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        for (index, line) in self.code.iter().enumerate() {
            for word in ["unsafe", "todo!", "unimplemented!"] {
                if has_word(line, word) {
                    let what = format!("`{word}` may not stand here: find a way without it");
                    found.push(self.complaint(index, what));
                }
            }
        }
        for (index, comment) in self.comments.iter().enumerate() {
            for word in ["TODO", "FIXME"] {
                if has_word(comment, word) && !has_reason(comment, word) {
                    let what = format!("a {word} says why it waits: `{word}(reason): what`");
                    found.push(self.complaint(index, what));
                }
            }
        }
        found
    }

    /// Imports that point up the list in `lib.rs`.
    fn imports(&self, order: &[String]) -> Vec<Complaint> {
        let Some((module, depth)) = module_of(&self.path) else {
            return Vec::new();
        };
        let Some(own) = order.iter().position(|name| *name == module) else {
            return Vec::new(); // lib.rs, main.rs, tests and benches see everything.
        };
        let mut found = Vec::new();
        for (index, line) in self.code.iter().enumerate() {
            for used in used_modules(&self.code, index, line, depth) {
                let place = order.iter().position(|name| *name == used);
                if place.is_some_and(|place| place < own) {
                    let what = format!(
                        "`{module}` uses `{used}`, which src/lib.rs lists above it: pass it in, \
                         or move the idea down"
                    );
                    found.push(self.complaint(index, what));
                }
            }
        }
        found
    }
}

/// A command as a page shows it.
struct Shown {
    name: String,
    flags: Vec<String>,
}

impl Shown {
    fn check(&self, help: Option<&str>, place: &str) -> Vec<Complaint> {
        let complaint = |what| Complaint { place: place.to_owned(), what };
        let Some(help) = help else {
            let what = format!("`evergate {}` does not exist: correct the page", self.name);
            return vec![complaint(what)];
        };
        let unknown = self.flags.iter().filter(|flag| !has_word(help, flag));
        unknown.map(|flag| complaint(format!("`evergate {}` has no `{flag}`", self.name))).collect()
    }
}

/// The commands in a page's fenced blocks, with the lines they stand on.
fn shown_commands(page: &str) -> Vec<(usize, Shown)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        let line = line.split(" #").next().unwrap_or_default();
        let Some(words) = line.strip_prefix("evergate ").filter(|_| fenced) else {
            continue;
        };
        let mut words = words.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let flags = words
            .filter(|word| word.starts_with("--"))
            .map(|word| word.split('=').next().unwrap_or(word).to_owned())
            .collect();
        if !name.starts_with('-') {
            found.push((index + 1, Shown { name, flags }));
        }
    }
    found
}

fn help_of(command: &str) -> Option<String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_evergate"))
        .args([command, "--help"])
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

fn is_linked(page: &str, indexes: &[String]) -> bool {
    let link = |index: &String| {
        [format!("]({page}"), format!("/{page}")].iter().any(|form| index.contains(form))
    };
    indexes.iter().any(link)
}

/// The names of `pub mod` lines, from the top of the law down.
fn module_order(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// Which module a file below `src/` belongs to, and how many `super` lead to the crate's root.
fn module_of(path: &str) -> Option<(String, usize)> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let parts: Vec<&str> = inside.split('/').filter(|part| *part != "mod").collect();
    Some(((*parts.first()?).to_owned(), parts.len()))
}

/// The modules of the crate that one line names: `crate::x`, `crate::{x, y}`, `super::super::x`.
fn used_modules(code: &[String], index: usize, line: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    let climb = "super::".repeat(depth);
    for prefix in ["crate::", climb.as_str()] {
        for (at, _) in line.match_indices(prefix) {
            // `evergate::` and `my_crate::` end in the same letters.
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            if rest.starts_with('{') {
                let block = format!("{rest}\n{}", code[index + 1..].join("\n"));
                found.extend(group(&block));
            } else {
                found.push(first_word(rest));
            }
        }
    }
    found
}

/// The first segment of every path in `{a, b::c, d::{e, f}}`.
fn group(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut starts = false;
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if starts && !c.is_whitespace() => found.push(first_word(&text[at..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        starts = depth == 1 && (matches!(c, '{' | ',') || (starts && c.is_whitespace()));
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The name behind `fn`, where the line starts a function.
fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let opening = |word: &str| {
        matches!(word, "pub" | "async" | "const" | "default") || word.starts_with("pub(")
    };
    before.split_whitespace().all(opening).then(|| first_word(after))
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(inside) && !after.starts_with(inside)
    })
}

fn has_reason(comment: &str, word: &str) -> bool {
    let reason = |rest: &str| {
        rest.strip_prefix('(')
            .and_then(|rest| rest.split_once("): "))
            .is_some_and(|(reason, what)| !reason.trim().is_empty() && !what.trim().is_empty())
    };
    comment.match_indices(word).all(|(at, _)| reason(&comment[at + word.len()..]))
}

/// Splits a text line by line into code without the insides of literals, and comments.
fn take_apart(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = next_piece(rest, &code);
        let (piece, after) = rest.split_at(length);
        let newlines: String = piece.chars().filter(|c| *c == '\n').collect();
        match kind {
            Piece::Code => {
                code.push_str(piece);
                comments.push_str(&newlines);
            }
            Piece::Literal => {
                code.push('"');
                code.push_str(&newlines);
                code.push('"');
                comments.push_str(&newlines);
            }
            Piece::Comment => {
                code.push_str(&newlines);
                comments.push_str(piece);
            }
        }
        rest = after;
    }
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    (lines(code), lines(comments))
}

enum Piece {
    Code,
    Literal,
    Comment,
}

/// The length in bytes and the kind of what `rest` starts with.
fn next_piece(rest: &str, before: &str) -> (usize, Piece) {
    let until = |end: &str, from: usize| {
        let found = rest.get(from..).and_then(|tail| tail.find(end));
        found.map_or(rest.len(), |at| from + at + end.len())
    };
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let hashes = rest.get(1..).map_or(0, |tail| tail.chars().take_while(|c| *c == '#').count());
    if rest.starts_with("//") {
        return (until("\n", 2) - usize::from(rest.contains('\n')), Piece::Comment);
    }
    if rest.starts_with("/*") {
        return (until("*/", 2), Piece::Comment);
    }
    if rest.starts_with('r') && !in_word && rest[1 + hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return (until(&end, 2 + hashes), Piece::Literal);
    }
    if rest.starts_with('"') {
        return (closing(rest, '"'), Piece::Literal);
    }
    let mut chars = rest.chars();
    let quoted =
        chars.next() == Some('\'') && (chars.next() == Some('\\') || chars.next() == Some('\''));
    if quoted {
        return (closing(rest, '\''), Piece::Literal);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Piece::Code)
}

/// Where the literal that starts here ends, past its closing quote.
fn closing(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("a path of this package");
    inside.to_string_lossy().replace('\\', "/")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn conclude(complaints: &[Complaint]) {
    let mut text = String::new();
    for Complaint { place, what } in complaints {
        let _ = writeln!(text, "{place}: {what}");
    }
    assert!(complaints.is_empty(), "\n{text}");
}

#[path = "tidy/can_fail.rs"]
mod can_fail;
