use bytes::Bytes;

use super::*;
use crate::media::frame::{Codec, FrameKind, TrackConfiguration};

const START: i64 = 1_800_000_000_000_000;
/// Ticks of a picture at 25 a second.
const PICTURE: i64 = 3600;
const KEEPS: Duration = Duration::from_secs(10);

fn track(codec: Codec, timescale: u32, entry: &'static [u8]) -> Arc<TrackConfiguration> {
    Arc::new(TrackConfiguration {
        codec,
        timescale,
        sample_entry: Bytes::from_static(entry),
        codec_string: String::new(),
        width: 64,
        height: 48,
        sample_rate: 48_000,
        channels: 1,
    })
}

fn configuration(entry: &'static [u8]) -> Arc<Configuration> {
    let (video, audio) = (track(Codec::H264, 90_000, entry), track(Codec::Aac, 48_000, b"mp4a"));
    Arc::new(Configuration { generation: 0, video, audio: Some(audio) })
}

/// What an agent makes of a camera: picture `n` of the camera is the same whoever reads it, all else is the agent's own.
struct Agent {
    run: RunId,
    configuration: Arc<Configuration>,
    /// The camera's number of its first picture.
    first: u64,
    /// How much later it dates pictures than they were taken, microseconds.
    late: i64,
    /// Distance of two key frames.
    group: u64,
    /// All groups of pictures look the same.
    still: bool,
}

impl Agent {
    fn new(run: u64, first: u64) -> Self {
        let configuration = configuration(b"avc1");
        Self { run: RunId(run), configuration, first, late: 10_000, group: 25, still: false }
    }

    /// Picture `n` of the camera, and the sound that goes with it; sequences begin at 0.
    fn frames(&self, n: u64) -> [Frame; 2] {
        let place = n - self.first;
        let shown = if self.still { n % self.group } else { n };
        let frame = |track, sequence, decode_time, duration, kind, payload: String| Frame {
            run: self.run,
            sequence,
            track,
            decode_time,
            composition_offset: 0,
            duration,
            kind,
            generation: 0,
            utc: UtcMicros(START + n as i64 * 40_000 + self.late),
            payload: payload.into(),
        };
        let time = 90_000 + place as i64 * PICTURE;
        let kind = if n.is_multiple_of(self.group) { FrameKind::Key } else { FrameKind::Delta };
        [
            frame(TrackKind::Video, 2 * place, time, PICTURE as u32, kind, format!("picture {shown}")),
            // As long as a picture, so that numbers are easy; placed a little differently by each agent.
            frame(
                TrackKind::Audio,
                2 * place + 1,
                48_000 + place as i64 * 1920 + self.run.0 as i64,
                1920,
                FrameKind::Key,
                format!("sound {n}"),
            ),
        ]
    }
}

/// A relay and what came out of it.
struct Bench {
    relay: Relay,
    now: i64,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        Self { relay: Relay::new(KEEPS), now: 0, effects: Vec::new() }
    }

    fn feed(&mut self, agent: &Agent, pictures: std::ops::Range<u64>) {
        for frame in pictures.flat_map(|n| agent.frames(n)) {
            self.relay.frame(&agent.configuration, frame, self.now, &mut self.effects);
        }
    }

    fn cut(&mut self) {
        self.relay.cut(Reason::CameraUnavailable, "cut".into(), self.now);
    }

    fn pass_time(&mut self, by: Duration) {
        self.now += by.as_micros() as i64;
        self.relay.tick(self.now, UtcMicros(START), &mut self.effects);
    }

    fn frames(&self) -> Vec<&Frame> {
        let published = self.effects.iter().filter_map(|effect| match effect {
            Effect::Publish(_, frames) => Some(frames),
            Effect::End(_) => None,
        });
        published.flatten().collect()
    }

    fn ends(&self) -> Vec<(RunId, Reason)> {
        let ends = self.effects.iter().filter_map(|effect| match effect {
            Effect::End(ending) => Some((ending.run, ending.reason)),
            Effect::Publish(..) => None,
        });
        ends.collect()
    }

    /// Numbers of the camera's pictures, or of its sounds, as they were published.
    fn numbers(&self, what: &str) -> Vec<u64> {
        let numbers = self.frames().into_iter().filter_map(|frame| {
            let text = std::str::from_utf8(&frame.payload).expect("text");
            text.strip_prefix(what)?.trim().parse().ok()
        });
        numbers.collect()
    }

    /// One run, nothing missing, nothing twice, times that go on.
    fn assert_unbroken(&self, pictures: std::ops::Range<u64>) {
        assert_eq!(self.ends(), []);
        assert_eq!(self.numbers("picture"), pictures.clone().collect::<Vec<_>>());
        assert_eq!(self.numbers("sound"), pictures.collect::<Vec<_>>());
        let frames = self.frames();
        assert!(frames.iter().all(|frame| frame.run == frames[0].run && frame.generation == 0));
        for (place, frame) in frames.iter().enumerate() {
            assert_eq!(frame.sequence, place as u64);
        }
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let times: Vec<_> =
                frames.iter().filter(|frame| frame.track == kind).map(|f| (f.decode_time, f.utc)).collect();
            let distance = if kind == TrackKind::Video { PICTURE } else { 1920 };
            for pair in times.windows(2) {
                assert_eq!(pair[1].0 - pair[0].0, distance, "{kind:?}");
                assert_eq!(pair[1].1.0 - pair[0].1.0, 40_000, "{kind:?}");
            }
        }
    }
}

