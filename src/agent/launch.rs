//! Which function runs which work. The only place that names every source and output.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::retention;
use super::supervisor::Task;
use super::unit::UnitContext;

/// Starts what a task asks for.
pub fn launch(context: UnitContext, task: Task) -> BoxFuture<'static, ()> {
    async move {
        match task {
            Task::Archive(plan) => retention::run_archive(context, plan).await,
            Task::Work(_) => context.cancel.cancelled().await,
        }
    }
    .boxed()
}
