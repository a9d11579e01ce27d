//! One typed value against the kind of its key.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Complaint, Complaints, complaint, quoted};
use super::file::Spot;
use super::keys::{Key, Kind};
use super::units;

/// A value of its kind, within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Text, path or choice.
    Text(String),
    /// List of texts or paths.
    List(Vec<Spot<String>>),
    Flag(bool),
    /// Number or size.
    Number(u64),
    Time(Duration),
}

/// Reads the value of `key`, or complains.
pub(super) fn read(
    key: &Key,
    value: &Spanned<DeValue>,
    complaints: &mut Complaints,
) -> Option<Value> {
    let span = value.span();
    if let Kind::List | Kind::Paths = key.kind {
        return read_list(key, value, complaints).map(Value::List);
    }
    complaints.take(&span, read_scalar(key, value.get_ref()))
}

fn read_scalar(key: &Key, value: &DeValue) -> Result<Value, Complaint> {
    match (key.kind, value) {
        (Kind::Text, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
        (Kind::Path, DeValue::String(text)) => path(text).map(Value::Text),
        (Kind::Choice(choices), DeValue::String(text)) => {
            choice(key, choices, text).map(Value::Text)
        }
        (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Number(min, max), DeValue::Integer(_)) => {
            let number = integer(value).filter(|n| (min..=max).contains(n));
            number.map(Value::Number).ok_or_else(|| bounds(key, &min, &max))
        }
        (Kind::Size(min, max), DeValue::Integer(_) | DeValue::String(_)) => {
            let size = match value {
                DeValue::String(text) => Some(units::size(text)?),
                other => integer(other),
            };
            let size = size.filter(|n| (min..=max).contains(n));
            let spell = units::spell_size;
            size.map(Value::Number).ok_or_else(|| bounds(key, &spell(min), &spell(max)))
        }
        (Kind::Time(min, max), DeValue::String(text)) => {
            let time = units::duration(text)?;
            let spell = units::spell_duration;
            let within = (min..=max).contains(&time);
            within.then_some(Value::Time(time)).ok_or_else(|| bounds(key, &spell(min), &spell(max)))
        }
        _ => Err(wrong_kind(key, value)),
    }
}

fn read_list(
    key: &Key,
    value: &Spanned<DeValue>,
    complaints: &mut Complaints,
) -> Option<Vec<Spot<String>>> {
    let DeValue::Array(array) = value.get_ref() else {
        complaints.error(&value.span(), wrong_kind(key, value.get_ref()));
        return None;
    };
    let mut list = Vec::new();
    let mut whole = true;
    for element in array.iter() {
        let read = match element.get_ref() {
            DeValue::String(text) if key.kind == Kind::Paths => path(text),
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(wrong_kind(key, element.get_ref())),
        };
        let span = element.span();
        match complaints.take(&span, read) {
            Some(value) => list.push(Spot { value, span }),
            None => whole = false,
        }
    }
    // What is left of a broken list would only give rise to complaints about what isn't in it.
    whole.then_some(list)
}

fn choice(key: &Key, choices: &[&str], text: &str) -> Result<String, Complaint> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    // All of them, since a near miss of two letters (`h3`) says nothing about what was meant.
    let all: Vec<String> = choices.iter().map(|choice| format!("`\"{choice}\"`")).collect();
    let help = format!("write {}", all.join(" or "));
    Err(complaint(format!("`{}` can't be {}", key.name, quoted(text)), help))
}

fn path(text: &str) -> Result<String, Complaint> {
    if text.is_empty() {
        return Err(complaint("the path is empty", "name a file, or leave the key out"));
    }
    if text.contains('\0') {
        let help = "name the file without it";
        return Err(complaint("no path holds a NUL character", help));
    }
    if text == "~" || text.starts_with("~/") {
        let help = "write the whole path; only a shell knows `~`";
        return Err(complaint(format!("{} is no path", quoted(text)), help));
    }
    Ok(text.to_owned())
}

fn integer(value: &DeValue) -> Option<u64> {
    let typed = value.as_integer()?;
    u64::from_str_radix(typed.as_str(), typed.radix()).ok()
}

fn bounds(key: &Key, min: &dyn std::fmt::Display, max: &dyn std::fmt::Display) -> Complaint {
    let message = format!("`{}` is out of bounds", key.name);
    complaint(message, format!("take {min} to {max}"))
}

fn wrong_kind(key: &Key, value: &DeValue) -> Complaint {
    let Key { name, example, .. } = key;
    let wanted = match key.kind {
        Kind::Text | Kind::Path | Kind::Choice(_) => "a string",
        Kind::List | Kind::Paths => "a list of strings",
        Kind::Flag => "`true` or `false`",
        Kind::Number(..) => "a whole number",
        Kind::Size(..) => "a number or a string",
        Kind::Time(..) => "a string with a unit",
    };
    let typed = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let help = match (key.kind, value) {
        (Kind::List | Kind::Paths, DeValue::String(text)) => {
            format!("put it into brackets: {}", quoted(&format!("{name} = [\"{text}\"]")))
        }
        (Kind::Time(..), DeValue::Integer(number)) => {
            format!("name the unit: `{name} = \"{}s\"`", number.as_str())
        }
        (Kind::Flag | Kind::Number(..), DeValue::String(text)) => {
            format!("leave out the quotes: {}", quoted(&format!("{name} = {text}")))
        }
        _ => format!("write for example `{name} = {example}`"),
    };
    complaint(format!("`{name}` takes {wanted}, not {typed}"), help)
}
