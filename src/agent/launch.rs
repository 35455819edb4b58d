//! Which function runs which work. The only place that names every source and output.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::registry::Registry;
use super::supervisor::Task;
use super::unit::UnitContext;
use super::{output, retention, source};
use crate::plan::unit::{ObjectKey, Work};

/// Starts what a task asks for.
pub fn launch(context: UnitContext, task: Task) -> BoxFuture<'static, ()> {
    async move {
        match task {
            Task::Archive(plan) => retention::run_archive(context, plan).await,
            Task::Work(Work::Ingest(ingest)) => source::run(context, ingest).await,
            Task::Work(Work::Mjpeg(mjpeg)) => {
                let named = name_camera(&context, &mjpeg.camera);
                output::mjpeg::run(context, mjpeg).await;
                drop(named);
            }
            Task::Work(Work::Hls(hls)) => {
                let named = name_camera(&context, &hls.camera);
                output::hls::run(context, hls).await;
                drop(named);
            }
            Task::Work(Work::Push(push)) => output::push::run(context, push).await,
            Task::Work(Work::Record(record)) => output::record::run(context, record).await,
        }
    }
    .boxed()
}

/// Tells which camera a stream shows, as long as the value is held.
fn name_camera(context: &UnitContext, camera: &ObjectKey) -> impl Drop + use<> {
    let (registry, stream, camera) = (context.registry.clone(), context.object.key.clone(), Arc::new(camera.clone()));
    registry.stream_cameras.insert(stream.clone(), camera.clone());
    Named { registry, stream, camera }
}

struct Named {
    registry: Arc<Registry>,
    stream: ObjectKey,
    camera: Arc<ObjectKey>,
}

impl Drop for Named {
    fn drop(&mut self) {
        self.registry.stream_cameras.remove(&self.stream, &self.camera);
    }
}
