//! A bound address: accept, shake hands, serve, drain.

mod accept;
mod bind;
mod connection;
mod stream;

pub use accept::Acceptor;
pub use bind::{BindError, bind};
