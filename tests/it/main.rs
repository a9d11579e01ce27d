//! What Evergate promises, tried from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod harness;

mod catalogue;
mod config_errors;
mod drain;
mod faults;
mod framing;
mod handshake;
mod headers;
mod malformed;
mod reload;
mod routing;
mod streaming;
mod upgrade;
mod upstreams;
