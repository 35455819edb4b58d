//! Clocks: a step of a year forward and back, a change of the day, the end of summer time. Nothing is lost or overwritten.

use std::collections::BTreeSet;
use std::fs;

use jiff::{SignedDuration, Timestamp};

use crate::support::camera::Camera;
use crate::support::clock::Clock;
use crate::support::program::{self, Program};
use crate::support::{hls, judge, manifest, wait};

fn start(objects: &str, clock: &Clock, more: &[(&str, &str)]) -> Program {
    let environment = clock.environment();
    let mut all: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(more);
    let program = Program::start_with(objects, None, &all);
    program.await_object("recordings/rec");
    program
}

fn objects(camera: &Camera) -> String {
    manifest::patient(&manifest::camera("cam", &camera.url)) + &manifest::recording("rec", "cam")
}

fn frames(camera: &mut Camera, more: u64) {
    let now = camera.stats().frames;
    wait("more pictures", || (camera.stats().frames >= now + more).then_some(()));
}

/// The hours that a recording has, such as `2026-12-31/23`.
fn hours(program: &Program) -> Vec<String> {
    let folder = program.recording_folder("rec");
    let mut hours: Vec<String> = program
        .media_files("rec")
        .iter()
        .map(|file| file.parent().unwrap().strip_prefix(&folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    hours.dedup();
    hours
}

#[test]
fn a_clock_that_jumps_a_year_forward_and_back() {
    let Some(clock) = Clock::new() else { return };
    let mut camera = Camera::start("--audio aac");
    let mut program = start(&objects(&camera), &clock, &[]);
    frames(&mut camera, 50);
    let before = program.media_files("rec");
    clock.set(SignedDuration::from_hours(365 * 24));
    wait("a file of next year", || (program.media_files("rec").len() > before.len()).then_some(()));
    frames(&mut camera, 50);
    program.await_object("recordings/rec");
    let there = program.media_files("rec").len();
    clock.set(SignedDuration::ZERO);
    wait("a file of this year", || (program.media_files("rec").len() > there).then_some(()));
    frames(&mut camera, 50);
    program.await_object("recordings/rec");
    assert!(program.terminate().success(), "{}", program.log());

    let files = program.media_files("rec");
    let mut all: Vec<u32> = Vec::new();
    for file in &files {
        judge::assert_decodes(file);
        let counters = judge::counters_of(&[file]);
        judge::assert_whole(&counters, &camera.stats().skips);
        all.extend(counters);
    }
    let written = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), written, "nothing twice");
    let stats = camera.stats();
    judge::assert_whole(&all, &stats.skips);
    assert_eq!(Some(all[0]), stats.first_counter);
    let years: BTreeSet<String> = hours(&program).iter().map(|hour| hour[..4].to_owned()).collect();
    assert_eq!(years.len(), 2, "{years:?}");
}

/// The runs that stand in a recording's index.
fn runs(program: &Program) -> BTreeSet<u64> {
    let files = program::files_beneath(&program.recording_folder("cam-rec"));
    let playlists = files.iter().filter(|path| path.ends_with("playlist.m3u8"));
    let text: String = playlists.map(|path| fs::read_to_string(path).unwrap()).collect();
    let named = text.split("RUN=").skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap());
    named.map(|run| run.parse().unwrap()).collect()
}

#[test]
fn a_clock_that_is_set_back_while_the_program_is_down_or_up() {
    let Some(clock) = Clock::new() else { return };
    let mut camera = Camera::start("");
    clock.set(SignedDuration::from_hours(3));
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut program =
        Program::start_with(&manifest::patient(&manifest::all_of("cam", &camera.url)), None, &environment);
    let url = program.url("/live/default/cam-live/index.m3u8");
    let (_, mut live) = wait("the live playlist", || hls::fetch(&url));
    frames(&mut camera, 30);
    let mut known = BTreeSet::new();
    for (hours, down) in [(2, true), (1, false)] {
        if down {
            assert!(program.terminate().success(), "{}", program.log());
            clock.set(SignedDuration::from_hours(hours));
            known = runs(&program);
            program.start_again();
        } else {
            clock.set(SignedDuration::from_hours(hours));
        }
        let (_, after) = wait("a segment of after that", || {
            let after = hls::fetch(&url)?;
            let newest = |playlist: &hls::Playlist| playlist.segments.last().map(|segment| segment.map.clone());
            (newest(&after.1) != newest(&live)).then_some(after)
        });
        hls::assert_clean(&after, Some(&live));
        live = after;
        frames(&mut camera, 30);
    }
    assert!(program.terminate().success(), "{}", program.log());
    let newest = known.last().copied().unwrap();
    let later: Vec<u64> = runs(&program).into_iter().filter(|run| !known.contains(run)).collect();
    assert!(later.len() >= 2 && later.iter().all(|run| *run > newest), "{later:?} after {known:?}");
}

#[test]
fn a_change_of_the_day_and_the_year() {
    let Some(clock) = Clock::new() else { return };
    let mut camera = Camera::start("--audio aac");
    clock.show("2031-12-31T23:59:30Z");
    let mut program = start(&objects(&camera), &clock, &[]);
    // From here on it is recorded: what came before depends on how fast this machine has started it all.
    let from = clock.now() + SignedDuration::from_secs(1);
    let to: Timestamp = "2032-01-01T00:00:02Z".parse().unwrap();
    assert!(from < to - SignedDuration::from_secs(3), "the program was ready only at {from}: this tests nothing");
    wait("a file of the new year", || hours(&program).contains(&"2032-01-01/00".to_owned()).then_some(()));
    frames(&mut camera, 30);
    for hour in ["2031-12-31/23", "2032-01-01/00"] {
        let path = format!("/recordings/default/rec/{hour}/playlist.m3u8");
        wait("both hours have their playlists", || (program.get(&path).status == 200).then_some(()));
    }
    let path = format!("/api/v1/namespaces/default/recordings/rec/coverage?from={from:.3}&to={to:.3}");
    let json = wait("the stretch over midnight is in the index", || {
        Some(program.json(&path)).filter(|json| json["ratio"].as_f64() > Some(0.99))
    });
    assert_eq!(json["gaps"].as_array().unwrap().len(), 0, "{json:#}");
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(hours(&program), ["2031-12-31/23", "2032-01-01/00"]);
    let files = program.media_files("rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let stats = camera.stats();
    judge::assert_whole(&judge::counters_of(&files), &stats.skips);
    assert_eq!(stats.plays, 1, "a new day is no reason to connect again");
}

#[test]
fn the_hour_that_comes_twice_when_summer_time_ends() {
    let Some(clock) = Clock::new() else { return };
    let mut camera = Camera::start("");
    // 03:00 in Berlin becomes 02:00 at 01:00 UTC.
    clock.show("2031-10-26T00:59:30Z");
    let mut program = start(&objects(&camera), &clock, &[("TZ", "Europe/Berlin")]);
    wait("a file of the next hour", || hours(&program).contains(&"2031-10-26/01".to_owned()).then_some(()));
    frames(&mut camera, 30);
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(hours(&program), ["2031-10-26/00", "2031-10-26/01"], "hours are UTC");
    judge::assert_whole(&judge::counters_of(&program.media_files("rec")), &camera.stats().skips);
}
