//! The contract between control plane and data plane, and the pure functions on both sides of it: validated objects become
//! plans (one per agent), agents' reports become conditions. No IO, no clock, no client.

pub mod address;
pub mod agents;
pub mod capability;
mod clips;
pub mod defaults;
pub mod index;
mod ingest;
pub mod objects;
mod outputs;
pub mod read;
pub mod report;
pub mod resolve;
pub mod status;
pub mod transcode;
pub mod unit;
mod values;
