//! The ingest unit: keeps the one connection to a camera, turns what comes into frames and publishes them in the camera's
//! hub; notices when nothing comes and connects again. Must not know who reads the hub.

use crate::agent::unit::UnitContext;
use crate::plan::unit::Ingest;

/// Runs the unit until `context.cancel` is cancelled or its attempts are used up. The hub is in `context.registry.hubs` under
/// the camera's key from the beginning and is closed and taken out at the end.
pub async fn run(context: UnitContext, ingest: Ingest) {
    let _ = ingest;
    context.cancel.cancelled().await;
}
