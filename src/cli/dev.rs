//! `evergate dev`: local TLS at once.
//!
//! A local CA signs a certificate for each name, an echo upstream stands in where no other is
//! named, and the same gate as ever is started with a configuration made here. While it runs, the
//! certificate is renewed before half its life is over; the guard picks it up from disk.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use super::backstage::{Backstage, Minter};
use super::local_ca::{LocalCa, LocalCaError, Origin};
use super::mapping::Mapping;
use super::print::{answer, chain, complain};
use super::{CANNOT_BIND, DevArgs, FAILURE, WRONG_USAGE, log, run};
use crate::clock::SharedClock;
use crate::config::model::{
    AdminAddress, AdminSettings, CertPlace, CertSource, Config, GateSettings, GuardPolicy,
    ListenerMode, ListenerSettings, PathPattern, Role, RouteSettings, ServerPlace, ServerSettings,
    UpstreamSettings,
};
use crate::host::{HostName, HostPattern};

/// Where the CA and the leaf lie, seen from where the command is called.
const FOLDER: &str = "certs/local";

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: DevArgs) -> ExitCode {
    log::start(&args.log);
    let clock = crate::clock::system();
    match prepare(&args, &clock) {
        Ok((config, told, backstage)) => {
            let code = run::hold(config, || answer(&told));
            backstage.end();
            code
        }
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Everything before the gate: addresses, certificates, the echo, and what to tell.
fn prepare(args: &DevArgs, clock: &SharedClock) -> Result<(Config, String, Backstage), DevError> {
    let addresses = args.listen.addresses();
    for address in &addresses {
        TcpListener::bind(address)
            .map_err(|source| DevError::Listen { address: *address, source })?;
    }
    let folder = Path::new(FOLDER);
    let (ca, origin) = LocalCa::open(folder, clock.now()).map_err(DevError::LocalCa)?;
    let names = names(&args.mappings);
    let (root, leaf) = (ca.certificate.clone(), folder.join("leaf"));
    let minter = Minter { ca, names, folder: leaf.clone() };
    minter.mint(clock.now()).map_err(DevError::LocalCa)?;
    let (backstage, echo) = Backstage::start(minter, clock.clone()).map_err(DevError::Backstage)?;
    let told = told(&args.mappings, &addresses, &root, &origin);
    let config = configuration(&args.mappings, &addresses, echo, &leaf, &root);
    Ok((config, told, backstage))
}

/// Where `dev` listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    /// This port of 127.0.0.1 and, where the machine has it, of ::1.
    Loopback(u16),
    /// Just there.
    Address(SocketAddr),
}

/// Takes `127.0.0.1:8443`, or a port alone.
pub(super) fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Ok(port) = text.parse::<u16>()
        && port > 0
    {
        return Ok(Listen::Loopback(port));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Listen::Address(address)),
        _ => Err("write a port, or an address as in 127.0.0.1:8443 or [::]:8443".to_owned()),
    }
}

impl Listen {
    fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Address(address) => vec![*address],
            Self::Loopback(port) => {
                let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, *port))];
                // Containers often come without IPv6, and that is no reason to fail.
                if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                    addresses.push(SocketAddr::from((Ipv6Addr::LOCALHOST, *port)));
                }
                addresses
            }
        }
    }
}

/// The names that the certificate holds: what was asked for, and this machine's own.
fn names(mappings: &[Mapping]) -> Vec<HostPattern> {
    let mut names: Vec<HostPattern> = mappings.iter().map(|m| m.host.clone()).collect();
    let own = ["localhost", "127.0.0.1", "::1"];
    names.extend(own.iter().filter_map(|name| HostPattern::parse(name).ok()));
    names.sort();
    names.dedup();
    names
}

