//! Runs of frames as they are made of samples: their beginnings, their times, what is kept back and what ends them.

use bytes::Bytes;

use super::*;
use crate::media::fmp4::reader::{Event, Limits, Reader};
use crate::media::fmp4::writer::write_header;
use crate::media::frame::UtcMicros;
use crate::media::h264;

const SPS: [u8; 27] = [
    0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0xc0, 0x5a, 0x83, 0x03, 0x03, 0x52, 0x80, 0x00, 0x00, 0x03, 0x00,
    0x80, 0x00, 0x00, 0x19, 0x47, 0x8b, 0x17, 0x50,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];
/// `mp4a` with an `esds` that says AAC-LC, 48 kHz, mono.
const MP4A: &[u8] = b"\0\0\0\x4bmp4a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x01\0\x10\0\0\0\0\xbb\x80\0\0\
    \0\0\0\x27esds\0\0\0\0\x03\x19\0\x01\0\x04\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\x05\x02\x11\x88\x06\x01\x02";
const START: i64 = 1_800_000_000_000_000;
const KEY: &[u8] = &[0, 0, 0, 3, 0x65, 0x88, 0x84];
const DELTA: &[u8] = &[0, 0, 0, 3, 0x41, 0x9a, 0x02];
/// The second half of a key frame.
const REST: &[u8] = &[0, 0, 0, 3, 0x65, 0x42, 0x01];

/// The tracks of a file with pictures (90 kHz) and sound (48 kHz).
fn tracks() -> Vec<Track> {
    let parsed = h264::parse_sequence_parameters(&SPS).expect("valid");
    let video_entry = h264::sample_entry(&parsed, &[Bytes::from_static(&SPS)], &[Bytes::from_static(&PPS)]);
    let configuration = Configuration {
        generation: 0,
        video: TrackConfiguration::of_entry(Codec::H264, 90_000, video_entry),
        audio: Some(TrackConfiguration::of_entry(Codec::Aac, 48_000, Bytes::from_static(MP4A))),
    };
    let mut reader = Reader::new(Limits::default());
    reader.feed(&write_header(&configuration, true));
    match reader.next_event() {
        Ok(Some(Event::Tracks(tracks))) => tracks,
        other => panic!("{other:?}"),
    }
}

