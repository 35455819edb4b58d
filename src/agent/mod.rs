//! The data plane: runs a plan (source driver → hub → outputs), applies a changed plan by difference, and reports. Must hold
//! no Kubernetes client: it learns what to do from a plan and tells how it goes in a report.

pub mod access;
pub mod difference;
pub mod hub;
pub mod launch;
pub mod metrics;
pub mod numbering;
pub mod output;
pub mod pod;
pub mod probes;
pub mod problem;
pub mod recognition;
pub mod recordings;
pub mod registry;
pub mod retention;
pub mod retention_tally;
pub mod rtmp;
pub mod sidecar;
pub mod sound;
pub mod source;
pub mod supervisor;
pub mod transcode;
pub mod unit;