/// The same kind of configuration that a file would give.
fn configuration(
    mappings: &[Mapping],
    addresses: &[SocketAddr],
    echo: SocketAddr,
    leaf: &Path,
    root: &Path,
) -> Config {
    let listeners = addresses
        .iter()
        .map(|address| ListenerSettings { address: *address, mode: ListenerMode::Tls });
    let mut routes = Vec::new();
    let mut upstreams = Vec::new();
    for mapping in mappings {
        routes.push(route(mapping.host.to_string(), vec![mapping.host.clone()], upstreams.len()));
        let server = mapping.server.clone();
        upstreams.push(UpstreamSettings::new(server.url.clone(), vec![server]));
    }
    if mappings.is_empty() {
        routes.push(route("echo".to_owned(), Vec::new(), 0));
        upstreams.push(UpstreamSettings::new("echo".to_owned(), vec![server_at(echo)]));
    }
    Config {
        path: None,
        gate: GateSettings::default(),
        listeners: listeners.collect(),
        certs: vec![CertSource {
            place: CertPlace::Pair { chain: leaf.join("chain.pem"), key: leaf.join("key.pem") },
            role: Role::Primary,
        }],
        routes,
        upstreams,
        hosts: Vec::new(),
        guard: GuardPolicy { roots: vec![root.to_owned()], ..GuardPolicy::default() },
        admin: free_admin(),
    }
}

fn route(name: String, hosts: Vec<HostPattern>, upstream: usize) -> RouteSettings {
    RouteSettings { name, hosts, path: PathPattern::Prefix("/".to_owned()), upstream }
}

fn server_at(address: SocketAddr) -> ServerSettings {
    ServerSettings {
        url: format!("http://{address}"),
        place: ServerPlace::Tcp { host: address.ip().to_string(), port: address.port() },
        tls: false,
    }
}

/// The usual admin address, so that `evergate status` works; none if another gate has it.
fn free_admin() -> Option<AdminSettings> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9180));
    TcpListener::bind(address)
        .is_ok()
        .then_some(AdminSettings { address: AdminAddress::Tcp(address), token: None })
}

/// What a person needs to know, with a command that works as it stands.
fn told(mappings: &[Mapping], addresses: &[SocketAddr], root: &Path, origin: &Origin) -> String {
    let root = root.display();
    let port = addresses.first().map_or(443, SocketAddr::port);
    let mut text = match origin {
        Origin::Reused => String::new(),
        Origin::Made => format!("Made a local CA: {root}\n"),
        Origin::Replaced(why) => format!(
            "Made a new local CA, for of the old one {why}: {root}\n\
             Clients that trusted the old one need the new one.\n"
        ),
    };
    let mut curl = String::new();
    let mut lead = |host: &str, to: &str| {
        let host = match host.strip_prefix("*.") {
            Some(parent) => format!("any.{parent}"),
            None if host.contains(':') => format!("[{host}]"),
            None => host.to_owned(),
        };
        let _ = writeln!(text, "https://{host}:{port}/  ->  {to}");
        if curl.is_empty() {
            let resolve = resolve(&host, addresses.first());
            curl = format!("curl --cacert {root}{resolve} https://{host}:{port}/");
        }
    };
    for mapping in mappings {
        lead(&mapping.host.to_string(), &mapping.server.url);
    }
    if mappings.is_empty() {
        lead("localhost", "the embedded echo upstream");
    }
    format!("{text}\nTry it:\n  {curl}\nCtrl-C ends it.")
}

/// Tells curl where a name is that no resolver knows. `localhost` itself is known everywhere.
fn resolve(host: &str, address: Option<&SocketAddr>) -> String {
    let named = HostName::parse(host).is_ok_and(|host| host.as_ip().is_none());
    match address {
        Some(address) if named && host != "localhost" => {
            let ip = match address {
                // Whoever listens everywhere is found on loopback.
                SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
                SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
                SocketAddr::V4(v4) => v4.ip().to_string(),
                SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
            };
            format!(" --resolve {host}:{}:{ip}", address.port())
        }
        _ => String::new(),
    }
}

