//! A day of a camera that comes and goes some hundred times, on a clock of the test's own: from what every output reads to what a
//! push's FFmpeg, a viewer of HLS and an encoder are told. Nothing drifts, nothing goes back, nothing piles up.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::splice::Splice;
use crate::agent::hub::{Ending, Event};
use crate::agent::output::fixture::{H264, coded};
use crate::agent::output::hls::segmenter::{Numbers, Output, Segmenter, Settings};
use crate::agent::output::hls::window::Window;
use crate::agent::output::push::feed::{Feed, Sound};
use crate::agent::transcode::timeline::{SCALE, Timeline};
use crate::media::audio;
use crate::media::clock::{micros_to_ticks, ticks_to_micros};
use crate::media::fmp4::reader::{self, Reader};
use crate::media::frame::{Configuration, Frame, FrameKind, RunId, TrackKind, UtcMicros};
use crate::media::hls::lint;
use crate::plan::report::Reason;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The clock's step: that of slate pictures.
const STEP: i64 = SECOND / 10;
/// From one picture of the camera to the next; every second one is a key frame.
const PICTURE: i64 = SECOND / 2;
const AFTER: Duration = Duration::from_secs(2);
/// How long a picture takes from the lens to here.
const LATENCY: i64 = SECOND / 5;
/// The camera's clock is fast by this, in millionths: about the most that quartzes are.
const FAST: i64 = 100;
const LISTED: usize = 6;

/// How a camera is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    /// It ends, and another run begins.
    Killed,
    /// No pictures and no sound; then the same run goes on.
    Frozen,
    /// The same, but the sound goes on.
    WithSound,
    /// All that it made meanwhile comes at once.
    HeldUp,
}

/// A camera whose sound has so few units that a day of them can be gone through.
fn configuration() -> Arc<Configuration> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "sine=sample_rate=8000", "-t", "1", "-c:a", "aac"])
        .args(["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof", "-f", "mp4", "-"])
        .output()
        .unwrap();
    let mut reader = Reader::new(reader::Limits::default());
    reader.feed(&output.stdout);
    let Some(reader::Event::Tracks(tracks)) = reader.next_event().unwrap() else { panic!("no sound") };
    let audio = Some(Arc::new(audio::configuration(&tracks[0]).unwrap()));
    let video = coded(&H264, 25, 1, false).configuration.video.clone();
    Arc::new(Configuration { generation: 0, video, audio })
}

/// A camera by the test's clock, in microseconds since it began.
struct Camera {
    configuration: Arc<Configuration>,
    utc: UtcMicros,
    run: RunId,
    run_began: i64,
    sequence: u64,
    /// Of the next picture, and of the next unit of sound, in the run and by the camera's own clock.
    pictures: i64,
    units: i64,
    /// What is left out of the pictures: all but each so many.
    every: i64,
}

impl Camera {
    /// The host's time at which the camera's clock shows that much of the run.
    fn host(&self, micros: i64) -> i64 {
        self.run_began + micros - micros * FAST / 1_000_000
    }

    fn begin(&mut self, now: i64, run: RunId) -> Event {
        (self.run, self.run_began, self.sequence, self.pictures, self.units) = (run, now, 0, 0, 0);
        Event::Configuration { run, configuration: self.configuration.clone() }
    }

    fn frame(&mut self, track: TrackKind, at: i64, decode: (i64, u32), kind: FrameKind) -> Event {
        self.sequence += 1;
        Event::Frame(Arc::new(Frame {
            run: self.run,
            sequence: self.sequence,
            track,
            decode_time: decode.0,
            composition_offset: 0,
            duration: decode.1,
            kind,
            generation: 0,
            utc: self.utc.plus_micros(self.host(at)),
            payload: Bytes::from_static(b"\0\0\0\x02xy"),
        }))
    }

    /// What it has captured up to this moment of the host's time.
    fn captured(&mut self, now: i64) -> Vec<Event> {
        let mut events = Vec::new();
        let video = self.configuration.video.timescale;
        let audio = self.configuration.audio.as_ref().map_or(1, |audio| audio.timescale);
        while self.host((self.pictures + 1) * PICTURE) <= now {
            let at = self.pictures * PICTURE;
            let is_key = self.pictures % 2 == 0;
            self.pictures += 1;
            if (self.pictures - 1) % self.every != 0 {
                continue;
            }
            let ticks = i64::from(video) + micros_to_ticks(at, video);
            let kind = if is_key { FrameKind::Key } else { FrameKind::Delta };
            let lasts = micros_to_ticks(PICTURE * self.every, video) as u32;
            events.push(self.frame(TrackKind::Video, at, (ticks, lasts), kind));
        }
        while self.host(ticks_to_micros((self.units + 1) * 1024, audio)) <= now {
            let ticks = self.units * 1024;
            self.units += 1;
            let at = ticks_to_micros(ticks, audio);
            events.push(self.frame(TrackKind::Audio, at, (i64::from(audio) + ticks, 1024), FrameKind::Key));
        }
        events
    }
}

