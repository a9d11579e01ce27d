//! The answers: probes, metrics, certificates, routes, upstreams, reload.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::gauges;
use crate::clock::SharedClock;
use crate::config::model::PathPattern;
use crate::guard::{self, ClientAlerts, NotAccepted, Report, ReportHandle};
use crate::observe::event::Teller;
use crate::proxy::Plan;
use crate::tasks::Stop;

pub(super) type Reply = Full<Bytes>;

/// What the admin listener tells about, in handles that never wait.
pub struct About {
    /// The guard's.
    pub picture: ReportHandle,
    /// What clients say when they break off.
    pub client_alerts: ClientAlerts,
    /// Routes and upstreams in force.
    pub plan: Arc<ArcSwap<Plan>>,
    /// The last events.
    pub teller: Teller,
    /// What day it is.
    pub clock: SharedClock,
    /// The counters.
    pub registry: Registry,
    /// Whether the gate drains.
    pub stopping: Stop,
    /// Where a reload is asked for.
    pub requests: mpsc::Sender<Request>,
    /// Where the guard takes commands.
    pub guard: mpsc::Sender<guard::Command>,
}

/// Somebody asks for a reload and waits for the outcome.
#[derive(Debug)]
pub struct Request {
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Outcome>,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was read anew and is in force.
    Published {
        /// Whether the configuration differs from the one before.
        changed: bool,
        /// Settings that take effect with the next start.
        restart: Vec<&'static str>,
    },
    /// The configuration before stays in force.
    Refused {
        /// For people.
        complaints: String,
    },
}

