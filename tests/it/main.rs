//! What Evergate promises, tried from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod harness;

mod accept;
mod admin;
mod catalogue;
mod cli;
mod client_alerts;
mod config_errors;
mod drain;
mod faults;
mod framing;
mod handshake;
mod headers;
mod malformed;
mod memory;
mod reload;
mod routing;
mod streaming;
mod upgrade;
mod upstreams;
mod peers;
