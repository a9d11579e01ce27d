//! Holds the schema, the reference configuration and the documentation to the description of the
//! keys, and the description to the model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::keys::section;
use crate::config::model::Config;
use crate::config::parse;
use crate::config::words::{OTHER_WORDS, PLANNED};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with what is kept in the repository, or rewrites it.
fn hold(path: &str, expected: &str) {
    let path = in_repository(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == expected, "{} is stale: run UPDATE=1 cargo test schema", path.display());
}

fn reference() -> String {
    std::fs::read_to_string(in_repository("config/evergate.toml")).unwrap()
}

fn config(text: &str) -> Config {
    let proved = parse(text, Path::new("a.toml"));
    proved.unwrap_or_else(|complaints| panic!("{text}\n{complaints}")).config
}

/// A configuration in which a section has `lines`, and all others as little as they may.
fn with(name: &str, lines: &str) -> String {
    let mut text = String::new();
    for (section, header, least) in [
        ("gate", "[gate]", ""),
        ("listen", "[[listen]]", "address = \":443\""),
        ("cert", "[[cert]]", "directory = \"d\""),
        ("route", "[[route]]", "to = \"x\""),
        ("upstream", "[upstream.x]", "servers = [\"https://a\"]"),
        ("host", "[host.a]", ""),
        ("guard", "[guard]", ""),
        ("admin", "[admin]", ""),
    ] {
        let least = least.split(" = ").next().map_or("", |key| {
            if section == name && lines.starts_with(&format!("{key} =")) { "" } else { least }
        });
        let own = if section == name { lines } else { "" };
        text.push_str(&format!("{header}\n{least}\n{own}\n"));
    }
    text
}

#[test]
fn the_schema_in_the_repository_is_the_one_made_here() {
    hold("config/evergate.schema.json", &json_schema());
}

#[test]
fn the_tables_of_the_documentation_are_the_ones_made_here() {
    let path = "docs/config.md";
    let text = std::fs::read_to_string(in_repository(path)).unwrap();
    let mut expected = text.clone();
    for section in SECTIONS {
        let open = format!("<!-- keys of {} -->\n", section.name);
        let close = "<!-- end of keys -->";
        let start = expected.find(&open).unwrap_or_else(|| panic!("{path} lacks {open}"));
        let start = start + open.len();
        let end = start + expected[start..].find(close).unwrap();
        expected.replace_range(start..end, &markdown(section.name));
    }
    hold(path, &expected);
}

#[test]
fn a_default_that_is_written_down_changes_nothing() {
    let least = config(&with("", ""));
    for section in SECTIONS {
        for key in section.keys {
            if let WhenAbsent::Is(default) = key.absent {
                let text = with(section.name, &format!("{} = {default}", key.name));
                assert_eq!(config(&text), least, "{} of {}", key.name, section.name);
            }
        }
    }
}

#[test]
fn every_example_is_a_value_of_its_key() {
    for section in SECTIONS {
        for key in section.keys {
            let line = format!("{} = {}", key.name, key.example);
            let text = with(section.name, &line);
            assert!(!to_json(key.example).is_null(), "{line}");
            // Other keys may be missing beside it or be too many: only its value counts.
            let complaints = parse(&text, Path::new("a.toml")).err();
            let list = complaints.map(|complaints| complaints.list).unwrap_or_default();
            let about = |message: &str| message.starts_with(&format!("`{}` ", key.name));
            let wrong = list.iter().find(|d| {
                about(&d.message)
                    && ["takes", "can't be", "out of"].iter().any(|w| d.message.contains(w))
            });
            assert_eq!(wrong, None, "{text}");
        }
    }
}

