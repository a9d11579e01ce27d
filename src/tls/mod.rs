//! The handshake.

pub mod probe;
