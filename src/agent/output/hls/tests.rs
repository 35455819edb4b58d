//! Events in, playlists out, every playlist linted: by itself and after the one before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::segmenter::{Numbers, Output, Segmenter, Settings, number_at};
use super::window::{Found, Name, Reload, Window};
use crate::agent::hub::{Ending, Event};
use crate::media::fmp4::reader::{self, Reader};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};
use crate::media::hls::lint::{Map, Violation, lint, lint_successor, maps};
use crate::media::hls::lint_headers::lint_headers;
use crate::plan::report::Reason;

const TIMESCALE: u32 = 90_000;
const START: UtcMicros = UtcMicros(1_795_223_829_000_000);

fn track(codec: Codec, timescale: u32, generation: u32) -> Arc<TrackConfiguration> {
    // A sample entry that no player knows: what is written must not depend on it.
    let entry = [&20_u32.to_be_bytes()[..], b"test", &[0; 8], &generation.to_be_bytes()].concat();
    Arc::new(TrackConfiguration {
        codec,
        timescale,
        sample_entry: Bytes::from(entry),
        codec_string: if codec == Codec::H264 { "avc1.640028".into() } else { "mp4a.40.2".into() },
        width: if codec == Codec::H264 { 1920 } else { 0 },
        height: if codec == Codec::H264 { 1080 } else { 0 },
        sample_rate: 48_000,
        channels: 1,
    })
}

fn configuration(generation: u32) -> Arc<Configuration> {
    let (video, audio) = (track(Codec::H264, TIMESCALE, generation), track(Codec::Aac, 48_000, generation));
    Arc::new(Configuration { generation, video, audio: Some(audio) })
}

/// A camera, its stream and a player that fetches every playlist.
struct Scene {
    settings: Settings,
    list: usize,
    segmenter: Segmenter,
    window: Window,
    now: UtcMicros,
    run: u64,
    sequence: u64,
    generation: u32,
    /// Media time of the next picture, microseconds.
    media: i64,
    playlists: Vec<String>,
    violations: Vec<Violation>,
    segments: Vec<Arc<super::segmenter::Segment>>,
    pictures: u64,
    /// Whether somebody fetches every playlist.
    watched: bool,
}

impl Scene {
    fn new(segment_ms: u64, part_ms: Option<u64>) -> Self {
        let settings = Settings { segment: segment_ms * 1000, part: part_ms.map(|part| part * 1000), audio: true };
        let mut scene = Self {
            settings,
            list: 6,
            segmenter: Segmenter::new(settings, Numbers::at(START)),
            window: Window::new(6, true),
            now: START,
            run: 0,
            sequence: 0,
            generation: 0,
            media: 0,
            playlists: Vec::new(),
            violations: Vec::new(),
            segments: Vec::new(),
            pictures: 0,
            watched: true,
        };
        scene.begin_run();
        scene
    }

    fn event(&mut self, event: &Event) {
        for output in self.segmenter.accept(event, self.now) {
            if let Output::Segment(segment) = &output {
                self.segments.push(segment.clone());
            }
            self.window.apply(output);
        }
        let Some(playlist) = self.window.playlist() else { return };
        let text = String::from_utf8(playlist.to_vec()).unwrap();
        if self.playlists.last() != Some(&text) {
            self.violations.extend(lint(&text));
            self.violations.extend(lint_headers(&text, &self.headers(&text)));
            if let Some(before) = self.playlists.last() {
                self.violations.extend(lint_successor(before, &text));
            }
            self.playlists.push(text);
        }
        if self.watched {
            self.window.set_told(self.window.end());
        }
    }

    /// The initialisation segments that a playlist names, as far as they are there.
    fn headers(&self, text: &str) -> BTreeMap<Map, Bytes> {
        let find = |map: Map| match self.window.find(Name::parse(&map.uri)?) {
            Some(Found::Header(bytes)) => Some((map, bytes)),
            _ => None,
        };
        maps(text).into_iter().filter_map(find).collect()
    }

    fn begin_run(&mut self) {
        self.run += 1;
        (self.sequence, self.generation, self.media) = (0, 0, 1_000_000);
        self.event(&Event::Configuration { run: RunId(self.run), configuration: configuration(0) });
    }

