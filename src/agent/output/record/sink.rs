//! What the frames of a recording go into: files around the clock, or one clip; the same few verbs for both. Must not know of
//! hubs.

use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::agent::recognition::{Picture, hash};
use crate::archive::cut::Input;
use crate::archive::{ArchiveError, ClipWriter, Writer};
use crate::media::frame::{RunId, UtcMicros};
use crate::plan::report::Reason;

/// What frames go into.
#[derive(Debug)]
pub(super) enum Sink {
    Continuous(Writer),
    Clip(ClipWriter),
}

impl Sink {
    pub(super) fn resume_point(&self) -> Option<(RunId, u64)> {
        match self {
            Self::Continuous(writer) => writer.resume_point(),
            Self::Clip(writer) => writer.resume_point(),
        }
    }

    /// UTC up to which there was video before; a clip leaves out by itself what lies before its newest picture.
    pub(super) fn recorded_to(&self) -> Option<UtcMicros> {
        match self {
            Self::Continuous(writer) => writer.recorded_to(),
            Self::Clip(_) => None,
        }
    }

    /// The last pictures that were recorded before, the newest last; none where they cannot be read.
    pub(super) async fn newest_pictures(self) -> (Option<Self>, Vec<Picture>) {
        let Self::Continuous(writer) = self else { return (Some(self), Vec::new()) };
        let read = spawn_blocking(move || {
            let mut pictures = Vec::new();
            let utc = writer.recorded_to().unwrap_or_default();
            let known = writer.newest_pictures(|payload, key| pictures.push(Picture { hash: hash(payload), key, utc }));
            if let Err(error) = known {
                tracing::warn!(%error, "what was recorded last cannot be recognised");
                pictures.clear();
            }
            (Self::Continuous(writer), pictures)
        });
        read.await.map_or((None, Vec::new()), |(sink, pictures)| (Some(sink), pictures))
    }

    pub(super) fn push(&mut self, input: Input) {
        match self {
            Self::Continuous(writer) => writer.push(input),
            Self::Clip(writer) => writer.push(input),
        }
    }

    pub(super) fn tick(&mut self) {
        match self {
            Self::Continuous(writer) => writer.tick(),
            Self::Clip(writer) => writer.tick(),
        }
    }

    /// Writes what is due, on a blocking thread. The sink comes back unless it panicked there.
    pub(super) async fn flush(self) -> (Option<Self>, Result<(), ArchiveError>) {
        let written = spawn_blocking(move || {
            let mut sink = self;
            let result = match &mut sink {
                Self::Continuous(writer) => writer.flush(),
                Self::Clip(writer) => writer.flush(),
            };
            (sink, result)
        });
        match written.await {
            Ok((sink, result)) => (Some(sink), result),
            Err(error) => {
                let source = std::io::Error::other(error);
                (None, Err(ArchiveError::Io { what: "write the recording".into(), source }))
            }
        }
    }

    /// Whether anything can be written now.
    pub(super) fn is_due(&self) -> bool {
        match self {
            Self::Continuous(writer) => writer.is_due(),
            Self::Clip(writer) => writer.is_due(),
        }
    }

    /// Whether all that was taken is written.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Continuous(writer) => writer.is_idle(),
            Self::Clip(writer) => writer.is_idle(),
        }
    }

    /// How much this sink has put on the disk, as coverage counts it; `None` for a clip, whose coverage is told at its end.
    pub(super) fn covered(&self) -> Option<Duration> {
        match self {
            Self::Continuous(writer) => Some(Duration::from_micros(writer.covered_micros().max(0).cast_unsigned())),
            Self::Clip(_) => None,
        }
    }

    /// No more will come to this writer.
    pub(super) fn leave(&mut self, reason: Reason) {
        match self {
            Self::Continuous(writer) => writer.finish(&reason.name()),
            Self::Clip(writer) => writer.pause(&reason.name()),
        }
    }

    /// Whether a clip has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self, Self::Clip(writer) if writer.is_finished())
    }

    /// When a clip ends even if no frame comes.
    pub(super) fn remaining(&self) -> Option<Duration> {
        match self {
            Self::Continuous(_) => None,
            Self::Clip(writer) => writer.remaining(),
        }
    }
}
