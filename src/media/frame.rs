//! The unit that everything in the data path passes on: one access unit of one track, and the configuration
//! (codec parameters) it belongs to. Must not know where frames come from or where they go.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// UTC in microseconds since the Unix epoch, as the host's clock tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct UtcMicros(pub i64);

impl UtcMicros {
    /// As a [`jiff::Timestamp`]; instants outside jiff's range (years −9999 to 9999) are clamped to the epoch.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Now, by the host's clock.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        Self(timestamp.as_microsecond())
    }

    /// This instant moved by `micros` microseconds.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for UtcMicros {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}", self.timestamp())
    }
}

/// Names one unbroken life of a source: the UTC milliseconds at which it began, made strictly greater than any earlier
/// run of the same camera, so that runs sort by time even when the clock steps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Which track a frame belongs to. A camera has one video track and at most one audio track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// A codec that a frame can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// ITU-T H.264, length-prefixed NAL units (ISO/IEC 14496-15), parameter sets out of band.
    H264,
    /// ITU-T H.265, length-prefixed NAL units (ISO/IEC 14496-15), always written as `hvc1`.
    H265,
    /// Motion JPEG: every frame is one JPEG image.
    #[serde(rename = "MJPEG")]
    Mjpeg,
    /// AAC, raw access units (ISO/IEC 14496-3), no ADTS header.
    #[serde(rename = "AAC")]
    Aac,
    /// Opus packets (RFC 6716).
    Opus,
}

impl Codec {
    /// The name that users see, as the manifests spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Mjpeg => "MJPEG",
            Self::Aac => "AAC",
            Self::Opus => "Opus",
        }
    }
}

/// The codec parameters of one track: all that a player needs before the first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackConfiguration {
    /// What the frames carry.
    pub codec: Codec,
    /// Ticks a second of this track's times (90 000 for most video, the sample rate for audio).
    pub timescale: u32,
    /// The whole sample entry box (`avc1`, `hvc1`, `mp4v`, `mp4a`, `Opus`) with its configuration box, ready to stand in an
    /// `stsd` (ISO/IEC 14496-12 §8.5.2). A writer copies it and need not understand it.
    pub sample_entry: Bytes,
    /// RFC 6381 codec string, such as `avc1.640028` or `mp4a.40.2`; empty where there is none (MJPEG).
    pub codec_string: String,
    /// Pictures: coded width in pixels, else 0.
    pub width: u32,
    /// Pictures: coded height in pixels, else 0.
    pub height: u32,
    /// Sound: samples a second, else 0.
    pub sample_rate: u32,
    /// Sound: channels, else 0.
    pub channels: u16,
}

#[cfg(test)]
impl TrackConfiguration {
    /// What a file's header can say by its sample entry alone.
    pub fn of_entry(codec: Codec, timescale: u32, sample_entry: Bytes) -> Arc<Self> {
        let codec_string = String::new();
        Arc::new(Self {
            codec,
            timescale,
            sample_entry,
            codec_string,
            width: 0,
            height: 0,
            sample_rate: 0,
            channels: 0,
        })
    }
}

/// The configuration of all tracks of a run from some frame on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Counts from 0 within a run; a change of any codec parameter makes the next one.
    pub generation: u32,
    /// The pictures. There is always a video track.
    pub video: Arc<TrackConfiguration>,
    /// The sound, when the camera sends some.
    pub audio: Option<Arc<TrackConfiguration>>,
}

impl Configuration {
    /// The configuration of one track.
    pub fn track(&self, kind: TrackKind) -> Option<&Arc<TrackConfiguration>> {
        match kind {
            TrackKind::Video => Some(&self.video),
            TrackKind::Audio => self.audio.as_ref(),
        }
    }
}

/// How a decoder can start at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A random access point: IDR, CRA, a recovery point, any JPEG, any audio frame.
    Key,
    /// Needs earlier frames.
    Delta,
}

/// One access unit of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The life of the source that it belongs to.
    pub run: RunId,
    /// Counts all frames of a run, over both tracks, from 0, without holes, in the order they were published.
    pub sequence: u64,
    /// Which track.
    pub track: TrackKind,
    /// Decode time in ticks of the track's timescale; both tracks of a run share time zero. Never negative: a driver shifts
    /// both tracks of a run by the same whole second, so that reordered pictures have room below their presentation time.
    pub decode_time: i64,
    /// Presentation time minus decode time, in ticks.
    pub composition_offset: i32,
    /// Ticks to the next frame of the track, as far as it is known; a driver fills in the usual distance for the newest.
    pub duration: u32,
    /// Whether a decoder can start here.
    pub kind: FrameKind,
    /// Index of the [`Configuration`] it needs.
    pub generation: u32,
    /// When it was captured (decode time mapped to the host's UTC).
    pub utc: UtcMicros,
    /// The coded picture or sound, as the codec's MP4 mapping stores it.
    pub payload: Bytes,
}

impl Frame {
    /// Whether decoding of pictures can start here.
    pub fn is_video_key(&self) -> bool {
        self.track == TrackKind::Video && self.kind == FrameKind::Key
    }

    /// Presentation time in ticks.
    pub const fn presentation_time(&self) -> i64 {
        self.decode_time + self.composition_offset as i64
    }
}