    fn end_run(&mut self) {
        let ending = Ending { run: RunId(self.run), reason: Reason::Stalled, message: String::new(), at: self.now };
        self.event(&Event::Ended(Arc::new(ending)));
    }

    fn change_configuration(&mut self) {
        self.generation += 1;
        let configuration = configuration(self.generation);
        self.event(&Event::Configuration { run: RunId(self.run), configuration });
    }

    fn restart(&mut self) {
        let first = Numbers::at(self.now).no_less_than(self.segmenter.next_numbers());
        self.segmenter = Segmenter::new(self.settings, first);
        self.window = Window::new(self.list, true);
        self.segments.clear();
        self.begin_run();
    }

    /// A picture that lasts so long, and the sound beside it.
    fn picture(&mut self, key: bool, micros: i64) {
        self.wait(0);
        let ticks = |timescale: u32, media: i64| media * i64::from(timescale) / 1_000_000;
        let frame = |sequence, track, timescale, kind, bytes| Frame {
            run: RunId(self.run),
            sequence,
            track,
            decode_time: ticks(timescale, self.media),
            composition_offset: 0,
            duration: (ticks(timescale, self.media + micros) - ticks(timescale, self.media)) as u32,
            kind,
            generation: self.generation,
            utc: self.now,
            payload: Bytes::from(vec![sequence as u8; bytes]),
        };
        let video =
            frame(self.sequence, TrackKind::Video, TIMESCALE, if key { FrameKind::Key } else { FrameKind::Delta }, 100);
        let audio = frame(self.sequence + 1, TrackKind::Audio, 48_000, FrameKind::Key, 10);
        self.sequence += 2;
        self.pictures += 1;
        self.media += micros;
        self.now = self.now.plus_micros(micros);
        self.event(&Event::Frame(Arc::new(video)));
        self.event(&Event::Frame(Arc::new(audio)));
    }

    fn wait(&mut self, micros: i64) {
        self.now = self.now.plus_micros(micros);
    }

    /// So many pictures of so long, with a key frame at every `gop`th.
    fn pictures(&mut self, count: usize, micros: i64, gop: usize) {
        for number in 0..count {
            self.picture(number % gop == 0, micros);
        }
    }

    fn newest(&self) -> &str {
        self.playlists.last().map_or("", String::as_str)
    }

    fn durations(&self) -> Vec<u64> {
        self.segments.iter().map(|segment| segment.duration / 1000).collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.violations, [], "{}", self.newest());
    }
}

#[test]
fn segments_end_at_the_first_key_frame_at_or_after_the_wanted_duration() {
    let mut scene = Scene::new(4000, None);
    scene.pictures(25 * 30, 40_000, 37);
    scene.assert_clean();
    assert_eq!(scene.durations(), [4440; 6]);
    assert!(scene.newest().contains("#EXT-X-TARGETDURATION:5\n"));
    assert!(scene.newest().contains("#EXT-X-INDEPENDENT-SEGMENTS"));
    assert!(!scene.newest().contains("#EXT-X-DISCONTINUITY\n"));
}

#[test]
fn the_target_follows_the_key_frames_that_were_seen() {
    let mut scene = Scene::new(4000, None);
    scene.pictures(25 * 40, 40_000, 250);
    scene.assert_clean();
    assert_eq!(scene.durations(), [10_000; 3]);
    assert!(scene.newest().contains("#EXT-X-TARGETDURATION:10\n"));
}

#[test]
fn key_frames_two_minutes_apart_are_cut_inside_the_gop_and_say_so() {
    let mut scene = Scene::new(4000, None);
    scene.pictures(25 * 20, 40_000, 3000);
    scene.assert_clean();
    assert!(scene.durations().len() >= 3, "not only after two minutes: {:?}", scene.durations());
    scene.pictures(25 * 240, 40_000, 3000);
    scene.assert_clean();
    assert!(scene.newest().contains("#EXT-X-TARGETDURATION:4\n"), "{}", scene.newest());
    assert!(!scene.newest().contains("#EXT-X-INDEPENDENT-SEGMENTS"));
    assert!(!scene.newest().contains("#EXT-X-DISCONTINUITY\n"));
    assert!(scene.durations().iter().all(|duration| *duration < 4500));
}

