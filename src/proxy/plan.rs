//! Routes, upstreams and TLS settings in force: built whole, swapped whole.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::route::{Route, RouteTable};
use crate::config::model::Config;
use crate::guard::Inventory;
use crate::tls::{self, Terminator, Tickets};
use crate::upstream::{self, Upstream};

/// What one configuration means for the data path.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    routes: RouteTable,
    upstreams: Vec<Arc<Upstream>>,
    terminator: Terminator,
}

/// Why a configuration gives no plan.
#[derive(Debug)]
pub enum PlanError {
    /// An upstream can't be set up.
    Upstream(upstream::SetupError),
    /// The TLS settings of a host can't be used.
    Tls(tls::SetupError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(cause) => cause.fmt(f),
            Self::Tls(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// The plan for `config`. Upstreams whose settings are those of `before` are taken over with
    /// their connections.
    ///
    /// # Errors
    /// A CA bundle that can't be used.
    pub fn new(
        config: Config,
        before: Option<&Self>,
        inventory: &Inventory,
        tickets: &Tickets,
    ) -> Result<Self, PlanError> {
        let terminator =
            Terminator::new(inventory.clone(), &config.hosts, tickets).map_err(PlanError::Tls)?;
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        for settings in &config.upstreams {
            let kept = before.and_then(|plan| {
                plan.upstreams.iter().find(|upstream| upstream.settings() == settings)
            });
            // A CA bundle is read anew at each reload: its path says nothing of its content.
            upstreams.push(match kept.filter(|_| settings.tls.ca.is_none()) {
                Some(upstream) => Arc::clone(upstream),
                None => Arc::new(Upstream::new(settings.clone()).map_err(PlanError::Upstream)?),
            });
        }
        let route = |settings: &crate::config::model::RouteSettings| {
            let upstream = upstreams.get(settings.upstream)?;
            Some(Arc::new(Route::new(settings.clone(), Arc::clone(upstream))))
        };
        let routes = RouteTable::new(config.routes.iter().filter_map(route).collect());
        Ok(Self { config, routes, upstreams, terminator })
    }

    /// What the operator wants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which requests go where.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// Everyone who may answer.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Who shakes hands.
    pub fn terminator(&self) -> &Terminator {
        &self.terminator
    }

    pub(super) fn knows_endpoint(&self, id: u64) -> bool {
        let endpoints = self.upstreams.iter().flat_map(|upstream| upstream.endpoints());
        endpoints.into_iter().any(|endpoint| endpoint.id() == id)
    }
}

/// One worker's view of the plan in force.
///
/// A request that cloned the shared pointer would make all cores write one counter; a worker
/// clones it once for each plan instead, and its requests count in the worker's own memory.
#[derive(Debug)]
pub struct Plans {
    cache: RefCell<Cache<Arc<ArcSwap<Plan>>, Arc<Plan>>>,
    local: RefCell<Rc<InForce>>,
}

impl Plans {
    /// A view of what `published` holds now and later.
    pub fn of(published: Arc<ArcSwap<Plan>>) -> Self {
        let local = RefCell::new(Rc::new(InForce(published.load_full())));
        Self { cache: RefCell::new(Cache::new(published)), local }
    }

    /// The plan in force.
    pub fn current(&self) -> Rc<InForce> {
        let mut cache = self.cache.borrow_mut();
        let newest = cache.load();
        let mut local = self.local.borrow_mut();
        if !Arc::ptr_eq(newest, &local.0) {
            *local = Rc::new(InForce(Arc::clone(newest)));
        }
        Rc::clone(&local)
    }
}

/// The plan in force when a worker looked: counted in the worker's own memory.
#[derive(Debug)]
pub struct InForce(Arc<Plan>);

impl std::ops::Deref for InForce {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}
