//! `camera-operator retain` as people and cron jobs call it: on a folder, beside a running recorder, and asking one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use camera_operator::agent::recordings::routes;
use camera_operator::agent::registry::Registry;
use camera_operator::agent::retention::run_archive;
use camera_operator::agent::unit::{Secret, Secrets, UnitContext};
use camera_operator::archive::Archive;
use camera_operator::archive::cut::{Input, Rules};
use camera_operator::archive::description::{Claim, RecordingKind};
use camera_operator::archive::index::RecordingPath;
use camera_operator::archive::lock::Holder;
use camera_operator::media::frame::{
    Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros,
};
use camera_operator::plan::unit::{
    ArchivePlan, DeclaredRecording, ObjectKey, ObjectKind, ObjectRef, RetentionRules, RetentionSchedule, SecretKey,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const MINUTE: i64 = 60_000_000;

const MANIFESTS: &str = "apiVersion: camera-operator.dev/v1alpha1
kind: Camera
metadata: {name: door}
spec: {source: {test: {}}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Archive
metadata: {name: default}
spec:
  retention: {schedule: '0 3 * * *', timeZone: Europe/Berlin}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Recording
metadata: {name: day}
spec:
  cameraRef: {name: door}
  continuous: {segmentDuration: 60s}
  retention: {maxAge: AGE}
";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An archive with ten files of a minute, the newest 5 minutes old, the oldest 15.
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("folder") };
        let archive = Archive::open(&place.root(), &Holder::this_process("recorder of the test")).expect("archive");
        let path = RecordingPath::new("default", "day").expect("path");
        let claim =
            Claim { owner: "uid".into(), camera: "default/door".into(), kind: RecordingKind::Continuous, adopt: false };
        let rules = Rules { segment_micros: Some(MINUTE), audio: false };
        let mut writer = archive.start_writer(&path, &claim, rules).expect("writer");
        let video = TrackConfiguration {
            codec: Codec::Mjpeg,
            timescale: 1000,
            sample_entry: Bytes::from_static(&[0, 0, 0, 16, b'j', b'p', b'e', b'g', 0, 0, 0, 0, 0, 0, 0, 1]),
            codec_string: "jpeg".into(),
            width: 16,
            height: 16,
            sample_rate: 0,
            channels: 0,
        };
        let configuration = Arc::new(Configuration { generation: 0, video: Arc::new(video), audio: None });
        writer.push(Input::Configuration { run: RunId(1), configuration });
        let now = UtcMicros::from_timestamp(Timestamp::now());
        let start = (now.0 / MINUTE - 15) * MINUTE;
        for second in 0..600_i64 {
            writer.push(Input::Frame(Arc::new(Frame {
                run: RunId(1),
                sequence: second as u64,
                track: TrackKind::Video,
                decode_time: second * 1000,
                composition_offset: 0,
                duration: 1000,
                kind: FrameKind::Key,
                generation: 0,
                utc: UtcMicros(start + second * 1_000_000),
                payload: Bytes::from(vec![1; 500]),
            })));
            writer.flush().expect("written");
        }
        writer.finish("ShuttingDown");
        writer.flush().expect("written");
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn manifests(&self, age: &str) -> PathBuf {
        let path = self.folder.path().join("manifests.yaml");
        std::fs::write(&path, MANIFESTS.replace("AGE", age)).expect("manifests");
        path
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("folder") {
                let path = entry.expect("entry").path();
                match path.extension().and_then(|extension| extension.to_str()) {
                    _ if path.is_dir() => folders.push(path),
                    Some("mp4") => found.push(path),
                    _ => {}
                }
            }
        }
        found.sort();
        found
    }

    fn retain(&self, manifests: Option<&Path>, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_camera-operator"));
        command.arg("retain").arg("--root").arg(self.root());
        if let Some(manifests) = manifests {
            command.arg("-f").arg(manifests);
        }
        command.args(arguments).output().expect("camera-operator")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed(output: &Output) -> Vec<String> {
    let json: Value = serde_json::from_slice(&output.stdout).expect("json");
    let deletions = json["deletions"].as_array().expect("deletions");
    deletions.iter().map(|line| line["file"].as_str().expect("file").to_owned()).collect()
}

#[test]
fn a_preview_lists_what_a_run_deletes_and_a_second_run_deletes_nothing() {
    let place = Place::new();
    let before = place.files();
    assert_eq!(before.len(), 10);
    let manifests = place.manifests("9m");
    let preview = place.retain(Some(&manifests), &["--preview", "--output", "json"]);
    assert_eq!(preview.status.code(), Some(0), "{}", err(&preview));
    assert_eq!(place.files(), before);
    // Whether the preview and the run fall into the same minute is chance; the run comes later and may take one more.
    let run = place.retain(Some(&manifests), &[]);
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
    let gone = before.len() - place.files().len();
    let expected = listed(&preview).len();
    assert!((expected..=expected + 1).contains(&gone) && gone >= 4, "{}", out(&run));
    for file in listed(&preview) {
        assert!(out(&run).contains(&format!("deleted default/day/{file}")), "{}", out(&run));
    }
    assert!(out(&run).contains("older than maxAge"), "{}", out(&run));
    // From now on the folder alone knows its rules.
    let again = place.retain(None, &["--preview"]);
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
}

#[test]
fn tightened_rules_are_held_back_until_confirmed() {
    let place = Place::new();
    let run = place.retain(Some(&place.manifests("30d")), &[]);
    assert_eq!((run.status.code(), place.files().len()), (Some(0), 10), "{}", err(&run));
    let tight = place.manifests("1m");
    let run = place.retain(Some(&tight), &[]);
    assert_eq!((run.status.code(), place.files().len()), (Some(3), 10), "{}{}", out(&run), err(&run));
    assert!(out(&run).contains("held back 10 files"), "{}", out(&run));
    // It does not become right by being asked for twice.
    assert_eq!(place.retain(Some(&tight), &[]).status.code(), Some(3));
    let run = place.retain(Some(&tight), &["--confirm"]);
    assert_eq!((run.status.code(), place.files().len()), (Some(0), 0), "{}{}", out(&run), err(&run));
    // The folders of the hours went with their files; the recording, which is declared, stays.
    let left: Vec<_> = std::fs::read_dir(place.root().join("default/day")).expect("folder").collect();
    assert!(left.iter().all(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file())), "{left:?}");
}

