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
            Task::Work(Work::Ingest(ingest)) => source::run(context, ingest).boxed().await,
            Task::Work(Work::Mjpeg(mjpeg)) => {
                let named = name_camera(&context, &mjpeg.camera);
                output::mjpeg::run(context, mjpeg).await;
                drop(named);
            }
            Task::Work(Work::Hls(hls)) => {
                let named = name_camera(&context, &hls.camera);
                let is_light = hls.video.is_none() && hls.audio_bit_rate.is_none() && hls.fallback.is_none();
                run_output(context.registry.clone(), is_light, output::hls::run(context, hls).boxed()).await;
                drop(named);
            }
            Task::Work(Work::Push(push)) => output::push::run(context, push).await,
            Task::Work(Work::Record(record)) => {
                let is_light = record.video.is_none();
                run_output(context.registry.clone(), is_light, output::record::run(context, record).boxed()).await;
            }
        }
    }
    .boxed()
}

/// What only passes on a camera's pictures and sound has little to do with each, and does it where they are read: no other thread
/// has to be woken for it. What encodes, or starts processes, would hold up all cameras there.
async fn run_output(registry: Arc<Registry>, is_light: bool, work: BoxFuture<'static, ()>) {
    if is_light {
        registry.turns.run_beside(work).await;
    } else {
        work.await;
    }
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
