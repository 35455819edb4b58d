//! What a clip is on the disk: at its end, after a kill, over gaps, restarts, stepped clocks and changed sizes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::clip::{DEADLINE_REACHED, STOPPED};
use super::cut::Input;
use super::description::{Claim, RecordingKind};
use super::index::RecordingPath;
use super::lock::Holder;
use super::samples::{configuration, picture, picture_at, sound, temporary_folder};
use super::{Archive, ClipWriter};
use crate::media::frame::{Frame, RunId, UtcMicros};

const SECOND: i64 = 1_000_000;
/// UTC at which the clips begin, milliseconds: now, because a clip ends by the host's clock too.
fn begin() -> i64 {
    jiff::Timestamp::now().as_millisecond() / 1000 * 1000
}

fn path() -> RecordingPath {
    RecordingPath::new("court", "match").expect("path")
}

fn open(root: &Path) -> Archive {
    Archive::open(root, &Holder::this_process("test")).expect("archive")
}

fn clip(archive: &Archive, seconds: i64) -> ClipWriter {
    let claim = Claim { owner: "uid".into(), camera: "court/one".into(), kind: RecordingKind::Clip, adopt: false };
    archive.start_clip(&path(), &claim, seconds * SECOND, true).expect("clip")
}

fn file(root: &Path, part: u32) -> PathBuf {
    root.join("court/match").join(super::layout::clip_file(part))
}

/// A run that begins at this UTC (ms) and lasts so many ms; media time begins at `media` ms.
fn play(clip: &mut ClipWriter, run: u64, utc: i64, media: i64, length: i64) {
    play_as(clip, run, 640, utc, media, length);
}

fn play_as(clip: &mut ClipWriter, run: u64, width: u16, utc: i64, media: i64, length: i64) {
    clip.push(Input::Configuration { run: RunId(run), configuration: configuration(width, true) });
    for at in (0..length).step_by(20) {
        let number = (media + at) / 100 * 6;
        let utc = UtcMicros((utc + at) * 1000);
        if at % 100 == 0 {
            clip.push(Input::Frame(picture_at(run, number, media + at, utc, at % 1000 == 0)));
        }
        let heard = sound(run, number + 1 + at % 100 / 20, media + at);
        clip.push(Input::Frame(Arc::new(Frame { utc, ..(*heard).clone() })));
    }
}

fn ended(clip: &mut ClipWriter, reason: &str) {
    clip.push(Input::Ended { reason: reason.into() });
}

