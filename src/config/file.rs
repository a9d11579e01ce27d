//! The configuration as typed: sections and keys that are known, with values of their kind, each
//! with its place in the text. What they mean together is for [`super::prove`].
//!
//! Reading goes on after a complaint, with what was probably meant, so that one look at the
//! result shows everything that is wrong. toml's serde side stops at the first error, which is
//! why the parsed table is walked by hand.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Complaint, Complaints, Span, complaint, nearest, quoted};
use super::keys::{self, Key, SECTIONS, Section, Shape, WhenAbsent};
use super::value::{self, Value};
use super::words::{other_word, planned, stray};

/// What was typed, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct File {
    tables: Vec<Table>,
    /// Sections that were meant but are too broken to be read: nothing is said to be missing.
    broken: Vec<&'static str>,
}

/// One section as typed.
#[derive(Debug)]
pub(super) struct Table {
    section: &'static Section,
    /// The header.
    pub(super) header: Span,
    /// NAME of `[upstream.NAME]`, empty for unnamed sections.
    pub(super) name: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: &'static Key,
    key_span: Span,
    span: Span,
    /// None where the value was complained about.
    value: Option<Value>,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

type TomlKey<'i> = Spanned<DeString<'i>>;
type TomlValue<'i> = Spanned<DeValue<'i>>;

/// Reads `text`. None if it is no TOML at all; its depth is bounded by toml.
pub(super) fn read(text: &str, complaints: &mut Complaints) -> Option<File> {
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            complaints.error(&error.span().unwrap_or(0..0), syntax(error.message()));
            return None;
        }
    };
    let mut file = File::default();
    for (key, value) in in_order(root.get_ref()) {
        read_top(&mut file, key, value, complaints);
    }
    file.tables.sort_by_key(|table| table.header.start);
    Some(file)
}

impl File {
    /// The section `[name]`, if it was typed.
    pub(super) fn one(&self, name: &str) -> Option<&Table> {
        self.all(name).next()
    }

    /// Every `[[name]]` or `[name.NAME]`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Table> {
        debug_assert!(keys::section(name).is_some(), "no section {name}");
        self.tables.iter().filter(move |table| table.section.name == name)
    }

    /// Whether the section was typed, however badly.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.is_broken(name) || self.one(name).is_some()
    }

    /// Whether something of the section couldn't be read.
    pub(super) fn is_broken(&self, name: &str) -> bool {
        self.broken.contains(&name)
    }
}

impl Table {
    /// Whether the key was typed, however badly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The place of the key, or of the header if it wasn't typed.
    pub(super) fn key_span(&self, key: &str) -> &Span {
        self.entry(key).map_or(&self.header, |entry| &entry.key_span)
    }

