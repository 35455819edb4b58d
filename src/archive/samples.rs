//! Frames for this module's tests: pictures and sounds whose content tells them apart.

use std::sync::Arc;

use bytes::Bytes;

use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};

/// Sample entry of a track that any demuxer lists, although nothing decodes it: Motion JPEG as `mp4v` needs an `esds`, so
/// `jpeg` of QuickTime is taken.
fn picture_entry(width: u16) -> Bytes {
    let mut body = vec![0; 6];
    body.extend_from_slice(&[0, 1]);
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&width.to_be_bytes());
    body.extend_from_slice(&480_u16.to_be_bytes());
    body.extend_from_slice(&[0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
    body.extend_from_slice(&[0; 32]);
    body.extend_from_slice(&[0, 0x18, 0xff, 0xff]);
    boxed(*b"jpeg", &body)
}

/// 16-bit PCM at 48 kHz.
fn sound_entry() -> Bytes {
    let mut body = vec![0; 6];
    body.extend_from_slice(&[0, 1]);
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&[0, 1, 0, 16, 0, 0, 0, 0]);
    body.extend_from_slice(&(48_000_u32 << 16).to_be_bytes());
    boxed(*b"sowt", &body)
}

fn boxed(kind: [u8; 4], body: &[u8]) -> Bytes {
    let mut bytes = u32::try_from(body.len() + 8).expect("small").to_be_bytes().to_vec();
    bytes.extend_from_slice(&kind);
    bytes.extend_from_slice(body);
    bytes.into()
}

/// A camera of this width at 1000 ticks a second, with sound if asked for.
pub fn configuration(width: u16, audio: bool) -> Arc<Configuration> {
    let video = TrackConfiguration {
        codec: Codec::Mjpeg,
        timescale: 1000,
        sample_entry: picture_entry(width),
        codec_string: "jpeg".into(),
        width: width.into(),
        height: 480,
        sample_rate: 0,
        channels: 0,
    };
    let sound = TrackConfiguration {
        codec: Codec::Aac,
        timescale: 48_000,
        sample_entry: sound_entry(),
        codec_string: "mp4a.40.2".into(),
        width: 0,
        height: 0,
        sample_rate: 48_000,
        channels: 1,
    };
    Arc::new(Configuration { generation: 0, video: Arc::new(video), audio: audio.then(|| Arc::new(sound)) })
}

/// A picture at so many milliseconds of UTC (and of media time), usually 100 ms from the next.
pub fn picture(run: u64, sequence: i64, millis: i64, key: bool) -> Arc<Frame> {
    picture_at(run, sequence, millis, UtcMicros(millis * 1000), key)
}

/// A picture whose media time is not its UTC.
pub fn picture_at(run: u64, sequence: i64, decode_millis: i64, utc: UtcMicros, key: bool) -> Arc<Frame> {
    Arc::new(Frame {
        run: RunId(run),
        sequence: sequence.unsigned_abs(),
        track: TrackKind::Video,
        decode_time: decode_millis,
        composition_offset: 0,
        duration: 100,
        kind: if key { FrameKind::Key } else { FrameKind::Delta },
        generation: 0,
        utc,
        payload: Bytes::from(format!(
            "picture {run}/{sequence} {}",
            "x".repeat((sequence % 7).unsigned_abs() as usize)
        )),
    })
}

/// 20 ms of sound at so many milliseconds of UTC (and of media time).
pub fn sound(run: u64, sequence: i64, millis: i64) -> Arc<Frame> {
    Arc::new(Frame {
        run: RunId(run),
        sequence: sequence.unsigned_abs(),
        track: TrackKind::Audio,
        decode_time: millis * 48,
        composition_offset: 0,
        duration: 960,
        kind: FrameKind::Key,
        generation: 0,
        utc: UtcMicros(millis * 1000),
        payload: Bytes::from(vec![sequence.unsigned_abs() as u8; 1920]),
    })
}

/// A folder in memory where there is one: these tests sync a lot.
pub fn temporary_folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.or_else(|_| tempfile::tempdir()).expect("folder")
}
