//! What an archive knows of its files: the data that the hour playlists hold. Plain data and pure functions; reading and
//! writing the playlists is `archive::playlist`.

use serde::{Deserialize, Serialize};

use crate::media::frame::{RunId, UtcMicros};

/// A recording's folder beneath the archive's root. Both parts are DNS labels, so that no path can leave the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordingPath {
    /// Namespace.
    pub namespace: String,
    /// Name of the `Recording`.
    pub name: String,
}

/// One UTC hour of a recording: `2026-11-21/01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hour {
    /// UTC date.
    pub date: jiff::civil::Date,
    /// 0 to 23.
    pub hour: i8,
}

/// A media file of a recording: `2026-11-21/01/37.mp4`, or `37-2.mp4` for the third file of that minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileName {
    /// Folder.
    pub hour: Hour,
    /// UTC minute of the first frame, 0 to 59.
    pub minute: i8,
    /// 0 for the first file of the minute, then counting up.
    pub counter: u32,
}

/// A stretch of a file that begins at a key frame and can be played by itself after the file's header (its init segment).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// From the start of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// UTC of its first video frame.
    pub start: UtcMicros,
    /// Sum of its video sample durations, microseconds.
    pub duration_micros: i64,
    /// Whether it starts with a random access point.
    pub independent: bool,
}

/// What the index knows of one media file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it is.
    pub name: FileName,
    /// Which run of the source its frames are from. Files are ordered by run, then by `first_sequence`, not by name.
    pub run: RunId,
    /// Sequence of its first frame in the run.
    pub first_sequence: u64,
    /// Sequence of its last frame in the run.
    pub last_sequence: u64,
    /// UTC of its first video frame.
    pub start: UtcMicros,
    /// UTC of the end of its last video frame.
    pub end: UtcMicros,
    /// Video time that it really holds, microseconds: sample durations, each capped (DESIGN: coverage).
    pub covered_micros: i64,
    /// Size of the header (`ftyp` + `moov`) in bytes.
    pub header_bytes: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// RFC 6381 codec strings, comma separated, as in `avc1.640028,mp4a.40.2`.
    pub codecs: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Its playable stretches, about 6 s each.
    pub ranges: Vec<ByteRange>,
    /// Whether it was closed in order; a file that is still written or was recovered from a crash is not.
    pub closed: bool,
    /// Whether its first frame needs the file before it (a file forced to end without a random access point).
    pub dependent: bool,
    /// Why nothing follows it directly: the condition reason of the gap after it (`Stalled`, `Unreachable`, …); `None` while
    /// the next file of the run goes on where it ends, or nothing is known yet.
    pub gap_after: Option<String>,
}

/// A span for which the archive holds no video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First instant not held.
    pub from: UtcMicros,
    /// First instant held again.
    pub to: UtcMicros,
    /// Condition reason.
    pub reason: String,
}

impl FileEntry {
    /// What files are ordered by: run, then sequence. Names and UTC are no order, because clocks jump.
    pub const fn order(&self) -> (RunId, u64) {
        (self.run, self.first_sequence)
    }

    /// Whether `next` goes on exactly where this file ends: same run, same codec parameters, nothing missing between them, so
    /// that a player needs no discontinuity.
    pub fn continues_in(&self, next: &Self) -> bool {
        self.run == next.run && self.gap_after.is_none() && self.first_sequence < next.first_sequence
    }
}

/// Spans between consecutive files (in order) that hold no video. Files of which none is missing in between are expected. A file
/// that overlaps the one before it in UTC (the clock was set back) leaves no gap.
pub fn gaps(files: &[FileEntry]) -> Vec<Gap> {
    let mut found = Vec::new();
    for pair in files.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        if before.continues_in(after) || after.start <= before.end {
            continue;
        }
        // A gap that nobody explained: the program was not running to do so.
        let reason = before.gap_after.clone().unwrap_or_else(|| RECORDER_DOWN.to_owned());
        found.push(Gap { from: before.end, to: after.start, reason });
    }
    found
}

/// Reason of what is missing before a recording's first file: the camera's first picture was waited for.
pub const CONNECTING: &str = "Connecting";

/// Reason of a gap that nobody was there to explain.
pub const RECORDER_DOWN: &str = "RecorderDown";
/// Reason of a gap in which the recorder was too slow.
pub const RECORDER_OVERRUN: &str = "RecorderOverrun";
/// Reason of a gap in which the camera sent no picture although the connection stood.
pub const STALLED: &str = "Stalled";
/// Reason of a cut where the codec parameters changed.
pub const CONFIGURATION_CHANGED: &str = "ConfigurationChanged";
