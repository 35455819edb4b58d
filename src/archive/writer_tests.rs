//! What the writer leaves on the disk: after a clean end, after any crash, beside files that are there already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;

use super::cut::{Input, Rules};
use super::description::{Claim, RecordingKind};
use super::fragments::{PlacedSample, walk};
use super::index::{FileEntry, FileName, Hour, RecordingPath, gaps};
use super::lock::Holder;
use super::recovery::{Recovered, recover_file};
use super::samples::{configuration, picture, picture_at, sound, temporary_folder};
use super::scan::scan;
use super::{Archive, ArchiveError, RecordingIndex, Writer};
use crate::media::frame::{Frame, RunId, UtcMicros};

mod names;

const MINUTE: i64 = 60_000_000;

struct Place {
    folder: tempfile::TempDir,
    archive: Archive,
}

fn path() -> RecordingPath {
    RecordingPath::new("shop", "door").expect("path")
}

fn open(root: &Path) -> Archive {
    Archive::open(root, &Holder::this_process("test")).expect("archive")
}

fn writer_with(archive: &Archive, segment_micros: i64) -> Writer {
    let claim =
        Claim { owner: "uid".into(), camera: "shop/door".into(), kind: RecordingKind::Continuous, adopt: false };
    archive.start_writer(&path(), &claim, Rules { segment_micros: Some(segment_micros), audio: true }).expect("writer")
}

fn writer(archive: &Archive) -> Writer {
    writer_with(archive, MINUTE)
}

impl Place {
    fn new() -> Self {
        let folder = temporary_folder();
        let archive = open(folder.path());
        Self { folder, archive }
    }

    fn index(&self) -> Arc<RecordingIndex> {
        self.archive.recording(&path()).expect("index")
    }

    fn recording(&self) -> PathBuf {
        self.folder.path().join("shop/door")
    }

    /// Closes the archive and opens it as the next program would.
    fn reopen(self) -> Self {
        drop(self.archive);
        let archive = open(self.folder.path());
        Self { archive, folder: self.folder }
    }
}

fn start(writer: &mut Writer, run: u64) {
    writer.push(Input::Configuration { run: RunId(run), configuration: configuration(640, true) });
}

/// Pictures every 100 ms in this span of milliseconds of UTC, a key frame a second, sound every 20 ms.
fn play(writer: &mut Writer, run: u64, millis: std::ops::Range<i64>) {
    for at in millis.step_by(20) {
        if at % 100 == 0 {
            writer.push(Input::Frame(picture(run, at / 10, at, at % 1000 == 0)));
        }
        writer.push(Input::Frame(sound(run, at / 10 + 1, at)));
    }
}

fn all_files(index: &RecordingIndex) -> Vec<FileEntry> {
    let mut files: Vec<FileEntry> =
        index.hours().iter().flat_map(|hour| index.files(*hour).expect("files").as_ref().clone()).collect();
    files.sort_by_key(FileEntry::order);
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// What FFmpeg finds in a file: a line a packet, `stream dts size`, and whatever it complains about.
fn ffprobe(file: &Path) -> (Vec<String>, String) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=stream_index,dts,size", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe");
    let lines =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
    // The pictures are no pictures; only what is wrong with the file counts.
    let complaints = String::from_utf8_lossy(&output.stderr);
    (lines, complaints.lines().filter(|line| !line.starts_with("[mjpeg")).collect())
}

