//! From the configuration as typed to the configuration as meant: fills defaults, resolves names,
//! holds the parts against each other, and collects every complaint.
//!
//! Always gives a [`Config`]; it may be used only if nothing was complained about as an error.

mod cert;
mod listen;
mod route;
mod upstream;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::diagnostic::{Complaints, complaint};
use super::file::{File, Table};
use super::model::{
    ClientAuth, Config, GateSettings, GuardPolicy, HostSettings, ListenerMode, OnDarkStart,
    OnExpiry, RouteSettings,
};
use crate::host::{HostName, HostPattern};

/// Proves `file`, which was read from `path`.
pub(super) fn prove(file: &File, path: &Path, complaints: &mut Complaints) -> Config {
    let folder = path.parent().unwrap_or(Path::new(""));
    let listeners = listen::listeners(file, complaints);
    let certs = cert::certs(file, folder, complaints);
    let mut upstreams = upstream::named(file, folder, complaints);
    let routes = route::routes(file, &mut upstreams, folder, complaints);
    let hosts = hosts(file, folder, complaints);
    let tls = listeners.iter().any(|l| l.settings.mode == ListenerMode::Tls);
    for (name, wanted, remedy) in [
        ("listen", true, "[[listen]]\naddress = \"[::]:443\""),
        ("route", true, "[[route]]\nto = \"http://127.0.0.1:3000\""),
        ("cert", tls, "[[cert]]\ndirectory = \"/etc/letsencrypt/live\""),
    ] {
        if wanted && !file.mentions(name) {
            complaints.missing(absent(name, remedy));
        }
    }
    hints(&listeners, &routes, &hosts, complaints);
    let admin = listen::admin(file, folder, &listeners, complaints);
    Config {
        path: Some(path.to_owned()),
        gate: file.one("gate").map(gate).unwrap_or_default(),
        listeners: listeners.into_iter().map(|listener| listener.settings).collect(),
        certs,
        routes,
        upstreams: upstreams.into_settings(),
        hosts: hosts.into_iter().map(|(_, settings)| settings).collect(),
        guard: file.one("guard").map(|table| guard(table, folder)).unwrap_or_default(),
        admin,
    }
}

fn absent(name: &str, remedy: &str) -> super::diagnostic::Complaint {
    let (message, why) = match name {
        "listen" => ("there is no [[listen]]", "nothing could come in"),
        "route" => ("there is no [[route]]", "no request could go anywhere"),
        _ => ("there is no [[cert]]", "a listener speaks TLS"),
    };
    let help = format!("add one: {}", remedy.replace('\n', ", then "));
    complaint(format!("{message}, and {why}"), help)
}

fn gate(table: &Table) -> GateSettings {
    let default = GateSettings::default();
    let time = |key, default| table.time(key).unwrap_or(default);
    let number = |key, default| table.number(key).unwrap_or(default);
    GateSettings {
        workers: number("workers", default.workers),
        connections_max: number("connections_max", default.connections_max),
        handshake_timeout: time("handshake_timeout", default.handshake_timeout),
        header_timeout: time("header_timeout", default.header_timeout),
        keepalive_timeout: time("keepalive_timeout", default.keepalive_timeout),
        header_bytes_max: number("header_bytes_max", default.header_bytes_max),
        drain_timeout: time("drain_timeout", default.drain_timeout),
    }
}

fn guard(table: &Table, folder: &Path) -> GuardPolicy {
    let default = GuardPolicy::default();
    let roots = table.list("roots").map(|list| list.value).unwrap_or_default();
    GuardPolicy {
        poll: table.time("poll").unwrap_or(default.poll),
        quiet: table.time("quiet").unwrap_or(default.quiet),
        settle: table.time("settle").unwrap_or(default.settle),
        on_expiry: match table.text("on_expiry").map(|text| text.value) {
            Some("refuse") => OnExpiry::Refuse,
            Some("serve") => OnExpiry::Serve,
            _ => default.on_expiry,
        },
        start: match table.text("start").map(|text| text.value) {
            Some("wait") => OnDarkStart::Wait,
            Some("exit") => OnDarkStart::Exit,
            _ => default.start,
        },
        roots: roots.iter().map(|root| folder.join(&root.value)).collect(),
    }
}