/// Why `dev` does not start.
#[derive(Debug)]
enum DevError {
    Listen { address: SocketAddr, source: io::Error },
    LocalCa(LocalCaError),
    Backstage(io::Error),
}

impl DevError {
    fn code(&self) -> u8 {
        match self {
            Self::Listen { .. } => CANNOT_BIND,
            Self::LocalCa(LocalCaError::Outside(_)) => WRONG_USAGE,
            Self::LocalCa(_) | Self::Backstage(_) => FAILURE,
        }
    }
}

impl std::fmt::Display for DevError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen { address, source } => write!(
                f,
                "can't listen on {address}: {source}\n  remedy: stop what listens there, or \
                 choose another port: evergate dev --listen {}",
                if address.port() < 1024 { 8443 } else { 9443 }
            ),
            Self::LocalCa(error) => f.write_str(&chain(error)),
            Self::Backstage(error) => write!(f, "can't start the echo upstream: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mapping;

    fn mappings(texts: &[&str]) -> Vec<Mapping> {
        let parse = |text: &&str| mapping::parse(text).unwrap();
        texts.iter().map(parse).collect()
    }

    fn built(texts: &[&str]) -> Config {
        let echo = SocketAddr::from(([127, 0, 0, 1], 4000));
        let at = [SocketAddr::from(([127, 0, 0, 1], 8443))];
        configuration(&mappings(texts), &at, echo, Path::new("l"), Path::new("ca.pem"))
    }

    #[test]
    fn without_names_everything_is_echoed() {
        let config = built(&[]);
        assert_eq!(config.routes.len(), 1);
        assert!(config.routes[0].hosts.is_empty());
        assert_eq!(config.upstreams[0].servers[0].url, "http://127.0.0.1:4000");
        assert_eq!(config.guard.roots, [Path::new("ca.pem")]);
    }

    #[test]
    fn each_name_leads_to_its_own_upstream() {
        let config = built(&["app.localhost=3000", "api.localhost=unix:./api.sock"]);
        let shown: Vec<_> = config
            .routes
            .iter()
            .map(|route| {
                let upstream = &config.upstreams[route.upstream];
                format!("{} {}", route.hosts[0], upstream.servers[0].url)
            })
            .collect();
        let expected = ["app.localhost http://localhost:3000", "api.localhost unix:./api.sock"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_certificate_holds_the_names_and_this_machine() {
        let shown: Vec<_> =
            names(&mappings(&["app.localhost=1", "2"])).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1", "::1", "app.localhost", "localhost"]);
    }

    #[test]
    fn curl_is_told_what_no_resolver_knows() {
        let at = [SocketAddr::from(([127, 0, 0, 1], 8443))];
        let root = Path::new("certs/local/ca.pem");
        let cases = [
            (&[][..], "curl --cacert certs/local/ca.pem https://localhost:8443/\n"),
            (
                &["app.test=1"][..],
                "curl --cacert certs/local/ca.pem --resolve app.test:8443:127.0.0.1 \
                 https://app.test:8443/\n",
            ),
            (&["*.a.test=1"][..], " https://any.a.test:8443/\n"),
            (&["::1=1"][..], "curl --cacert certs/local/ca.pem https://[::1]:8443/\n"),
        ];
        for (texts, expected) in cases {
            let text = told(&mappings(texts), &at, root, &Origin::Reused);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let source = TcpListener::bind(address).unwrap_err();
        let error = DevError::Listen { address, source };
        assert_eq!(error.code(), 5);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_listen_address_may_be_a_port() {
        let address = |text: &str| Ok(Listen::Address(text.parse().unwrap()));
        assert_eq!(parse_listen("8443"), Ok(Listen::Loopback(8443)));
        assert_eq!(parse_listen("0.0.0.0:443"), address("0.0.0.0:443"));
        assert_eq!(parse_listen("[::]:443"), address("[::]:443"));
        for text in ["", "0", "70000", "localhost:1", "127.0.0.1", "127.0.0.1:0"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
