//! Writes frames as a NUT stream (version 4, the variant for pipes), the format in which FFmpeg is fed: times of any scale, any
//! codec, a head of some bytes in front of each payload, and nothing that a reader would have to remember. (FFmpeg keeps an entry
//! for every sample of a fragmented MP4 that it reads: hundreds of megabytes a day.) Must not copy payloads, must not do IO.
//!
//! Presentation times only: a reader makes the decode times of reordered pictures from how deep they are reordered.
//!
//! Source: the NUT Open Container Format (`nut.txt`), with main flags as FFmpeg reads and writes them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::audio::aac_specific;
use super::frame::{Codec, Frame, FrameKind, TrackConfiguration, TrackKind};
use super::visual::{AUDIO_CHILDREN, VISUAL_CHILDREN, entry_child};
use super::{h264, h265};

const FILE_ID: &[u8] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4E4D_7A56_1F5F_04AD;
const STREAM: u64 = 0x4E53_1140_5BF2_F9DB;
const SYNCPOINT: u64 = 0x4E4B_E4AD_EECA_4569;
/// The version with main flags.
const VERSION: u64 = 4;
/// Main flag: no syncpoint is needed after the first, for a pipe loses nothing.
const PIPE: u64 = 2;
/// Where headers end that carry a checksum of their own.
const LONG_HEADER: u64 = 4096;
/// What a reader allows between two syncpoints, and does not look at in a pipe.
const MAX_DISTANCE: u64 = 65_536;

/// Frame flags.
const KEY: u64 = 1;
const CODED_PTS: u64 = 8;
const STREAM_ID: u64 = 16;
const SIZE_MSB: u64 = 32;
const CHECKSUM: u64 = 64;
const CODED: u64 = 4096;
const INVALID: u64 = 8192;
/// The frame code that is used for all frames; all others are invalid.
const CODE: u8 = 1;
/// What it means: stream, time and size are told, and which flags differ.
const USUAL: u64 = CODED | STREAM_ID | CODED_PTS | SIZE_MSB | CHECKSUM;

/// How deep pictures may be reordered where their parameter sets do not say: deeper than cameras do it. Too deep does no harm, and too
/// little has FFmpeg move pictures.
const USUAL_DEPTH: u32 = 2;

/// How many pictures at most wait for others that are shown before them, by the parameter sets of a track.
pub fn depth(video: &TrackConfiguration) -> u32 {
    let body = |kind| entry_child(&video.sample_entry, VISUAL_CHILDREN, kind);
    let depths: Vec<Option<u32>> = match video.codec {
        Codec::H264 => {
            let sets = body(*b"avcC").and_then(|body| h264::parse_configuration(&body));
            let units = sets.map(|(_, units)| units).unwrap_or_default();
            units.iter().filter_map(|unit| h264::parse_sequence_parameters(unit)).map(|set| set.reorder).collect()
        }
        Codec::H265 => {
            let sets = body(*b"hvcC").and_then(|body| h265::parse_configuration(&body));
            let units = sets.map(|(_, units)| units).unwrap_or_default();
            units.iter().filter_map(|unit| h265::parse_sequence_parameters(unit)).map(|set| set.reorder).collect()
        }
        Codec::Mjpeg | Codec::Aac | Codec::Opus => vec![Some(0)],
    };
    depths.into_iter().map(|depth| depth.unwrap_or(USUAL_DEPTH)).max().unwrap_or(USUAL_DEPTH)
}

/// Writes one stream. The frames' times, in ticks of the scales that the tracks have here, must not be negative.
#[derive(Debug)]
pub struct NutWriter {
    video: TrackConfiguration,
    audio: Option<TrackConfiguration>,
    depth: u32,
    has_begun: bool,
}

impl NutWriter {
    /// A stream of pictures, and of sound if there is some. `depth`: how deep pictures are reordered, for a reader that needs their
    /// decode times ([`depth`]); one that decodes finds out, and holds so many back while it is told.
    pub const fn new(video: TrackConfiguration, audio: Option<TrackConfiguration>, depth: u32) -> Self {
        Self { video, audio, depth, has_begun: false }
    }

    /// Puts frames into `out`, each as its head and its payload; in front of the first frames the head of the stream.
    pub fn write(&mut self, frames: impl IntoIterator<Item = Frame>, out: &mut impl Extend<Bytes>) {
        for frame in frames {
            if !std::mem::replace(&mut self.has_begun, true) {
                out.extend([self.header()]);
            }
            out.extend([frame_header(&frame), frame.payload]);
        }
    }

    fn header(&self) -> Bytes {
        let tracks: Vec<&TrackConfiguration> = std::iter::once(&self.video).chain(&self.audio).collect();
        let mut out = FILE_ID.to_vec();
        write_packet(&mut out, MAIN, |out| write_main(out, &tracks));
        for (number, track) in tracks.iter().enumerate() {
            let reordered = if number == 0 { self.depth.into() } else { 0 };
            write_packet(&mut out, STREAM, |out| write_stream(out, number as u64, track, reordered));
        }
        write_packet(&mut out, SYNCPOINT, |out| {
            // Time zero, and no earlier syncpoint.
            put_number(out, 0);
            put_number(out, 0);
        });
        out.into()
    }
}

