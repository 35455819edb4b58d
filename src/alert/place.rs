//! Where alerts are put to work: what the desk needs of `run`, or of a cluster. Must not decide anything.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::conditions::Observed;
use super::engine::State;
use super::message::Picture;
use crate::api::AlertRoute;
use crate::api::alert_route::AlertRouteStatus;
use crate::plan::unit::ObjectKey;

/// Everything at one instant.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The routes.
    pub routes: Vec<Arc<AlertRoute>>,
    /// What stands.
    pub observed: Observed,
}

/// Where it is put to work.
pub trait Place: Send + Sync + 'static {
    /// What is so at `now`; `None` until that can be said.
    fn look(&self, now: Timestamp) -> Option<Look>;

    /// One route.
    fn route(&self, route: &ObjectKey) -> Option<Arc<AlertRoute>>;

    /// What was remembered for a route.
    fn load<'a>(&'a self, route: &'a AlertRoute) -> BoxFuture<'a, Result<Option<State>, String>>;

    /// Remembers a state over restarts.
    fn save<'a>(&'a self, route: &'a AlertRoute, state: &'a State) -> BoxFuture<'a, Result<(), String>>;

    /// Forgets what was remembered for a route that is gone.
    fn forget(&self, route: &ObjectKey);

    /// What a Secret holds under a key.
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, String>>;

    /// The latest picture of a camera, however old.
    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Option<Picture>>;

    /// Puts a status that is another than before into place.
    fn show<'a>(&'a self, route: &'a AlertRoute, status: &'a AlertRouteStatus) -> BoxFuture<'a, Result<(), String>>;

    /// Whether routes of a namespace may see all.
    fn may_see_all(&self, namespace: &str) -> bool;

    /// Where the page is, when a route does not say.
    fn page(&self) -> Option<String>;
}
