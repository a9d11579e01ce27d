//! `[upstream.NAME]`, and the unnamed upstream of each URL that a route names.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::config::diagnostic::{Complaint, Complaints, Span, complaint, nearest, quoted};
use crate::config::file::{File, Spot, Table};
use crate::config::model::{
    ServerSettings, UpstreamProtocol, UpstreamSettings, UpstreamTls, Verification,
};
use crate::config::place::{self, Scheme};
use crate::host::HostName;

/// Every upstream, and how to find it by name or URL.
#[derive(Default)]
pub(super) struct Upstreams {
    settings: Vec<UpstreamSettings>,
    index: HashMap<String, usize>,
    /// Named ones that no route named yet.
    unused: Vec<(usize, Span)>,
    /// Whether a section couldn't be read, so that an unknown name may be its.
    broken: bool,
}

/// Reads every `[upstream.NAME]`.
pub(super) fn named(file: &File, folder: &Path, complaints: &mut Complaints) -> Upstreams {
    let mut upstreams = Upstreams { broken: file.is_broken("upstream"), ..Upstreams::default() };
    for table in file.all("upstream") {
        if let Err(why) = check_name(&table.name) {
            complaints.error(&table.header, why);
        }
        let settings = upstream(table, folder, complaints);
        let index = upstreams.add(&table.name, settings);
        upstreams.unused.push((index, table.header.clone()));
    }
    upstreams
}

/// A name that can stand in metrics, URLs and logs without quotes.
pub(super) fn check_name(name: &str) -> Result<(), Complaint> {
    const NAME_MAX: usize = 64;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        let help = format!("use 1 to {NAME_MAX} of a-z, A-Z, 0-9, `-`, `_` and `.`");
        return Err(complaint(format!("{} can't be a name", quoted(name)), help));
    }
    Ok(())
}

impl Upstreams {
    fn add(&mut self, name: &str, settings: UpstreamSettings) -> usize {
        let index = self.settings.len();
        self.settings.push(settings);
        self.index.insert(name.to_owned(), index);
        index
    }

    /// The upstream that a route's `to` means.
    pub(super) fn find(
        &mut self,
        to: &Spot<&str>,
        folder: &Path,
        complaints: &mut Complaints,
    ) -> Option<usize> {
        let Spot { value: to, span } = to;
        if let Some(index) = self.index.get(*to) {
            return Some(*index);
        }
        if place::is_url(to) {
            let settings = complaints.take(span, place::unnamed_upstream(to, folder))?;
            return Some(self.add(to, settings));
        }
        // With a broken section there is a complaint already, and no telling what it holds.
        if !self.broken && !complaints.overflows() {
            complaints.error(span, self.unknown(to));
        }
        None
    }

    fn unknown(&self, to: &str) -> Complaint {
        // Names beyond these are too many to be shown or compared.
        const COMPARED_MAX: usize = 200;
        let names = self.settings.iter().map(|upstream| upstream.name.as_str());
        let names: Vec<&str> = names.filter(|n| !place::is_url(n)).take(COMPARED_MAX).collect();
        let help = match nearest(to, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if to.contains([':', '/']) => {
                "a URL starts with http://, https://, h2c:// or unix:".into()
            }
            None => format!("add {}, or write a URL", quoted(&format!("[upstream.{to}]"))),
        };
        complaint(format!("there is no upstream {}", quoted(to)), help)
    }

    /// Warns of upstreams that `used` doesn't hold.
    pub(super) fn warn_unused(&self, used: &HashSet<usize>, complaints: &mut Complaints) {
        for (_, span) in self.unused.iter().filter(|(index, _)| !used.contains(index)) {
            let help = "name it in a route's `to`, or remove it";
            complaints.warning(span, complaint("no route leads to this upstream", help));
        }
    }

    pub(super) fn into_settings(self) -> Vec<UpstreamSettings> {
        self.settings
    }
}