fn write_main(out: &mut Vec<u8>, tracks: &[&TrackConfiguration]) {
    put_number(out, VERSION);
    // Minor version.
    put_number(out, 0);
    put_number(out, tracks.len() as u64);
    put_number(out, MAX_DISTANCE);
    put_number(out, tracks.len() as u64);
    for track in tracks {
        put_number(out, 1);
        put_number(out, track.timescale.max(1).into());
    }
    // Codes 0, 1 and the rest; N, which startcodes begin with, counts as none.
    for (flags, count) in [(INVALID, 1), (USUAL, 1), (INVALID, 253)] {
        put_number(out, flags);
        // Fields: time, size's factor, stream, size, reserved, count.
        put_number(out, 6);
        for field in [0, 1, 0, 0, 0, count] {
            put_number(out, field);
        }
    }
    // No elided headers.
    put_number(out, 0);
    put_number(out, PIPE);
}

fn write_stream(out: &mut Vec<u8>, number: u64, configuration: &TrackConfiguration, reordered: u64) {
    let is_video = matches!(configuration.codec, Codec::H264 | Codec::H265 | Codec::Mjpeg);
    let specific = specific(configuration);
    put_number(out, number);
    put_number(out, u64::from(!is_video));
    // As `AVI` and `WAV` name them.
    let tag: &[u8] = match configuration.codec {
        Codec::H264 => b"H264",
        Codec::H265 => b"HEVC",
        Codec::Mjpeg => b"MJPG",
        Codec::Aac => &[0xff, 0],
        Codec::Opus => b"Opus",
    };
    put_bytes(out, tag);
    // Its time base has the same number.
    put_number(out, number);
    // Bits of a short time, of which none are used.
    put_number(out, 0);
    put_number(out, u64::from(u32::MAX));
    put_number(out, reordered);
    // Flags.
    put_number(out, 0);
    put_bytes(out, &specific);
    if is_video {
        put_number(out, configuration.width.max(1).into());
        put_number(out, configuration.height.max(1).into());
        // Shape of a pixel: the codec tells. Kind of colours: unknown.
        (0..3).for_each(|_| put_number(out, 0));
    } else {
        put_number(out, configuration.sample_rate.max(1).into());
        put_number(out, 1);
        put_number(out, configuration.channels.max(1).into());
    }
}

/// What a decoder needs to know before the first frame.
fn specific(configuration: &TrackConfiguration) -> Bytes {
    let child = |from, kind| entry_child(&configuration.sample_entry, from, kind).unwrap_or_default();
    match configuration.codec {
        Codec::H264 => child(VISUAL_CHILDREN, *b"avcC"),
        Codec::H265 => child(VISUAL_CHILDREN, *b"hvcC"),
        Codec::Mjpeg => Bytes::new(),
        Codec::Aac => aac_specific(configuration).unwrap_or_default(),
        Codec::Opus => opus_head(&child(AUDIO_CHILDREN, *b"dOps")),
    }
}

/// The identification header (RFC 7845 §5.1) of what stands in a `dOps` box, which tells the same, in the other order of bytes.
fn opus_head(box_body: &[u8]) -> Bytes {
    let Some(([_, channels, s0, s1, r0, r1, r2, r3, g0, g1], rest)) = box_body.split_first_chunk::<10>() else {
        return Bytes::new();
    };
    let mut head = BytesMut::from(&b"OpusHead"[..]);
    head.extend_from_slice(&[1, *channels, *s1, *s0, *r3, *r2, *r1, *r0, *g1, *g0]);
    head.extend_from_slice(rest);
    head.freeze()
}

/// What comes in front of a frame's payload.
fn frame_header(frame: &Frame) -> Bytes {
    let mut out = Vec::with_capacity(32);
    out.push(CODE);
    put_number(&mut out, if frame.kind == FrameKind::Key { KEY } else { 0 });
    put_number(&mut out, u64::from(frame.track == TrackKind::Audio));
    // One more, because short times have no bits.
    put_number(&mut out, u64::try_from(frame.presentation_time()).unwrap_or(0) + 1);
    put_number(&mut out, frame.payload.len() as u64);
    let checksum = checksum(&out);
    out.put_u32(checksum);
    out.into()
}

/// Appends a packet: its startcode, its size, its body and the checksum.
fn write_packet(out: &mut Vec<u8>, startcode: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let mut packet = Vec::new();
    body(&mut packet);
    let start = out.len();
    out.put_u64(startcode);
    let size = packet.len() as u64 + 4;
    put_number(out, size);
    if size > LONG_HEADER {
        let sum = checksum(&out[start..]);
        out.put_u32(sum);
    }
    let sum = checksum(&packet);
    out.extend_from_slice(&packet);
    out.put_u32(sum);
}

