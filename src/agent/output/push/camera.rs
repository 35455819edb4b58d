//! The camera's frames as a push reads them: over restarts of the camera's unit, and never so that the push could slow anybody.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::hub::{Event, Hub, Pace, Reach, Reader};
use crate::agent::registry::Registry;
use crate::plan::unit::ObjectKey;

/// What is handed over at once: FFmpeg is woken so many times a second, and viewers are later by this at most.
const PAUSE: Duration = Duration::from_millis(100);

/// A place in the camera's hub, whichever that is.
#[derive(Debug)]
pub struct CameraFrames<'a> {
    registry: &'a Registry,
    camera: &'a ObjectKey,
    hub: Option<Arc<Hub>>,
    reader: Option<Reader>,
}

impl<'a> CameraFrames<'a> {
    /// Reads a camera that may not be there yet.
    pub const fn new(registry: &'a Registry, camera: &'a ObjectKey) -> Self {
        Self { registry, camera, hub: None, reader: None }
    }

    /// What has come since the last call, waiting until there is something. Cancel safe.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(events) = reader.next().await {
                    return events;
                }
                self.reader = None;
            }
            let hub = self.registry.hubs.wait_for_other(self.camera, self.hub.as_ref()).await;
            self.reader = Some(Self::subscribe(&hub));
            self.hub = Some(hub);
        }
    }

    /// Begins at the newest key frame again.
    pub fn begin_again(&mut self) {
        if let Some(hub) = self.hub.as_ref().filter(|_| self.reader.is_some()) {
            self.reader = Some(Self::subscribe(hub));
        }
    }

    fn subscribe(hub: &Hub) -> Reader {
        hub.subscribe(Reach::Live).at_pace(Pace::Pauses(PAUSE))
    }
}
