//! Evergate is a front door: a TLS-terminating reverse proxy with a certificate guard built in.
//!
//! # Two journeys
//!
//! **A certificate file appears.** [`changes`] wakes the guard, [`guard`] loads what is on disk,
//! inspects it, judges it against what is served, and publishes a whole new snapshot; the next
//! handshake in [`tls`] reads that snapshot and nothing else. [`observe`] tells people.
//!
//! **A request arrives.** [`listener`] accepts, [`tls`] shakes hands, [`proxy`] finds the route,
//! rewrites the headers and asks [`upstream`] for a connection, then streams both ways.
//!
//! # Layout
//!
//! The order of the `pub mod` lines is the import law: a module uses only modules below it.
//! `tests/tidy.rs` keeps it. `docs/architecture.md` has the longer story.

pub mod cli;
pub mod gate;
pub mod admin;
pub mod listener;
pub mod proxy;
pub mod upstream;
pub mod tls;
pub mod guard;
pub mod observe;
pub mod config;
pub mod changes;
pub mod tasks;
pub mod disk;
pub mod host;
pub mod crypto;
pub mod clock;
