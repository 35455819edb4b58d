//! Recording units in a whole agent: a real source, a real hub, a real folder, judged by FFmpeg.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::agent::supervisor::Agent;
use crate::agent::unit::NoSecrets;
use crate::archive::index::{FileEntry, RecordingPath};
use crate::archive::lock::Holder;
use crate::archive::{Archive, RecordingIndex};
use crate::plan::report::{Reason, UnitReport, UnitState};
use crate::plan::unit::{
    ArchivePlan, Ingest, ObjectKey, ObjectKind, ObjectRef, Plan, Reconnect, Record, RecordMode, RetentionRules,
    RetentionSchedule, Source, Unit, Work,
};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn object(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, key: key(name) }
}

fn archive(root: &Path) -> ArchivePlan {
    ArchivePlan {
        key: key("default"),
        uid: "archive".into(),
        generation: 1,
        root: root.to_string_lossy().into_owned(),
        min_free_bytes: 0,
        retention: RetentionSchedule {
            schedule: "0 3 * * *".into(),
            time_zone: "Etc/UTC".into(),
            orphans_ms: None,
            overdue_ms: None,
        },
    }
}

fn camera() -> Unit {
    let work = Work::Ingest(Ingest {
        source: Source::Test {
            width: 320,
            height: 240,
            frames_per_second: 10,
            key_frame_interval_ms: 1000,
            audio: true,
            text: "door".into(),
        },
        stall_timeout_ms: 10_000,
        start_timeout_ms: 30_000,
        reconnect: Reconnect { initial_delay_ms: 100, max_delay_ms: 1000, max_attempts: None },
        ring_ms: 10_000,
        ring_bytes: 32 << 20,
    });
    Unit { object: object(ObjectKind::Camera, "door"), uid: "camera".into(), generation: 1, work }
}

fn recording(name: &str, uid: &str, mode: RecordMode) -> Unit {
    recording_that(name, uid, mode, false)
}

fn recording_that(name: &str, uid: &str, mode: RecordMode, adopt: bool) -> Unit {
    let record = Record {
        camera: key("door"),
        archive: key("default"),
        mode,
        audio: true,
        video: None,
        retention: RetentionRules::default(),
        adopt,
    };
    Unit { object: object(ObjectKind::Recording, name), uid: uid.into(), generation: 1, work: Work::Record(record) }
}

fn plan(root: &Path, units: Vec<Unit>) -> Plan {
    Plan { archives: vec![archive(root)], units, ..Plan::new("test") }
}

