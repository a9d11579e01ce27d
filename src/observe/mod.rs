//! What happened, told to people and machines.

pub mod event;
pub mod metrics;
pub mod traffic;