fn probe(file: &Path, what: &[&str]) -> String {
    let output =
        Command::new("ffprobe").args(["-v", "error", "-of", "csv=p=0"]).args(what).arg(file).output().expect("ffprobe");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = complaints.lines().filter(|line| !line.starts_with("[mjpeg")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn duration(file: &Path) -> f64 {
    probe(file, &["-show_entries", "format=duration"]).trim().parse().expect("seconds")
}

/// Presentation times and sizes of the packets of a stream.
fn packets(file: &Path, stream: &str) -> Vec<(f64, u64)> {
    let text = probe(file, &["-select_streams", stream, "-show_entries", "packet=pts_time,size"]);
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .collect()
}

/// Types of the boxes at the top of a file.
fn boxes(file: &Path) -> Vec<String> {
    let content = fs::read(file).expect("file");
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 <= content.len() {
        let short = u32::from_be_bytes(content[at..at + 4].try_into().expect("four"));
        let size = if short == 1 {
            u64::from_be_bytes(content[at + 8..at + 16].try_into().expect("eight"))
        } else {
            short.into()
        };
        found.push(String::from_utf8_lossy(&content[at + 4..at + 8]).into_owned());
        at += usize::try_from(size).expect("small");
    }
    assert_eq!(at, content.len(), "the boxes fill the file");
    found
}

#[test]
fn a_clip_is_one_seekable_file_of_its_whole_length_although_the_camera_was_gone() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 30);
    let begin = begin();
    play(&mut clip, 1, begin, 5_000, 8_000);
    ended(&mut clip, "Unreachable");
    clip.flush().expect("written");
    assert_eq!(boxes(&file(folder.path(), 1))[..4], ["ftyp", "free", "moov", "uuid"]);
    play(&mut clip, 2, begin + 20_000, 7_000, 20_000);
    assert!(clip.is_finished(), "the deadline is 30 s after the first frame");
    clip.flush().expect("finished");
    assert!(clip.is_complete());

    let file = file(folder.path(), 1);
    assert_eq!(boxes(&file), ["ftyp", "mdat", "moov"]);
    assert!((duration(&file) - 30.0).abs() < 0.001, "{}", duration(&file));
    let pictures = packets(&file, "v");
    assert_eq!(pictures.len(), 180);
    assert!(pictures[0].0.abs() < 0.001, "{pictures:?}");
    assert!((pictures[79].0 - 7.9).abs() < 0.001 && (pictures[80].0 - 20.0).abs() < 0.001, "the gap stands");
    let sounds = packets(&file, "a");
    assert_eq!(sounds.len(), 900);
    assert!((sounds[400].0 - 20.0).abs() < 0.03, "sound stays with its pictures: {}", sounds[400].0);
    let state = clip.state().expect("state");
    assert_eq!(state.gaps.len(), 1);
    assert_eq!(
        (state.gaps[0].to.0 - state.gaps[0].from.0, state.gaps[0].reason.as_str()),
        (12 * SECOND, "Unreachable")
    );
    assert_eq!(state.completion.as_ref().map(|completion| completion.reason.as_str()), Some(DEADLINE_REACHED));
    // Pictures read through the index are the ones that were sent.
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-ss", "25", "-i"])
        .arg(&file)
        .args(["-map", "0:v", "-c", "copy", "-frames:v", "1", "-f", "data", "-"])
        .output()
        .expect("ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("picture 2/720 "), "{text:?} {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_a_camera_at_its_end_the_clip_ends_by_the_clock() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 3);
    // The clip began ten seconds ago.
    play(&mut clip, 1, begin() - 10_000, 0, 1_000);
    ended(&mut clip, "Stalled");
    clip.flush().expect("written");
    drop(clip);
    let mut clip = self::clip(&archive, 3);
    assert_eq!(clip.remaining(), Some(std::time::Duration::ZERO));
    clip.check_deadline();
    clip.flush().expect("finished");
    assert!(clip.is_complete());
    let file = file(folder.path(), 1);
    assert!((duration(&file) - 3.0).abs() < 0.001);
    // The last picture itself stands until then.
    let lasts = probe(&file, &["-select_streams", "v", "-show_entries", "packet=duration_time"]);
    let last: f64 = lasts.lines().last().and_then(|line| line.trim_end_matches(',').parse().ok()).expect("a picture");
    assert!((last - 2.1).abs() < 0.001, "{last}");
}

#[test]
fn a_stop_ends_it_early_and_a_complete_clip_stays_as_it_is() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 90);
    play(&mut clip, 1, begin() - 2_000, 0, 2_000);
    clip.finish(STOPPED);
    clip.flush().expect("finished");
    drop(clip);
    let content = fs::read(file(folder.path(), 1)).expect("file");
    assert!((duration(&file(folder.path(), 1)) - 2.0).abs() < 1.5);
    let mut again = self::clip(&archive, 90);
    assert!(again.is_complete() && again.is_finished());
    play(&mut again, 2, begin(), 0, 2_000);
    again.flush().expect("nothing");
    assert_eq!(fs::read(file(folder.path(), 1)).expect("file"), content);
    assert!(!file(folder.path(), 2).exists());
    // Stopped before its first frame it is complete, and holds nothing.
    let empty = temporary_folder();
    let archive = open(empty.path());
    let mut clip = self::clip(&archive, 90);
    clip.finish(STOPPED);
    clip.flush().expect("finished");
    assert!(clip.is_complete() && !file(empty.path(), 1).exists());
}

