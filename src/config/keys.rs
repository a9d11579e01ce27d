//! Every section and key there is: the one description from which the reader, the JSON schema and
//! the tables of `docs/config.md` are made.
//!
//! A default that is given here as TOML is held against `model` by a test.

use std::time::Duration;

use Kind::{Choice, Flag, List, Number, Path, Paths, Size, Text, Time};
use WhenAbsent::{Is, Means, Refused};

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What it is for.
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

/// How a section's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[gate]`
    Once,
    /// `[[listen]]`
    Many,
    /// `[upstream.NAME]`
    Named,
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: WhenAbsent,
    /// A value as it is typed.
    pub(super) example: &'static str,
    /// What it is for.
    pub(super) doc: &'static str,
}

/// What a key takes. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Relative to the folder of the file.
    Path,
    List,
    Paths,
    Flag,
    Choice(&'static [&'static str]),
    Number(u64, u64),
    /// Bytes.
    Size(u64, u64),
    /// A span of time.
    Time(Duration, Duration),
}

/// What it means to leave a key out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenAbsent {
    /// It can't be left out.
    Refused,
    /// The same as this TOML.
    Is(&'static str),
    /// Something that no value says.
    Means(&'static str),
}

impl Section {
    /// The header as it is written.
    pub(super) fn header(&self) -> String {
        let name = self.name;
        match self.shape {
            Shape::Once => format!("[{name}]"),
            Shape::Many => format!("[[{name}]]"),
            Shape::Named => format!("[{name}.NAME]"),
        }
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The section of this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// In the order of a file that is read from its top.
pub(super) const SECTIONS: &[Section] = &[LISTEN, CERT, ROUTE, UPSTREAM, HOST, GUARD, ADMIN, GATE];

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

const DAY: u64 = 86_400;

const fn key(
    name: &'static str,
    kind: Kind,
    absent: WhenAbsent,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, absent, example, doc }
}

const LISTEN: Section = Section {
    name: "listen",
    shape: Shape::Many,
    doc: "An address that the gate accepts on. At least one.",
    keys: &[
        key(
            "address",
            Text,
            Refused,
            r#""[::]:443""#,
            "IP address and port. `:443` is short for `[::]:443`, which takes IPv4 and IPv6.",
        ),
        key(
            "tls",
            Flag,
            Means("`true`, or `false` with `redirect`"),
            "true",
            "TLS with HTTP/2 and HTTP/1.1; `false` proxies plain HTTP.",
        ),
        key(
            "redirect",
            Flag,
            Is("false"),
            "true",
            "Plain HTTP that is answered by 308 to https, but for the ACME challenge path.",
        ),
        key(
            "https_port",
            Number(1, 65_535),
            Means("the port of the first TLS listener, else 443"),
            "443",
            "The port that a redirect names.",
        ),
    ],
};

const CERT: Section = Section {
    name: "cert",
    shape: Shape::Many,
    doc: "Where certificates come from: a `directory`, a `chain` with its `key`, or a `bundle`.",
    keys: &[
        key(
            "directory",
            Path,
            Means("not used"),
            r#""/etc/letsencrypt/live""#,
            "A folder: every chain and key below it, paired by public key.",
        ),
        key(
            "chain",
            Path,
            Means("not used"),
            r#""/etc/tls/chain.pem""#,
            "PEM: the leaf first, then its issuers. Goes with `key`.",
        ),
        key(
            "key",
            Path,
            Means("not used"),
            r#""/etc/tls/key.pem""#,
            "PEM: PKCS#8, PKCS#1 or SEC1. Goes with `chain`.",
        ),
        key(
            "bundle",
            Path,
            Means("not used"),
            r#""/etc/tls/all.pem""#,
            "One PEM file that holds both chain and key.",
        ),
        key(
            "standby",
            Flag,
            Is("false"),
            "true",
            "Stands in when nothing else can serve its names.",
        ),
    ],
};

const ROUTE: Section = Section {
    name: "route",
    shape: Shape::Many,
    doc: "Which requests go where. At least one. The most specific host and the longest path win; \
          the order of the file doesn't matter.",
    keys: &[
        key(
            "name",
            Text,
            Means("made from hosts and path"),
            r#""api""#,
            "How logs and metrics call the route.",
        ),
        key(
            "hosts",
            List,
            Is("[]"),
            r#"["app.internal", "*.app.internal"]"#,
            "Host names; `*.` stands for exactly one label more. Empty: every host.",
        ),
        key(
            "path",
            Text,
            Is(r#""/""#),
            r#""/api/""#,
            "This path and everything below it, by whole segments.",
        ),
        key(
            "path_exact",
            Text,
            Means("not used"),
            r#""/login""#,
            "This path alone, instead of `path`.",
        ),
        key(
            "to",
            Text,
            Refused,
            r#""api""#,
            "The NAME of an [upstream.NAME], or the URL of a single server.",
        ),
    ],
};

const UPSTREAM: Section = Section {
    name: "upstream",
    shape: Shape::Named,
    doc: "Servers that answer alike.",
    keys: &[
        key(
            "servers",
            List,
            Refused,
            r#"["http://10.0.0.1:8080"]"#,
            "`http://HOST:PORT`, `https://HOST:PORT`, `h2c://HOST:PORT` (HTTP/2 without TLS) or \
             `unix:PATH`. A URL ends after its port.",
        ),
        key(
            "protocol",
            Choice(&["auto", "h1", "h2"]),
            Is(r#""auto""#),
            r#""h1""#,
            "`auto`: over TLS what ALPN settles, otherwise HTTP/1.1 (HTTP/2 for `h2c://`).",
        ),
        key(
            "tls_name",
            Text,
            Means("the server's host"),
            r#""api.internal""#,
            "The name that is verified and sent as SNI.",
        ),
        key(
            "ca",
            Path,
            Means("the system's roots"),
            r#""/etc/tls/roots.pem""#,
            "A PEM bundle of the roots to trust.",
        ),
        key(
            "dangerously_accept_any_certificate",
            Flag,
            Is("false"),
            "false",
            "Verifies nothing: whoever sits in between can read and change everything.",
        ),
        key(
            "connect_timeout",
            Time(ms(10), s(600)),
            Is(r#""5s""#),
            r#""5s""#,
            "DNS look-up, TCP and TLS handshake together.",
        ),
        key(
            "response_timeout",
            Time(ms(10), s(DAY)),
            Is(r#""1m""#),
            r#""1m""#,
            "From the last byte of progress on the request to the end of the response's header.",
        ),
        key(
            "idle_timeout",
            Time(ms(10), s(7 * DAY)),
            Is(r#""10m""#),
            r#""10m""#,
            "Between two pieces of a body, either way, and in a tunnel such as a WebSocket.",
        ),
        key(
            "keepalive_timeout",
            Time(ms(10), s(DAY)),
            Is(r#""1m""#),
            r#""1m""#,
            "How long an unused connection is kept.",
        ),
        key(
            "keepalive_max",
            Number(0, 65_536),
            Is("256"),
            "256",
            "Unused connections kept for each server by each worker; 0 keeps none.",
        ),
    ],
};

const HOST: Section = Section {
    name: "host",
    shape: Shape::Named,
    doc: "TLS settings of one host, by SNI. A name with dots stands in quotes: \
          `[host.\"app.internal\"]`.",
    keys: &[
        key(
            "client_auth",
            Choice(&["none", "request", "require"]),
            Is(r#""none""#),
            r#""require""#,
            "Whether clients show a certificate. `request`: they may, but not a bad one.",
        ),
        key(
            "client_ca",
            Path,
            Means("not used"),
            r#""/etc/tls/clients.pem""#,
            "A PEM bundle of the roots that client certificates must lead to.",
        ),
    ],
};

const GUARD: Section = Section {
    name: "guard",
    shape: Shape::Once,
    doc: "How certificates are watched and judged.",
    keys: &[
        key(
            "poll",
            Time(ms(100), s(3600)),
            Is(r#""10s""#),
            r#""10s""#,
            "How often the disk is read without any event.",
        ),
        key(
            "quiet",
            Time(ms(1), s(60)),
            Is(r#""100ms""#),
            r#""100ms""#,
            "How long the files must be quiet after an event before they are read.",
        ),
        key(
            "settle",
            Time(ms(0), s(3600)),
            Is(r#""3s""#),
            r#""3s""#,
            "How long disk and served may differ, and a file may look half-written, before it is \
             told.",
        ),
        key(
            "on_expiry",
            Choice(&["serve", "refuse"]),
            Is(r#""serve""#),
            r#""serve""#,
            "What becomes of a served certificate that expires and has no standby.",
        ),
        key(
            "start",
            Choice(&["exit", "wait"]),
            Is(r#""exit""#),
            r#""wait""#,
            "What a start without any servable certificate does: exit code 4, or wait for one.",
        ),
        key(
            "roots",
            Paths,
            Is("[]"),
            r#"["/etc/tls/roots.pem"]"#,
            "PEM bundles of private roots, known beside the system's when chains are judged.",
        ),
    ],
};

const ADMIN: Section = Section {
    name: "admin",
    shape: Shape::Once,
    doc: "Where the gate tells about itself. Without this section nowhere.",
    keys: &[
        key(
            "address",
            Text,
            Is(r#""127.0.0.1:9180""#),
            r#""127.0.0.1:9180""#,
            "IP address and port, or `unix:PATH`. Off loopback only with `token_file`.",
        ),
        key(
            "token_file",
            Path,
            Means("no token is asked for"),
            r#""/etc/evergate/token""#,
            "A file with the token that requests must bear.",
        ),
    ],
};

const GATE: Section = Section {
    name: "gate",
    shape: Shape::Once,
    doc: "Limits of the whole gate.",
    keys: &[
        key(
            "workers",
            Number(1, 1024),
            Means("one for each core"),
            "4",
            "Threads on the data path.",
        ),
        key(
            "connections_max",
            Number(1, 10_000_000),
            Is("50000"),
            "50000",
            "Connections open at once, over all listeners; further ones wait in the kernel.",
        ),
        key(
            "handshake_timeout",
            Time(ms(100), s(600)),
            Is(r#""10s""#),
            r#""10s""#,
            "From accept to the end of the TLS handshake.",
        ),
        key(
            "header_timeout",
            Time(ms(100), s(600)),
            Is(r#""15s""#),
            r#""15s""#,
            "From the first byte of a request (or the opening of its connection) to the end of \
             its header.",
        ),
        key(
            "keepalive_timeout",
            Time(ms(100), s(DAY)),
            Is(r#""75s""#),
            r#""75s""#,
            "How long a client's connection may stay without a request.",
        ),
        key(
            "header_bytes_max",
            // hyper takes no read buffer below 8 KiB.
            Size(8 << 10, 1 << 20),
            Is(r#""64KiB""#),
            r#""64KiB""#,
            "Bytes that a request's header may take.",
        ),
        key(
            "drain_timeout",
            Time(ms(0), s(DAY)),
            Is(r#""30s""#),
            r#""30s""#,
            "How long a stop lets open requests finish.",
        ),
    ],
};
