//! Counters of the data path. Names are public interface.
//!
//! [`Traffic`] is shared; each worker counts through a [`WorkerTraffic`], which remembers the
//! counters it has used, so that a request costs one atomic addition and no look-up of labels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

/// Labels of `evergate_http_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    result: &'static str,
    version: &'static str,
    resumed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    host: String,
    alert: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    upstream: String,
    server: String,
    result: &'static str,
}

type Histograms = Family<RouteLabel, Histogram, fn() -> Histogram>;

/// A client's reason for breaking off a handshake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientAlert {
    /// The name it asked for, as the certificate has it.
    pub host: String,
    /// SHA-256 of the leaf it was shown, lower-case hex.
    pub fingerprint: String,
    /// As RFC 8446 section 6 calls it, in snake case.
    pub alert: String,
}

/// The data path's metrics, shared by all workers.
#[derive(Debug, Clone)]
pub struct Traffic {
    requests: Family<RequestLabels, Counter>,
    durations: Histograms,
    handshakes: Family<HandshakeLabels, Counter>,
    client_alerts: Family<AlertLabels, Counter>,
    alerts: Option<mpsc::Sender<ClientAlert>>,
    upstream_requests: Family<ServerLabels, Counter>,
    upstream_connects: Family<ServerLabels, Counter>,
    /// Client connections that are open.
    pub connections: Gauge,
}

/// Seconds; 5 ms to 10 s as OpenTelemetry's `http.server.request.duration` has them.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Traffic {
    fn default() -> Self {
        Self::new()
    }
}

impl Traffic {
    /// Metrics that have counted nothing.
    pub fn new() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            handshakes: Family::default(),
            client_alerts: Family::default(),
            alerts: None,
            upstream_requests: Family::default(),
            upstream_connects: Family::default(),
            connections: Gauge::default(),
        }
    }

    /// Also puts what clients say into `alerts`, for as long as there is room.
    pub fn with_alerts(self, alerts: mpsc::Sender<ClientAlert>) -> Self {
        Self { alerts: Some(alerts), ..self }
    }

    /// Makes them part of `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "evergate_http_requests",
            "Requests answered, by route, method and status",
            self.requests.clone(),
        );
        registry.register(
            "evergate_http_request_duration_seconds",
            "From a request's header section to the end of its response",
            self.durations.clone(),
        );
        registry.register(
            "evergate_tls_handshakes",
            "TLS handshakes, by outcome",
            self.handshakes.clone(),
        );
        registry.register(
            "evergate_tls_client_alerts",
            "Fatal alerts that clients sent during the handshake",
            self.client_alerts.clone(),
        );
        registry.register(
            "evergate_upstream_requests",
            "Requests sent to a server, by outcome",
            self.upstream_requests.clone(),
        );
        registry.register(
            "evergate_upstream_connects",
            "Connections opened to a server, by outcome",
            self.upstream_connects.clone(),
        );
        registry.register(
            "evergate_connections",
            "Client connections that are open",
            self.connections.clone(),
        );
    }

    /// Counts a handshake that gave a session.
    pub fn handshake_done(&self, version: &'static str, resumed: bool) {
        let resumed = if resumed { "true" } else { "false" };
        self.handshakes.get_or_create(&HandshakeLabels { result: "ok", version, resumed }).inc();
    }

    /// Counts a handshake that came to nothing, for the reason `result`.
    pub fn handshake_failed(&self, result: &'static str) {
        self.handshakes.get_or_create(&HandshakeLabels { result, version: "", resumed: "" }).inc();
    }

    /// Counts a fatal alert of a client. Never waits; a queue that is full costs the detail, not
    /// the count.
    pub fn client_alert(&self, said: &ClientAlert) {
        let labels = AlertLabels { host: said.host.clone(), alert: said.alert.clone() };
        self.client_alerts.get_or_create(&labels).inc();
        if let Some(alerts) = &self.alerts {
            let _ = alerts.try_send(said.clone());
        }
    }

    /// Counts a request that was sent to `server`.
    pub fn upstream_request(&self, upstream: &str, server: &str, result: &'static str) {
        self.upstream_requests.get_or_create(&server_labels(upstream, server, result)).inc();
    }

    /// Counts an attempt to connect to `server`.
    pub fn upstream_connect(&self, upstream: &str, server: &str, result: &'static str) {
        self.upstream_connects.get_or_create(&server_labels(upstream, server, result)).inc();
    }
}

fn server_labels(upstream: &str, server: &str, result: &'static str) -> ServerLabels {
    ServerLabels { upstream: upstream.to_owned(), server: server.to_owned(), result }
}

/// One worker's hold on the counters it uses.
#[derive(Debug)]
pub struct WorkerTraffic {
    shared: Traffic,
    requests: RefCell<HashMap<(u64, &'static str, u16), Counter>>,
    durations: RefCell<HashMap<u64, Histogram>>,
}

/// Counters a worker remembers before it begins anew: reloads make new routes.
const REMEMBERED_MAX: usize = 4_096;

impl WorkerTraffic {
    /// A worker's hold on `shared`.
    pub fn new(shared: Traffic) -> Self {
        let (requests, durations) = (RefCell::default(), RefCell::default());
        Self { shared, requests, durations }
    }

    /// What all workers share.
    pub fn shared(&self) -> &Traffic {
        &self.shared
    }

    /// Counts a request that was answered. `id` is the route's, never used for another.
    pub fn request_done(
        &self,
        (id, route): (u64, &str),
        method: &http::Method,
        status: u16,
        took: Duration,
    ) {
        let method = known_method(method);
        let mut requests = self.requests.borrow_mut();
        if requests.len() >= REMEMBERED_MAX {
            requests.clear();
            self.durations.borrow_mut().clear();
        }
        let make = || {
            let labels = RequestLabels { route: route.to_owned(), method, status };
            self.shared.requests.get_or_create(&labels).clone()
        };
        requests.entry((id, method, status)).or_insert_with(make).inc();
        let mut durations = self.durations.borrow_mut();
        let make = || {
            let label = RouteLabel { route: route.to_owned() };
            self.shared.durations.get_or_create(&label).clone()
        };
        durations.entry(id).or_insert_with(make).observe(took.as_secs_f64());
    }
}

/// A client may make up methods; a label must not grow with them.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_under_its_route_method_and_status() {
        let (traffic, mut registry) = (Traffic::new(), Registry::default());
        traffic.register(&mut registry);
        let worker = WorkerTraffic::new(traffic);
        let made_up = http::Method::from_bytes(b"BREW").unwrap();
        for method in [&http::Method::GET, &http::Method::GET, &made_up] {
            worker.request_done((7, "api"), method, 200, Duration::from_millis(3));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"evergate_http_requests_total{route="api",method="GET",status="200"} 2"#,
            r#"evergate_http_requests_total{route="api",method="_OTHER",status="200"} 1"#,
            r#"evergate_http_request_duration_seconds_count{route="api"} 3"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