#[test]
fn killed_at_any_moment_it_goes_on_in_the_same_file() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 10);
    let begin = begin() - 6_000;
    play(&mut clip, 1, begin, 0, 4_000);
    clip.flush().expect("written");
    let content = fs::read(file(folder.path(), 1)).expect("file");
    let description = fs::read(folder.path().join("court/match/recording.json")).expect("file");
    for length in (0..=content.len()).rev().step_by(content.len() / 60 + 1) {
        let killed = temporary_folder();
        fs::create_dir_all(killed.path().join("court/match")).expect("folder");
        fs::write(killed.path().join("court/match/recording.json"), &description).expect("file");
        fs::write(file(killed.path(), 1), &content[..length]).expect("file");
        // What there is plays as it stands.
        let archive = open(killed.path());
        let mut clip = self::clip(&archive, 10);
        play(&mut clip, 2, begin + 6_000, 0, 6_000);
        clip.flush().expect("finished");
        assert!(clip.is_complete(), "{length}");
        // A file into which no frame got is not taken for the clip's, and not overwritten.
        let state = clip.state().expect("state");
        let part = state.parts.last().expect("part");
        let on_disk = file(killed.path(), part.part);
        assert_eq!(boxes(&on_disk), ["ftyp", "mdat", "moov"], "{length}");
        let expected = if part.part == 1 { 10.0 } else { 4.0 };
        assert!((duration(&on_disk) - expected).abs() < 0.001 || part.part > 1, "{length}: {}", duration(&on_disk));
        let pictures = packets(&on_disk, "v");
        assert!(pictures.len() >= 40, "{length}: {}", pictures.len());
        assert_eq!(state.gaps.len(), 1, "{length}");
    }
}

#[test]
fn a_kill_while_it_is_finished_is_made_good() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 2);
    play(&mut clip, 1, begin(), 0, 1_500);
    clip.flush().expect("written");
    let before = fs::read(file(folder.path(), 1)).expect("file").len();
    play(&mut clip, 1, begin() + 1_500, 1_500, 1_500);
    clip.flush().expect("finished");
    drop(clip);
    drop(archive);
    let whole = fs::read(file(folder.path(), 1)).expect("file");
    let moov = whole.windows(4).rposition(|window| window == b"moov").expect("index") - 4;
    let mut unpatched = whole.clone();
    let placeholder = whole.windows(4).position(|window| window == b"mdat").expect("placeholder") - 4;
    unpatched[placeholder..placeholder + 16]
        .copy_from_slice(&[0, 0, 0, 16, b'f', b'r', b'e', b'e', 0, 0, 0, 0, 0, 0, 0, 0]);
    for length in [moov, moov + 1, moov + 100, whole.len()] {
        assert!(length > before);
        fs::write(file(folder.path(), 1), &unpatched[..length]).expect("torn");
        let archive = open(folder.path());
        let clip = self::clip(&archive, 2);
        assert!(clip.is_complete());
        assert_eq!(fs::read(file(folder.path(), 1)).expect("file"), whole, "{length}");
    }
}

#[test]
fn another_size_begins_a_second_file_and_both_together_are_as_long_as_was_asked_for() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 10);
    let begin = begin();
    play(&mut clip, 1, begin, 0, 3_000);
    ended(&mut clip, "SourceEnded");
    play_as(&mut clip, 2, 320, begin + 5_000, 0, 9_000);
    clip.flush().expect("finished");
    assert!(clip.is_complete());
    let state = clip.state().expect("state");
    assert_eq!(state.parts.iter().map(|part| (part.part, part.width)).collect::<Vec<_>>(), [(1, 640), (2, 320)]);
    let lengths: Vec<f64> = [1, 2].map(|part| duration(&file(folder.path(), part))).to_vec();
    assert!((lengths[0] - 5.0).abs() < 0.001 && (lengths[1] - 5.0).abs() < 0.001, "{lengths:?}");
    assert_eq!(archive.recording(&path()).expect("index").clip_files().expect("files").len(), 2);
}

