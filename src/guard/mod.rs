//! The certificate guard.

mod finding;
mod inventory;
mod report;

pub use finding::{Finding, Severity};
pub use inventory::{Inventory, Served, Snapshot};
pub use report::{CertificateReport, HostReport, Level, Report, State};
