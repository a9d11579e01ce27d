//! The JSON schema for editors and the tables of `docs/config.md`, both made from `keys`.
//!
//! `config/evergate.schema.json` and the tables are kept in the repository; the tests here hold
//! them to this, and `UPDATE=1 cargo test schema` rewrites them.

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind, SECTIONS, Section, Shape, WhenAbsent};
use super::units::{spell_duration, spell_size};

/// The schema of the configuration (JSON Schema draft 2020-12), ending in a newline.
///
/// It is for completion and hover: what only the whole file tells (names that must exist, hosts,
/// URLs) it lets through.
pub fn json_schema() -> String {
    let properties = SECTIONS.iter().map(|section| (section.name.to_owned(), outer(section)));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Evergate's configuration",
        "type": "object",
        "properties": properties.collect::<Map<String, Value>>(),
        "required": ["listen", "route"],
        "additionalProperties": false,
    });
    format!("{schema:#}\n")
}

fn outer(section: &Section) -> Value {
    let inner = inner(section);
    match section.shape {
        Shape::Once => inner,
        Shape::Many => json!({
            "description": section.doc,
            "type": "array",
            "items": inner,
        }),
        Shape::Named => json!({
            "description": section.doc,
            "type": "object",
            "additionalProperties": inner,
        }),
    }
}

fn inner(section: &Section) -> Value {
    let properties = section.keys.iter().map(|key| (key.name.to_owned(), property(key)));
    let refused = section.keys.iter().filter(|key| key.absent == WhenAbsent::Refused);
    let required: Vec<&str> = refused.map(|key| key.name).collect();
    let mut schema = json!({
        "description": section.doc,
        "type": "object",
        "properties": properties.collect::<Map<String, Value>>(),
        "additionalProperties": false,
    });
    let rules = match section.name {
        "cert" => json!({
            "oneOf": [
                {"required": ["directory"]},
                {"required": ["chain", "key"]},
                {"required": ["bundle"]},
            ],
            "dependentRequired": {"chain": ["key"], "key": ["chain"]},
        }),
        "route" => json!({ "not": {"required": ["path", "path_exact"]} }),
        _ => json!({}),
    };
    if let (Value::Object(schema), Value::Object(rules)) = (&mut schema, rules) {
        schema.extend(rules);
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Path => json!({"type": "string", "minLength": 1}),
        Kind::List => json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        Kind::Paths => json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Choice(choices) => json!({"enum": choices}),
        Kind::Number(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Size(min, max) => json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB)?$"},
        ]}),
        Kind::Time(..) => json!({
            "type": "string",
            "pattern": "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
        }),
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), json!(described(key)));
        if let WhenAbsent::Is(default) = key.absent {
            schema.insert("default".to_owned(), to_json(default));
        }
        schema.insert("examples".to_owned(), json!([to_json(key.example)]));
    }
    schema
}

fn described(key: &Key) -> String {
    match key.absent {
        WhenAbsent::Refused | WhenAbsent::Is(_) => key.doc.to_owned(),
        WhenAbsent::Means(meaning) => format!("{} Left out: {meaning}.", key.doc),
    }
}

/// A value typed as TOML. Those of `keys` all are, which a test holds them to.
fn to_json(typed: &str) -> Value {
    let document: Result<toml::Table, _> = format!("value = {typed}").parse();
    let value = document.ok().and_then(|mut table| table.remove("value"));
    value.map_or(Value::Null, |value| json!(value))
}

/// The table of a section's keys as it stands in `docs/config.md`.
pub fn markdown(section: &str) -> String {
    let mut text = String::from("| key | takes | left out | |\n|---|---|---|---|\n");
    let keys = super::keys::section(section).map(|section| section.keys).unwrap_or_default();
    for key in keys {
        let absent = match key.absent {
            WhenAbsent::Refused => "not allowed".to_owned(),
            WhenAbsent::Is(default) => format!("`{default}`"),
            WhenAbsent::Means(meaning) => meaning.to_owned(),
        };
        let row = format!("| `{}` | {} | {absent} | {} |\n", key.name, takes(key.kind), key.doc);
        text.push_str(&row);
    }
    text
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::List => "list of texts".to_owned(),
        Kind::Paths => "list of paths".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Choice(choices) => {
            let choices: Vec<String> = choices.iter().map(|c| format!("`\"{c}\"`")).collect();
            choices.join(", ")
        }
        Kind::Number(min, max) => format!("{min} to {max}"),
        Kind::Size(min, max) => format!("{} to {}", spell_size(min), spell_size(max)),
        Kind::Time(min, max) => format!("{} to {}", spell_duration(min), spell_duration(max)),
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