#[test]
fn a_recording_is_cut_into_files_that_ffmpeg_reads_whole() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    start(&mut writer, 1);
    play(&mut writer, 1, 3_590_000..3_665_000);
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    drop(writer);

    let files = all_files(&place.index());
    let names: Vec<String> = files.iter().map(|file| file.name.to_string()).collect();
    assert_eq!(names, ["1970-01-01/00/59.mp4", "1970-01-01/01/00.mp4", "1970-01-01/01/01.mp4"]);
    assert_eq!(files.iter().map(|file| file.covered_micros).sum::<i64>(), 75_000_000);
    assert!(files.iter().all(|file| file.closed && !file.dependent));
    assert_eq!(files[2].gap_after.as_deref(), Some("ShuttingDown"));
    assert!(gaps(&files).is_empty());

    let mut pictures = 0;
    for file in &files {
        let on_disk = place.recording().join(file.name.to_string());
        assert_eq!(fs::metadata(&on_disk).expect("file").len(), file.bytes);
        let (packets, complaints) = ffprobe(&on_disk);
        assert_eq!(complaints, "");
        pictures += packets.iter().filter(|line| line.starts_with("0,")).count();
    }
    assert_eq!(pictures, 750);
    // tfdt runs on through the run.
    let (packets, _) = ffprobe(&place.recording().join("1970-01-01/01/01.mp4"));
    assert!(packets[0].starts_with("0,3660000,"), "{}", packets[0]);
    // The ended hour's playlist is a VOD that FFmpeg plays by its byte ranges.
    let (packets, complaints) = ffprobe(&place.recording().join("1970-01-01/00/playlist.m3u8"));
    assert_eq!((packets.iter().filter(|line| line.starts_with("0,")).count(), complaints.as_str()), (100, ""));
}

#[test]
fn the_index_comes_out_the_same_from_memory_from_playlists_and_from_media() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    start(&mut writer, 1);
    play(&mut writer, 1, 0..70_000);
    writer.push(Input::Ended { reason: "Unreachable".into() });
    start(&mut writer, 2);
    play(&mut writer, 2, 100_000..103_000);
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    drop(writer);
    let in_memory = all_files(&place.index());
    assert_eq!(gaps(&in_memory).len(), 1);
    assert_eq!(gaps(&in_memory)[0].reason, "Unreachable");

    let place = place.reopen();
    assert_eq!(all_files(&place.index()), in_memory);
    fs::remove_file(place.recording().join("1970-01-01/00/playlist.m3u8")).expect("removed");
    let place = place.reopen();
    assert_eq!(all_files(&place.index()), in_memory);
    fs::write(place.recording().join("1970-01-01/00/playlist.m3u8"), "#EXTM3U\n").expect("torn");
    let place = place.reopen();
    assert_eq!(all_files(&place.index()), in_memory);
}

#[test]
fn what_is_flushed_is_seen_by_readers_at_once() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    let mut changes = place.index().changes();
    start(&mut writer, 1);
    play(&mut writer, 1, 0..1_100);
    writer.flush().expect("written");
    assert!(changes.has_changed().expect("alive"));
    changes.mark_unchanged();
    let index = place.index();
    let files = all_files(&index);
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].covered_micros, files[0].closed), (1_000_000, false));
    assert_eq!(index.hours().len(), 1);
    assert_eq!(fs::metadata(place.recording().join("1970-01-01/00/00.mp4")).expect("file").len(), files[0].bytes);
    writer.tick();
    writer.flush().expect("written");
    assert!(changes.has_changed().expect("alive"));
    // The newest picture waits for the next, which tells its duration; with nothing else waiting it is written too.
    writer.tick();
    writer.flush().expect("written");
    assert_eq!(all_files(&index)[0].covered_micros, 1_100_000);
    assert!(writer.is_idle());
}