/// A number of variable length: seven bits a byte, the highest first; all but the last have the eighth bit set.
fn put_number(out: &mut Vec<u8>, number: u64) {
    let septets = (64 - number.leading_zeros()).div_ceil(7).max(1);
    for septet in (0..septets).rev() {
        let bits = (number >> (7 * septet)) as u8 & 0x7f;
        out.push(if septet == 0 { bits } else { bits | 0x80 });
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// CRC-32 with the polynomial 04C11DB7, the highest bit first, beginning with 0 and not inverted.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) ^ TABLE[usize::from((sum >> 24) as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000_0000 == 0 { sum << 1 } else { (sum << 1) ^ 0x04C1_1DB7 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::media::fixture::{Coded, H264, coded, coded_sound, packets};
    use crate::media::frame::UtcMicros;

    fn written(coded: &Coded) -> Vec<Bytes> {
        let audio = coded.configuration.audio.as_deref().cloned();
        let video = (*coded.configuration.video).clone();
        let depth = depth(&video);
        let mut writer = NutWriter::new(video, audio, depth);
        let mut out = Vec::new();
        // In pieces: the head comes once.
        for frames in coded.frames.chunks(7) {
            writer.write(frames.iter().cloned(), &mut out);
        }
        out
    }

    #[test]
    fn ffmpeg_reads_the_frames_of_every_codec_as_they_were_written() {
        let opus = ["-f", "lavfi", "-i", "sine", "-t", "2", "-c:a", "libopus"];
        for (codec, reordered) in [
            (&H264[..], true),
            (&["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"], false),
            (&["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "bframes=2:log-level=error"], true),
            (&["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"], false),
        ] {
            for with_opus in [false, true] {
                let mut coded = coded(codec, 25, 2, !with_opus);
                if with_opus {
                    let (track, sound) = coded_sound(&opus, UtcMicros(0));
                    let mut configuration = (*coded.configuration).clone();
                    configuration.audio = Some(track);
                    coded.configuration = configuration.into();
                    coded.frames.extend(sound);
                }
                let read = packets("nut", &written(&coded));
                assert_eq!(read.len(), coded.frames.len(), "{codec:?}");
                for kind in [TrackKind::Video, TrackKind::Audio] {
                    let track = coded.configuration.track(kind).unwrap();
                    let seconds = |ticks: i64| ticks as f64 / f64::from(track.timescale);
                    let of_track = read.iter().filter(|packet| packet.stream == u32::from(kind == TrackKind::Audio));
                    let of_frames = coded.frames.iter().filter(|frame| frame.track == kind);
                    for (number, (packet, frame)) in of_track.zip(of_frames).enumerate() {
                        let told = format!("{codec:?} {kind:?} {number}: {packet:?} {frame:?}");
                        assert_eq!(packet.is_key, frame.kind == FrameKind::Key, "{told}");
                        assert!((packet.pts - seconds(frame.presentation_time())).abs() < 2e-6, "{told}");
                        // FFmpeg may not say when the very first are decoded, where they are reordered.
                        let is_told = !(reordered && packet.dts.is_nan() && number < 4);
                        assert!(!is_told || (packet.dts - seconds(frame.decode_time)).abs() < 2e-6, "{told}");
                        let hash = format!("CRC32:{:08x}", crc32fast::hash(&frame.payload));
                        assert_eq!(packet.hash, hash, "{told}");
                    }
                }
            }
        }
    }

    /// The greatest memory that FFmpeg ever held while it read so many pictures, in KiB.
    fn memory_for(pictures: i64) -> u64 {
        let coded = coded(&["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"], 25, 1, false);
        let mut writer = NutWriter::new((*coded.configuration.video).clone(), None, 0);
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "fatal", "-nostdin", "-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0"]);
        command.args(["-f", "nut", "-i", "pipe:0", "-c", "copy", "-f", "null", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = std::io::BufWriter::new(child.stdin.take().unwrap());
        let peak = |id: u32| -> u64 {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (first, duration) = (&coded.frames[0], i64::from(coded.frames[0].duration));
        let mut out = Vec::new();
        for number in 0..pictures {
            let decode_time = number * duration;
            let kind = if number % 50 == 0 { FrameKind::Key } else { FrameKind::Delta };
            // A payload that a copy does not look at.
            let payload = Bytes::from_static(&[0, 0, 0, 2, 0x41, 0x9a]);
            writer.write([Frame { decode_time, composition_offset: 0, kind, payload, ..first.clone() }], &mut out);
            out.drain(..).for_each(|chunk: Bytes| input.write_all(&chunk).unwrap());
        }
        input.flush().unwrap();
        let memory = peak(child.id());
        drop(input);
        assert!(child.wait().unwrap().success());
        memory
    }

    #[test]
    fn a_day_of_pictures_is_nothing_to_remember() {
        let (hour, day) = (memory_for(25 * 3600), memory_for(25 * 3600 * 24));
        assert!(day < hour + 4096, "{hour} KiB after an hour, {day} KiB after a day");
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x81, 0]),
            (u64::MAX, &[0x81, 255, 255, 255, 255, 255, 255, 255, 255, 127]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, bytes);
        }
    }
}
