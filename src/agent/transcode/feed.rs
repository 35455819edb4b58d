//! What FFmpeg is fed with: the pictures of all runs of a camera as one NUT stream. Parameter sets go in band before each
//! key frame, so that another size or another picture profile is just the next picture to the decoder. No IO.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::timeline::{Place, TIMESCALE};
use crate::media::frame::{Codec, Frame, TrackConfiguration};
use crate::media::nut::NutWriter;
use crate::media::visual::{VISUAL_CHILDREN, entry_child};
use crate::media::{h264, h265};

/// Turns pictures into bytes.
#[derive(Debug)]
pub struct Feed {
    codec: Codec,
    writer: NutWriter,
    /// The parameter sets that key frames need now, each behind its length.
    sets: Bytes,
    waiting: Vec<Frame>,
    /// The newest key frame, with its parameter sets.
    key: Option<Frame>,
}

impl Feed {
    /// One that begins with pictures of this configuration.
    pub fn new(video: &TrackConfiguration) -> Self {
        let track = TrackConfiguration { timescale: TIMESCALE, ..video.clone() };
        Self {
            codec: video.codec,
            writer: NutWriter::new(track, None, 0),
            sets: parameter_sets(video),
            waiting: Vec::new(),
            key: None,
        }
    }

    /// The pictures that follow need this configuration. False when its codec is another one: that needs another decoder.
    #[must_use]
    pub fn configure(&mut self, video: &TrackConfiguration) -> bool {
        self.sets = parameter_sets(video);
        video.codec == self.codec
    }

    /// Adds a picture at its place.
    pub fn add(&mut self, frame: &Frame, place: Place) {
        let mut fed = at(frame, place);
        if frame.is_video_key() {
            if !self.sets.is_empty() {
                let mut payload = BytesMut::with_capacity(self.sets.len() + frame.payload.len());
                payload.extend_from_slice(&self.sets);
                payload.extend_from_slice(&frame.payload);
                fed.payload = payload.freeze();
            }
            self.key = Some(fed.clone());
        }
        self.waiting.push(fed);
    }

    /// Adds the newest key frame once more: what comes of it pushes out what stands before it, and is left out.
    pub fn add_again(&mut self, place: Place) {
        self.waiting.extend(self.key.as_ref().map(|key| at(key, place)));
    }

    /// Puts all that was added into `out`.
    pub fn write(&mut self, out: &mut impl Extend<Bytes>) {
        self.writer.write(self.waiting.drain(..), out);
    }
}

fn at(frame: &Frame, place: Place) -> Frame {
    Frame {
        decode_time: place.decode,
        composition_offset: i32::try_from(place.presentation - place.decode).unwrap_or(0),
        duration: u32::try_from(place.duration).unwrap_or(u32::MAX),
        ..frame.clone()
    }
}

/// The parameter sets of a configuration as NAL units behind four-byte lengths; nothing for a codec without any.
fn parameter_sets(video: &TrackConfiguration) -> Bytes {
    let body = |kind| entry_child(&video.sample_entry, VISUAL_CHILDREN, kind);
    let parsed = match video.codec {
        Codec::H264 => body(*b"avcC").and_then(|body| h264::parse_configuration(&body)),
        Codec::H265 => body(*b"hvcC").and_then(|body| h265::parse_configuration(&body)),
        _ => None,
    };
    let mut sets = BytesMut::new();
    for unit in parsed.iter().flat_map(|(_, units)| units) {
        // A set is at most 64 KiB long.
        sets.put_u32(unit.len() as u32);
        sets.extend_from_slice(unit);
    }
    sets.freeze()
}