fn name_run() -> RunId {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    RunId(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

struct Bench {
    assembly: Assembly,
    effects: Effects<'static>,
    tracks: Vec<Track>,
}

impl Bench {
    fn new(expect_audio: bool, edit_offset: i64) -> Self {
        let mut tracks = tracks();
        tracks[0].edit_offset = edit_offset;
        let mut assembly = Assembly::new(expect_audio, false);
        assembly.video_header(&tracks[..1]).expect("carried");
        Self { assembly, effects: Effects { list: Vec::new(), name_run: &name_run }, tracks }
    }

    fn at(micros: i64) -> Arrival {
        Arrival { wall: UtcMicros(START + micros), monotonic: micros }
    }

    /// A picture of 40 ms that ends, and so arrives, at its decode time plus 40 ms.
    fn picture(&mut self, number: i64, payload: &'static [u8]) -> Result<(), Trouble> {
        self.picture_at(number * 3600, 3600, payload, Self::at((number + 1) * 40_000))
    }

    fn picture_at(
        &mut self,
        decode_time: i64,
        duration: u32,
        payload: &'static [u8],
        arrival: Arrival,
    ) -> Result<(), Trouble> {
        let sample = Sample {
            track: self.tracks[0].id,
            decode_time: decode_time as u64,
            composition_offset: 0,
            duration,
            sync: true,
            payload: Bytes::from_static(payload),
            producer_time: None,
            fragment: 0,
        };
        self.assembly.video_sample(&sample, arrival, &mut self.effects)
    }

    fn sound(&mut self, number: i64) {
        let sample = Sample {
            track: self.tracks[1].id,
            decode_time: number as u64 * 1024,
            composition_offset: 0,
            duration: 1024,
            sync: true,
            payload: Bytes::from_static(b"sound"),
            producer_time: None,
            fragment: 0,
        };
        let arrival = Self::at((number + 1) * 1024 * 1_000_000 / 48_000);
        self.assembly.audio_sample(&sample, arrival, &mut self.effects);
    }

    fn frames(&self) -> Vec<&Frame> {
        let published = self.effects.list.iter().filter_map(|effect| match effect {
            Effect::Publish(_, frames) => Some(frames),
            Effect::End(_) => None,
        });
        published.flatten().collect()
    }

    fn ends(&self) -> usize {
        self.effects.list.iter().filter(|effect| matches!(effect, Effect::End(_))).count()
    }
}

#[test]
fn a_run_begins_at_a_key_frame_and_time_is_never_negative() {
    // The edit list hides 2.5 s: reordered pictures far below their presentation time.
    let mut bench = Bench::new(false, -225_000);
    for number in 0..10 {
        bench.picture(number, if number % 5 == 3 { KEY } else { DELTA }).expect("carried");
    }
    let frames = bench.frames();
    assert_eq!(frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(frames[0].is_video_key());
    assert_eq!(frames[0].decode_time, 3 * 3600 - 225_000 + 4 * 90_000, "shifted by whole seconds");
    assert_eq!(frames[0].utc, UtcMicros(START + 3 * 40_000), "captured when its time began");
    assert_eq!(frames[6].payload, Bytes::from_static(DELTA));
}

#[test]
fn the_first_frames_wait_for_the_sound_but_not_for_long() {
    let mut bench = Bench::new(true, 0);
    bench.picture(0, KEY).expect("carried");
    bench.picture(1, DELTA).expect("carried");
    bench.picture(2, DELTA).expect("carried");
    assert!(bench.frames().is_empty());
    assert_eq!(bench.assembly.deadline(), Some(40_000 + HOLD.as_micros() as i64));
    let audio = bench.tracks[1..].to_vec();
    bench.assembly.audio_header(&audio).expect("carried");
    bench.sound(0);
    assert_eq!(bench.frames().len(), 4);
    assert_eq!(bench.assembly.deadline(), None);
    assert!(matches!(&bench.effects.list[0], Effect::Publish(configuration, _)
        if configuration.generation == 0 && configuration.audio.is_some()));

    let mut bench = Bench::new(true, 0);
    bench.picture(0, KEY).expect("carried");
    bench.assembly.tick(Bench::at(539_000), &mut bench.effects);
    assert!(bench.frames().is_empty());
    bench.assembly.tick(Bench::at(540_000), &mut bench.effects);
    assert_eq!(bench.frames().len(), 1, "it never came");
    // Now it comes: another generation, in the same run, from where readers can begin.
    let audio = bench.tracks[1..].to_vec();
    bench.assembly.audio_header(&audio).expect("carried");
    bench.sound(30);
    bench.picture(20, DELTA).expect("carried");
    bench.picture(21, KEY).expect("carried");
    bench.sound(42);
    bench.picture(22, DELTA).expect("carried");
    let frames = bench.frames();
    assert_eq!(
        frames.iter().map(|frame| (frame.generation, frame.sequence, frame.track)).collect::<Vec<_>>(),
        [
            (0, 0, TrackKind::Video),
            (0, 1, TrackKind::Video),
            (1, 2, TrackKind::Video),
            (1, 3, TrackKind::Audio),
            (1, 4, TrackKind::Video)
        ]
    );
    assert_eq!(frames[0].run, frames[4].run);
}

#[test]
fn sound_that_the_run_before_had_is_waited_for_longer() {
    let mut bench = Bench::new(true, 0);
    bench.assembly = Assembly::new(true, true);
    bench.assembly.video_header(&bench.tracks[..1]).expect("carried");
    for number in 0..40 {
        bench.picture(number, if number == 0 { KEY } else { DELTA }).expect("carried");
    }
    assert!(bench.frames().is_empty(), "it is 1.6 s late");
    bench.assembly.audio_header(&bench.tracks[1..]).expect("carried");
    bench.sound(70);
    assert!(bench.frames().iter().all(|frame| frame.generation == 0) && bench.frames().len() == 41);
    assert_eq!(bench.assembly.deadline(), None);
}

#[test]
fn pieces_neither_end_a_burst_nor_keep_it_from_ending() {
    let mut bench = Bench::new(false, 0);
    let mut picture = |number: i64, at| {
        bench.picture_at(number * 3600, 1, KEY, Bench::at(at)).expect("carried");
        bench.picture_at(number * 3600 + 1, 3599, REST, Bench::at(at)).expect("carried");
        bench.frames().len()
    };
    assert!((0..10).all(|number| picture(number, 1_000) == 0), "a burst");
    let begun = (10..13).map(|number| picture(number, 1_000 + (number - 9) * 40_000)).max();
    assert!(begun > Some(10), "it is over");
}

#[test]
fn one_picture_that_was_held_up_does_not_end_a_burst() {
    let mut bench = Bench::new(false, 0);
    // Two seconds' worth at once, with a hiccup of 30 ms in it; then one each 40 ms.
    for number in 0..50 {
        let at = 1_000 + if number < 20 { 0 } else { 30_000 };
        bench.picture_at(number * 3600, 3600, if number == 0 { KEY } else { DELTA }, Bench::at(at)).expect("carried");
    }
    assert!(bench.frames().is_empty());
    for number in 50..53 {
        let at = 31_000 + (number - 49) * 40_000;
        bench.picture_at(number * 3600, 3600, DELTA, Bench::at(at)).expect("carried");
    }
    let frames = bench.frames();
    assert_eq!(frames.last().map(|frame| frame.utc), Some(UtcMicros(START + 31_000 + 2 * 40_000)), "live");
}

#[test]
fn pieces_of_a_picture_become_one() {
    let mut bench = Bench::new(false, 0);
    bench.picture(0, KEY).expect("carried");
    bench.picture(1, DELTA).expect("carried");
    bench.picture_at(7200, 1, KEY, Bench::at(120_000)).expect("carried");
    assert_eq!(bench.frames().len(), 2, "it is kept back: the rest follows at once");
    bench.picture_at(7201, 3599, REST, Bench::at(120_000)).expect("carried");
    bench.picture(3, DELTA).expect("carried");
    let frames = bench.frames();
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[2].payload, Bytes::from([KEY, REST].concat()));
    assert_eq!((frames[2].duration, frames[2].kind), (3600, FrameKind::Key));
}

#[test]
fn a_step_of_the_hosts_clock_begins_another_run_at_the_next_key_frame() {
    let mut bench = Bench::new(false, 0);
    for number in 0..3 {
        bench.picture(number, if number == 0 { KEY } else { DELTA }).expect("carried");
    }
    let stepped = |micros| Arrival { wall: UtcMicros(START + micros + 3_600_000_000), monotonic: micros };
    bench.picture_at(3 * 3600, 3600, DELTA, stepped(160_000)).expect("goes on");
    assert_eq!(bench.ends(), 0, "what follows could not be decoded without what came before");
    for number in 4..8 {
        let payload = if number == 5 { KEY } else { DELTA };
        bench.picture_at(number * 3600, 3600, payload, stepped((number + 1) * 40_000)).expect("goes on");
    }
    let frames = bench.frames();
    let second: Vec<&&Frame> = frames.iter().filter(|frame| frame.run != frames[0].run).collect();
    assert_eq!((bench.ends(), frames.len(), second.len()), (1, 8, 3), "nothing is lost");
    assert_eq!(frames[4].utc, UtcMicros(START + 4 * 40_000), "by the old time until the key frame");
    assert!(second[0].run > frames[0].run && second[0].is_video_key() && second[0].sequence == 0);
    assert_eq!(second[0].utc, UtcMicros(START + 3_600_000_000 + 5 * 40_000));
}

#[test]
fn a_jump_of_the_cameras_clock_does_not_stretch_a_picture() {
    let mut bench = Bench::new(false, 0);
    for number in 0..10 {
        bench.picture(number, if number == 0 { KEY } else { DELTA }).expect("carried");
    }
    let jump = bench.picture_at(36_000, 90_000 * 3600, DELTA, Bench::at(440_000));
    assert_eq!(jump, Err(Trouble::TooFast));
    assert_eq!(bench.ends(), 1);
    assert_eq!(bench.frames().last().map(|frame| frame.duration), Some(3600));
}

#[test]
fn what_was_kept_back_is_published_at_the_end() {
    let mut bench = Bench::new(true, 0);
    bench.picture(0, KEY).expect("carried");
    bench.assembly.finish(&mut bench.effects);
    assert_eq!(bench.frames().len(), 1);
    assert!(bench.assembly.run().is_some());
}

#[test]
fn facts_are_measured() {
    let mut bench = Bench::new(false, 0);
    assert_eq!(bench.assembly.frame_interval(), None);
    for number in 0..5 {
        bench.picture(number, KEY).expect("carried");
    }
    assert_eq!(bench.assembly.frame_interval(), Some(Duration::from_millis(40)));
    let facts = bench.assembly.facts().expect("known");
    assert_eq!((facts.video_codec.as_str(), facts.width, facts.frames_per_second_milli), ("H264", 640, 25_000));
}
