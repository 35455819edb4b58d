//! What leaves an agent: HLS, Motion JPEG, pictures, and fragmented MP4 for recorders elsewhere. Every output reads a hub and
//! can slow neither the camera nor another output. Must not know where frames come from.

pub mod camera;
pub mod decoder;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hls;
pub mod live_mp4;
pub mod material;
pub mod mjpeg;
pub mod pictures;
pub mod push;
pub mod record;
pub mod slate;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use tower_http::cors::{Any, CorsLayer};

use super::registry::Registry;
use super::unit::Board;

/// The media that people and players fetch: `/live/{ns}/{stream}/…`. A page of any origin may read it.
pub fn routes() -> Router<Arc<Registry>> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(Any)
        .expose_headers(Any);
    hls::routes::routes().merge(pictures::routes()).layer(cors)
}

/// What other agents and the operator fetch: `/v1/cameras/{ns}/{name}/live.mp4`, `…/last-picture.jpg`.
pub fn sidecar_routes(registry: &Arc<Registry>, board: &Arc<Board>) -> Router {
    live_mp4::routes(registry, board).merge(pictures::sidecar_routes().with_state(registry.clone()))
}