/// What a push is told of one track.
#[derive(Debug, Default)]
struct Told {
    end: i64,
    count: u64,
}

/// Everything that reads what passes.
struct Outputs {
    began: UtcMicros,
    configuration: Arc<Configuration>,
    feed: Feed,
    told: [Told; 2],
    segmenter: Segmenter,
    window: Window,
    /// End and discontinuity number of the newest segment.
    newest: Option<(UtcMicros, u64)>,
    segments: u64,
    shown: u64,
    discontinuities: u64,
    timeline: Timeline,
    encoded: Option<(i64, i64, UtcMicros)>,
}

impl Outputs {
    fn take(&mut self, events: &[Event], now: i64) {
        let mut frames = Vec::new();
        for event in events {
            for output in self.segmenter.accept(event, self.began.plus_micros(now)) {
                self.segment(&output);
                self.window.apply(output);
            }
            match event {
                Event::Frame(frame) => {
                    if frame.track == TrackKind::Video {
                        self.encode(frame);
                    }
                    frames.push(frame.clone());
                }
                Event::Configuration { configuration, .. } => {
                    self.push(&mut frames, now);
                    assert!(self.feed.fits(configuration, Sound::Copied), "another session");
                }
                Event::Ended(_) | Event::Lost(_) => {}
            }
        }
        self.push(&mut frames, now);
    }

    fn segment(&mut self, output: &Output) {
        let Output::Segment(segment) = output else { return };
        let end = segment.utc.plus_micros(segment.duration as i64);
        if let Some((before, number)) = self.newest {
            assert!(segment.utc.0 >= before.0 - 150_000, "{segment:?} begins before {before:?}");
            assert_eq!(segment.discontinuity_sequence, number + u64::from(segment.discontinuity));
        }
        self.newest = Some((end, segment.discontinuity_sequence));
        self.discontinuities += u64::from(segment.discontinuity);
        self.segments += 1;
        self.shown += segment.duration;
        assert!(self.window.segments().count() <= 3 * LISTED + 3, "segments pile up");
    }

    /// What a target is sent.
    fn push(&mut self, frames: &mut Vec<Arc<Frame>>, now: i64) {
        let placed = self.feed.place(frames);
        frames.clear();
        let scales = [Some(&self.configuration.video), self.configuration.audio.as_ref()];
        let mut came = [false; 2];
        for frame in placed {
            let track = usize::from(frame.track == TrackKind::Audio);
            let told = &mut self.told[track];
            assert!(frame.decode_time >= told.end, "track {track} goes back to {}", frame.decode_time);
            told.end = frame.decode_time + i64::from(frame.duration);
            told.count += 1;
            came[track] = true;
        }
        let end = |track: usize| ticks_to_micros(self.told[track].end, scales[track].unwrap().timescale);
        if came[0] {
            assert!((end(0) - now).abs() < 2 * SECOND, "{} s from the clock at {now}", (end(0) - now) / SECOND);
        }
        if came == [true; 2] {
            assert!((end(0) - end(1)).abs() < SECOND, "sound is {} µs from its pictures at {now}", end(1) - end(0));
        }
    }

    fn encode(&mut self, frame: &Frame) {
        let place = self.timeline.place(frame, self.configuration.video.timescale, || RunId(1));
        let found = self.timeline.find(place.presentation).unwrap();
        assert!((found.utc.0 - frame.utc.0).abs() < 1000, "{found:?} of {frame:?}");
        let (decode, presentation, utc) = self.encoded.unwrap_or((-1, found.presentation, frame.utc));
        assert!(place.decode > decode, "the encoder's time goes back");
        let passed = ticks_to_micros(found.presentation - presentation, SCALE as u32);
        let drift = passed - (frame.utc.0 - utc.0);
        assert!(drift.abs() < SECOND, "what is encoded is {drift} µs from the camera's time");
        self.encoded = Some((place.decode, presentation, utc));
    }
}