#[test]
fn one_frame_a_second_is_enough() {
    for part in [None, Some(500)] {
        let mut scene = Scene::new(4000, part);
        scene.pictures(60, 1_000_000, 4);
        scene.assert_clean();
        assert_eq!(scene.durations(), [4000; 14], "part {part:?}");
    }
}

#[test]
fn another_run_or_configuration_is_a_discontinuity_with_a_map_of_its_own() {
    let mut scene = Scene::new(2000, None);
    scene.pictures(25 * 7, 40_000, 25);
    scene.change_configuration();
    scene.pictures(25 * 5, 40_000, 25);
    scene.end_run();
    let while_away = scene.newest().to_owned();
    scene.wait(60_000_000);
    scene.begin_run();
    assert_eq!(scene.newest(), while_away, "it only stops growing");
    scene.pictures(25 * 3, 40_000, 25);
    scene.assert_clean();
    let text = scene.newest();
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{text}");
    for map in ["1-0-init.mp4", "1-1-init.mp4", "2-0-init.mp4"] {
        assert!(text.contains(&format!("#EXT-X-MAP:URI=\"{map}\"")), "{text}");
        assert!(matches!(scene.window.find(Name::parse(map).unwrap()), Some(Found::Header(_))));
    }
    // The residues are there: nothing that was received is missing.
    assert_eq!(scene.durations(), [2000, 2000, 2000, 1000, 2000, 2000, 1000, 2000]);
}

#[test]
fn lost_frames_and_holes_in_time_are_discontinuities() {
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(25 * 5, 40_000, 25);
    scene.event(&Event::Lost(12));
    scene.media += 480_000;
    scene.wait(480_000);
    scene.pictures(25 * 5, 40_000, 25);
    scene.media += 3_000_000;
    scene.wait(3_000_000);
    scene.pictures(25 * 5, 40_000, 25);
    scene.assert_clean();
    assert_eq!(scene.segments.iter().filter(|segment| segment.discontinuity).count(), 2, "{}", scene.newest());
}

#[test]
fn expired_segments_are_kept_one_playlist_longer_and_then_go() {
    let mut scene = Scene::new(2000, None);
    scene.pictures(25 * 100, 40_000, 50);
    scene.assert_clean();
    let first = scene.newest().lines().find(|line| line.strip_suffix(".m4s").is_some()).unwrap().to_owned();
    let Some(Name::Segment(run, generation, number)) = Name::parse(&first) else { panic!("{first}") };
    let there = |number| scene.window.find(Name::Segment(run, generation, number)).is_some();
    assert!((number - 6..number).all(there), "{first}");
    assert!(!there(number - 8));
    assert_eq!(scene.window.segments().count(), 13);
}

#[test]
fn expired_segments_that_nobody_was_told_of_go_at_once() {
    let mut scene = Scene::new(2000, None);
    scene.watched = false;
    scene.pictures(25 * 100, 40_000, 50);
    assert_eq!(scene.window.segments().count(), 7, "what the playlist lists, and one more");
    scene.watched = true;
    scene.pictures(25 * 100, 40_000, 50);
    assert_eq!(scene.window.segments().count(), 13, "a viewer came");
    scene.watched = false;
    scene.pictures(25 * 100, 40_000, 50);
    assert_eq!(scene.window.segments().count(), 7, "the viewer left");
    scene.assert_clean();
}

#[test]
fn low_latency_parts_keep_to_their_target() {
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(25 * 30, 40_000, 50);
    scene.assert_clean();
    let text = scene.newest();
    assert!(text.contains("#EXT-X-PART-INF:PART-TARGET=0.50000"), "{text}");
    assert!(text.contains(",INDEPENDENT=YES"), "{text}");
    // The hint becomes a part as it was announced.
    let hint = text.lines().find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=")).unwrap();
    let name = Name::parse(hint.trim_matches('"')).unwrap();
    assert!(matches!(scene.window.find(name), Some(Found::Soon)));
    scene.pictures(25, 40_000, 50);
    assert!(matches!(scene.window.find(name), Some(Found::Part(_))));
    assert_eq!(scene.durations().len(), 15);
}

