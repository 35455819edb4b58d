//! What tests share: frames that FFmpeg really coded.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::access_unit::VideoTrack;
use super::audio;
use super::clock::ticks_to_micros;
use super::fmp4::reader::{self, Event, Reader, Sample, Track};
use super::frame::{Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};

/// Coded frames of one run.
#[derive(Debug, Clone)]
pub struct Coded {
    pub configuration: Arc<Configuration>,
    pub frames: Vec<Frame>,
}

fn ffmpeg(arguments: &[&str]) -> (Track, Vec<Sample>) {
    let movie = ["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof", "-f", "mp4", "pipe:1"];
    let output = Command::new("ffmpeg").args(["-v", "error"]).args(arguments).args(movie).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = Reader::new(reader::Limits::default());
    reader.feed(&output.stdout);
    let (mut track, mut samples) = (None, Vec::new());
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            Event::Tracks(tracks) => track = tracks.into_iter().next(),
            Event::Sample(sample) => samples.push(sample),
            Event::Message { .. } => {}
        }
    }
    (track.unwrap(), samples)
}

fn frame(began: UtcMicros, sample: &Sample, track: &Track, kind: FrameKind, of: TrackKind, payload: Bytes) -> Frame {
    Frame {
        run: RunId(began.0 as u64 / 1000),
        sequence: 0,
        track: of,
        decode_time: sample.decode_time as i64 + track.edit_offset + i64::from(track.timescale),
        composition_offset: sample.composition_offset,
        duration: sample.duration,
        kind,
        generation: 0,
        utc: began.plus_micros(ticks_to_micros(sample.decode_time as i64, track.timescale)),
        payload,
    }
}

/// Sound that FFmpeg coded as it was told, of a run that began then.
pub fn coded_sound(arguments: &[&str], began: UtcMicros) -> (Arc<TrackConfiguration>, Vec<Frame>) {
    let (track, samples) = ffmpeg(arguments);
    let of = |sample: &Sample| frame(began, sample, &track, FrameKind::Key, TrackKind::Audio, sample.payload.clone());
    (Arc::new(audio::configuration(&track).unwrap()), samples.iter().map(of).collect())
}

/// Frames of `seconds` of a test picture, coded as `codec` says, at `rate` a second; with a tone as AAC if asked for.
pub fn coded(codec: &[&str], rate: u32, seconds: u32, sound: bool) -> Coded {
    let (seconds, picture) = (seconds.to_string(), format!("testsrc2=size=160x120:rate={rate}"));
    let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-t", &seconds, "-pix_fmt", "yuv420p"];
    arguments.extend(codec);
    let (track, samples) = ffmpeg(&arguments);
    let mut video = VideoTrack::new(&track).unwrap();
    let began = UtcMicros::from_timestamp(Timestamp::now());
    let mut frames: Vec<Frame> = samples
        .iter()
        .map(|sample| {
            let picture = video.accept(&sample.payload).unwrap();
            frame(began, sample, &track, picture.kind, TrackKind::Video, picture.payload)
        })
        .collect();
    let mut configuration = Configuration { generation: 0, video: video.configuration().unwrap().clone(), audio: None };
    if sound {
        let (track, sound) = coded_sound(&["-f", "lavfi", "-i", "sine", "-t", &seconds, "-c:a", "aac"], began);
        configuration.audio = Some(track);
        frames.extend(sound);
    }
    frames.sort_by_key(|frame| (frame.utc, frame.track == TrackKind::Audio));
    for (sequence, frame) in (0..).zip(&mut frames) {
        frame.sequence = sequence;
    }
    Coded { configuration: Arc::new(configuration), frames }
}

/// H.264 with B-frames and a key frame a second.
pub const H264: [&str; 10] =
    ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-x264-params", "scenecut=0"];

/// A packet, as FFmpeg read it: stream, times in seconds, whether it is a key frame, and its payload's checksum.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    pub stream: u32,
    pub pts: f64,
    pub dts: f64,
    pub is_key: bool,
    pub hash: String,
}

/// What FFmpeg reads in a stream of that format.
pub fn packets(format: &str, chunks: &[Bytes]) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-f", format, "-show_packets", "-show_data_hash", "crc32", "-of", "json", "pipe:0"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut input, bytes) = (child.stdin.take().unwrap(), chunks.concat());
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds =
        |packet: &serde_json::Value, field: &str| packet[field].as_str().map_or(f64::NAN, |text| text.parse().unwrap());
    let packet = |packet: &serde_json::Value| Packet {
        stream: packet["stream_index"].as_u64().unwrap() as u32,
        pts: seconds(packet, "pts_time"),
        dts: seconds(packet, "dts_time"),
        is_key: packet["flags"].as_str().unwrap().contains('K'),
        hash: packet["data_hash"].as_str().unwrap().to_owned(),
    };
    told["packets"].as_array().unwrap().iter().map(packet).collect()
}
