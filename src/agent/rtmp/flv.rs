//! Pictures and sound as the messages hold them: H.264 and AAC in the bodies of FLV tags (Adobe Flash Video File Format
//! Specification 10.1, annex E.4). Must not copy payloads.

use bytes::Bytes;

use super::amf::{self, Value};
use crate::media::audio::aac_specific;
use crate::media::frame::{Frame, FrameKind, TrackConfiguration, TrackKind};
use crate::media::visual::{VISUAL_CHILDREN, entry_child};

/// Kinds of messages (RTMP 1.0 §7.1).
pub const AUDIO: u8 = 8;
/// See [`AUDIO`].
pub const VIDEO: u8 = 9;
/// See [`AUDIO`].
pub const DATA: u8 = 18;
/// H.264 as video tags name it, and AAC as sound tags do, at whatever rate.
const H264: u8 = 7;
const AAC: u8 = 0xaf;

/// The body of a message: a head, and a payload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What kind of message it is.
    pub kind: u8,
    /// When it is decoded, in milliseconds.
    pub milliseconds: i64,
    /// What comes first.
    pub head: Vec<u8>,
    /// What follows.
    pub payload: Bytes,
}

/// Milliseconds of a time in ticks, to the nearest.
fn milliseconds(ticks: i64, timescale: u32) -> i64 {
    let scale = i128::from(timescale.max(1));
    ((i128::from(ticks) * 1000 + scale / 2).div_euclid(scale)) as i64
}

/// What is told of a stream before its first frame: what it is, and what decoders of each track need.
pub fn headers(video: &TrackConfiguration, audio: Option<&TrackConfiguration>) -> Vec<Body> {
    let number = |number: u32| Value::Number(number.into());
    let mut facts =
        vec![("width", number(video.width)), ("height", number(video.height)), ("videocodecid", number(H264.into()))];
    if let Some(audio) = audio {
        facts.extend([
            ("audiocodecid", number(10)),
            ("audiosamplerate", number(audio.sample_rate)),
            ("audiochannels", number(audio.channels.into())),
            ("stereo", Value::Boolean(audio.channels == 2)),
        ]);
    }
    facts.push(("encoder", Value::text(concat!("camera-operator ", env!("CARGO_PKG_VERSION")))));
    let facts = Value::Map(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let mut data = Vec::new();
    for value in [Value::text("@setDataFrame"), Value::text("onMetaData"), facts] {
        amf::write(&mut data, &value);
    }
    let at_start = |kind, head, payload| Body { kind, milliseconds: 0, head, payload };
    let mut bodies = vec![at_start(DATA, data, Bytes::new())];
    if let Some(specific) = entry_child(&video.sample_entry, VISUAL_CHILDREN, *b"avcC") {
        bodies.push(at_start(VIDEO, vec![0x10 | H264, 0, 0, 0, 0], specific));
    }
    if let Some(specific) = audio.and_then(aac_specific) {
        bodies.push(at_start(AUDIO, vec![AAC, 0], specific));
    }
    bodies
}

/// A frame. Times of a track count from the start of the stream.
pub fn frame(frame: &Frame, timescale: u32) -> Body {
    let decode = milliseconds(frame.decode_time, timescale);
    let payload = frame.payload.clone();
    match frame.track {
        TrackKind::Video => {
            let shown = milliseconds(frame.presentation_time(), timescale) - decode;
            let [_, high, middle, low] = (shown as i32).to_be_bytes();
            let kind = if frame.kind == FrameKind::Key { 0x10 } else { 0x20 };
            Body { kind: VIDEO, milliseconds: decode, head: vec![kind | H264, 1, high, middle, low], payload }
        }
        TrackKind::Audio => Body { kind: AUDIO, milliseconds: decode, head: vec![AAC, 1], payload },
    }
}