#[test]
fn the_same_run_comes_through_as_it_is_over_any_cut() {
    let (agent, mut bench) = (Agent::new(7, 0), Bench::new());
    bench.feed(&agent, 0..30);
    assert_eq!(bench.relay.position(), Some(Position { run: RunId(7), sequence: 59, ended: false }));
    bench.cut();
    bench.pass_time(KEEPS / 2);
    // Some come twice.
    bench.feed(&agent, 25..60);
    bench.pass_time(KEEPS * 2);
    bench.assert_unbroken(0..60);
    let expected: Vec<Frame> = (0..60).flat_map(|n| agent.frames(n)).collect();
    assert!(bench.frames().into_iter().eq(expected.iter()), "run, sequence, times: all the very same");
}

#[test]
fn what_the_other_agent_no_longer_had_is_told() {
    let (agent, mut bench) = (Agent::new(7, 0), Bench::new());
    bench.feed(&agent, 0..30);
    bench.cut();
    bench.feed(&agent, 50..60);
    assert_eq!(bench.ends(), [(RunId(7), Reason::RecorderOverrun)]);
    assert_eq!(bench.frames()[60].sequence, 100, "as it is there");
}

#[test]
fn a_run_that_stays_away_ends_and_another_one_begins() {
    let mut bench = Bench::new();
    bench.feed(&Agent::new(7, 0), 0..30);
    bench.cut();
    bench.pass_time(KEEPS.saturating_sub(Duration::from_millis(1)));
    assert_eq!(bench.ends(), []);
    bench.pass_time(Duration::from_millis(1));
    assert_eq!(bench.ends(), [(RunId(7), Reason::CameraUnavailable)]);
    assert_eq!(bench.relay.deadline(), None);
    bench.feed(&Agent::new(8, 500), 500..510);
    assert_eq!(bench.ends().len(), 1, "it is told once");
    let last = bench.frames().last().map(|frame| (frame.run, frame.sequence));
    assert_eq!(last, Some((RunId(8), 19)), "under its own name");
}

#[test]
fn an_agent_that_began_anew_after_a_kill_leaves_its_real_gap() {
    let mut bench = Bench::new();
    bench.feed(&Agent::new(7, 0), 0..30);
    bench.cut();
    bench.feed(&Agent::new(8, 125), 125..150);
    assert_eq!(bench.ends(), [(RunId(7), Reason::CameraUnavailable)]);
    assert_eq!(bench.numbers("picture"), (0..30).chain(125..150).collect::<Vec<_>>());
}

#[test]
fn an_overlapping_roll_out_is_not_seen() {
    // The agent that takes over began at any picture of the group, dates pictures earlier or later (much later, if it had to wait
    // for its processor when it began), and is asked when it has more or less than what was delivered.
    for (first, late, has) in [
        (0, 10_000, 80),
        (25, 60_000, 60),
        (50, -20_000, 61),
        (50, 10_000, 75),
        (0, 200_000, 60),
        (0, 6_200_000, 80),
        (50, 7_500_000, 55),
    ] {
        let (old, mut new) = (Agent::new(7, 0), Agent::new(8, first));
        new.late = late;
        let mut bench = Bench::new();
        bench.feed(&old, 0..60);
        bench.relay.ended(
            Ending { run: RunId(7), reason: Reason::ShuttingDown, message: "stopped".into(), at: UtcMicros(START) },
            bench.now,
            &mut bench.effects,
        );
        assert!(bench.relay.position().is_some_and(|position| position.ended));
        bench.feed(&new, first..has);
        let position = Position { run: RunId(8), sequence: 2 * (has - first) - 1, ended: false };
        assert_eq!(bench.relay.position(), Some(position));
        bench.feed(&new, has..100);
        bench.pass_time(KEEPS * 2);
        bench.assert_unbroken(0..100);
        // And once more, to a third.
        let third = Agent::new(9, 75);
        bench.cut();
        bench.feed(&third, 75..130);
        bench.assert_unbroken(0..130);
    }
}

#[test]
fn the_agent_that_takes_over_may_be_behind() {
    let (old, new) = (Agent::new(7, 0), Agent::new(8, 25));
    let mut bench = Bench::new();
    bench.feed(&old, 0..60);
    bench.cut();
    bench.feed(&new, 25..58);
    assert_eq!(bench.numbers("picture").len(), 60);
    bench.feed(&new, 58..70);
    bench.assert_unbroken(0..70);
}

