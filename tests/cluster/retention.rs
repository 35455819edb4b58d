//! Retention in a cluster: the job of the schedule, a preview of it, "run now", and a volume that fills up.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Test;
use crate::media::{archive, recorded, suspend};
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::manifest;

pub const TESTS: &[Test] = &[
    ("a_retention_job_deletes_what_its_preview_said", a_retention_job_deletes_what_its_preview_said),
    ("a_full_volume_costs_the_oldest_and_stops_nothing", a_full_volume_costs_the_oldest_and_stops_nothing),
];

/// The files that a job's log names, as `<namespace>/<recording>/<file>`.
fn named(log: &str, verb: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| line.strip_prefix(&format!("{verb} "))?.split_once(" ("));
    let mut files: Vec<String> = lines.map(|(file, _)| file.to_owned()).filter(|file| file.contains('/')).collect();
    files.sort();
    files
}

/// Makes a job of the archive's `CronJob` with these further arguments of the program; one that fails is not tried again.
fn start(site: &Site, name: &str, more: &[&str]) {
    let from = "--from=cronjob/default-retention";
    let job = site.kubectl(&["create", "job", name, from, "--dry-run=client", "--output=json"]);
    let mut job: Value = serde_json::from_str(&job).unwrap();
    let arguments = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap();
    arguments.extend(more.iter().map(|argument| Value::from(*argument)));
    job["spec"]["backoffLimit"] = 0.into();
    site.apply(&job.to_string());
}

/// What such a job prints.
fn job(site: &Site, name: &str, more: &[&str]) -> String {
    start(site, name, more);
    site.kubectl(&["wait", &format!("job/{name}"), "--for=condition=Complete", "--timeout=240s"]);
    site.kubectl(&["logs", &format!("job/{name}")])
}

