//! An ingest unit that runs, and what a reader of its hub gets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

use camera_operator::agent::hub::{Event, Hub, Reader};
use camera_operator::agent::source;
use camera_operator::agent::unit::{Board, LogBuffer, Secret, Secrets, UnitContext};
use camera_operator::media::fmp4::writer::{self, FragmentOptions};
use camera_operator::media::frame::{Configuration, Frame, RunId, TrackKind};
use camera_operator::plan::report::{Reason, UnitReport};
use camera_operator::plan::unit::{Ingest, ObjectKey, ObjectKind, ObjectRef, Reconnect, SecretKey, Source};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;

#[derive(Debug, Default)]
pub struct Vault(Mutex<BTreeMap<String, String>>);

impl Vault {
    pub fn set(&self, key: &str, value: &str) {
        self.0.lock().unwrap().insert(key.into(), value.into());
    }
}

impl Secrets for Vault {
    fn get(&self, key: &SecretKey) -> Option<Secret> {
        self.0.lock().unwrap().get(&key.key).map(Secret::new)
    }
}

/// An ingest unit that runs.
pub struct Unit {
    pub context: UnitContext,
    pub vault: Arc<Vault>,
    pub hub: Arc<Hub>,
    pub task: JoinHandle<()>,
}

impl Unit {
    pub async fn start(source: Source) -> Self {
        Self::start_with(source, |_| {}, &[]).await
    }

    pub async fn start_with(source: Source, change: impl FnOnce(&mut Ingest), secrets: &[(&str, &str)]) -> Self {
        let mut ingest = Ingest {
            source,
            stall_timeout_ms: 3000,
            start_timeout_ms: 20_000,
            reconnect: Reconnect { initial_delay_ms: 300, max_delay_ms: 2000, max_attempts: None },
            ring_ms: 60_000,
            ring_bytes: 64 << 20,
        };
        change(&mut ingest);
        let object = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("default", "door") };
        let board = Arc::new(Board::default());
        board.insert_unit(UnitReport::starting(object.clone(), 1, camera_operator::media::frame::UtcMicros::default()));
        let vault = Arc::new(Vault::default());
        for (key, value) in secrets {
            vault.set(key, value);
        }
        let context = UnitContext {
            object: object.clone(),
            uid: "uid".into(),
            registry: Arc::default(),
            board,
            secrets: vault.clone(),
            logs: Arc::new(LogBuffer::default()),
            cancel: CancellationToken::new(),
        };
        let task = tokio::spawn(source::run(context.clone(), ingest));
        let hub = context.registry.hubs.wait_for(&object.key).await;
        Self { context, vault, hub, task }
    }

    pub fn report(&self) -> UnitReport {
        self.context.board.unit(&self.context.object).unwrap()
    }

    /// Waits until the report is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&UnitReport) -> bool) -> UnitReport {
        let mut changes = self.context.board.subscribe();
        let found = timeout(PATIENCE, async {
            loop {
                changes.mark_unchanged();
                let report = self.report();
                if wanted(&report) {
                    return report;
                }
                changes.changed().await.unwrap();
            }
        });
        found.await.unwrap_or_else(|_| panic!("never {what}: {:?}\n{}", self.report(), self.log()))
    }

    pub fn log(&self) -> String {
        self.context.logs.lines().iter().map(|line| format!("{} {}\n", line.level, line.message)).collect()
    }

    pub async fn stop(self) {
        self.context.cancel.cancel();
        timeout(PATIENCE, self.task).await.expect("the unit stops").unwrap();
        assert!(self.context.registry.hubs.all().is_empty());
    }
}

/// What a reader of the hub got.
#[derive(Default)]
pub struct Seen {
    pub configurations: Vec<(RunId, Arc<Configuration>)>,
    pub frames: Vec<Arc<Frame>>,
    pub endings: Vec<(RunId, Reason)>,
}

impl Seen {
    pub fn of(&self, track: TrackKind) -> Vec<Arc<Frame>> {
        self.frames.iter().filter(|frame| frame.track == track).cloned().collect()
    }

    pub fn video(&self) -> Vec<Arc<Frame>> {
        self.of(TrackKind::Video)
    }

    pub fn audio(&self) -> Vec<Arc<Frame>> {
        self.of(TrackKind::Audio)
    }

    pub fn newest(&self) -> &Arc<Configuration> {
        &self.configurations.last().expect("a configuration").1
    }

    /// Reads until enough is there.
    pub async fn read(&mut self, reader: &mut Reader, unit: &Unit, what: &str, enough: impl Fn(&Self) -> bool) {
        let result = timeout(PATIENCE, async {
            while !enough(self) {
                for event in reader.next().await.expect("the hub is open") {
                    match event {
                        Event::Configuration { run, configuration } => self.configurations.push((run, configuration)),
                        Event::Frame(frame) => self.frames.push(frame),
                        Event::Ended(ending) => self.endings.push((ending.run, ending.reason)),
                        Event::Lost(lost) => panic!("lost {lost}"),
                    }
                }
            }
        });
        let in_time = result.await.is_ok();
        assert!(in_time, "never {what}: {} video, {} audio\n{}", self.video().len(), self.audio().len(), unit.log());
    }

    /// The rules that hold for any source.
    pub fn check(&self) {
        let mut next: BTreeMap<RunId, u64> = BTreeMap::new();
        for frame in &self.frames {
            let expected = next.entry(frame.run).or_insert(frame.sequence);
            assert_eq!(frame.sequence, *expected, "sequences have no holes");
            *expected += 1;
            assert!(frame.decode_time >= 0 && frame.duration > 0 && !frame.payload.is_empty(), "{frame:?}");
        }
        for track in [TrackKind::Video, TrackKind::Audio] {
            for pair in self.of(track).windows(2).filter(|pair| pair[0].run == pair[1].run) {
                assert_eq!(
                    pair[0].decode_time + i64::from(pair[0].duration),
                    pair[1].decode_time,
                    "durations are distances"
                );
                assert!(pair[0].utc < pair[1].utc);
            }
        }
        let now = jiff::Timestamp::now().as_microsecond();
        let last = self.frames.last().expect("frames").utc.0;
        assert!((now - last).abs() < 10_000_000, "the newest frame is dated {} s ago", (now - last) / 1_000_000);
    }

    /// The pictures of the newest run as FFmpeg decodes them: how many, and what it complains of.
    pub fn decode(&self) -> (usize, String) {
        let (run, configuration) = self.configurations.last().expect("a configuration");
        let frames: Vec<Arc<Frame>> = self
            .frames
            .iter()
            .filter(|frame| frame.run == *run && frame.generation == configuration.generation)
            .cloned()
            .collect();
        let mut file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
        file.write_all(&writer::write_header(configuration, configuration.audio.is_some())).unwrap();
        let fragment = writer::write_fragment(1, &frames, configuration.audio.is_some(), FragmentOptions::default());
        file.write_all(&fragment.to_bytes()).unwrap();
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(file.path())
            .args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-"])
            .output()
            .unwrap();
        let pictures = String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count();
        (pictures, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn enough(video: usize, audio: usize) -> impl Fn(&Seen) -> bool {
    move |seen| seen.video().len() >= video && seen.audio().len() >= audio
}
