//! What the tests of the outputs share: frames that FFmpeg really coded, units that run, and a server to ask.

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::hub::{Hub, Limits};
use crate::agent::registry::Registry;
use crate::agent::unit::{Board, NoSecrets, UnitContext};
use crate::media::access_unit::VideoTrack;
use crate::media::audio;
use crate::media::clock::ticks_to_micros;
use crate::media::fmp4::reader::{self, Event, Reader, Sample, Track};
use crate::media::frame::{Configuration, Frame, FrameKind, RunId, TrackKind, UtcMicros};
use crate::plan::report::{UnitReport, UnitState};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

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

/// Frames of `seconds` of a test picture, coded as `codec` says, at `rate` a second; with a tone as AAC if asked for.
pub fn coded(codec: &[&str], rate: u32, seconds: u32, sound: bool) -> Coded {
    let (seconds, picture) = (seconds.to_string(), format!("testsrc2=size=160x120:rate={rate}"));
    let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-t", &seconds, "-pix_fmt", "yuv420p"];
    arguments.extend(codec);
    let (track, samples) = ffmpeg(&arguments);
    let mut video = VideoTrack::new(&track).unwrap();
    let began = UtcMicros::from_timestamp(Timestamp::now());
    let run = RunId(began.0 as u64 / 1000);
    let frame = |sample: &Sample, track: &Track, kind, track_kind, payload| Frame {
        run,
        sequence: 0,
        track: track_kind,
        decode_time: sample.decode_time as i64 + track.edit_offset + i64::from(track.timescale),
        composition_offset: sample.composition_offset,
        duration: sample.duration,
        kind,
        generation: 0,
        utc: began.plus_micros(ticks_to_micros(sample.decode_time as i64, track.timescale)),
        payload,
    };
    let mut frames: Vec<Frame> = samples
        .iter()
        .map(|sample| {
            let picture = video.accept(&sample.payload).unwrap();
            frame(sample, &track, picture.kind, TrackKind::Video, picture.payload)
        })
        .collect();
    let mut configuration = Configuration { generation: 0, video: video.configuration().unwrap().clone(), audio: None };
    if sound {
        let (track, samples) = ffmpeg(&["-f", "lavfi", "-i", "sine", "-t", &seconds, "-c:a", "aac"]);
        configuration.audio = Some(Arc::new(audio::configuration(&track).unwrap()));
        frames.extend(
            samples
                .iter()
                .map(|sample| frame(sample, &track, FrameKind::Key, TrackKind::Audio, sample.payload.clone())),
        );
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

/// A registry with one camera, `default/cam`, and what is needed to run units that read it.
#[derive(Debug)]
pub struct Rig {
    pub registry: Arc<Registry>,
    pub board: Arc<Board>,
    pub hub: Arc<Hub>,
    pub cancel: CancellationToken,
}

pub fn camera() -> ObjectKey {
    ObjectKey::new("default", "cam")
}

impl Rig {
    pub fn new() -> Self {
        Self::with_ring(Limits { duration_micros: 10_000_000, bytes: 32 << 20 })
    }

    pub fn with_ring(limits: Limits) -> Self {
        let registry = Arc::new(Registry::default());
        let hub = Arc::new(Hub::new(limits));
        registry.hubs.insert(camera(), hub.clone());
        Self { registry, board: Arc::default(), hub, cancel: CancellationToken::new() }
    }

    pub fn context(&self, kind: ObjectKind, name: &str) -> UnitContext {
        let object = ObjectRef { kind, key: ObjectKey::new("default", name) };
        self.board.insert_unit(UnitReport::starting(object.clone(), 1, UtcMicros::default()));
        UnitContext {
            object,
            uid: "uid".into(),
            registry: self.registry.clone(),
            board: self.board.clone(),
            secrets: Arc::new(NoSecrets),
            logs: Arc::default(),
            cancel: self.cancel.clone(),
        }
    }

    /// The state of a unit, as soon as it is `wanted`.
    pub async fn state(&self, kind: ObjectKind, name: &str, wanted: UnitState) -> UnitReport {
        let object = ObjectRef { kind, key: ObjectKey::new("default", name) };
        let mut changes = self.board.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(report) = self.board.unit(&object).filter(|report| report.state == wanted) {
                return report;
            }
            changes.changed().await.unwrap();
        }
    }

    /// Serves everything that the outputs offer.
    pub async fn serve(&self) -> Server {
        let routes = super::routes()
            .with_state(self.registry.clone())
            .merge(super::sidecar_routes(&self.registry, &Arc::default()));
        serve(routes).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[derive(Debug)]
pub struct Server {
    pub address: std::net::SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(routes: Router) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Server { address, _task: AbortOnDropHandle::new(task) }
}

/// An HTTP client.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// What a program says, which must succeed.
pub fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

/// Writes pieces to a file one after the other.
pub fn write_file(folder: &std::path::Path, name: &str, pieces: impl IntoIterator<Item = Bytes>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, pieces.into_iter().flatten().collect::<Vec<u8>>()).unwrap();
    path.to_str().unwrap().to_owned()
}