fn upstream(table: &Table, folder: &Path, complaints: &mut Complaints) -> UpstreamSettings {
    let servers = servers(table, folder, complaints);
    let protocol = protocol(table, &servers, complaints);
    let speaks_tls = servers.iter().any(|(_, scheme)| *scheme == Scheme::Https);
    // With a server that couldn't be read nobody knows.
    let silent =
        !speaks_tls && table.list("servers").is_some_and(|l| l.value.len() == servers.len());
    let tls = tls(table, folder, silent, complaints);
    let servers = servers.into_iter().map(|(server, _)| server).collect();
    let default = UpstreamSettings::new(table.name.clone(), servers);
    let time = |key, default| table.time(key).unwrap_or(default);
    UpstreamSettings {
        protocol,
        tls,
        connect_timeout: time("connect_timeout", default.connect_timeout),
        response_timeout: time("response_timeout", default.response_timeout),
        idle_timeout: time("idle_timeout", default.idle_timeout),
        keepalive_timeout: time("keepalive_timeout", default.keepalive_timeout),
        keepalive_max: table.number("keepalive_max").unwrap_or(default.keepalive_max),
        ..default
    }
}

fn servers(
    table: &Table,
    folder: &Path,
    complaints: &mut Complaints,
) -> Vec<(ServerSettings, Scheme)> {
    let Some(list) = table.list("servers") else {
        return Vec::new();
    };
    if list.value.is_empty() {
        let help = "write for example `servers = [\"http://10.0.0.1:8080\"]`";
        complaints.error(&list.span, complaint("an upstream needs at least one server", help));
    }
    let mut servers: Vec<(ServerSettings, Scheme)> = Vec::new();
    let mut seen = HashSet::new();
    for typed in list.value {
        let Some(server) = complaints.take(&typed.span, place::server(&typed.value, folder)) else {
            continue;
        };
        if !seen.insert((server.0.place.clone(), server.0.tls)) {
            let message = format!("{} stands in this list twice", quoted(&typed.value));
            complaints.error(&typed.span, complaint(message, "remove one of them"));
        }
        if let Some((_, first)) = servers.first()
            && (*first == Scheme::H2c) != (server.1 == Scheme::H2c)
        {
            let message = "h2c:// and other servers can't be mixed in one upstream";
            let help =
                "write an upstream for each; with `protocol = \"h2\"` http:// speaks h2c too";
            complaints.error(&typed.span, complaint(message, help));
        }
        servers.push(server);
    }
    servers
}

fn protocol(
    table: &Table,
    servers: &[(ServerSettings, Scheme)],
    complaints: &mut Complaints,
) -> UpstreamProtocol {
    let h2c = servers.iter().any(|(_, scheme)| *scheme == Scheme::H2c);
    let typed = table.text("protocol");
    match typed.map_or("auto", |text| text.value) {
        "h1" if h2c => {
            let message = "h2c:// is HTTP/2, and `protocol` says HTTP/1.1";
            let help = "write http:// for HTTP/1.1, or remove `protocol`";
            complaints.error(table.key_span("protocol"), complaint(message, help));
            UpstreamProtocol::H1
        }
        "h1" => UpstreamProtocol::H1,
        "h2" => UpstreamProtocol::H2,
        _ if h2c => UpstreamProtocol::H2,
        _ => UpstreamProtocol::Auto,
    }
}

const ACCEPT_ANY: &str = "dangerously_accept_any_certificate";

fn tls(table: &Table, folder: &Path, silent: bool, complaints: &mut Complaints) -> UpstreamTls {
    let accept_any = table.flag(ACCEPT_ANY) == Some(true);
    for key in ["tls_name", "ca", ACCEPT_ANY] {
        if silent && table.has(key) && (key != ACCEPT_ANY || accept_any) {
            let message = format!("`{key}` does nothing: no server of this upstream speaks TLS");
            let help = "write https:// in `servers`, or remove it";
            complaints.error(table.key_span(key), complaint(message, help));
        }
    }
    if accept_any && table.has("ca") {
        let message = format!("`ca` does nothing beside `{ACCEPT_ANY}`");
        complaints.error(table.key_span("ca"), complaint(message, "remove one of them"));
    } else if accept_any && !silent {
        let message = format!("upstream `{}` takes any certificate for its own", table.name);
        let help = "name its root with `ca`, or the name in its certificate with `tls_name`";
        complaints.warning(table.key_span(ACCEPT_ANY), complaint(message, help));
    }
    let name = table.text("tls_name").and_then(|text| {
        let name = HostName::parse(text.value).map_err(|why| {
            let message = format!("{} is no host name: {why}", quoted(text.value));
            complaint(message, "write the name that the upstream's certificate holds")
        });
        complaints.take(&text.span, name)
    });
    UpstreamTls {
        name: name.map(|name| name.as_str().to_owned()),
        ca: table.text("ca").map(|ca| folder.join(ca.value)),
        verification: if accept_any { Verification::AcceptAny } else { Verification::Verify },
    }
}