#[test]
fn a_stepped_clock_moves_the_deadline_with_it() {
    for step in [31_536_000_000, -31_536_000_000] {
        let folder = temporary_folder();
        let archive = open(folder.path());
        let mut clip = clip(&archive, 10);
        let begin = begin();
        play(&mut clip, 1, begin, 0, 4_000);
        ended(&mut clip, "ClockStepped");
        play(&mut clip, 2, begin + 4_000 + step, 0, 9_000);
        assert!(clip.is_finished());
        clip.flush().expect("finished");
        let file = file(folder.path(), 1);
        assert!((duration(&file) - 10.0).abs() < 0.001, "{step}: {}", duration(&file));
        assert_eq!(packets(&file, "v").len(), 100, "{step}");
        let state = clip.state().expect("state");
        assert_eq!(state.deadline.0 - state.start.0, 10 * SECOND);
        assert_eq!(state.start.0, (begin + step) * 1000, "{step}");
    }
}

#[test]
fn a_unit_that_restarts_repeats_no_frame_and_misses_none() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut first = clip(&archive, 10);
    let begin = begin() - 4_000;
    let frames: Vec<_> = (0..40)
        .map(|number| picture_at(1, number, number * 100, UtcMicros((begin + number * 100) * 1000), number % 10 == 0))
        .collect();
    let configured = || Input::Configuration { run: RunId(1), configuration: configuration(640, true) };
    first.push(configured());
    frames[..25].iter().for_each(|frame| first.push(Input::Frame(frame.clone())));
    first.pause("ShuttingDown");
    first.flush().expect("written");
    drop(first);
    let mut second = clip(&archive, 10);
    assert_eq!(second.resume_point(), Some((RunId(1), 24)));
    second.push(configured());
    frames.iter().for_each(|frame| second.push(Input::Frame(frame.clone())));
    second.finish(STOPPED);
    second.flush().expect("finished");
    let pictures = packets(&file(folder.path(), 1), "v");
    assert_eq!(pictures.len(), 40);
    for (number, (time, _)) in pictures.iter().enumerate() {
        assert!((time - number as f64 / 10.0).abs() < 0.001, "{number}: {time}");
    }
    assert!(second.state().expect("state").gaps.is_empty());
}

#[test]
fn sound_goes_on_without_a_hole_over_a_restart() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let begin = begin() - 4_000;
    let mut first = clip(&archive, 10);
    play(&mut first, 1, begin, 0, 1_070);
    first.pause("ShuttingDown");
    first.flush().expect("written");
    drop(first);
    let mut second = clip(&archive, 10);
    play(&mut second, 1, begin, 0, 2_000);
    second.finish(STOPPED);
    second.flush().expect("finished");
    let sounds = packets(&file(folder.path(), 1), "a");
    assert_eq!(sounds.len(), 100);
    assert!(sounds.windows(2).all(|pair| (pair[1].0 - pair[0].0 - 0.02).abs() < 0.001), "{sounds:?}");
}

#[test]
fn while_it_is_recorded_it_plays_and_cannot_be_deleted() {
    let folder = temporary_folder();
    let archive = open(folder.path());
    let mut clip = clip(&archive, 60);
    clip.push(Input::Configuration { run: RunId(1), configuration: configuration(640, false) });
    let begin = begin();
    for number in 0..35 {
        let frame = picture(1, number, begin + number * 100, number % 10 == 0);
        clip.push(Input::Frame(frame));
    }
    clip.flush().expect("written");
    let index = archive.recording(&path()).expect("index");
    assert!(index.clip_is_live(1));
    assert!(index.delete_clip(1).is_err());
    assert_eq!(packets(&file(folder.path(), 1), "v").len(), 30);
    clip.finish(STOPPED);
    clip.flush().expect("finished");
    let lease = index.lease_clip(1).expect("leased");
    assert!(index.delete_clip(1).is_err());
    drop(lease);
    index.delete_clip(1).expect("deleted");
}
