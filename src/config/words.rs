//! Words that are no keys here: planned ones, and those that other programs use.

use super::diagnostic::{Complaint, complaint, quoted};
use super::keys::SECTIONS;

/// What the design names and this version can't do: section (and key) with its sentence.
pub(super) const PLANNED: &[(&str, &str, &str)] = &[
    ("watch", "", "only what [[cert]] names is watched so far"),
    ("alert", "", "take findings from the log, /metrics or /api/certificates"),
    ("listen", "proxy_protocol", "leave it out; the peer's address is taken from the connection"),
    ("route", "path_regex", "write `path` for a prefix or `path_exact` for one path"),
];

/// Words that other programs use for the same thing: section (empty for the name of a section
/// itself), their word, ours.
pub(super) const OTHER_WORDS: &[(&str, &str, &str)] = &[
    ("", "server", "listen"),
    ("", "frontend", "listen"),
    ("", "backend", "upstream"),
    ("", "certificate", "cert"),
    ("", "tls", "cert"),
    ("", "site", "route"),
    ("", "location", "route"),
    ("", "global", "gate"),
    ("listen", "addr", "address"),
    ("listen", "bind", "address"),
    ("listen", "port", "address"),
    ("listen", "ssl", "tls"),
    ("cert", "cert", "chain"),
    ("cert", "certificate", "chain"),
    ("cert", "fullchain", "chain"),
    ("cert", "private_key", "key"),
    ("cert", "folder", "directory"),
    ("cert", "pem", "bundle"),
    ("route", "server_name", "hosts"),
    ("route", "domain", "hosts"),
    ("route", "prefix", "path"),
    ("route", "upstream", "to"),
    ("route", "backend", "to"),
    ("route", "proxy_pass", "to"),
    ("upstream", "url", "servers"),
    ("upstream", "address", "servers"),
    ("upstream", "endpoints", "servers"),
    ("upstream", "sni", "tls_name"),
    ("upstream", "insecure", "dangerously_accept_any_certificate"),
    ("admin", "bind", "address"),
    ("admin", "listen", "address"),
    ("admin", "token", "token_file"),
];

/// The refusal of a section (with `section` empty) or key that is designed and not there yet.
pub(super) fn planned(section: &str, name: &str) -> Option<Complaint> {
    let wanted = if section.is_empty() { (name, "") } else { (section, name) };
    let (_, _, help) = PLANNED.iter().find(|(s, k, _)| (*s, *k) == wanted)?;
    let message = format!("`{name}` is not supported yet by this version");
    Some(complaint(message, *help))
}

/// Our word for one that other programs use; `section` is empty for sections themselves.
pub(super) fn other_word(section: &str, name: &str) -> Option<&'static str> {
    let found = OTHER_WORDS.iter().find(|(s, theirs, _)| *s == section && *theirs == name);
    found.map(|(_, _, ours)| *ours)
}

/// The complaint about a key above all sections.
pub(super) fn stray(name: &str) -> Complaint {
    let owners = SECTIONS.iter().filter(|section| section.key(name).is_some());
    let owners: Vec<String> = owners.map(|s| format!("`{}`", s.header())).collect();
    let help = if owners.is_empty() {
        "every key stands below the header of a section".to_owned()
    } else {
        format!("write it below the header of its section: {}", owners.join(" or "))
    };
    complaint(format!("the key {} belongs to no section", quoted(name)), help)
}
