//! What reads hubs: one file an output. Must not know where frames come from.

pub mod decoder;
pub mod live_mp4;
pub mod mjpeg;
pub mod pictures;
pub mod snapshot;

use std::sync::Arc;

use axum::Router;

use super::registry::Registry;

/// The media of all outputs.
pub fn routes() -> Router<Arc<Registry>> {
    live_mp4::routes().merge(pictures::routes())
}