#[test]
fn every_word_of_others_leads_to_a_key_that_is_there() {
    for (place, theirs, ours) in OTHER_WORDS {
        let known = match *place {
            "" => section(ours).is_some() && section(theirs).is_none(),
            place => {
                section(place).is_some_and(|s| s.key(ours).is_some() && s.key(theirs).is_none())
            }
        };
        assert!(known, "{place} {theirs} {ours}");
    }
    for (place, key, _) in PLANNED {
        let planned = section(place).is_none() == key.is_empty();
        assert!(planned && section(place).is_none_or(|s| s.key(key).is_none()), "{place} {key}");
    }
}

#[test]
fn the_reference_configuration_can_be_used_as_it_is() {
    let path = in_repository("config/evergate.toml");
    let proved = parse(&reference(), &path).unwrap_or_else(|complaints| panic!("{complaints}"));
    assert!(proved.warnings.is_empty(), "{}", proved.warnings);
    for cert in proved.config.certs {
        if let crate::config::model::CertPlace::Pair { chain, key } = cert.place {
            assert!(chain.is_file() && key.is_file(), "{}", chain.display());
        }
    }
}

/// Every `key = value` of the reference, commented out or not, with its section.
fn assignments(text: &str) -> Vec<(String, String, Value)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ").trim();
        if line.starts_with('[') && line.contains(']') {
            let name = line.trim_start_matches('[');
            section = name.split([']', '.']).next().unwrap_or_default().to_owned();
        } else if let Ok(table) = line.parse::<toml::Table>() {
            found.extend(table.into_iter().map(|(k, v)| (section.clone(), k, json!(v))));
        }
    }
    found
}

#[test]
fn the_reference_configuration_shows_every_key_and_its_default() {
    let typed: BTreeSet<(String, String)> =
        assignments(&reference()).into_iter().map(|(section, key, _)| (section, key)).collect();
    let known = SECTIONS.iter().flat_map(|section| {
        section.keys.iter().map(|key| (section.name.to_owned(), key.name.to_owned()))
    });
    assert_eq!(typed, known.collect());
    let commented: String = reference()
        .lines()
        .filter(|l| l.starts_with(['#', '[']))
        .map(|l| format!("{l}\n"))
        .collect();
    for section in SECTIONS.iter().filter(|s| s.shape == Shape::Once || s.name == "upstream") {
        for key in section.keys {
            let WhenAbsent::Is(default) = key.absent else {
                continue;
            };
            let shown = assignments(&commented);
            let shown = shown.iter().filter(|(s, k, _)| s == section.name && k == key.name);
            let agrees = |(_, _, value): &(String, String, Value)| *value == to_json(default);
            assert!(shown.clone().all(agrees), "{} of {}", key.name, section.name);
        }
    }
}

#[test]
fn the_schema_takes_the_reference_configuration_with_every_key() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let live: toml::Table = reference().parse().unwrap();
    check(&schema, &json!(live), "");
    for (place, key, value) in assignments(&reference()) {
        let outer = &schema["properties"][&place];
        let inner = [&outer["items"], &outer["additionalProperties"], outer];
        let inner = inner.into_iter().find(|inner| inner["properties"].is_object()).unwrap();
        check(&inner["properties"][&key], &value, &format!("{place}.{key}"));
    }
}

/// As much of JSON Schema as [`json_schema`] uses, patterns aside.
fn check(schema: &Value, value: &Value, at: &str) {
    assert!(schema.is_object(), "{at} has no schema");
    if let Some(any) = schema["anyOf"].as_array() {
        let kinds = any.iter().filter(|one| is_type(&one["type"], value));
        assert_eq!(kinds.count(), 1, "{at}");
    } else if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{at}");
    } else {
        assert!(is_type(&schema["type"], value), "{at}: {value}");
    }
    if let (Some(min), Some(number)) = (schema["minimum"].as_u64(), value.as_u64()) {
        assert!(min <= number && number <= schema["maximum"].as_u64().unwrap(), "{at}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}");
    }
    for (index, element) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], element, &format!("{at}[{index}]"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][key];
        let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
        check(schema, inner, &format!("{at}.{key}"));
    }
}

fn is_type(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}