#[test]
fn coarse_pictures_set_the_part_target_themselves() {
    let mut scene = Scene::new(4000, Some(500));
    scene.pictures(5 * 40, 200_000, 10);
    scene.assert_clean();
    assert!(scene.segments.iter().all(|segment| segment.independent()), "{}", scene.newest());
}

#[test]
fn a_camera_that_slows_down_makes_segments_without_parts() {
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(25 * 10, 40_000, 50);
    let before = scene.segments.len();
    scene.pictures(5 * 30, 350_000, 10);
    scene.assert_clean();
    let slow = &scene.segments[before + 2..];
    assert!(slow.iter().all(|segment| segment.duration >= 1_500_000 && !segment.offers_parts), "{}", scene.newest());
    scene.pictures(25 * 10, 40_000, 50);
    scene.assert_clean();
    assert!(scene.segments.last().unwrap().offers_parts, "{}", scene.newest());
}

#[test]
fn the_end_of_a_run_takes_the_hint_back() {
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(25 * 7, 40_000, 25);
    assert!(scene.newest().contains("PRELOAD-HINT"));
    scene.end_run();
    assert!(!scene.newest().contains("PRELOAD-HINT"));
    scene.assert_clean();
}

#[test]
fn blocking_reload_waits_for_what_comes_next_and_refuses_the_far_future() {
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(25 * 6 + 13, 40_000, 50);
    let last = scene.segments.last().unwrap().number;
    let reload = |number, part| scene.window.reload(number, part);
    assert_eq!(reload(last, None), Reload::Ready);
    assert_eq!(reload(last, Some(3)), Reload::Ready);
    assert_eq!(reload(last + 1, None), Reload::Wait);
    assert_eq!(reload(last + 1, Some(0)), Reload::Ready);
    assert_eq!(reload(last, Some(99)), Reload::Ready, "the first part of the next segment");
    assert_eq!(reload(last + 1, Some(1)), Reload::Wait);
    assert_eq!(reload(last + 1, Some(50)), Reload::TooFar);
    assert_eq!(reload(last + 2, Some(0)), Reload::Wait);
    assert_eq!(reload(last + 3, None), Reload::TooFar);
}

#[test]
fn numbers_go_on_over_a_restart() {
    let mut scene = Scene::new(1000, Some(250));
    scene.pictures(25 * 60, 40_000, 25);
    scene.wait(1_000_000);
    scene.restart();
    scene.pictures(25 * 20, 40_000, 25);
    scene.assert_clean();
    assert!(number_at(scene.now) < 1 << 31, "within what players take");
}

#[test]
fn segments_hold_every_frame_and_times_run_on() {
    for part in [None, Some(300)] {
        let mut scene = Scene::new(2000, part);
        scene.pictures(25 * 21, 40_000, 25);
        scene.end_run();
        let mut reader = Reader::new(reader::Limits::default());
        let Some(Found::Header(header)) = scene.window.find(Name::Header(RunId(1), 0)) else { panic!("no header") };
        reader.feed(&header);
        for part in scene.segments.iter().flat_map(|segment| &segment.parts) {
            part.fragment.chunks().for_each(|chunk| reader.feed(chunk));
        }
        let mut samples = Vec::new();
        while let Some(event) = reader.next_event().unwrap() {
            if let reader::Event::Sample(sample) = event {
                samples.push(sample);
            }
        }
        for track in [1, 2] {
            let samples: Vec<_> = samples.iter().filter(|sample| sample.track == track).collect();
            assert_eq!(samples.len() as u64, scene.pictures);
            for pair in samples.windows(2) {
                assert_eq!(pair[0].decode_time + u64::from(pair[0].duration), pair[1].decode_time);
            }
        }
        assert!(samples.iter().filter(|sample| sample.track == 1 && sample.sync).count() == 21);
    }
}