/// Waits until the report of a recording is as wanted.
async fn wait_for(agent: &Agent, name: &str, what: &str, wanted: impl Fn(&UnitReport) -> bool) -> UnitReport {
    let object = object(ObjectKind::Recording, name);
    let mut changes = agent.board.subscribe();
    let waited = timeout(Duration::from_mins(2), async {
        loop {
            changes.mark_unchanged();
            if let Some(report) = agent.board.unit(&object).filter(|report| wanted(report)) {
                return report;
            }
            changes.changed().await.expect("the board lives");
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{name} never came to {what}: {:?}", agent.board.unit(&object)))
}

/// Waits until the index of a recording is as wanted.
async fn wait_for_index(index: &RecordingIndex, wanted: impl Fn(&[FileEntry]) -> bool) -> Vec<FileEntry> {
    let mut changes = index.changes();
    timeout(Duration::from_mins(2), async {
        loop {
            changes.mark_unchanged();
            let files = all_files(index);
            if wanted(&files) {
                return files;
            }
            changes.changed().await.expect("the index lives");
        }
    })
    .await
    .expect("in time")
}

fn all_files(index: &RecordingIndex) -> Vec<FileEntry> {
    let mut files: Vec<FileEntry> =
        index.hours().into_iter().flat_map(|hour| index.files(hour).expect("files").as_ref().clone()).collect();
    files.sort_by_key(FileEntry::order);
    files
}

fn index(agent: &Agent, name: &str) -> Arc<RecordingIndex> {
    let archive = agent.registry.archives.get(&key("default")).expect("open");
    archive.recording(&RecordingPath::new("default", name).expect("path")).expect("index")
}

/// Decodes every picture and sound of a file; what FFmpeg complains about, and the length in seconds.
fn decode(file: &Path) -> (String, f64) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg");
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe");
    let length = String::from_utf8_lossy(&probed.stdout).trim().parse().unwrap_or(-1.0);
    (String::from_utf8_lossy(&output.stderr).into_owned(), length)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_recorded_around_the_clock_and_as_a_clip_and_a_changed_plan_costs_no_frame() {
    let folder = tempfile::tempdir().expect("folder");
    let agent = Agent::new(Arc::new(NoSecrets));
    let around = |segment_ms| recording("always", "one", RecordMode::Continuous { segment_ms });
    let clip = || recording("match", "two", RecordMode::Clip { duration_ms: 4000, stop: false });
    agent.apply(&plan(folder.path(), vec![camera(), around(60_000), clip()])).await;

    let report = wait_for(&agent, "match", "its end", |report| report.state == UnitState::Complete).await;
    assert_eq!(report.reason, Reason::DeadlineReached);
    let facts = report.recording.expect("facts");
    assert_eq!(facts.progress_percent, Some(100));
    let (start, end) = (facts.start.expect("start"), facts.completion.expect("end"));
    assert_eq!(end.0 - start.0, 4_000_000);
    let file = folder.path().join("default/match/clip.mp4");
    let (complaints, length) = decode(&file);
    assert_eq!(complaints, "");
    assert!((length - 4.0).abs() < 0.01, "{length}");

    // Another length restarts the unit: the next file goes on at the very next frame.
    wait_for(&agent, "always", "recording", |report| report.reason == Reason::Recording).await;
    let index = index(&agent, "always");
    agent.apply(&plan(folder.path(), vec![camera(), around(120_000), clip()])).await;
    let grown =
        |files: &[FileEntry]| files.len() >= 2 && files.last().is_some_and(|last| last.covered_micros > 2_000_000);
    let files = wait_for_index(&index, grown).await;
    for pair in files.windows(2) {
        assert_eq!(pair[0].gap_after, None, "{pair:?}");
        assert!(pair[0].continues_in(&pair[1]), "{pair:?}");
        assert!((pair[1].start.0 - pair[0].end.0).abs() < 20_000, "{pair:?}");
    }

    // The meter hears of a write a moment after the index does. On the full minute the unit before cuts its file, too, and that one's
    // meter goes with it.
    let held = async {
        loop {
            if let Some(meter) = agent.registry.meters.get(&key("always")).filter(|meter| !meter.held().is_zero()) {
                return meter;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let meter = timeout(Duration::from_mins(2), held).await.expect("the recording is metered");
    assert!(meter.held() < meter.wanted() + Duration::from_secs(1), "{meter:?}");
    assert!(agent.registry.meters.get(&key("match")).is_none(), "a clip has no objective");

    agent.shutdown().await;
    assert!(agent.registry.meters.get(&key("always")).is_none(), "what does not run is not told");
    drop(index);
    // All is closed and whole, and the lock is free.
    let archive = Archive::open(folder.path(), &Holder::this_process("test")).expect("free");
    let index = archive.recording(&RecordingPath::new("default", "always").expect("path")).expect("index");
    let files = all_files(&index);
    assert!(files.iter().all(|file| file.closed), "{files:?}");
    assert_eq!(files.last().and_then(|file| file.gap_after.clone()).as_deref(), Some("ShuttingDown"));
    let playlist = folder.path().join("default/always").join(files[0].name.hour.to_string()).join("playlist.m3u8");
    // The hour is not over, so a player would wait for more.
    let text = std::fs::read_to_string(&playlist).expect("playlist");
    let ended = playlist.with_file_name("ended.m3u8");
    std::fs::write(&ended, text + "#EXT-X-ENDLIST\n").expect("written");
    assert_eq!(decode(&ended).0, "", "the index of the hour plays as it stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_another_holds_and_a_folder_of_another_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let other = Archive::open(folder.path(), &Holder::this_process("somebody else")).expect("archive");
    let agent = Agent::new(Arc::new(NoSecrets));
    let around = |uid| recording("always", uid, RecordMode::Continuous { segment_ms: 60_000 });
    agent.apply(&plan(folder.path(), vec![camera(), around("one")])).await;
    let waiting = |report: &UnitReport| report.reason == Reason::ArchiveUnavailable;
    wait_for(&agent, "always", "waiting for its archive", waiting).await;
    let mut changes = agent.board.subscribe();
    timeout(Duration::from_mins(1), async {
        while !agent.board.report().archives.iter().any(|archive| archive.message.contains("somebody else")) {
            changes.changed().await.expect("the board lives");
        }
    })
    .await
    .expect("the holder is named");
    drop(other);
    wait_for(&agent, "always", "recording", |report| report.state == UnitState::Running).await;

    // The object is deleted and made anew: another uid.
    let index = index(&agent, "always");
    wait_for_index(&index, |files| files.iter().any(|file| file.covered_micros > 1_000_000)).await;
    agent.apply(&plan(folder.path(), vec![camera()])).await;
    agent.apply(&plan(folder.path(), vec![camera(), around("two")])).await;
    let refused = wait_for(&agent, "always", "refusal", |report| report.state == UnitState::Failed).await;
    assert_eq!(refused.reason, Reason::ArchiveOwnedByAnother);
    assert!(refused.message.contains("uid one") && refused.message.contains("adopt: true"), "{}", refused.message);
    let left = all_files(&index);
    assert!(left.iter().all(|file| file.closed), "{left:?}");

    // Told to adopt it, it goes on, and what was there is its own: also when it need not be told any more.
    let around_that = |adopt| recording_that("always", "two", RecordMode::Continuous { segment_ms: 60_000 }, adopt);
    for adopt in [true, false] {
        let before = all_files(&index);
        agent.apply(&plan(folder.path(), vec![camera(), around_that(adopt)])).await;
        wait_for(&agent, "always", "recording", |report| report.state == UnitState::Running).await;
        let after = wait_for_index(&index, |files| files.len() > before.len()).await;
        let kept = before.iter().all(|old| after.iter().any(|now| now.name == old.name && now.bytes >= old.bytes));
        assert!(kept, "{before:?} {after:?}");
        assert_eq!(index.description().map(|description| description.owner.clone()).as_deref(), Some("two"));
    }
    agent.shutdown().await;
}
