//! The camera's frames as an output reads them: over restarts of the camera's unit, and never so that the output could slow
//! anybody. Must not know what is made of them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::agent::hub::{Event, Hub, Pace, Reach, Reader};
use crate::agent::registry::Table;
use crate::media::frame::Configuration;
use crate::plan::unit::ObjectKey;

/// A place in the camera's hub, whichever that is.
#[derive(Debug)]
pub struct CameraFrames<'a> {
    hubs: &'a Table<Hub>,
    camera: &'a ObjectKey,
    pace: Pace,
    hub: Option<Arc<Hub>>,
    reader: Option<Reader>,
}

impl<'a> CameraFrames<'a> {
    /// Reads a camera that may not be there yet, at this pace.
    pub const fn new(hubs: &'a Table<Hub>, camera: &'a ObjectKey, pace: Pace) -> Self {
        Self { hubs, camera, pace, hub: None, reader: None }
    }

    /// What has come since the last call, waiting until there is something; empty when the camera's unit has ended. Another may
    /// follow. Cancel safe.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(events) = reader.next().await {
                    return events;
                }
                self.reader = None;
                return Vec::new();
            }
            let hub = self.hubs.wait_for_other(self.camera, self.hub.as_ref()).await;
            self.reader = Some(subscribe(&hub, self.pace));
            self.hub = Some(hub);
        }
    }

    /// When the camera's newest picture came, as far as is known.
    pub fn newest_video(&self) -> Option<Instant> {
        self.hub.as_ref()?.statistics().newest_video
    }

    /// What the newest frames need that are still held, be they of a camera that is away.
    pub fn newest_configuration(&self) -> Option<Arc<Configuration>> {
        self.hub.as_ref()?.newest_configuration()
    }

    /// Begins at the newest key frame again.
    pub fn begin_again(&mut self) {
        if let Some(hub) = self.hub.as_ref().filter(|_| self.reader.is_some()) {
            self.reader = Some(subscribe(hub, self.pace));
        }
    }
}

fn subscribe(hub: &Hub, pace: Pace) -> Reader {
    hub.subscribe(Reach::Live).at_pace(pace)
}