#[test]
fn cut_at_any_byte_the_file_is_whole_up_to_its_last_fragment() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    start(&mut writer, 1);
    // Small: three pictures a second, and no sound.
    for at in (0..3_200).step_by(400) {
        writer.push(Input::Frame(picture(1, at / 100, at, at % 800 == 0)));
    }
    writer.tick();
    writer.flush().expect("written");
    let live = place.recording().join("1970-01-01/00/00.mp4");
    let content = fs::read(&live).expect("file");
    let whole = scan(&fs::File::open(&live).expect("file")).expect("read").expect("ours");
    assert_eq!((whole.fragments.len(), whole.whole), (4, content.len() as u64));
    let broken = temporary_folder();
    let broken_file = broken.path().join("shop/door/1970-01-01/00/00.mp4");

    let survivors = |length: usize| whole.fragments.iter().filter(|found| found.end() <= length as u64).count();
    let covered = |survivors: usize| whole.fragments[survivors - 1].mark.facts.video.expect("video").to;
    let name = all_files(&place.index())[0].name;
    let torn_file = broken.path().join("torn.mp4");
    for length in 0..=content.len() {
        // Cut off; cut off and filled with zeros; cut off and filled with garbage.
        for filler in [None, Some(0), Some(0xA5)] {
            let mut torn = content[..length].to_vec();
            torn.resize(if filler.is_some() { content.len() + 50 } else { length }, filler.unwrap_or(0));
            fs::write(&torn_file, &torn).expect("torn");
            let file = fs::OpenOptions::new().read(true).write(true).open(&torn_file).expect("file");
            let recovered = recover_file(name, file).expect("recovered");
            let what = format!("{length} of {} bytes, filled with {filler:?}", content.len());
            match (survivors(length), recovered) {
                (0, Recovered::Empty | Recovered::Foreign) => {}
                (number @ 1.., Recovered::File(entry)) => {
                    assert_eq!(entry.covered_micros, covered(number), "{what}");
                    assert_eq!((entry.gap_after.as_deref(), entry.closed), (Some("RecorderDown"), false), "{what}");
                    assert_eq!(fs::metadata(&torn_file).expect("file").len(), entry.bytes, "{what}");
                }
                (_, other) => panic!("{what}: {other:?}"),
            }
        }
    }
    // And the whole way, through an archive: whatever was there, the next run records, and overwrites nothing.
    for length in (0..=content.len()).step_by(97) {
        let _ = fs::remove_dir_all(broken.path().join("shop"));
        copy(&place.folder.path().join("shop"), &broken.path().join("shop"));
        fs::write(&broken_file, &content[..length]).expect("torn");
        let archive = open(broken.path());
        let mut writer = self::writer(&archive);
        let files = all_files(&archive.recording(&path()).expect("index"));
        assert_eq!(files.len(), survivors(length).min(1), "{length}");
        let before = fs::read(&broken_file).ok();
        start(&mut writer, 2);
        play(&mut writer, 2, 10_000..11_000);
        writer.finish("ShuttingDown");
        writer.flush().expect("written");
        drop(writer);
        let after = all_files(&archive.recording(&path()).expect("index"));
        assert_eq!(after.len(), files.len() + 1, "{length}");
        if !files.is_empty() {
            assert_eq!(fs::read(&broken_file).ok(), before, "{length}");
        }
    }
}

#[test]
fn damage_inside_the_newest_seconds_is_found_by_its_checksum() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    start(&mut writer, 1);
    play(&mut writer, 1, 0..5_000);
    writer.flush().expect("written");
    let live = place.recording().join("1970-01-01/00/00.mp4");
    let mut content = fs::read(&live).expect("file");
    let fragments = scan(&fs::File::open(&live).expect("file")).expect("read").expect("ours").fragments;
    std::mem::forget(writer);
    // A block of the last but one fragment's media never reached the disk.
    let damaged = &fragments[fragments.len() - 2];
    let at = usize::try_from(damaged.end() - 64).expect("small");
    content[at..at + 32].fill(0);
    fs::write(&live, content).expect("damaged");
    let copied = temporary_folder();
    copy(&place.recording(), &copied.path().join("shop/door"));
    let archive = open(copied.path());
    drop(self::writer(&archive));
    let files = all_files(&archive.recording(&path()).expect("index"));
    assert_eq!(files[0].end, damaged.mark.facts.video.expect("video").utc);
}

