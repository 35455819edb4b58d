//! Times of a single camera, read from the frame counter in its pictures, which tells when each was taken.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Which;
use crate::subject::{Operator, Subject};
use crate::support::camera::Camera;
use crate::support::judge::{now, taken};
use crate::support::{PATIENCE, hls, judge, wait};

const FRAMES_PER_SECOND: u32 = 25;

/// When something was listed in a playlist, against when its pictures were taken.
#[derive(Debug, Clone)]
pub struct Latency {
    /// What was listed: a segment or a part.
    pub what: &'static str,
    /// From the oldest picture in it.
    pub oldest: Vec<Duration>,
    /// From the newest picture in it.
    pub newest: Vec<Duration>,
}

fn camera() -> Camera {
    Camera::start(&format!("--fps {FRAMES_PER_SECOND}"))
}

/// From the moment a camera listens again after a power cut to its first recorded picture.
pub fn recorded_again(which: Which, folder: &Path) -> Duration {
    let mut camera = camera();
    let mut subject = super::start(which, std::slice::from_ref(&camera.url), &folder.join("data"));
    wait("the camera is live", || subject.is_live(0).then_some(()));
    camera.kill();
    // Long enough for the back-off to have grown, as it has when a camera was away for a while.
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(8) {
        subject.tend();
        std::thread::sleep(Duration::from_millis(500));
    }
    camera.restart();
    let back = now();
    let first_seen = wait("pictures again", || {
        subject.tend();
        camera.stats().first_counter
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        subject.tend();
        std::thread::sleep(Duration::from_millis(500));
    }
    subject.end();
    let counters: Vec<u32> =
        subject.recorded(0).iter().flat_map(|file| judge::counters(file.to_str().unwrap())).flatten().collect();
    let after = counters.into_iter().filter(|counter| counter.wrapping_sub(first_seen) < 1 << 31).min();
    let first = after.unwrap_or_else(|| panic!("{} records nothing after the camera's return", subject.name()));
    taken(first, FRAMES_PER_SECOND).saturating_sub(back)
}

/// From the lens to the playlist: segments for both, and parts of low-latency HLS for the one that has them.
pub fn glass_to_playlist(which: Which, folder: &Path) -> Vec<Latency> {
    let camera = camera();
    let urls = std::slice::from_ref(&camera.url);
    let mut subject = super::start(which, urls, &folder.join("data"));
    let mut all = vec![segments(subject.as_ref())];
    subject.end();
    if let Which::Operator(engine) = which {
        let data = folder.join("data");
        let _ = fs::remove_dir_all(&data);
        let mut operator = Operator::start(urls, &data, true, engine);
        all.push(parts(&operator));
        operator.end();
    }
    all
}

/// The media of something listed, with its map before it, and the instant it was first seen in the playlist.
struct Listed {
    at: Duration,
    bytes: Vec<u8>,
}

fn segments(subject: &dyn Subject) -> Latency {
    let base = "http://localhost/";
    let mut listed = Vec::new();
    let mut last: Option<String> = None;
    let begun = Instant::now();
    while listed.len() < 4 {
        assert!(begun.elapsed() < PATIENCE * 2, "{} lists no more segments", subject.name());
        let text = subject.playlist(0).unwrap_or_default();
        let at = now();
        if let Some(newest) =
            hls::parse(base, &text).segments.last().filter(|newest| last.as_ref() != Some(&newest.url))
        {
            let of = |url: &str| subject.segment(0, url.strip_prefix(base).unwrap_or(url)).unwrap_or_default();
            let mut bytes = of(&newest.map);
            bytes.extend(of(&newest.url));
            // The first one was there before anybody looked.
            if last.is_some() {
                listed.push(Listed { at, bytes });
            }
            last = Some(newest.url.clone());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    latency_of("segment", &listed)
}

fn parts(operator: &Operator) -> Latency {
    let text = wait("a low-latency playlist", || {
        operator.playlist(0).filter(|text| text.contains("#EXT-X-PART:") && text.contains("#EXTINF"))
    });
    let mut playlist = hls::parse("http://localhost/", &text);
    let mut map = String::new();
    let mut listed = Vec::new();
    // From the beginning of a segment on, so that everything can be decoded.
    let mut sequence = playlist.media_sequence + playlist.segments.len() as u64 + 1;
    let mut part = 0;
    while listed.len() < 24 {
        let Some(text) = operator.playlist_with(0, sequence, part) else { panic!("no part {part} of {sequence}") };
        let at = now();
        playlist = hls::parse("http://localhost/", &text);
        if playlist.media_sequence + playlist.segments.len() as u64 > sequence
            && parts_of(&text, sequence, &playlist).get(part).is_none_or(String::is_empty)
        {
            (sequence, part) = (sequence + 1, 0);
            continue;
        }
        if let Some(last) = playlist.segments.last() {
            map.clone_from(&last.map);
        }
        let uri = parts_of(&text, sequence, &playlist)[part].clone();
        let bytes = operator.segment(0, &uri).unwrap_or_default();
        listed.push(Listed { at, bytes });
        part += 1;
    }
    let map = operator.segment(0, map.strip_prefix("http://localhost/").unwrap_or(&map)).unwrap_or_default();
    // A part may need those before it: all are decoded as one, and each has as many pictures as it has by itself.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts.mp4");
    let mut whole = map.clone();
    let counts: Vec<usize> = listed
        .iter()
        .map(|one| {
            whole.extend(&one.bytes);
            fs::write(&path, [map.as_slice(), one.bytes.as_slice()].concat()).unwrap();
            judge::packets(path.to_str().unwrap(), "v").len()
        })
        .collect();
    fs::write(&path, whole).unwrap();
    let mut counters = judge::counters(path.to_str().unwrap()).into_iter();
    let mut latency = Latency { what: "part", oldest: Vec::new(), newest: Vec::new() };
    for (one, count) in listed.iter().zip(counts) {
        let of: Vec<u32> = counters.by_ref().take(count).flatten().collect();
        add(&mut latency, one.at, &of);
    }
    latency
}

/// The parts of a segment that a playlist lists.
fn parts_of(text: &str, sequence: u64, playlist: &hls::Playlist) -> Vec<String> {
    let mut number = playlist.media_sequence;
    let mut parts = Vec::new();
    for line in text.lines() {
        if let Some(attributes) = line.strip_prefix("#EXT-X-PART:") {
            let uri = attributes.split_once("URI=\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
            if number == sequence {
                parts.push(uri.unwrap_or_default().to_owned());
            }
        } else if !line.starts_with('#') && !line.is_empty() {
            number += 1;
        }
    }
    parts
}

fn latency_of(what: &'static str, listed: &[Listed]) -> Latency {
    let mut latency = Latency { what, oldest: Vec::new(), newest: Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listed.mp4");
    for one in listed {
        fs::write(&path, &one.bytes).unwrap();
        let counters: Vec<u32> = judge::counters(path.to_str().unwrap()).into_iter().flatten().collect();
        add(&mut latency, one.at, &counters);
    }
    latency
}

fn add(latency: &mut Latency, at: Duration, counters: &[u32]) {
    if let (Some(oldest), Some(newest)) = (counters.first(), counters.last()) {
        latency.oldest.push(at.saturating_sub(taken(*oldest, FRAMES_PER_SECOND)));
        latency.newest.push(at.saturating_sub(taken(*newest, FRAMES_PER_SECOND)));
    }
}