#[test]
fn a_day_of_a_camera_that_comes_and_goes() {
    let configuration = configuration();
    let wall = UtcMicros::from_timestamp(Timestamp::now());
    let began = Instant::now();
    let instant = |now: i64| began + Duration::from_micros(now.unsigned_abs());
    let mut camera = Camera {
        configuration: configuration.clone(),
        utc: wall,
        run: RunId(0),
        run_began: 0,
        sequence: 0,
        pictures: 0,
        units: 0,
        every: 1,
    };
    let feed = Feed::new(&configuration, Sound::Copied);
    let settings = Settings { segment: 2_000_000, part: None, audio: true };
    let mut outputs = Outputs {
        began: wall,
        configuration: configuration.clone(),
        feed,
        told: Default::default(),
        segmenter: Segmenter::new(settings, Numbers::at(wall)),
        window: Window::new(LISTED, true),
        newest: None,
        segments: 0,
        shown: 0,
        discontinuities: 0,
        timeline: Timeline::new(2 * SCALE),
        encoded: None,
    };
    // Numerical Recipes' generator: the same day each time.
    let mut random = 1_u64;
    let mut between = |least: i64, most: i64| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % (1 << 32);
        least + (random as i64 >> 8) % (most - least)
    };
    let mut splice = Splice::default();
    let mut runs = (2..).map(RunId);
    let mut events = vec![camera.begin(0, RunId(1))];
    let (mut away, mut until, mut newest, mut number) = (None, 60 * SECOND, 0, 0_u64);
    let (mut slates, mut seams, mut kinds) = (0_u64, 0_u64, 0_usize);
    // Handed over once a second, as outputs that are not in a hurry read.
    let mut batch = Vec::new();
    for now in (0..DAY).step_by(STEP as usize) {
        if now >= until {
            let (there, kind) = match away.take() {
                Some(Away::Killed) => {
                    events.push(camera.begin(now - LATENCY, runs.next().unwrap()));
                    (true, None)
                }
                Some(Away::Frozen | Away::WithSound) => {
                    // What it did not capture is gone.
                    drop(camera.captured(now - LATENCY));
                    (true, None)
                }
                Some(Away::HeldUp) => (true, None),
                None => {
                    kinds += 1;
                    let kind = [Away::Killed, Away::Frozen, Away::WithSound, Away::HeldUp][kinds % 4];
                    if kind == Away::Killed {
                        let (run, at) = (camera.run, wall.plus_micros(now));
                        let ending = Ending { run, reason: Reason::Stalled, message: String::new(), at };
                        events.push(Event::Ended(Arc::new(ending)));
                    }
                    (false, Some(kind))
                }
            };
            away = kind;
            // Every fifth time that it is there it sends half as many pictures.
            camera.every = if there && kinds % 5 == 0 { 2 } else { 1 };
            until = now + if there { between(20 * SECOND, 200 * SECOND) } else { between(4 * SECOND, 120 * SECOND) };
        }
        match away {
            None => events.extend(camera.captured(now - LATENCY)),
            Some(Away::WithSound) => {
                let all = camera.captured(now - LATENCY);
                let is_sound = |event: &Event| matches!(event, Event::Frame(frame) if frame.track == TrackKind::Audio);
                events.extend(all.into_iter().filter(is_sound));
            }
            Some(_) => {}
        }
        let is_picture = |event: &Event| matches!(event, Event::Frame(frame) if frame.track == TrackKind::Video);
        if events.iter().any(is_picture) {
            newest = now;
        }
        let shown = splice.shows_slate();
        let mut passed = splice.pass(std::mem::take(&mut events), instant(now));
        seams += u64::from(shown && !splice.shows_slate());
        if splice.shows_slate() {
            number += 1;
            let picture = (Bytes::from_static(b"\0\0\0\x02ab"), number % 20 == 0);
            passed.extend(splice.put_in(vec![picture], instant(now)));
        } else if now - newest >= splice.patience(AFTER).as_micros() as i64 {
            number = 0;
            let slate = Arc::new(Configuration { generation: 0, ..(*configuration).clone() });
            passed.push(splice.enter(runs.next().unwrap(), slate, instant(now), wall.plus_micros(now)));
            let picture = (Bytes::from_static(b"\0\0\0\x02ab"), true);
            passed.extend(splice.put_in(vec![picture], instant(now)));
            slates += 1;
            seams += 1;
        }
        batch.append(&mut passed);
        if now % SECOND == 0 {
            outputs.take(&std::mem::take(&mut batch), now);
        }
    }
    assert!(slates > 400, "{slates}");
    assert_eq!(outputs.discontinuities, seams, "one for each seam, and no other");
    // Nothing is missing but the time in which it is noticed that the camera is away.
    let holes = slates as i64 * (AFTER.as_micros() as i64 + SECOND);
    let missing = DAY - outputs.shown as i64;
    assert!((0..holes).contains(&missing), "{} s are missing of HLS", missing / SECOND);
    let playlist = String::from_utf8(outputs.window.playlist().unwrap().to_vec()).unwrap();
    assert!(lint::lint(&playlist).is_empty(), "{playlist}");
    assert!(outputs.told.iter().all(|told| told.count > 200_000), "{:?}", outputs.told);
}