    /// A text, a path or a choice.
    pub(super) fn text(&self, key: &str) -> Option<Spot<&str>> {
        self.spot(key, |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list of texts or paths.
    pub(super) fn list(&self, key: &str) -> Option<Spot<&[Spot<String>]>> {
        self.spot(key, |value| match value {
            Value::List(list) => Some(list.as_slice()),
            _ => None,
        })
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.spot(key, |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
        .map(|spot| spot.value)
    }

    /// A number or a size.
    pub(super) fn number(&self, key: &str) -> Option<usize> {
        self.spot(key, |value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
        .and_then(|spot| usize::try_from(spot.value).ok())
    }

    /// A span of time.
    pub(super) fn time(&self, key: &str) -> Option<Duration> {
        self.spot(key, |value| match value {
            Value::Time(time) => Some(*time),
            _ => None,
        })
        .map(|spot| spot.value)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        debug_assert!(self.section.key(key).is_some(), "{} has no {key}", self.section.name);
        self.entries.iter().find(|entry| entry.key.name == key)
    }

    fn spot<'t, T>(&'t self, key: &str, pick: impl Fn(&'t Value) -> Option<T>) -> Option<Spot<T>> {
        let entry = self.entry(key)?;
        let value = entry.value.as_ref()?;
        let picked = pick(value);
        debug_assert!(picked.is_some(), "{key} is of another kind");
        let span = entry.span.clone();
        picked.map(|value| Spot { value, span })
    }
}

fn read_top(file: &mut File, key: &TomlKey, value: &TomlValue, complaints: &mut Complaints) {
    let name: &str = key.get_ref();
    if let Some(section) = keys::section(name) {
        return read_section(file, section, key, value, complaints);
    }
    if let Some(refusal) = planned("", name) {
        return complaints.error(&key.span(), refusal);
    }
    if !holds_tables(value.get_ref()) {
        return complaints.error(&key.span(), stray(name));
    }
    let meant = other_word("", name).or_else(|| nearest(name, SECTIONS.iter().map(|s| s.name)));
    let meant = meant.and_then(keys::section);
    let help = match meant {
        Some(section) => format!("did you mean `{}`?", section.header()),
        None => {
            let headers: Vec<String> = SECTIONS.iter().map(Section::header).collect();
            format!("the sections are {}", headers.join(", "))
        }
    };
    let message = format!("there is no section {}", quoted(name));
    complaints.error(&key.span(), complaint(message, help));
    if let Some(section) = meant {
        // Only its shape can tell more: whatever is in there is read as what was meant.
        read_section(file, section, key, value, complaints);
    }
}

fn read_section(
    file: &mut File,
    section: &'static Section,
    key: &TomlKey,
    value: &TomlValue,
    complaints: &mut Complaints,
) {
    let header = section.header();
    let name = section.name;
    match (section.shape, value.get_ref()) {
        (Shape::Once, DeValue::Table(table)) => {
            read_table(file, section, "", &value.span(), table, complaints);
        }
        (Shape::Many, DeValue::Array(array)) => {
            for element in array.iter() {
                let DeValue::Table(table) = element.get_ref() else {
                    let message = format!("`{name}` is a section, not a list of values");
                    complaints.error(&element.span(), complaint(message, above(&header)));
                    file.broken.push(name);
                    continue;
                };
                read_table(file, section, "", &element.span(), table, complaints);
            }
        }
        (Shape::Many, DeValue::Table(table)) => {
            let message = format!("there can be several sections `{name}`, so it is in [[...]]");
            complaints.error(&value.span(), complaint(message, above(&header)));
            read_table(file, section, "", &value.span(), table, complaints);
        }
        (Shape::Named, DeValue::Table(names)) => {
            read_named(file, section, value.span(), names, complaints);
        }
        (_, DeValue::Array(_)) if holds_tables(value.get_ref()) => {
            let message = match section.shape {
                Shape::Named => format!("sections `{name}` have a name each"),
                _ => format!("there is one section `{name}` only, so it is in [...]"),
            };
            complaints.error(&value.span(), complaint(message, above(&header)));
            file.broken.push(name);
        }
        _ => {
            let message = format!("`{name}` is a section, not a key");
            complaints.error(&key.span(), complaint(message, above(&header)));
            file.broken.push(name);
        }
    }
}

fn above(header: &str) -> String {
    format!("write `{header}` on a line of its own, and its keys below")
}

/// `[upstream.a]` and `[upstream.b]` come as one table of tables.
fn read_named(
    file: &mut File,
    section: &'static Section,
    header: Span,
    names: &DeTable,
    complaints: &mut Complaints,
) {
    let mut nameless = false;
    for (name, value) in in_order(names) {
        match value.get_ref() {
            DeValue::Table(table) => {
                read_one_named(file, section, name.get_ref(), value.span(), table, complaints);
            }
            _ => nameless = true,
        }
    }
    if nameless || names.is_empty() {
        let message = format!("`[{}]` has no name", section.name);
        let help = format!("write `{}` with a name of your choice", section.header());
        complaints.error(&header, complaint(message, help));
        file.broken.push(section.name);
    }
}

/// Takes `[host.app.internal]` for what it is meant to be: a name with dots, without its quotes.
fn read_one_named(
    file: &mut File,
    section: &'static Section,
    name: &str,
    header: Span,
    table: &DeTable,
    complaints: &mut Complaints,
) {
    // RFC 1035 section 2.3.4
    const NAME_MAX: usize = 253;
    let nested = |table: &DeTable| {
        let tables = |(_, value): (_, &TomlValue)| value.get_ref().is_table();
        !table.is_empty() && table.iter().all(tables)
    };
    if !nested(table) {
        return read_table(file, section, name, &header, table, complaints);
    }
    let mut open = vec![(name.to_owned(), header, table)];
    while let Some((name, header, table)) = open.pop() {
        if nested(table) && name.len() <= NAME_MAX {
            for (label, value) in table.iter() {
                if let DeValue::Table(inner) = value.get_ref() {
                    open.push((format!("{name}.{}", label.get_ref()), value.span(), inner));
                }
            }
            continue;
        }
        let message = format!("the dots of {} divide it for TOML", quoted(&name));
        let help = format!("put the name into quotes: `[{}.\"{name}\"]`", section.name);
        complaints.error(&header, complaint(message, help));
        read_table(file, section, &name, &header, table, complaints);
    }
}

fn read_table(
    file: &mut File,
    section: &'static Section,
    name: &str,
    header: &Span,
    table: &DeTable,
    complaints: &mut Complaints,
) {
    let mut entries: Vec<Entry> = Vec::new();
    for (typed, typed_value) in in_order(table) {
        let Some(key) = known(section, typed, complaints) else {
            continue;
        };
        if entries.iter().any(|entry| entry.key.name == key.name) {
            continue;
        }
        entries.push(Entry {
            key,
            key_span: typed.span(),
            span: typed_value.span(),
            value: value::read(key, typed_value, complaints),
        });
    }
    let written = match section.shape {
        Shape::Named => format!("[{}.{name}]", section.name),
        _ => section.header(),
    };
    for key in section.keys.iter().filter(|key| key.absent == WhenAbsent::Refused) {
        if !entries.iter().any(|entry| entry.key.name == key.name) {
            let message = format!("{} has no `{}`", quoted(&written), key.name);
            let help = format!("add a line such as `{} = {}`", key.name, key.example);
            complaints.error(header, complaint(message, help));
        }
    }
    file.tables.push(Table { section, header: header.clone(), name: name.to_owned(), entries });
}

/// The key that was typed or, after a complaint, probably meant.
fn known(
    section: &'static Section,
    typed: &TomlKey,
    complaints: &mut Complaints,
) -> Option<&'static Key> {
    let name: &str = typed.get_ref();
    if let Some(key) = section.key(name) {
        return Some(key);
    }
    if let Some(refusal) = planned(section.name, name) {
        complaints.error(&typed.span(), refusal);
        return None;
    }
    if complaints.overflows() {
        return None;
    }
    let exact = other_word(section.name, name);
    let elsewhere = SECTIONS.iter().find(|s| s.key(name).is_some());
    let meant = exact.or_else(|| {
        let names = section.keys.iter().map(|key| key.name);
        nearest(name, names).filter(|_| elsewhere.is_none())
    });
    let header = section.header();
    let help = match (meant, elsewhere) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, Some(other)) => format!("it is a key of `{}`", other.header()),
        (None, None) => {
            let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            format!("its keys are {}", names.join(", "))
        }
    };
    let message = format!("`{header}` has no key {}", quoted(name));
    complaints.error(&typed.span(), complaint(message, help));
    meant.and_then(|meant| section.key(meant))
}

fn syntax(message: &str) -> Complaint {
    let help = match message {
        "duplicate key" => "each key stands once in a section, each [section] once in a file",
        "recursion limit" => "sections and keys are at most two levels deep here",
        m if m.contains("string values must be quoted") => "put the text into quotes",
        _ => "see https://toml.io for how TOML is written",
    };
    complaint(message, help)
}

fn holds_tables(value: &DeValue) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(array) => array.iter().any(|element| element.get_ref().is_table()),
        _ => false,
    }
}

/// toml sorts by name; complaints and upstreams follow the text.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t TomlKey<'i>, &'t TomlValue<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