#[test]
fn in_a_still_scene_the_time_tells_pictures_apart() {
    let (mut old, mut new) = (Agent::new(7, 0), Agent::new(8, 25));
    (old.still, new.still) = (true, true);
    let mut bench = Bench::new();
    bench.feed(&old, 0..110);
    bench.cut();
    bench.feed(&new, 25..150);
    bench.pass_time(KEEPS * 2);
    assert_eq!(bench.ends(), []);
    assert_eq!(bench.numbers("sound"), (0..150).collect::<Vec<_>>());
    assert_eq!(bench.numbers("picture"), (0..150).map(|n| n % 25).collect::<Vec<_>>());
}

#[test]
fn a_gap_in_a_still_scene_is_a_gap() {
    let (mut old, mut new) = (Agent::new(7, 0), Agent::new(8, 125));
    (old.still, new.still) = (true, true);
    let mut bench = Bench::new();
    bench.feed(&old, 0..60);
    bench.cut();
    bench.feed(&new, 125..200);
    bench.pass_time(KEEPS * 2);
    assert_eq!(bench.ends(), [(RunId(7), Reason::CameraUnavailable)]);
    assert_eq!(bench.numbers("sound"), (0..60).chain(125..200).collect::<Vec<_>>());
}

#[test]
fn pictures_that_are_coded_anew_are_not_recorded_twice() {
    let (old, mut new) = (Agent::new(7, 0), Agent::new(8, 25));
    // Another encoder: nothing is recognised.
    new.configuration = configuration(b"avc1 of another encoder");
    let mut bench = Bench::new();
    bench.feed(&old, 0..60);
    bench.cut();
    bench.feed(&new, 25..100);
    assert_eq!(bench.ends(), [(RunId(7), Reason::CameraUnavailable)]);
    assert_eq!(bench.numbers("picture"), (0..60).chain(75..100).collect::<Vec<_>>(), "from the next key frame on");
}

#[test]
fn clocks_that_differ_leave_little_out() {
    let (old, mut new) = (Agent::new(7, 0), Agent::new(8, 500));
    // The other machine's clock is behind: all that it sends seems to be delivered already.
    new.late = -30_000_000;
    let mut bench = Bench::new();
    bench.feed(&old, 0..60);
    bench.cut();
    bench.feed(&new, 500..520);
    for n in 520..700 {
        bench.pass_time(Duration::from_millis(40));
        bench.feed(&new, n..n + 1);
    }
    let numbers = bench.numbers("picture");
    let first = numbers[60];
    assert!((500..=700).contains(&first) && first.is_multiple_of(25) && first <= 675, "{first}");
    assert!(numbers[60..].windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn the_cameras_own_reason_is_passed_on_at_once() {
    let (agent, mut bench) = (Agent::new(7, 0), Bench::new());
    bench.feed(&agent, 0..30);
    let ending = Ending { run: RunId(7), reason: Reason::Stalled, message: "no new picture".into(), at: UtcMicros(5) };
    bench.relay.ended(ending.clone(), bench.now, &mut bench.effects);
    assert!(matches!(bench.effects.last(), Some(Effect::End(told)) if *told == ending));
    bench.cut();
    bench.pass_time(KEEPS * 2);
    assert_eq!(bench.ends().len(), 1);
}

#[test]
fn a_changed_configuration_needs_no_other_run() {
    let (mut agent, mut bench) = (Agent::new(7, 0), Bench::new());
    bench.feed(&agent, 0..25);
    agent.configuration = Arc::new(Configuration { generation: 1, ..Configuration::clone(&configuration(b"larger")) });
    bench.feed(&agent, 25..50);
    assert_eq!(bench.ends(), []);
    let generations: Vec<u32> = bench
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Publish(configuration, frames) => {
                assert!(frames.iter().all(|frame| frame.generation == configuration.generation));
                configuration.generation
            }
            Effect::End(_) => u32::MAX,
        })
        .collect();
    assert!(generations.is_sorted() && generations.first() == Some(&0) && generations.last() == Some(&1));
    // A body that begins anew has a configuration of its own that says the same: no reader must notice.
    agent.configuration = Arc::new(Configuration::clone(&agent.configuration));
    bench.effects.clear();
    bench.feed(&agent, 50..52);
    assert!(matches!(bench.effects.as_slice(), [Effect::Publish(configuration, _)] if configuration.generation == 1));
}

#[test]
fn at_the_end_all_is_told() {
    let (old, new) = (Agent::new(7, 0), Agent::new(8, 25));
    let mut bench = Bench::new();
    bench.feed(&old, 0..60);
    bench.feed(&new, 25..58);
    bench.relay.finish(bench.now, UtcMicros(START), &mut bench.effects);
    let last = bench.ends().last().copied();
    assert_eq!(last, Some((RunId(8), Reason::ShuttingDown)));
}
