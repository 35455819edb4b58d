//! What goes into the cutter and what comes out of it. Plain data.

use std::sync::Arc;

use crate::media::frame::{Configuration, Frame, RunId, UtcMicros};

/// What is to be recorded, in order.
#[derive(Debug, Clone)]
pub enum Input {
    /// The frames that follow belong to this run and need this configuration.
    Configuration {
        /// The run.
        run: RunId,
        /// Codec parameters of both tracks.
        configuration: Arc<Configuration>,
    },
    /// A frame.
    Frame(Arc<Frame>),
    /// No more frames of this run will come.
    Ended {
        /// Condition reason.
        reason: String,
    },
    /// Frames are missing here that the camera sent.
    Lost {
        /// Condition reason.
        reason: String,
    },
}

/// How files are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Length of a file, microseconds; `None`: never cut by time (a clip).
    pub segment_micros: Option<i64>,
    /// Whether sound is recorded.
    pub audio: bool,
}

/// A frame with the time until the next one of its track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The frame.
    pub frame: Arc<Frame>,
    /// Ticks of the track.
    pub duration: u32,
}

impl std::borrow::Borrow<Frame> for Sample {
    fn borrow(&self) -> &Frame {
        &self.frame
    }
}

/// Frames that are written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which they were published.
    pub samples: Vec<Sample>,
    /// Everything that the index must know of them.
    pub facts: BatchFacts,
}

/// What the index knows of frames that are written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchFacts {
    /// Sequence of the first frame.
    pub first_sequence: u64,
    /// All frames of the file up to this sequence have been written.
    pub through: u64,
    /// Whether the first video frame is a random access point.
    pub independent: bool,
    /// Of the video in it; `None` when it holds only sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoSpan>,
}

/// Video time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoSpan {
    /// UTC of the first frame.
    pub utc: UtcMicros,
    /// UTC of the end of the last.
    pub end_utc: UtcMicros,
    /// Decode time of the first frame, microseconds of media time.
    pub from: i64,
    /// Decode time of the end of the last frame, microseconds of media time.
    pub to: i64,
}

/// Where a picture ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoEnd {
    /// Media time, microseconds.
    pub to: i64,
    /// UTC.
    pub end_utc: UtcMicros,
}

/// What to do with the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin a file; its first batch follows.
    Open {
        /// Run of all its frames.
        run: RunId,
        /// Codec parameters, without sound when none is recorded.
        configuration: Arc<Configuration>,
        /// UTC of its first video frame.
        start: UtcMicros,
        /// Sequence of its first frame.
        first_sequence: u64,
        /// Whether its first frame needs the file before it.
        dependent: bool,
        /// Whether it goes on exactly where the file ends that [`super::Cutter::resume_after`] told of.
        resumes: bool,
    },
    /// Write frames into the open file.
    Write(Batch),
    /// Close the open file.
    Close {
        /// Why nothing follows it directly; `None` when the next file goes on where it ends.
        gap: Option<String>,
        /// Where its last picture really ends, when the next one has told.
        until: Option<VideoEnd>,
    },
    /// The gap after the file that was closed last has this reason.
    Gap {
        /// Condition reason.
        reason: String,
    },
}
