//! One request in, one response out.

mod activity;
mod body;
mod fault;
mod forward;
mod headers;
mod plan;
mod respond;
mod route;
mod target;
mod upgrade;

pub use activity::{Activity, Busy};
pub use body::GateBody;
pub use fault::{Fault, Kind, Side};
pub use plan::{InForce, Plan, PlanError, Plans};
pub use route::{Route, RouteTable};

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::guard::Served;
use crate::host::HostName;
use crate::observe::traffic::WorkerTraffic;
use crate::upstream::Pool;
use body::Record;
use target::Target;

/// One worker's proxy: its view of the plan, its connections to servers, its counters.
#[derive(Debug)]
pub struct Proxy {
    plans: Plans,
    pool: Rc<Pool>,
    traffic: Rc<WorkerTraffic>,
    /// Tunnels outlive the connections they grew out of; the drain waits for them here.
    tunnels: TaskTracker,
    faults_told: Cell<Option<Instant>>,
}

/// Who a request comes from: one for each connection.
#[derive(Debug)]
pub struct Client {
    /// The client's IP address, as `X-Forwarded-For` has it.
    pub address: HeaderValue,
    /// The TLS session, on a listener that has one.
    pub secure: Option<Secure>,
    /// The port that plain requests are sent on to, on a listener that redirects.
    pub redirect: Option<u16>,
    /// What the connection is busy with.
    pub activity: Arc<Activity>,
}

/// What a handshake settled.
#[derive(Debug)]
pub struct Secure {
    /// The name that the client asked for.
    pub host: HostName,
    /// The certificate that it was shown.
    pub served: Arc<Served>,
}

impl Client {
    fn scheme(&self) -> &'static str {
        if self.secure.is_some() { "https" } else { "http" }
    }
}

/// Faults of upstreams are told at most this often by each worker; the metrics count them all.
const FAULTS_TOLD_EVERY: Duration = Duration::from_secs(1);

impl Proxy {
    /// A proxy that follows `plans`.
    pub fn new(plans: Plans, traffic: WorkerTraffic, tunnels: TaskTracker) -> Rc<Self> {
        let faults_told = Cell::new(None);
        let (pool, traffic) = (Rc::new(Pool::default()), Rc::new(traffic));
        Rc::new(Self { plans, pool, traffic, tunnels, faults_told })
    }

    /// What this worker counts.
    pub fn traffic(&self) -> &WorkerTraffic {
        &self.traffic
    }

    /// The plan in force.
    pub fn plan(&self) -> Rc<InForce> {
        self.plans.current()
    }

    /// Closes connections to servers that nobody needs any more.
    pub fn prune(&self) {
        let plan = self.plans.current();
        self.pool.prune(|endpoint| plan.knows_endpoint(endpoint));
    }

    /// Answers one request: by a server, or with the reason why not.
    pub async fn handle(
        self: Rc<Self>,
        client: Rc<Client>,
        request: Request<Incoming>,
    ) -> Response<GateBody> {
        // Taken once and used to the end: a reload never changes the rules of a request.
        let plan = self.plans.current();
        let mut record = Record::begin(&self.traffic, &client.activity, request.method());
        let speaks_grpc = respond::speaks_grpc(request.headers());
        match self.answer(&plan, &client, request, &mut record).await {
            Ok(response) => response.map(|body| body.recorded(record)),
            Err(fault) => {
                self.tell(&fault, &record);
                let response = respond::fault(&fault, speaks_grpc, &record.request_id);
                record.answered(response.status());
                response.map(|body| body.recorded(record))
            }
        }
    }

    async fn answer(
        self: &Rc<Self>,
        plan: &Plan,
        client: &Rc<Client>,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<GateBody>, Fault> {
        let target = Target::of(&request, client.secure.as_ref().map(|secure| &secure.host))?;
        if let Some(port) = client.redirect
            && !target.path.starts_with("/.well-known/acme-challenge/")
        {
            let response = respond::redirect(&target, port);
            record.answered(response.status());
            return Ok(response);
        }
        check_host(plan, client, &target)?;
        if request.method() == Method::CONNECT && !upgrade::is_extended_websocket(&request) {
            return Err(Fault::new(Kind::MethodRefused));
        }
        let route = match plan.routes().find(&target.host, &target.path) {
            Some(route) => route,
            None => return Err(Fault::new(Kind::NoRoute(target.to_string()))),
        };
        record.routed(route);
        let response = forward::forward(self, client, route, target, request, record).await?;
        record.answered(response.status());
        Ok(response)
    }

    fn tell(&self, fault: &Fault, record: &Record) {
        if fault.side() != Side::Upstream {
            tracing::debug!(
                code = fault.code(),
                request_id = record.request_id(),
                thing = fault.detail,
                remedy = fault.remedy(),
                "{fault}"
            );
            return;
        }
        let now = Instant::now();
        let quiet = |told: Instant| now.duration_since(told) < FAULTS_TOLD_EVERY;
        if self.faults_told.get().is_some_and(quiet) {
            return;
        }
        self.faults_told.set(Some(now));
        tracing::warn!(
            event = "request_failed",
            code = fault.code(),
            status = fault.status().as_u16(),
            route = record.route_name(),
            request_id = record.request_id(),
            thing = fault.detail,
            remedy = fault.remedy(),
            "{fault}"
        );
    }
}

/// A request may only name a host that its connection was opened for: the certificate must cover
/// it, and the TLS settings must be the same (RFC 9110 section 7.4).
fn check_host(plan: &Plan, client: &Client, target: &Target) -> Result<(), Fault> {
    let Some(secure) = &client.secure else {
        return Ok(());
    };
    let host = &target.host;
    if *host == secure.host {
        return Ok(());
    }
    if secure.served.covers(host) && plan.terminator().same_settings(host, &secure.host) {
        return Ok(());
    }
    Err(Fault::new(Kind::Misdirected(host.to_string())))
}
