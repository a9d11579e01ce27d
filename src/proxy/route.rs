//! Host and path -> route. Pure.
//!
//! The most specific wins, in this order:
//! 1. an exact host before a wildcard before every host;
//! 2. within a host: an exact path, then the longest prefix by whole segments;
//! 3. a host none of whose paths fits leaves the request to the next, less specific, host.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::model::{PathPattern, RouteSettings};
use crate::host::{HostName, HostPattern};
use crate::upstream::Upstream;

/// Where some requests go.
#[derive(Debug)]
pub struct Route {
    id: u64,
    settings: RouteSettings,
    upstream: Arc<Upstream>,
}

impl Route {
    /// The route that `settings` describe, to the upstream they name.
    pub fn new(settings: RouteSettings, upstream: Arc<Upstream>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), settings, upstream }
    }

    /// A number that no other route of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name in logs and metrics.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Which requests it takes.
    pub fn settings(&self) -> &RouteSettings {
        &self.settings
    }

    /// Who answers.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }
}

/// All routes, ready to be looked up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    exact: HashMap<HostName, Paths>,
    wildcard: HashMap<HostName, Paths>,
    every: Paths,
}

#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, Arc<Route>>,
    /// Without the trailing slash; the root is the empty text.
    prefixes: HashMap<String, Arc<Route>>,
    /// Segments of the longest prefix: what a request has beyond is not looked at, so that a
    /// path of ten thousand slashes costs no more than others.
    segments_max: usize,
}

impl RouteTable {
    /// A table of `routes`. Of two that take the same, the first stays; the configuration has
    /// refused such pairs before.
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let mut table = Self::default();
        for route in &routes {
            if route.settings.hosts.is_empty() {
                table.every.insert(route);
            }
            for host in &route.settings.hosts {
                let paths = match host {
                    HostPattern::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    HostPattern::Wildcard(parent) => {
                        table.wildcard.entry(parent.clone()).or_default()
                    }
                };
                paths.insert(route);
            }
        }
        table.routes = routes;
        table
    }

    /// Every route, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route for `path` at `host`.
    pub fn find(&self, host: &HostName, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(route);
        }
        if !self.wildcard.is_empty()
            && let Some(parent) = host.parent()
            && let Some(route) = self.wildcard.get(parent).and_then(|paths| paths.find(path))
        {
            return Some(route);
        }
        self.every.find(path)
    }

    /// Whether any route names `host`, by itself, by a wildcard or as one of all hosts.
    pub fn knows(&self, host: &HostName) -> bool {
        let by_wildcard = || host.parent().is_some_and(|name| self.wildcard.contains_key(name));
        !self.every.is_empty() || self.exact.contains_key(host) || by_wildcard()
    }
}

impl Paths {
    fn insert(&mut self, route: &Arc<Route>) {
        match &route.settings.path {
            PathPattern::Exact(path) => {
                self.exact.entry(path.clone()).or_insert_with(|| Arc::clone(route));
            }
            PathPattern::Prefix(path) => {
                let prefix = path.trim_end_matches('/');
                self.segments_max = self.segments_max.max(prefix.matches('/').count());
                self.prefixes.entry(prefix.to_owned()).or_insert_with(|| Arc::clone(route));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if !self.exact.is_empty()
            && let Some(route) = self.exact.get(path)
        {
            return Some(route);
        }
        let mut rest = first_segments(path, self.segments_max);
        loop {
            if let Some(route) = self.prefixes.get(rest) {
                return Some(route);
            }
            let (shorter, _) = rest.rsplit_once('/')?;
            rest = shorter;
        }
    }
}

/// The first `count` segments of `path`: `/a/b` of `/a/b/c` for two.
fn first_segments(path: &str, count: usize) -> &str {
    match path.match_indices('/').nth(count) {
        Some((end, _)) if path.starts_with('/') => path.get(..end).unwrap_or(path),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::UpstreamSettings;

    fn table(routes: &[(&str, &[&str], PathPattern)]) -> RouteTable {
        let settings = UpstreamSettings::new("api".to_owned(), Vec::new());
        let upstream = Arc::new(Upstream::new(settings).unwrap());
        let route = |(name, hosts, path): &(&str, &[&str], PathPattern)| {
            let settings = RouteSettings {
                name: (*name).to_owned(),
                hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
                path: path.clone(),
                upstream: 0,
            };
            Arc::new(Route::new(settings, Arc::clone(&upstream)))
        };
        RouteTable::new(routes.iter().map(route).collect())
    }

    fn prefix(path: &str) -> PathPattern {
        PathPattern::Prefix(path.to_owned())
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = table(&[
            ("rest", &[], prefix("/")),
            ("root", &["a.test"], prefix("/")),
            ("api", &["a.test"], prefix("/api/")),
            ("v1", &["a.test"], prefix("/api/v1")),
            ("exact", &["a.test"], PathPattern::Exact("/api/v1".to_owned())),
            ("wild", &["*.test"], prefix("/wild")),
            ("deep", &["b.test"], prefix("/only")),
        ]);
        let cases = [
            ("a.test", "/", "root"),
            ("a.test", "/x", "root"),
            ("a.test", "/api", "api"),
            ("a.test", "/api/", "api"),
            ("a.test", "/apix", "root"),
            ("a.test", "/api/x/y/z", "api"),
            ("a.test", "/api/v1", "exact"),
            ("a.test", "/api/v1/", "v1"),
            ("a.test", "/api/v1/users", "v1"),
            ("a.test", "/api/v10", "api"),
            ("b.test", "/only/this", "deep"),
            ("b.test", "/wild/x", "wild"),
            ("b.test", "/other", "rest"),
            ("c.d.test", "/wild", "rest"),
        ];
        for (host, path, expected) in cases {
            let found = table.find(&HostName::parse(host).unwrap(), path);
            assert_eq!(found.map(|route| route.name()), Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn a_host_without_a_fitting_path_has_no_route() {
        let table = table(&[("api", &["a.test"], prefix("/api"))]);
        let host = HostName::parse("a.test").unwrap();
        assert!(table.find(&host, "/").is_none());
        assert!(table.find(&host, "").is_none());
        assert!(table.find(&host, "*").is_none());
        assert!(table.knows(&host));
        assert!(!table.knows(&HostName::parse("b.test").unwrap()));
    }

    #[test]
    fn a_path_is_cut_after_the_segments_that_count() {
        let cases = [
            ("/a/b/c", 0, ""),
            ("/a/b/c", 1, "/a"),
            ("/a/b/c", 2, "/a/b"),
            ("/a/b/c", 3, "/a/b/c"),
            ("/a/b/c", 9, "/a/b/c"),
            ("/", 0, ""),
            ("", 0, ""),
        ];
        for (path, count, expected) in cases {
            assert_eq!(first_segments(path, count), expected, "{path} {count}");
        }
    }
}