#[test]
fn names_that_are_taken_are_never_overwritten() {
    let place = Place::new();
    let folder = place.recording().join("1970-01-01/00");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("00.mp4"), "somebody's").expect("file");
    fs::create_dir(folder.join("00-1.mp4")).expect("folder");
    std::os::unix::fs::symlink("/nowhere", folder.join("00-2.mp4")).expect("link");
    // The clock is set back by a year again and again: every run begins in the same minute.
    let mut writer = writer(&place.archive);
    for run in 1..=3 {
        start(&mut writer, run);
        play(&mut writer, run, 0..1_000);
        writer.push(Input::Ended { reason: "ClockStepped".into() });
        start(&mut writer, run);
    }
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    let files = all_files(&place.index());
    let names: Vec<String> = files.iter().map(|file| file.name.file()).collect();
    assert_eq!(names, ["00-3.mp4", "00-4.mp4", "00-5.mp4"]);
    assert_eq!(files.iter().map(|file| file.run.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(fs::read(folder.join("00.mp4")).expect("file"), b"somebody's");
    // A foreign file is neither listed nor deleted, even without a playlist.
    fs::remove_file(folder.join("playlist.m3u8")).expect("removed");
    drop(writer);
    let place = place.reopen();
    drop(self::writer(&place.archive));
    assert_eq!(all_files(&place.index()), files);
    assert_eq!(fs::read(folder.join("00.mp4")).expect("file"), b"somebody's");
}

#[test]
fn a_clock_that_jumps_a_year_and_back_loses_nothing_and_order_is_by_run() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    let year = 31_536_000_000_000;
    for (run, utc) in [(1, 1_000_000_000_000_000), (2, 1_000_000_000_000_000 + year), (3, 1_000_000_000_000_000)] {
        start(&mut writer, run);
        for number in 0..20 {
            let utc = UtcMicros(utc + number * 100_000);
            writer.push(Input::Frame(picture_at(run, number, number * 100, utc, number % 10 == 0)));
        }
        writer.push(Input::Ended { reason: "ClockStepped".into() });
    }
    writer.flush().expect("written");
    drop(writer);
    let files = all_files(&place.index());
    assert_eq!(files.iter().map(|file| file.run.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(files.iter().map(|file| file.covered_micros).collect::<Vec<_>>(), [2_000_000; 3]);
    let place = place.reopen();
    let writer = self::writer(&place.archive);
    assert_eq!(writer.resume_point(), Some((RunId(3), 19)), "the marker tells which file was the last");
    drop(writer);
    assert_eq!(all_files(&place.index()), files);
}

#[test]
fn a_day_change_begins_a_file_in_the_new_days_folder() {
    let place = Place::new();
    let mut writer = writer_with(&place.archive, 7 * MINUTE);
    start(&mut writer, 1);
    play(&mut writer, 1, 86_390_000..86_410_000);
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    let names: Vec<String> = all_files(&place.index()).iter().map(|file| file.name.to_string()).collect();
    assert_eq!(names, ["1970-01-01/23/59.mp4", "1970-01-02/00/00.mp4"]);
}

#[test]
fn a_unit_that_restarts_goes_on_without_a_gap_where_the_hub_still_has_the_frames() {
    let place = Place::new();
    let frames: Vec<Arc<Frame>> = (0..40).map(|number| picture(1, number, number * 100, number % 10 == 0)).collect();
    let mut first = writer(&place.archive);
    start(&mut first, 1);
    frames[..25].iter().for_each(|frame| first.push(Input::Frame(frame.clone())));
    first.finish("ShuttingDown");
    first.flush().expect("written");
    drop(first);
    let mut second = writer(&place.archive);
    assert_eq!(second.resume_point(), Some((RunId(1), 24)));
    let mut shown = Vec::new();
    second.newest_pictures(|payload, key| shown.push((payload.to_vec(), key))).expect("read");
    let recorded: Vec<_> = frames[..25].iter().map(|frame| (frame.payload.to_vec(), frame.is_video_key())).collect();
    assert_eq!(shown, recorded, "what was recorded last can be looked at again");
    start(&mut second, 1);
    frames.iter().for_each(|frame| second.push(Input::Frame(frame.clone())));
    second.finish("ShuttingDown");
    second.flush().expect("written");
    let files = all_files(&place.index());
    assert_eq!(
        files.iter().map(|file| (file.first_sequence, file.last_sequence)).collect::<Vec<_>>(),
        [(0, 24), (25, 39)]
    );
    assert!(files[1].dependent && files[0].gap_after.is_none());
    assert!(files[0].continues_in(&files[1]));
}

#[test]
fn deletion_spares_what_is_written_or_leased_and_keeps_the_playlist_true() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    start(&mut writer, 1);
    play(&mut writer, 1, 3_480_000..3_630_000);
    writer.flush().expect("written");
    let index = place.index();
    let files = all_files(&index);
    assert_eq!(files.len(), 3);
    let refused = place.archive.delete_file(&path(), files[2].name).expect_err("being written");
    assert!(matches!(refused, ArchiveError::InUse { by: "being written", .. }));
    let lease = index.lease(files[0].name).expect("leased");
    let again = index.lease(files[0].name).expect("leased twice");
    drop(lease);
    let refused = place.archive.delete_file(&path(), files[0].name).expect_err("leased");
    assert!(matches!(refused, ArchiveError::InUse { by: "being exported", .. }));
    drop(again);
    assert_eq!(place.archive.delete_file(&path(), files[0].name).expect("deleted"), files[0].bytes);
    assert!(matches!(place.archive.delete_file(&path(), files[0].name), Err(ArchiveError::NotFound { .. })));
    let text = fs::read_to_string(place.recording().join("1970-01-01/00/playlist.m3u8")).expect("playlist");
    assert!(!text.contains("58.mp4") && text.contains("59.mp4"));
    place.archive.delete_file(&path(), files[1].name).expect("deleted");
    assert!(!place.recording().join("1970-01-01/00").exists(), "an empty hour goes");
    assert_eq!(index.hours().len(), 1);
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    place.archive.delete_file(&path(), files[2].name).expect("deleted");
    assert!(!place.recording().join("1970-01-01").exists(), "an empty day goes");
    assert!(index.hours().is_empty());
}

#[test]
fn the_hour_playlist_is_read_lazily_and_forgotten_hours_still_know_their_size() {
    let place = Place::new();
    let mut writer = writer(&place.archive);
    for hour in 0..60 {
        start(&mut writer, hour + 1);
        play(&mut writer, hour + 1, hour as i64 * 3_600_000..hour as i64 * 3_600_000 + 1_000);
        writer.push(Input::Ended { reason: "Stalled".into() });
    }
    writer.flush().expect("written");
    drop(writer);
    let place = place.reopen();
    let index = place.index();
    assert_eq!(index.hours().len(), 60);
    let sizes: Vec<_> = index.hours().iter().map(|hour| index.summary(*hour).expect("summary")).collect();
    assert!(sizes.iter().all(|summary| summary.files == 1 && summary.bytes > 0));
    let first = index.hours()[0];
    assert_eq!(index.summary(first).expect("summary"), sizes[0]);
    assert_eq!(index.files(first).expect("files").len(), 1);
    let between = index.files_between(UtcMicros(2 * 60 * MINUTE), UtcMicros(4 * 60 * MINUTE)).expect("files");
    assert_eq!(between.iter().map(|file| file.run.0).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn another_owner_is_refused() {
    let place = Place::new();
    drop(writer(&place.archive));
    let claim =
        Claim { owner: "other".into(), camera: "shop/door".into(), kind: RecordingKind::Continuous, adopt: false };
    assert!(
        matches!(place.archive.claim(&path(), &claim), Err(ArchiveError::OwnedByAnother { owner, .. }) if owner == "uid")
    );
}

#[test]
fn a_file_on_a_full_volume_waits_for_room() {
    const MARK: &str = "CAMERA_OPERATOR_TEST_FULL_VOLUME";
    if std::env::var_os(MARK).is_none() {
        // Again, in a mount name space of our own with a volume of 1 MiB.
        let this = std::env::current_exe().expect("test program");
        let volume = temporary_folder();
        let script = format!(
            "mount -t tmpfs -o size=1m tmpfs '{}' && exec '{}' --exact --nocapture archive::writer_tests::a_file_on_a_full_volume_waits_for_room",
            volume.path().display(),
            this.display()
        );
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script])
            .env(MARK, volume.path())
            .output()
            .expect("unshare");
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("unshare failed") || text.contains("mount:") {
            eprintln!("skipped: this machine allows no name spaces: {text}");
            return;
        }
        assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let root = PathBuf::from(std::env::var_os(MARK).expect("set"));
    let archive = open(&root);
    let mut writer = writer_with(&archive, MINUTE);
    fs::write(root.join("ballast"), vec![1; 400 << 10]).expect("ballast");
    start(&mut writer, 1);
    let mut at = 0;
    let error = loop {
        play(&mut writer, 1, at..at + 1_000);
        at += 1_000;
        if let Err(error) = writer.flush() {
            break error;
        }
        assert!(at < 600_000, "the volume never filled up");
    };
    assert!(matches!(error, ArchiveError::Full { .. }), "{error}");
    assert!(matches!(writer.flush(), Err(ArchiveError::Full { .. })), "still full");
    let index = archive.recording(&path()).expect("index");
    for file in all_files(&index) {
        let size = fs::metadata(root.join("shop/door").join(file.name.to_string())).expect("file").len();
        assert_eq!(size, file.bytes, "no half-written piece stays");
    }
    assert!(archive.space().expect("space").free_bytes < 128 << 10);
    fs::remove_file(root.join("ballast")).expect("room");
    play(&mut writer, 1, at..at + 1_000);
    writer.finish("ShuttingDown");
    writer.flush().expect("room again");
    let files = all_files(&index);
    assert_eq!(files.iter().map(|file| file.covered_micros).sum::<i64>(), (at + 1_000) * 1000);
    assert!(gaps(&files).is_empty());
}

/// Number and decode time (ms) of the pictures in each fragment of a file that is whole; found without the archive's marks.
fn pictures_in(path: &Path) -> Vec<Vec<(u64, i64)>> {
    let file = fs::File::open(path).expect("file");
    let content = fs::read(path).expect("file");
    let mut found = Vec::new();
    walk(&file, 0, content.len() as u64, |fragment| {
        let number = |picture: &PlacedSample| {
            let place = usize::try_from(picture.offset).expect("small");
            let text = String::from_utf8_lossy(&content[place..place + picture.size as usize]).into_owned();
            // `picture <run>/<number> xxx`
            let number = text.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok());
            (number.unwrap_or_else(|| panic!("no picture: {text}")), picture.decode_time)
        };
        found.push(fragment.video.iter().map(number).collect());
    })
    .expect("whole");
    found
}

/// The first distance between pictures of one file that ought to have ended it: longer than a second and than three times the
/// median of the 31 before.
fn hole_within(times: &[i64]) -> Option<i64> {
    let distances: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.windows(32).find_map(|window| {
        let (mut before, distance) = (window[..31].to_vec(), window[31]);
        before.sort_unstable();
        (distance > 1000 && distance > 3 * before[15]).then_some(distance)
    })
}

/// What happens to a recorder, for the property below.
#[derive(Debug, Clone)]
enum Happening {
    /// So many frames, at so many ms from each other.
    Frames(u8, i64),
    /// The camera is gone for so many ms; a new run follows.
    Ended(i64),
    /// The recorder was too slow for so many frames.
    Lost(u8),
    /// Another picture size from here on.
    Reconfigured,
    /// Time passes without frames.
    Tick,
    /// All that is due is written.
    Flush,
    /// The program is killed; so many bytes of the newest file (of 64) are lost.
    Crash(u8),
    /// The unit is stopped and started again.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (1..60u8, prop_oneof![Just(40), Just(100), Just(1500)]).prop_map(|(count, every)| Happening::Frames(count, every)),
        1 => (0..100_000i64).prop_map(Happening::Ended),
        1 => (1..20u8).prop_map(Happening::Lost),
        1 => Just(Happening::Reconfigured),
        2 => Just(Happening::Tick),
        4 => Just(Happening::Flush),
        1 => (0..64u8).prop_map(Happening::Crash),
        1 => Just(Happening::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens: every frame that was flushed is in exactly one file, files and index agree to the byte, a rebuilt index
    /// is the same, every hole is explained, and no file that was closed ever changes.
    #[test]
    fn the_index_accounts_for_everything(happenings in proptest::collection::vec(happening(), 1..40)) {
        let folder = temporary_folder();
        let mut archive = open(folder.path());
        let mut writer = writer_with(&archive, 10_000_000);
        let (mut run, mut sequence, mut at, mut width, mut since_key) = (1_u64, 0_i64, 3_590_000_i64, 640_u16, 0);
        let mut begun = false;
        let mut closed: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        // The pictures of each run, by number; of which runs some were not on the disk when a crash came; how many of those at
        // least must be there after it.
        let mut sent = BTreeMap::<u64, Vec<u64>>::new();
        let (mut waiting, mut crashed) = (BTreeSet::<u64>::new(), BTreeMap::<u64, usize>::new());
        for happening in happenings {
            match happening {
                Happening::Frames(count, every) => {
                    if !begun {
                        writer.push(Input::Configuration { run: RunId(run), configuration: configuration(width, true) });
                        begun = true;
                        since_key = 0;
                    }
                    for _ in 0..count {
                        writer.push(Input::Frame(picture(run, sequence, at, since_key == 0)));
                        writer.push(Input::Frame(sound(run, sequence + 1, at)));
                        sent.entry(run).or_default().push(sequence.unsigned_abs());
                        waiting.insert(run);
                        sequence += 2;
                        at += every;
                        since_key = (since_key + 1) % 25;
                    }
                }
                Happening::Ended(pause) => {
                    writer.push(Input::Ended { reason: "Unreachable".into() });
                    (run, sequence, at, begun) = (run + 1, 0, at + pause, false);
                }
                Happening::Lost(count) => {
                    if begun {
                        writer.push(Input::Lost { reason: "RecorderOverrun".into() });
                        sequence += i64::from(count);
                        at += i64::from(count) * 100;
                        since_key = 0;
                    }
                }
                Happening::Reconfigured => {
                    width = if width == 640 { 320 } else { 640 };
                    begun = false;
                }
                Happening::Tick => writer.tick(),
                Happening::Flush => {
                    writer.flush().expect("written");
                    // What the cutter waits with is of the newest run.
                    waiting.retain(|waiting| *waiting == run);
                }
                Happening::Crash(bytes) => {
                    let live = writer.index().live().filter(|live| !live.ranges.is_empty()).map(|live| live.name);
                    let mut on_disk = BTreeMap::<u64, usize>::new();
                    for file in all_files(writer.index()) {
                        let mut found = pictures_in(&folder.path().join("shop/door").join(file.name.to_string()));
                        if live == Some(file.name) {
                            // The newest fragment is torn.
                            found.pop();
                        }
                        *on_disk.entry(file.run.0).or_default() += found.concat().len();
                    }
                    // As a kill would: nothing runs any more, and the lock is free.
                    let copied = temporary_folder();
                    copy(folder.path(), copied.path());
                    drop(writer);
                    drop(archive);
                    fs::remove_dir_all(folder.path().join("shop")).expect("removed");
                    copy(&copied.path().join("shop"), &folder.path().join("shop"));
                    if let Some(live) = live {
                        let path = folder.path().join("shop/door").join(live.to_string());
                        let file = fs::OpenOptions::new().write(true).open(path).expect("file");
                        let length = file.metadata().expect("size").len();
                        file.set_len(length.saturating_sub(bytes.into())).expect("torn");
                    }
                    archive = open(folder.path());
                    writer = writer_with(&archive, 10_000_000);
                    crashed.extend(std::mem::take(&mut waiting).into_iter().map(|run| (run, 0)));
                    for (run, least) in on_disk {
                        crashed.entry(run).and_modify(|known| *known = least);
                    }
                    (run, sequence, at, begun) = (run + 1, 0, at + 500, false);
                }
                Happening::Restart => {
                    writer.finish("ShuttingDown");
                    writer.flush().expect("written");
                    drop(writer);
                    writer = writer_with(&archive, 10_000_000);
                    waiting.clear();
                    begun = false;
                    sequence += 3;
                }
            }
            for (path, content) in &closed {
                prop_assert_eq!(&fs::read(path).expect("file"), content, "{} changed", path.display());
            }
            let index = archive.recording(&path()).expect("index");
            closed = all_files(&index).iter().filter(|file| file.closed).map(|file| {
                let path = folder.path().join("shop/door").join(file.name.to_string());
                (path.clone(), fs::read(path).expect("file"))
            }).collect();
        }
        writer.finish("ShuttingDown");
        writer.flush().expect("written");
        drop(writer);
        let files = all_files(&archive.recording(&path()).expect("index"));
        let mut recorded = BTreeMap::<u64, Vec<u64>>::new();
        for file in &files {
            let found = pictures_in(&folder.path().join("shop/door").join(file.name.to_string())).concat();
            let times: Vec<i64> = found.iter().map(|(_, time)| *time).collect();
            prop_assert_eq!(hole_within(&times), None, "a hole in {}", file.name);
            recorded.entry(file.run.0).or_default().extend(found.into_iter().map(|(number, _)| number));
        }
        for (run, sent) in sent {
            let recorded = recorded.remove(&run).unwrap_or_default();
            // In their order and none twice; none is missing, but for the newest that a crash took.
            let least = crashed.get(&run).copied().unwrap_or(sent.len());
            prop_assert!((least..=sent.len()).contains(&recorded.len()), "run {}: {} of {}", run, recorded.len(), sent.len());
            prop_assert_eq!(&recorded, &sent[..recorded.len()], "run {}", run);
        }
        prop_assert!(recorded.is_empty(), "pictures of no run: {:?}", recorded);
        let mut names = BTreeSet::<FileName>::new();
        let mut before: Option<&FileEntry> = None;
        for file in &files {
            prop_assert!(names.insert(file.name));
            prop_assert_eq!(Hour::of(file.start), file.name.hour);
            prop_assert!(file.first_sequence <= file.last_sequence);
            let on_disk = folder.path().join("shop/door").join(file.name.to_string());
            prop_assert_eq!(fs::metadata(on_disk).expect("file").len(), file.bytes);
            let ranges: i64 = file.ranges.iter().map(|range| range.duration_micros).sum();
            prop_assert_eq!(ranges, file.covered_micros);
            prop_assert_eq!(file.covered_micros, file.end.0 - file.start.0);
            let joined = file.ranges.windows(2).all(|pair| pair[0].offset + pair[0].length == pair[1].offset);
            prop_assert!(joined, "bytes between two ranges: {:?}", file.ranges);
            if let Some(before) = before {
                if before.run == file.run {
                    prop_assert!(before.last_sequence < file.first_sequence, "no frame twice");
                }
                // What no reason explains goes on without a hole.
                prop_assert!(before.gap_after.is_some() || before.end == file.start, "{:?} then {:?}", before, file);
            }
            before = Some(file);
        }
        drop(archive);
        // Rebuilt from media alone it is the same, but for reasons that were only found out afterwards.
        for hour in files.iter().map(|file| file.name.hour).collect::<BTreeSet<_>>() {
            let _ = fs::remove_file(folder.path().join("shop/door").join(hour.to_string()).join("playlist.m3u8"));
        }
        let archive = open(folder.path());
        let mut rebuilt = all_files(&archive.recording(&path()).expect("index"));
        for (file, known) in rebuilt.iter_mut().zip(&files) {
            file.gap_after.clone_from(&known.gap_after);
        }
        prop_assert_eq!(rebuilt, files);
    }
}

#[test]
fn a_killed_recorder_leaves_all_but_what_was_not_flushed() {
    const MARK: &str = "CAMERA_OPERATOR_TEST_KILLED";
    if let Some(root) = std::env::var_os(MARK) {
        // The recorder: says on standard output how far it has flushed, until it is killed.
        let archive = open(Path::new(&root));
        let mut writer = writer_with(&archive, MINUTE);
        start(&mut writer, 1);
        for second in 0.. {
            play(&mut writer, 1, second * 1_000..(second + 1) * 1_000);
            writer.flush().expect("written");
            println!("flushed {second}");
        }
    }
    let folder = temporary_folder();
    let mut child = Command::new(std::env::current_exe().expect("test program"))
        .args([
            "--exact",
            "--nocapture",
            "archive::writer_tests::a_killed_recorder_leaves_all_but_what_was_not_flushed",
        ])
        .env(MARK, folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("child");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("output")));
    let seconds = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("flushed ")?.parse::<i64>().ok());
    // In the middle of its third file.
    let told = seconds.into_iter().find(|second| *second >= 130).expect("flushed");
    child.kill().expect("killed");
    child.wait().expect("gone");

    let archive = open(folder.path());
    drop(writer(&archive));
    let files = all_files(&archive.recording(&path()).expect("index"));
    let covered: i64 = files.iter().map(|file| file.covered_micros).sum();
    // The newest GOP is written when the next key frame comes.
    assert!(covered >= told * 1_000_000, "{covered} of {told} s");
    assert_eq!(files.last().and_then(|file| file.gap_after.as_deref()), Some("RecorderDown"));
    for file in &files {
        let (packets, complaints) = ffprobe(&folder.path().join("shop/door").join(file.name.to_string()));
        assert_eq!(complaints, "");
        let pictures = packets.iter().filter(|line| line.starts_with("0,")).count();
        assert_eq!(pictures as i64 * 100_000, file.covered_micros);
    }
}
