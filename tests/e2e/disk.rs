//! The disk: full, nearly full, and asked for by two programs at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::camera::Camera;
use crate::support::program::{BINARY, Program};
use crate::support::{judge, manifest, wait};

/// A small file system of its own; unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
    /// What an ext4 stands in.
    _image: Option<tempfile::NamedTempFile>,
}

impl SmallDisk {
    /// A real ext4 in an image where loop devices work, else one in memory; `None` where this process may not mount anything.
    /// Says so.
    fn mount(mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(image) = Self::mount_ext4(mebibytes, folder.path()) {
            return Some(Self { folder, _image: Some(image) });
        }
        eprintln!(
            "SKIPPED: a full disk on ext4, because no image can be mounted here (run as root, with loop devices and mkfs.ext4)"
        );
        let size = format!("size={mebibytes}m");
        if done(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "camera-operator-test"]).arg(folder.path())) {
            return Some(Self { folder, _image: None });
        }
        eprintln!("SKIPPED: a full disk, because this user may not mount a small file system (run as root)");
        None
    }

    fn mount_ext4(mebibytes: u64, folder: &Path) -> Option<tempfile::NamedTempFile> {
        let image = tempfile::NamedTempFile::new().unwrap();
        // What ext4 needs for itself (journal, inodes) comes on top.
        image.as_file().set_len((mebibytes + mebibytes / 8) << 20).unwrap();
        let made = done(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image.path()));
        (made && done(Command::new("mount").args(["-o", "loop"]).arg(image.path()).arg(folder))).then_some(image)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn free(&self) -> u64 {
        let numbers = nix::sys::statvfs::statvfs(self.folder.path()).unwrap();
        numbers.blocks_available() * numbers.fragment_size()
    }

    /// Puts so much of the disk to another use that `left` bytes are free.
    fn fill(&self, left: u64) {
        let path = self.filler();
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let more = self.free().saturating_sub(left);
        fs::write(&path, vec![1; usize::try_from(size + more).unwrap()]).unwrap_or(());
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("somebody-elses")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn archive(min_free: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata:\n  name: default\nspec:\n  minFree: {min_free}\n"
    )
}

#[test]
fn a_disk_that_fills_up_costs_the_oldest_and_stops_nothing() {
    let Some(disk) = SmallDisk::mount(80) else { return };
    let mut camera = Camera::start("--noise --bit-rate 8000");
    let objects = archive("16Mi")
        + &manifest::camera("cam", &camera.url)
        + &manifest::recording_with("rec", "cam", "retention: {maxAge: 30d}");
    let mut program = Program::start_with(&objects, Some(&disk.data()), &[]);
    program.await_object("recordings/rec");
    // Room for some files of ten seconds, at a megabyte a second, above what is to stay free.
    wait("the first file is closed", || (program.media_files("rec").len() >= 2).then_some(()));
    let first = program.media_files("rec")[0].clone();
    disk.fill(17 << 20);
    wait("the oldest file is deleted", || (!first.exists()).then_some(()));
    let now = camera.stats().frames;
    wait("it goes on", || (camera.stats().frames >= now + 30).then_some(()));
    program.await_object("recordings/rec");
    let (_, reason, message) = program.condition("archives/default", "Ready").unwrap();
    assert!(!reason.is_empty() && !message.is_empty());
    assert!(program.get("/metrics").text().contains("camera_operator_archive"), "{}", program.get("/metrics").text());

    // Nothing left for anybody: said, and over when there is room again.
    fs::write(disk.filler(), vec![1; 90 << 20]).unwrap_err();
    program.await_ready_condition("archives/default", "False", &["ArchiveFull"]);
    program.await_ready_condition("recordings/rec", "False", &["ArchiveFull", "ArchiveWriteFailed"]);
    program.await_ready_condition("cameras/cam", "True", &["Streaming"]);
    fs::remove_file(disk.filler()).unwrap();
    program.await_object("archives/default");
    program.await_object("recordings/rec");
    let now = camera.stats().frames;
    wait("it goes on", || (camera.stats().frames >= now + 30).then_some(()));
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    assert!(!files.contains(&first), "the name of a file that was deleted is not given again");
    let of_files: Vec<Vec<u32>> = files.iter().map(|file| judge::counters_of(&[file])).collect();
    let counters = of_files.concat();
    let holes = judge::holes(&counters, &camera.stats().skips);
    assert!(holes.len() <= 2, "one for the full disk, one where the oldest went: {holes:?}");
    let firsts_and_lasts: Vec<_> =
        of_files.iter().map(|counters| (counters[0], counters[counters.len() - 1])).collect();
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice: {files:?} {firsts_and_lasts:?}");
}

/// The `retain` subcommand on a folder.
fn retain(root: &Path) -> std::process::Output {
    Command::new(BINARY).args(["retain", "--root"]).arg(root).arg("--preview").output().unwrap()
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_first() {
    let camera = Camera::start("");
    let objects = manifest::all_of("cam", &camera.url);
    let mut first = Program::start(&objects);
    first.await_object("recordings/cam-rec");
    let mut second = Program::prepare(&objects, Some(first.data()), &[]);
    second.run();
    let status = second.await_end();
    assert!(!status.success());
    let holder = first.pid().to_string();
    assert!(second.log().contains(&holder), "the first, process {holder}, is not named: {}", second.log());
    // The first goes on as if nothing had happened.
    first.await_object("recordings/cam-rec");

    let root = first.recording_folder("cam-rec").ancestors().nth(2).unwrap().to_path_buf();
    let refused = retain(&root);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains(&holder), "{said}");
    assert!(first.terminate().success());
    let allowed = retain(&root);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
}