#[test]
fn an_archive_that_is_open_is_left_alone_and_its_holder_named() {
    let place = Place::new();
    let holder = Archive::open(&place.root(), &Holder::this_process("recorder of the test")).expect("archive");
    let run = place.retain(Some(&place.manifests("1m")), &["--confirm"]);
    assert_eq!((run.status.code(), place.files().len()), (Some(4), 10));
    assert!(err(&run).contains("recorder of the test") && err(&run).contains("--url"), "{}", err(&run));
    drop(holder);
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let place = Place::new();
    let run = place.retain(None, &[]);
    assert_eq!(run.status.code(), Some(1));
    assert!(err(&run).contains("-f"), "{}", err(&run));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_camera-operator"))
        .args(["retain", "--root", "/nonexistent/archive"])
        .output()
        .expect("camera-operator");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).contains("no archive"), "{}", err(&nowhere));
    let other = place.retain(Some(&place.manifests("1m")), &["--archive", "attic"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(err(&other).contains("default/default"), "{}", err(&other));
    let unreachable = Command::new(env!("CARGO_BIN_EXE_camera-operator"))
        .args(["retain", "--url", "http://127.0.0.1:1"])
        .output()
        .expect("camera-operator");
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(err(&unreachable).contains("127.0.0.1:1"), "{}", err(&unreachable));
    assert_eq!(place.files().len(), 10);
}

#[derive(Debug)]
struct NoSecrets;
impl Secrets for NoSecrets {
    fn get(&self, _: &SecretKey) -> Option<Secret> {
        None
    }
}

/// The recorder of a place, listening somewhere, until it is dropped.
struct Recorder {
    address: std::net::SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Recorder {
    fn new(place: &Place, max_age_ms: u64) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let registry = Arc::new(Registry::default());
        let key = ObjectKey::new("default", "default");
        registry.declared.set(&[DeclaredRecording {
            key: ObjectKey::new("default", "day"),
            archive: key.clone(),
            retention: RetentionRules { max_age_ms: Some(max_age_ms), max_bytes: None },
        }]);
        let context = UnitContext {
            object: ObjectRef { kind: ObjectKind::Archive, key: key.clone() },
            uid: "uid".into(),
            registry: registry.clone(),
            board: Arc::default(),
            secrets: Arc::new(NoSecrets),
            logs: Arc::default(),
            cancel: CancellationToken::new(),
        };
        let plan = ArchivePlan {
            key: key.clone(),
            uid: "uid".into(),
            generation: 1,
            root: place.root().display().to_string(),
            min_free_bytes: 0,
            retention: RetentionSchedule {
                schedule: "0 3 * * *".into(),
                time_zone: "Etc/UTC".into(),
                orphans_ms: None,
                overdue_ms: None,
            },
        };
        let address = runtime.block_on(async {
            tokio::spawn(run_archive(context, plan));
            registry.archives.wait_for(&key).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listener");
            let address = listener.local_addr().expect("address");
            tokio::spawn(async move { axum::serve(listener, routes(registry)).await });
            address
        });
        Self { address, _runtime: runtime }
    }

    fn retain(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_camera-operator"))
            .args(["retain", "--url", &format!("http://{}", self.address)])
            .args(arguments)
            .output()
            .expect("camera-operator")
    }
}

#[test]
fn a_recorder_that_runs_is_asked() {
    let place = Place::new();
    let recorder = Recorder::new(&place, 9 * 60_000);
    // The folder is the recorder's.
    assert_eq!(place.retain(None, &["--preview"]).status.code(), Some(4));
    let before = place.files();
    let preview = recorder.retain(&["--preview", "--output", "json"]);
    assert_eq!(preview.status.code(), Some(0), "{}", err(&preview));
    assert_eq!(place.files(), before);
    let run = recorder.retain(&["--recording", "day"]);
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
    for file in listed(&preview) {
        assert!(out(&run).contains(&format!("deleted default/day/{file}")), "{}", out(&run));
    }
    assert!(place.files().len() < before.len());
    let unknown = recorder.retain(&["--archive", "attic"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("attic"), "{}", err(&unknown));
}
