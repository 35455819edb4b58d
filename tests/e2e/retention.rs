//! Retention, end to end: what the preview says is what goes, on demand and on schedule, and both are told.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::support::camera::Camera;
use crate::support::clock::Clock;
use crate::support::program::Program;
use crate::support::{http, judge, manifest, wait};

fn frames(camera: &mut Camera, more: u64) {
    let now = camera.stats().frames;
    wait("more pictures", || (camera.stats().frames >= now + more).then_some(()));
}

#[test]
fn retention_deletes_what_its_preview_said() {
    let mut camera = Camera::start("--noise --bit-rate 4000");
    // A file of 10 s has 4.8 MiB. Three of them and the begun one are too much, two and the begun one too, and one leaves room for
    // 4.2 MiB (nearly 9 s) of the begun one; and that does not grow while the camera sends nothing.
    let recording = manifest::recording_with("rec", "cam", "retention: {maxSize: 9Mi}");
    let begun = Timestamp::now();
    let program = Program::start(&(manifest::patient(&manifest::camera("cam", &camera.url)) + &recording));
    program.await_object("recordings/rec");
    wait("four files", || (program.media_files("rec").len() >= 4).then_some(()));
    let sent = camera.freeze();
    wait("all that was sent is written, but for a picture that may wait for the next", || {
        let newest = program.media_files("rec").pop()?;
        let written = judge::counters(newest.to_str().unwrap()).pop()??;
        (written + 1 >= sent).then_some(())
    });
    let (before, preview) = wait("a preview that stands still", || {
        let before = program.media_files("rec");
        let preview = program.json("/api/v1/namespaces/default/recordings/rec/retention/preview");
        (program.media_files("rec") == before).then_some((before, preview))
    });
    let text = preview.to_string();
    let stays = |path: &std::path::PathBuf| !text.contains(path.file_name().unwrap().to_str().unwrap());
    let foretold: Vec<_> = before.iter().filter(|path| !stays(path)).cloned().collect();
    assert!(!foretold.is_empty() && foretold.len() < before.len(), "{preview:#}");
    let run = program.post("/api/v1/namespaces/default/recordings/rec/retention/run");
    assert_eq!(run.status, 200, "{}", run.text());
    for path in &before {
        assert_eq!(path.exists(), stays(path), "{}: {preview:#}\n{}", path.display(), run.text());
    }
    assert_eq!(before.last().map(|path| path.exists()), Some(true), "the file that is being written stays");
    let gaps = program.json(&format!(
        "/api/v1/namespaces/default/recordings/rec/coverage?from={:.3}&to={:.3}",
        begun,
        Timestamp::now()
    ));
    assert!(gaps["gaps"].to_string().contains("Deleted"), "{gaps:#}");
    camera.unfreeze();
    frames(&mut camera, 20);
    program.await_object("recordings/rec");
    // Another origin's page may not do that.
    let foreign = http::request(
        "POST",
        &program.url("/api/v1/namespaces/default/recordings/rec/retention/run"),
        &[("origin", "http://elsewhere.example")],
    )
    .unwrap();
    assert_eq!(foreign.status, 403, "{}", foreign.text());
}

#[test]
fn retention_runs_on_schedule_and_deletes_what_its_preview_said() {
    const ARCHIVE: &str = "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata:\n  name: default\nspec:\n  \
                           minFree: 1Mi\n  retention: {schedule: \"*/30 * * * *\", timeZone: Europe/Madrid}\n";
    let Some(clock) = Clock::new() else { return };
    clock.show("2031-05-05T10:02:00Z");
    let camera = Camera::start("--noise --bit-rate 4000");
    let objects = |more: &str| {
        let spec = format!("retention: {{maxSize: 6Mi, maxAge: 30d}}\n{more}");
        ARCHIVE.to_owned() + &manifest::camera("cam", &camera.url) + &manifest::recording_with("rec", "cam", &spec)
    };
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let program = Program::start_with(&objects(""), None, &environment);
    program.await_object("recordings/rec");
    wait("four files", || (program.media_files("rec").len() >= 4).then_some(()));
    // From here on nothing is added, so that a preview holds until the run.
    program.write_manifests(&objects("suspend: true"));
    program.await_ready_condition("recordings/rec", "False", &["Suspended"]);
    let mut size = 0;
    wait("the newest file is closed and stands still", || {
        let newest = program.media_files("rec").pop()?;
        let (index, name) = (newest.with_file_name("playlist.m3u8"), newest.file_name()?.to_str()?);
        let before = std::mem::replace(&mut size, newest.metadata().ok()?.len());
        let index = fs::read_to_string(index).ok()?;
        let entry = index.lines().find(|line| line.contains(&format!("NAME=\"{name}\"")))?;
        let closed = entry.contains("CLOSED=YES") && entry.contains(&format!(",BYTES={size},"));
        (closed && size == before).then_some(())
    });
    assert!(program.object("archives/default").unwrap()["status"]["retention"].is_null(), "it has not run yet");
    let before = program.media_files("rec");
    let preview = program.json("/api/v1/namespaces/default/archives/default/retention/preview");
    let lines = preview["deletions"].as_array().unwrap();
    let folder = program.recording_folder("rec");
    let foretold: Vec<PathBuf> = lines.iter().map(|line| folder.join(line["file"].as_str().unwrap())).collect();
    assert!(!foretold.is_empty() && foretold.len() < before.len(), "{preview:#}");
    assert!(lines.iter().all(|line| line["reason"] == "MaxSize"), "{preview:#}");
    assert!(foretold.iter().all(|file| file.exists()), "a preview deletes nothing");

    // Not before all this was looked at: the run comes ten seconds later.
    clock.show("2031-05-05T10:29:50Z");
    let status = wait("the run on schedule is told", || {
        let status = program.object("archives/default")?["status"]["retention"].clone();
        (!status.is_null()).then_some(status)
    });
    let ran: Timestamp = status["lastRun"].as_str().unwrap().parse().unwrap();
    let due: Timestamp = "2031-05-05T10:30:00Z".parse().unwrap();
    assert!(ran >= due && ran < due + SignedDuration::from_mins(5), "{status:#}");
    assert_eq!((&status["deletedSegments"], &status["deletedBytes"]), (&preview["files"], &preview["bytes"]));
    let after = program.media_files("rec");
    let stays: Vec<PathBuf> = before.iter().filter(|file| !foretold.contains(file)).cloned().collect();
    assert_eq!(after, stays, "{preview:#}");
    let metrics = program.get("/metrics").text();
    for line in [
        format!(
            "archive_deleted_files_total{{name=\"default\",namespace=\"default\",reason=\"MaxSize\"}} {}",
            preview["files"]
        ),
        format!(
            "archive_deleted_bytes_total{{name=\"default\",namespace=\"default\",reason=\"MaxSize\"}} {}",
            preview["bytes"]
        ),
        "archive_retention_last_run_timestamp_seconds{name=\"default\",namespace=\"default\"} ".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }

    // A run that is asked for shows there just the same, and has nothing left to do.
    let run = program.post("/api/v1/namespaces/default/archives/default/retention/run");
    assert_eq!((run.status, &run.json()["files"]), (200, &serde_json::json!(0)), "{}", run.text());
    wait("the run that was asked for is told", || {
        let status = program.object("archives/default")?["status"]["retention"].clone();
        (status["deletedSegments"] == 0).then_some(())
    });
    assert_eq!(program.media_files("rec"), stays);
}