/// OpenMetrics, as Prometheus asks for it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl About {
    pub(super) async fn answer<B>(&self, request: &http::Request<B>) -> Response<Reply> {
        let path = request.uri().path();
        let verbose = request.uri().query().is_some_and(|query| {
            query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))
        });
        let accepted = accepted(path);
        let posts = path == "/api/reload" || accepted.is_some();
        let allowed = if posts { Method::POST } else { Method::GET };
        let method = request.method();
        if *method != allowed && !(allowed == Method::GET && *method == Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "another method, please\n");
            if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
                response.headers_mut().insert(ALLOW, allowed);
            }
            return response;
        }
        if let Some(fingerprint) = accepted {
            return self.accept(fingerprint).await;
        }
        match path {
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(verbose),
            "/metrics" => self.metrics(),
            "/api/certificates" => document(StatusCode::OK, &json!(self.report())),
            "/api/routes" => document(StatusCode::OK, &self.routes()),
            "/api/upstreams" => document(StatusCode::OK, &self.upstreams()),
            "/api/events" => document(StatusCode::OK, &json!({ "events": self.teller.recent() })),
            "/api/reload" => self.reload().await,
            "/" => plain(StatusCode::OK, INDEX),
            _ => plain(StatusCode::NOT_FOUND, INDEX),
        }
    }

    fn report(&self) -> Report {
        let mut report = self.picture.report(self.clock.now());
        self.client_alerts.complete(&mut report);
        report
    }

    /// Ready is who serves every routed host and is not about to stop.
    fn readiness(&self, verbose: bool) -> Response<Reply> {
        let dark = self.picture.dark();
        let stopping = self.stopping.requested();
        let mut text = String::new();
        if verbose {
            let _ = writeln!(text, "{} stop: {}", mark(!stopping), word(stopping, "draining"));
            for host in &self.report().hosts {
                let lit = host.serving.is_some();
                let who = host.serving.as_deref().unwrap_or("dark: no servable certificate");
                let _ = writeln!(text, "{} host {}: {who}", mark(lit), host.host);
            }
        } else {
            for host in dark.iter().take(20) {
                let _ = writeln!(text, "dark: {host}");
            }
        }
        let ready = dark.is_empty() && !stopping;
        text.push_str(if ready { "ok\n" } else { "not ready\n" });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        plain(status, text)
    }

    fn metrics(&self) -> Response<Reply> {
        let mut text = String::new();
        if text::encode_registry(&mut text, &self.registry).is_err() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n");
        }
        gauges::write(&self.report(), &mut text);
        text.push_str("# EOF\n");
        typed(StatusCode::OK, OPENMETRICS, text)
    }

    fn routes(&self) -> Value {
        let plan = self.plan.load();
        let routes: Vec<Value> = plan
            .routes()
            .routes()
            .iter()
            .map(|route| {
                let settings = route.settings();
                let (kind, path) = match &settings.path {
                    PathPattern::Prefix(path) => ("prefix", path),
                    PathPattern::Exact(path) => ("exact", path),
                };
                json!({
                    "name": settings.name,
                    "hosts": settings.hosts,
                    "path": path,
                    "match": kind,
                    "upstream": route.upstream().settings().name,
                })
            })
            .collect();
        json!({ "routes": routes })
    }

    fn upstreams(&self) -> Value {
        let plan = self.plan.load();
        let upstreams: Vec<Value> = plan
            .upstreams()
            .iter()
            .map(|upstream| {
                let servers: Vec<&str> =
                    upstream.endpoints().iter().map(|endpoint| endpoint.url()).collect();
                json!({ "name": upstream.settings().name, "servers": servers })
            })
            .collect();
        json!({ "upstreams": upstreams })
    }

    async fn reload(&self) -> Response<Reply> {
        let (answer, outcome) = oneshot::channel();
        if self.requests.send(Request { answer }).await.is_err() {
            return busy();
        }
        match outcome.await {
            Ok(Outcome::Published { changed, restart }) => document(
                StatusCode::OK,
                &json!({ "result": "published", "changed": changed, "restart_needed": restart }),
            ),
            Ok(Outcome::Refused { complaints }) => document(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "result": "refused", "complaints": complaints }),
            ),
            Err(_) => busy(),
        }
    }

    async fn accept(&self, fingerprint: &str) -> Response<Reply> {
        let (reply, outcome) = oneshot::channel();
        let fingerprint = fingerprint.to_owned();
        let command = guard::Command::Accept { fingerprint, reply };
        if self.guard.send(command).await.is_err() {
            return busy();
        }
        let refusal = match outcome.await {
            Ok(Ok(accepted)) => {
                let told = json!({ "result": "accepted", "accepted": accepted });
                return document(StatusCode::OK, &told);
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => return busy(),
        };
        let status = match refusal {
            NotAccepted::Malformed => StatusCode::BAD_REQUEST,
            NotAccepted::Unknown => StatusCode::NOT_FOUND,
            NotAccepted::Ambiguous(_) | NotAccepted::Served(_) | NotAccepted::Refused(..) => {
                StatusCode::CONFLICT
            }
        };
        let told = json!({ "result": "not_accepted", "problem": refusal.to_string() });
        document(status, &told)
    }
}

/// The fingerprint that a path asks to be accepted.
fn accepted(path: &str) -> Option<&str> {
    path.strip_prefix("/api/certificates/")?.strip_suffix("/accept")
}

fn busy() -> Response<Reply> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "the gate is stopping\n")
}

const INDEX: &str = "evergate
  GET  /livez              whether the process lives
  GET  /readyz?verbose     whether every routed host has a servable certificate
  GET  /metrics            OpenMetrics
  GET  /api/certificates   hosts, certificates, findings
  GET  /api/routes         routes, in the order of the configuration
  GET  /api/upstreams      upstreams and their servers
  GET  /api/events         the last events
  POST /api/certificates/FINGERPRINT/accept
                           serve what is held
  POST /api/reload         read the configuration and all certificates anew
";

fn mark(good: bool) -> &'static str {
    if good { "[+]" } else { "[-]" }
}

fn word(is: bool, then: &'static str) -> &'static str {
    if is { then } else { "no" }
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Reply> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn document(status: StatusCode, value: &Value) -> Response<Reply> {
    typed(status, "application/json", value.to_string())
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
