//! `[[cert]]`: exactly one place each. Whether anything good lies there is for the guard.

use std::collections::HashMap;
use std::path::Path;

use crate::config::diagnostic::{Complaints, Span, complaint};
use crate::config::file::{File, Table};
use crate::config::model::{CertPlace, CertSource, Role};

/// Reads every `[[cert]]`.
pub(super) fn certs(file: &File, folder: &Path, complaints: &mut Complaints) -> Vec<CertSource> {
    let mut certs = Vec::new();
    let mut seen: HashMap<CertPlace, Span> = HashMap::new();
    for table in file.all("cert") {
        let Some(place) = place(table, folder, complaints) else {
            continue;
        };
        if let Some(other) = seen.get(&place) {
            let line = complaints.line(other);
            let message = format!("the [[cert]] on line {line} names the same files");
            let help = "remove one: nothing can stand in for itself";
            complaints.error(&table.header, complaint(message, help));
        }
        seen.entry(place.clone()).or_insert_with(|| table.header.clone());
        let role = match table.flag("standby") {
            Some(true) => Role::Standby,
            _ => Role::Primary,
        };
        certs.push(CertSource { place, role });
    }
    certs
}

fn place(table: &Table, folder: &Path, complaints: &mut Complaints) -> Option<CertPlace> {
    let (chain, key) = (table.has("chain"), table.has("key"));
    let ways = [
        ("directory", table.has("directory")),
        ("chain", chain || key),
        ("bundle", table.has("bundle")),
    ];
    let mut typed = ways.iter().filter(|(_, typed)| *typed).map(|(name, _)| *name);
    let help = "one of: `directory`, `chain` with `key`, `bundle`";
    let Some(first) = typed.next() else {
        let message = "this [[cert]] names no place";
        complaints.error(&table.header, complaint(message, format!("add {help}")));
        return None;
    };
    if let Some(second) = typed.next() {
        let second = if second == "chain" && !chain { "key" } else { second };
        let message = format!("`{second}` is a second place for this [[cert]]");
        let help = format!("keep {help}; write a [[cert]] for each further one");
        complaints.error(table.key_span(second), complaint(message, help));
        return None;
    }
    for (has, other, missing) in [(chain, "key", "chain"), (key, "chain", "key")] {
        if first == "chain" && !has {
            let message = format!("`{other}` has no `{missing}` beside it");
            let help = format!("add `{missing}`, or write `bundle` for one file that holds both");
            complaints.error(table.key_span(other), complaint(message, help));
            return None;
        }
    }
    let path = |key| table.text(key).map(|path| folder.join(path.value));
    Some(match first {
        "directory" => CertPlace::Directory(path("directory")?),
        "bundle" => {
            let bundle = path("bundle")?;
            CertPlace::Pair { chain: bundle.clone(), key: bundle }
        }
        _ => CertPlace::Pair { chain: path("chain")?, key: path("key")? },
    })
}
