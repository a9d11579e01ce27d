//! What the operator wants.

pub mod model;
