//! `[[listen]]` and `[admin]`: what is bound, and that nothing is bound twice.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::config::diagnostic::{Complaints, Span, complaint};
use crate::config::file::{File, Spot, Table};
use crate::config::model::{AdminAddress, AdminSettings, ListenerMode, ListenerSettings};
use crate::config::place;

/// A listener and the place of its address.
pub(super) struct Listener {
    pub(super) settings: ListenerSettings,
    pub(super) span: Span,
}

/// Where the admin listener is unless told otherwise.
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9180);

/// Reads every `[[listen]]`.
pub(super) fn listeners(file: &File, complaints: &mut Complaints) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for table in file.all("listen") {
        let mode = mode(table, complaints);
        let Some(address) = table.text("address") else {
            continue;
        };
        let Spot { value, span } = address;
        let Some(address) = complaints.take(&span, place::listen_address(value)) else {
            continue;
        };
        if let Some(other) = listeners.iter().find(|l| same(l.settings.address, address)) {
            let line = complaints.line(&other.span);
            let message = if other.settings.address == address {
                format!("{address} is listened on twice, see line {line}")
            } else {
                format!("{address} is part of {} on line {line}", other.settings.address)
            };
            let help = "remove one of them: [::] takes IPv4 and IPv6";
            complaints.error(&span, complaint(message, help));
        }
        let settings = ListenerSettings { address, mode };
        listeners.push(Listener { settings, span });
    }
    let secure = listeners.iter().find(|l| l.settings.mode == ListenerMode::Tls);
    // Port 0 is chosen by the kernel, which nobody can know here.
    let port = secure.map(|l| l.settings.address.port()).filter(|port| *port != 0).unwrap_or(443);
    for listener in &mut listeners {
        if let ListenerMode::Redirect { https_port } = &mut listener.settings.mode
            && *https_port == 0
        {
            *https_port = port;
        }
    }
    listeners
}

/// A redirect has port 0 until the TLS listeners are known.
fn mode(table: &Table, complaints: &mut Complaints) -> ListenerMode {
    let tls = table.flag("tls");
    // With a redirect that couldn't be read nobody knows whether `https_port` is in its place.
    let unread = table.has("redirect") && table.flag("redirect").is_none();
    let redirect = table.flag("redirect").unwrap_or(false);
    if redirect && tls == Some(true) {
        let message = "a redirect to https can't speak TLS itself";
        let help = "remove `tls = true`, or remove `redirect = true`";
        complaints.error(table.key_span("redirect"), complaint(message, help));
    }
    if table.has("https_port") && !redirect && !unread {
        let message = "`https_port` is for redirects only";
        let help = "add `redirect = true`, or remove it";
        complaints.error(table.key_span("https_port"), complaint(message, help));
    }
    if redirect {
        let https_port = table.number("https_port").and_then(|port| u16::try_from(port).ok());
        return ListenerMode::Redirect { https_port: https_port.unwrap_or(0) };
    }
    if tls == Some(false) { ListenerMode::Plain } else { ListenerMode::Tls }
}

/// Whether two sockets would take the same connections. A wildcard beside one of this machine's
/// addresses is fine: the kernel prefers the latter.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    let wild = a.ip().is_unspecified() && b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (wild || a.ip().to_canonical() == b.ip().to_canonical())
}

/// Reads `[admin]`.
pub(super) fn admin(
    file: &File,
    folder: &Path,
    listeners: &[Listener],
    complaints: &mut Complaints,
) -> Option<AdminSettings> {
    let table = file.one("admin")?;
    let token = table.text("token_file").map(|path| folder.join(path.value));
    let address = match table.text("address") {
        Some(text) => complaints.take(&text.span, place::admin_address(text.value, folder))?,
        None if table.has("address") => return None,
        None => AdminAddress::Tcp(ADMIN_DEFAULT),
    };
    let span = table.text("address").map_or(&table.header, |_| table.key_span("address")).clone();
    if let AdminAddress::Tcp(address) = address {
        if !address.ip().to_canonical().is_loopback() && !table.has("token_file") {
            let message = format!("{address} can be reached from other machines without a token");
            let help = "listen on 127.0.0.1, [::1] or `unix:PATH`, or add `token_file`";
            complaints.error(&span, complaint(message, help));
        }
        let clash = listeners.iter().find(|listener| {
            let other = listener.settings.address;
            let covered = other.ip().is_unspecified() || address.ip().is_unspecified();
            same(other, address) || (covered && other.port() == address.port() && other.port() != 0)
        });
        if let Some(listener) = clash {
            let line = complaints.line(&listener.span);
            let message =
                format!("port {} is taken by the listener on line {line}", address.port());
            complaints.error(&span, complaint(message, "give one of them another port"));
        }
    }
    Some(AdminSettings { address, token })
}