#[test]
fn payloads_are_shared_with_the_hub() {
    let mut scene = Scene::new(1000, None);
    let frame = Arc::new(Frame {
        run: RunId(1),
        sequence: 0,
        track: TrackKind::Video,
        decode_time: 0,
        composition_offset: 0,
        duration: 90_000,
        kind: FrameKind::Key,
        generation: 0,
        utc: START,
        payload: Bytes::from(vec![7; 1000]),
    });
    scene.event(&Event::Frame(frame.clone()));
    for second in 1..3 {
        let next = Frame { decode_time: second * 90_000, ..(*frame).clone() };
        scene.event(&Event::Frame(Arc::new(next)));
    }
    assert_eq!(scene.segments[0].parts[0].fragment.payloads[0].as_ptr(), frame.payload.as_ptr());
}

#[test]
fn each_frame_is_counted_as_being_made_or_in_a_segment() {
    let mut scene = Scene::new(2000, None);
    for number in 0..150_usize {
        scene.picture(number.is_multiple_of(25), 40_000);
        let fragments = scene.segments.iter().flat_map(|segment| &segment.parts).map(|part| &part.fragment);
        let whole: usize = fragments.flat_map(|fragment| &fragment.payloads).map(Bytes::len).sum();
        assert_eq!(whole + scene.segmenter.making(), (number + 1) * 110);
    }
    // With parts the bytes around the frames are kept as well.
    let mut scene = Scene::new(2000, Some(500));
    scene.pictures(75, 40_000, 25);
    assert!(scene.segmenter.making() > 24 * 110, "{}", scene.segmenter.making());
}

#[derive(Debug, Clone)]
enum Step {
    Pictures { count: usize, micros: i64, gop: usize },
    Jitter { steps: Vec<i64> },
    Lost { micros: i64 },
    Hole { micros: i64 },
    NewRun { micros: i64 },
    Configuration,
    Restart { micros: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let interval = prop_oneof![Just(16_667), Just(33_367), Just(40_000), Just(66_667), Just(200_000), Just(1_000_000)];
    prop_oneof![
        6 => (1..400_usize, interval, 1..300_usize)
            .prop_map(|(count, micros, gop)| Step::Pictures { count, micros, gop }),
        2 => prop::collection::vec(1_000..900_000_i64, 1..60).prop_map(|steps| Step::Jitter { steps }),
        1 => (0..5_000_000_i64).prop_map(|micros| Step::Lost { micros }),
        1 => (0..20_000_000_i64).prop_map(|micros| Step::Hole { micros }),
        1 => (0..20_000_000_i64).prop_map(|micros| Step::NewRun { micros }),
        1 => Just(Step::Configuration),
        1 => (3_000_000..60_000_000_i64).prop_map(|micros| Step::Restart { micros }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever a camera does: no playlist breaks a rule, by itself or after the one before it, and numbers never go back.
    #[test]
    fn any_sequence_of_events_lints_clean(
        segment in prop_oneof![Just(1000), Just(2000), Just(4000), Just(6000)],
        part in prop_oneof![Just(None), Just(Some(200)), Just(Some(333)), Just(Some(500))],
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let mut scene = Scene::new(segment, part);
        for step in steps {
            match step {
                Step::Pictures { count, micros, gop } => scene.pictures(count, micros, gop),
                Step::Jitter { steps } => {
                    for (index, micros) in steps.into_iter().enumerate() {
                        scene.picture(index % 17 == 0, micros);
                    }
                }
                Step::Lost { micros } => {
                    scene.media += micros;
                    scene.wait(micros);
                    scene.event(&Event::Lost(1));
                }
                Step::Hole { micros } => {
                    scene.media += micros;
                    scene.wait(micros);
                }
                Step::NewRun { micros } => {
                    scene.end_run();
                    scene.wait(micros);
                    scene.begin_run();
                }
                Step::Configuration => scene.change_configuration(),
                Step::Restart { micros } => {
                    scene.wait(micros);
                    scene.restart();
                }
            }
        }
        prop_assert_eq!(&scene.violations, &[], "{}", scene.newest());
    }
}