fn a_retention_job_deletes_what_its_preview_said(cluster: &Cluster) {
    let site = Site::new(cluster, "retention");
    let volume = site.volume("default");
    let camera = site.camera("--noise --bit-rate 2000");
    let recording = manifest::recording_with("front-rec", "front", "retention: {maxSize: 4Mi}");
    site.apply(&manifest::patient(&(archive("default") + &manifest::camera("front", &camera.url) + &recording)));
    site.await_ready(&["recording/front-rec", "archive/default"]);
    let files = || recorded(&volume, "retention", "front-rec");
    wait("four files", || (files().len() >= 4).then_some(()));
    // From here on nothing is added, so that a preview holds until the run.
    suspend(&site, "front-rec");
    let before = files();
    assert!(site.get("archive/default").unwrap()["status"]["retention"].is_null(), "it has not run yet");

    let preview = job(&site, "preview", &["--preview"]);
    let foretold = named(&preview, "would delete");
    assert_eq!(files(), before, "a preview deletes nothing");
    assert!(!foretold.is_empty() && foretold.len() < before.len(), "{preview}");
    let run = job(&site, "now", &[]);
    assert_eq!(named(&run, "deleted"), foretold, "{run}");
    let stays: Vec<PathBuf> =
        before.iter().filter(|file| !foretold.iter().any(|gone| file.ends_with(gone))).cloned().collect();
    assert_eq!(files(), stays, "{run}");

    // What it did stands in the status of both, as people look for it: of a recording as soon as it runs again.
    let told = |object: &str| {
        let told = wait("the run in the status", || {
            let told = site.get(object)?["status"]["retention"].clone();
            (!told.is_null()).then_some(told)
        });
        assert_eq!(told["deletedSegments"], foretold.len(), "{object}: {told}");
        assert!(told["deletedBytes"].as_u64().unwrap() > 0 && told["lastRun"].is_string(), "{object}: {told}");
    };
    told("archive/default");
    site.kubectl(&["patch", "recording", "front-rec", "--type=merge", "--patch", r#"{"spec":{"suspend":false}}"#]);
    site.await_ready(&["recording/front-rec"]);
    told("recording/front-rec");

    // A job that fails is told on the archive, and one that goes well afterwards takes that away.
    let failed = |site: &Site| site.condition("archive/default", "RetentionFailed");
    assert_eq!(failed(&site), None);
    start(&site, "odd", &["--no-such-argument"]);
    let (_, _, message) = wait("the failure to be told", || failed(&site));
    assert!(message.contains("kubectl logs job/odd"), "{message}");
    job(&site, "again", &[]);
    wait("nothing to be told any more", || failed(&site).is_none().then_some(()));
}

/// A small ext4 at an archive's place, inside the cluster; unmounted when dropped.
struct SmallDisk<'a> {
    site: &'a Site<'a>,
    folder: PathBuf,
    image: PathBuf,
}

impl<'a> SmallDisk<'a> {
    fn mount(site: &'a Site<'a>, folder: &Path, mebibytes: u64) -> Self {
        let disk = Self { site, folder: folder.to_owned(), image: folder.with_extension("ext4") };
        disk.shell(&format!("truncate --size={mebibytes}M {}", disk.image.display()));
        disk.shell(&format!("mkfs.ext4 -q -F -m 0 {}", disk.image.display()));
        disk.shell(&format!("mount -o loop {} {}", disk.image.display(), disk.folder.display()));
        disk.shell(&format!("chmod 770 {}", disk.folder.display()));
        disk
    }

    /// What a command prints that runs where the cluster's mounts are.
    fn shell(&self, command: &str) -> String {
        self.site.cluster.part(&["exec", "sh", "-c", command])
    }

    fn files(&self) -> Vec<String> {
        let listed = self.shell(&format!("find {} -name '*.mp4' | sort", self.folder.display()));
        listed.lines().map(str::to_owned).collect()
    }

    fn filler(&self) -> String {
        self.folder.join("somebody-elses").display().to_string()
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // It is in use until the recorder's pod is gone; lazily, the kernel ends it then.
        self.shell(&format!("umount -l {}; rm -f {}", self.folder.display(), self.image.display()));
    }
}

fn a_full_volume_costs_the_oldest_and_stops_nothing(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: a full volume, because a file system can be mounted in a cluster of the tests' own only");
        return;
    }
    let site = Site::new(cluster, "full");
    let folder = site.volume("default");
    let disk = SmallDisk::mount(&site, &folder, 48);
    let camera = site.camera("--noise --bit-rate 8000");
    let archive = archive("default").replace("spec: {", "spec: {minFree: 12Mi, ");
    let recording = manifest::recording_with("front-rec", "front", "retention: {maxAge: 30d}");
    site.apply(&manifest::patient(&(archive + &manifest::camera("front", &camera.url) + &recording)));
    site.await_ready(&["camera/front", "recording/front-rec", "archive/default"]);
    let pod = site.pod("archive", "default");
    // A megabyte a second: it fills up by itself. What goes is the oldest, and what is new comes on top.
    let first = wait("the first file", || disk.files().first().cloned());
    wait("the oldest file to be deleted", || (!disk.files().contains(&first)).then_some(()));
    let newest = disk.files().pop();
    wait("it to go on", || (disk.files().pop() > newest).then_some(()));
    site.await_ready(&["recording/front-rec", "archive/default"]);

    // Nothing left for anybody: said, with what to do, and over when there is room again. The camera goes on.
    disk.shell(&format!("dd if=/dev/zero of={} bs=1M count=64 2>/dev/null || true", disk.filler()));
    let (_, _, message) = wait("the archive to say that it is full", || {
        // As fast as the recorder makes room, somebody takes it.
        disk.shell(&format!(
            "dd if=/dev/zero of={} bs=1M count=64 oflag=append conv=notrunc 2>/dev/null || true",
            disk.filler()
        ));
        site.condition("archive/default", "Ready").filter(|(_, reason, _)| reason == "ArchiveFull")
    });
    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
    wait("the recording to say so", || {
        site.condition("recording/front-rec", "Ready").filter(|(status, ..)| status == "False")
    });
    assert_eq!(site.condition("camera/front", "Ready").unwrap().0, "True", "a full disk is no camera's fault");
    disk.shell(&format!("rm {}", disk.filler()));
    site.await_ready(&["recording/front-rec", "archive/default"]);
    let newest = disk.files().pop();
    wait("it to go on", || (disk.files().pop() > newest).then_some(()));
    assert_eq!(site.pod("archive", "default"), pod, "nothing was made anew or restarted for it");
    // The pod lets go of the disk before the disk goes.
    site.kubectl(&["delete", "archive/default", "--wait=true"]);
    wait("no recorder", || site.pods("archive", "default").is_empty().then_some(()));
}
