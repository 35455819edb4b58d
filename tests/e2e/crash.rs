//! The program is killed, or the power fails: all but the last second is playable, and on restart the archive is right again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::tap::Tap;
use crate::support::{hls, judge, manifest, process, wait};

fn frames(camera: &mut Camera, more: u64) {
    let now = camera.stats().frames;
    wait("more pictures", || (camera.stats().frames >= now + more).then_some(()));
}

/// How long each thread of the program, and of what it started, has waited for a processor.
fn run_delays(program: &mut Program) -> BTreeMap<u32, Duration> {
    program.processes().into_iter().flat_map(process::run_delays).collect()
}

#[test]
fn kill_9_of_the_whole_program() {
    let mut camera = Camera::start("--audio aac");
    let tap = Tap::before(&camera);
    let mut program = Program::start(&manifest::patient(&manifest::all_of("cam", &tap.url)));
    program.await_object("recordings/cam-rec");
    program.await_object("streams/cam-live");
    let url = program.url("/live/default/cam-live/index.m3u8");
    frames(&mut camera, 95);
    let delays = run_delays(&mut program);
    frames(&mut camera, 30);
    let (_, live) = wait("the live playlist", || hls::fetch(&url));
    let arrived = tap.counters();
    let could_not_run = process::waited(&delays, &run_delays(&mut program));
    program.kill();

    let counters = judge::counters_after_kill(&program.media_files("cam-rec"));
    judge::assert_whole(&counters, &camera.stats().skips);
    assert_eq!(counters[0], arrived[0]);
    // At ten pictures a second: what waits to be written, and two pictures whose end FFmpeg has not seen; and what came while
    // the program would have run, had this machine let it.
    let lost = arrived.len().saturating_sub(counters.len());
    let late = (could_not_run.as_secs_f64() * 10.0).ceil() as usize;
    assert!(
        lost <= 10 + late,
        "the last {lost} of {} pictures are lost: more than a second, and {could_not_run:?} without a processor",
        arrived.len()
    );
    wait("no process is left behind", || program.left_behind().is_empty().then_some(()));
    wait("the camera is let go", || (camera.stats().connections == 0).then_some(()));

    program.start_again();
    program.await_object("recordings/cam-rec");
    program.await_object("streams/cam-live");
    frames(&mut camera, 40);
    let (_, later) = wait("the live playlist", || hls::fetch(&url));
    hls::assert_clean(&later, Some(&live));
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let all = judge::counters_of(&files);
    assert_eq!(all[..counters.len()], counters, "nothing of before the crash is lost or changed");
    let holes = judge::holes(&all, &camera.stats().skips);
    assert_eq!(holes.len(), 1, "{holes:?}");

    // The gap is in the index, with the reason.
    let playlists: String = crate::support::program::files_beneath(&program.recording_folder("cam-rec"))
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "m3u8"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert!(playlists.contains("RecorderDown"), "{playlists}");
    assert!(playlists.contains("#EXT-X-DISCONTINUITY"), "{playlists}");
}

/// How many pictures are in those fragments of a file that do not stay whole when its last bytes are cut off.
fn pictures_torn_by(file: &Path, cut: usize) -> usize {
    let bytes = fs::read(file).unwrap();
    let (mut at, mut begun, mut whole) = (0, 0, 0);
    while let Some((size, rest)) = bytes[at..].split_first_chunk::<4>() {
        if rest.starts_with(b"moof") {
            begun = at;
        }
        at += u32::from_be_bytes(*size) as usize;
        if rest.starts_with(b"mdat") && at <= bytes.len() - cut {
            whole = at;
        }
    }
    if begun == 0 {
        // Begun just then: there is only a header.
        return 0;
    }
    let left = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    fs::write(left.path(), &bytes[..whole]).unwrap();
    let count = |file: &Path| judge::packets(file.to_str().unwrap(), "v").len();
    count(file) - if whole > 0 { count(left.path()) } else { 0 }
}

#[test]
fn power_loss_tears_the_newest_file_and_the_index() {
    let mut camera = Camera::start("");
    let mut program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("recordings/cam-rec");
    frames(&mut camera, 130);
    program.kill();
    let files = program.media_files("cam-rec");
    let before = judge::counters_after_kill(&files);

    // What a journal replays after a power cut: a torn fragment with zeros behind it, and an index that is half zeros.
    let newest = files.last().unwrap();
    let torn = pictures_torn_by(newest, 700);
    let length = fs::metadata(newest).unwrap().len();
    let file = fs::OpenOptions::new().append(true).open(newest).unwrap();
    file.set_len(length - 700).unwrap();
    (&file).write_all(&[0; 5000]).unwrap();
    let folder = program.recording_folder("cam-rec");
    for index in
        crate::support::program::files_beneath(&folder).into_iter().filter(|path| path.ends_with("playlist.m3u8"))
    {
        let half = fs::metadata(&index).unwrap().len() / 2;
        let file = fs::OpenOptions::new().write(true).open(&index).unwrap();
        file.set_len(half).unwrap();
        file.set_len(half * 2).unwrap();
    }

    program.start_again();
    program.await_object("recordings/cam-rec");
    frames(&mut camera, 30);
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let all = judge::counters_of(&files);
    let holes = judge::holes(&all, &camera.stats().skips);
    assert_eq!(holes.len(), 1, "{holes:?}");
    // What is torn is lost, and nothing else.
    let kept = all.iter().position(|counter| *counter == holes[0].0).unwrap() + 1;
    assert_eq!(kept, before.len() - torn, "{} pictures were there, {torn} of them were torn", before.len());
    assert_eq!(all[..kept], before[..kept]);
}

#[test]
fn a_clip_survives_a_kill_and_goes_on() {
    let mut camera = Camera::start("--audio aac");
    let manifests = manifest::patient(&manifest::camera("cam", &camera.url)) + &manifest::clip("match", "cam", "20s");
    let mut program = Program::start(&manifests);
    program.await_object("recordings/match");
    frames(&mut camera, 40);
    program.kill();
    let half = judge::counters_after_kill(&program.media_files("match"));
    judge::assert_whole(&half, &camera.stats().skips);
    assert!(half.len() >= 25, "{half:?}");
    program.start_again();
    let complete = wait("the clip is complete", || {
        program.condition("recordings/match", "Complete").filter(|(status, ..)| status == "True")
    });
    assert_eq!(complete.1, "DeadlineReached");
    let object = program.object("recordings/match").unwrap();
    assert_eq!(object["status"]["progressPercent"], 100, "{object:#}");
    let files = program.media_files("match");
    assert_eq!(files.len(), 1, "one file: {files:?}");
    judge::assert_decodes(&files[0]);
    let all = judge::counters_of(&files);
    assert_eq!(all[..half.len()], half);
    // The gap stretches the last picture, so that the clip is as long as was asked for.
    let seconds = judge::duration(files[0].to_str().unwrap());
    assert!((18.5..21.5).contains(&seconds), "{seconds} s");
}