fn hosts<'f>(
    file: &'f File,
    folder: &Path,
    complaints: &mut Complaints,
) -> Vec<(&'f Table, HostSettings)> {
    let mut hosts: Vec<(&Table, HostSettings)> = Vec::new();
    let mut seen: HashMap<HostPattern, usize> = HashMap::new();
    for table in file.all("host") {
        let client_auth = client_auth(table, folder, complaints);
        let Some(host) = complaints.take(&table.header, route::host(&table.name)) else {
            continue;
        };
        let line = complaints.line(&table.header);
        // `App.test` and `app.test` are two names to TOML only.
        if let Some(other) = seen.insert(host.clone(), line) {
            let message = format!("[host.\"{host}\"] stands on line {other} already");
            complaints.error(&table.header, complaint(message, "put both into one section"));
        }
        hosts.push((table, HostSettings { host, client_auth }));
    }
    hosts
}

fn client_auth(table: &Table, folder: &Path, complaints: &mut Complaints) -> ClientAuth {
    let auth = table.text("client_auth");
    let ca = table.text("client_ca").map(|ca| folder.join(ca.value));
    let wanted = auth.as_ref().map_or("none", |auth| auth.value);
    match (wanted, ca) {
        ("request", Some(ca)) => return ClientAuth::Request { ca },
        ("require", Some(ca)) => return ClientAuth::Require { ca },
        ("request" | "require", None) if !table.has("client_ca") => {
            let message = format!("`client_auth = \"{wanted}\"` needs `client_ca`");
            let help = "name a PEM file with the roots that client certificates must lead to";
            complaints.error(table.key_span("client_auth"), complaint(message, help));
        }
        // A wrong `client_auth` was complained about where it was read.
        ("none", Some(_)) if auth.is_some() || !table.has("client_auth") => {
            let help = "add `client_auth = \"require\"` (or `\"request\"`), or leave it out";
            let message = "`client_ca` does nothing while no client certificate is asked for";
            complaints.error(table.key_span("client_ca"), complaint(message, help));
        }
        _ => {}
    }
    ClientAuth::None
}

/// What works and is hardly meant.
fn hints(
    listeners: &[listen::Listener],
    routes: &[RouteSettings],
    hosts: &[(&Table, HostSettings)],
    complaints: &mut Complaints,
) {
    if complaints.has_errors() {
        return;
    }
    let patterns: HashSet<&HostPattern> = routes.iter().flat_map(|r| &r.hosts).collect();
    // Parents of exact names: what a wildcard has to be to cover one of them.
    let parents: HashSet<&str> = patterns
        .iter()
        .filter_map(|pattern| match pattern {
            HostPattern::Exact(name) => name.parent(),
            HostPattern::Wildcard(_) => None,
        })
        .collect();
    let every = routes.iter().any(|route| route.hosts.is_empty());
    let serves = |host: &HostPattern| {
        let kin = match host {
            HostPattern::Exact(name) => name
                .parent()
                .and_then(|parent| HostName::parse(parent).ok())
                .is_some_and(|parent| patterns.contains(&HostPattern::Wildcard(parent))),
            HostPattern::Wildcard(parent) => parents.contains(parent.as_str()),
        };
        every || kin || patterns.contains(host)
    };
    let plain = listeners.iter().find(|l| l.settings.mode == ListenerMode::Plain);
    for (table, settings) in hosts {
        let host = &settings.host;
        if !serves(host) {
            let message = format!("no route serves {host}, so these settings do nothing");
            let help = "compare the name with the `hosts` of the routes";
            complaints.warning(&table.header, complaint(message, help));
        }
        if let (ClientAuth::Require { .. }, Some(plain)) = (&settings.client_auth, plain) {
            let address = plain.settings.address;
            let message = format!("{host} is served without any client certificate on {address}");
            let help =
                format!("make the listener on line {} a redirect", complaints.line(&plain.span));
            complaints.warning(&table.header, complaint(message, help));
        }
    }
}

#[cfg(test)]
mod tests;
