//! `[[route]]`: patterns that mean what they look like, and never the same twice.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::config::diagnostic::{Complaint, Complaints, Span, complaint, quoted};
use crate::config::file::{File, Table};
use crate::config::model::{PathPattern, RouteSettings};
use crate::host::{HostPattern, Malformed};

use super::upstream::{Upstreams, check_name};

/// What makes two routes the same: host (none for every host), whether exact, path.
type Pattern = (Option<HostPattern>, bool, String);

/// Reads every `[[route]]`; adds an upstream for each URL.
pub(super) fn routes(
    file: &File,
    upstreams: &mut Upstreams,
    folder: &Path,
    complaints: &mut Complaints,
) -> Vec<RouteSettings> {
    let mut routes = Vec::new();
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut patterns: HashMap<Pattern, Span> = HashMap::new();
    let mut used = HashSet::new();
    for table in file.all("route") {
        let hosts = hosts(table, complaints);
        let path = path(table, complaints);
        let name = name(table, &mut names, complaints);
        let upstream = table.text("to").and_then(|to| upstreams.find(&to, folder, complaints));
        used.extend(upstream);
        let (Some(hosts), Some(path)) = (hosts, path) else {
            continue;
        };
        unique(table, &hosts, &path, &mut patterns, complaints);
        routes.push(RouteSettings {
            name: name.unwrap_or_else(|| describe(&hosts, &path)),
            hosts,
            path,
            // Nobody looks at it after a complaint.
            upstream: upstream.unwrap_or_default(),
        });
    }
    if !complaints.has_errors() {
        upstreams.warn_unused(&used, complaints);
    }
    routes
}

/// Reads a host pattern.
pub(super) fn host(text: &str) -> Result<HostPattern, Complaint> {
    HostPattern::parse(text).map_err(|why| {
        let help = match why {
            Malformed::Wildcard if text == "*" => {
                "a route takes every host if its `hosts` are left out".to_owned()
            }
            Malformed::Wildcard => "write `*.app.internal` for every name just below it".to_owned(),
            Malformed::Character(':' | '/') => {
                "write the name alone: no scheme, port or path".to_owned()
            }
            Malformed::Character(c) if !c.is_ascii() => {
                "write the A-label form, as it stands in certificates: `xn--...`".to_owned()
            }
            _ => "write a name such as `app.internal` or `*.app.internal`".to_owned(),
        };
        complaint(format!("{} is no host: {why}", quoted(text)), help)
    })
}

/// None if one of them was complained about.
fn hosts(table: &Table, complaints: &mut Complaints) -> Option<Vec<HostPattern>> {
    let Some(list) = table.list("hosts") else {
        return (!table.has("hosts")).then(Vec::new);
    };
    let mut hosts = Vec::new();
    let mut seen = HashSet::new();
    let mut whole = true;
    for typed in list.value {
        let Some(pattern) = complaints.take(&typed.span, host(&typed.value)) else {
            whole = false;
            continue;
        };
        if !seen.insert(pattern.clone()) {
            let message = format!("{pattern} stands in this list twice");
            complaints.error(&typed.span, complaint(message, "remove one of them"));
            continue;
        }
        hosts.push(pattern);
    }
    whole.then_some(hosts)
}

fn path(table: &Table, complaints: &mut Complaints) -> Option<PathPattern> {
    if table.has("path") && table.has("path_exact") {
        let message = "a route has either `path` or `path_exact`";
        let help = "write two routes if both are meant";
        complaints.error(table.key_span("path_exact"), complaint(message, help));
        return None;
    }
    let exact = table.has("path_exact");
    let key = if exact { "path_exact" } else { "path" };
    if !table.has(key) {
        return Some(PathPattern::Prefix("/".to_owned()));
    }
    let text = table.text(key)?;
    complaints.take(&text.span, check_path(text.value))?;
    let path = text.value.to_owned();
    Some(if exact { PathPattern::Exact(path) } else { PathPattern::Prefix(path) })
}

/// Lets through what can be compared with the path of a request byte by byte.
fn check_path(path: &str) -> Result<(), Complaint> {
    let shown = quoted(path);
    let refuse = |why: &str, help: &str| Err(complaint(format!("{shown} {why}"), help));
    if !path.starts_with('/') {
        let help = format!("write {}", quoted(&format!("\"/{path}\"")));
        return refuse("doesn't start with `/`", &help);
    }
    if path.contains('*') {
        return refuse("holds a `*`", "leave it out: `path` takes everything below it anyway");
    }
    if path.contains(['?', '#']) {
        return refuse(
            "goes beyond the path",
            "end it before the `?` or `#`: routes see paths only",
        );
    }
    if path.contains('%') {
        let help = "write letters, digits, `-`, `.`, `_` and `~` as they are; for anything else \
                    end the prefix before it";
        return refuse("is percent-encoded", help);
    }
    if path.contains("//") {
        return refuse("holds an empty segment", "write a single `/`");
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return refuse("holds a dot segment", "write the path that it leads to");
    }
    // RFC 3986 section 3.3, less what was refused above.
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()+,;=:@".contains(c);
    if let Some(c) = path.chars().find(|c| !fits(*c)) {
        let why = format!("holds {}, which no path of a request does", quoted(&c.to_string()));
        return refuse(&why, "end the prefix before it");
    }
    Ok(())
}

fn name(
    table: &Table,
    names: &mut HashMap<String, Span>,
    complaints: &mut Complaints,
) -> Option<String> {
    let name = table.text("name")?;
    complaints.take(&name.span, check_name(name.value))?;
    if let Some(other) = names.get(name.value) {
        let line = complaints.line(other);
        let message = format!("the route on line {line} is called `{}` too", name.value);
        complaints.error(&name.span, complaint(message, "give each route a name of its own"));
    }
    names.entry(name.value.to_owned()).or_insert(name.span);
    Some(name.value.to_owned())
}

fn unique(
    table: &Table,
    hosts: &[HostPattern],
    path: &PathPattern,
    patterns: &mut HashMap<Pattern, Span>,
    complaints: &mut Complaints,
) {
    let (exact, path) = match path {
        PathPattern::Exact(path) => (true, path.as_str()),
        // `/api` and `/api/` are one prefix.
        PathPattern::Prefix(path) => (false, path.trim_end_matches('/')),
    };
    let shown = if path.is_empty() { "/" } else { path };
    let every = [None];
    let some: Vec<Option<HostPattern>> = hosts.iter().cloned().map(Some).collect();
    let hosts = if some.is_empty() { &every[..] } else { &some };
    for host in hosts {
        let pattern = (host.clone(), exact, path.to_owned());
        if let Some(other) = patterns.get(&pattern) {
            let line = complaints.line(other);
            let named = host.as_ref().map_or("every host".to_owned(), ToString::to_string);
            let message =
                format!("the route on line {line} takes {named} with {} too", quoted(shown));
            let help = "nothing could choose between them: change or remove one";
            complaints.error(&table.header, complaint(message, help));
            continue;
        }
        patterns.insert(pattern, table.header.clone());
    }
}

/// `app.internal/api/`, `app.internal+2/api/`, `*=/login`: unique because no two routes share a
/// pattern, and different from typed names because of its slash.
fn describe(hosts: &[HostPattern], path: &PathPattern) -> String {
    let host = match hosts {
        [] => "*".to_owned(),
        [host] => host.to_string(),
        [host, rest @ ..] => format!("{host}+{}", rest.len()),
    };
    match path {
        PathPattern::Prefix(path) => format!("{host}{path}"),
        PathPattern::Exact(path) => format!("{host}={path}"),
    }
}
