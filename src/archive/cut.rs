//! Decides how frames become files: where a file begins and ends, which frames are written together, and why nothing follows.
//! Pure: frames in, [`Step`]s out; writing them is [`super::writer`]'s work.
//!
//! - A file holds frames of one run and one configuration.
//! - It is cut at the first random access point at or after its boundary: the next multiple of the segment length in UTC, or
//!   the next UTC hour. With none until twice the length it is cut anyway, and the next file depends on it.
//! - A hole in video time longer than [`hole_limit`] ends a file, and is a gap.
//! - Frames are written a GOP at a time, or a second's worth when GOPs are longer.

use std::collections::VecDeque;
use std::sync::Arc;

use super::index::{CONFIGURATION_CHANGED, Hour, STALLED};
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};

mod step;

pub use step::{Batch, BatchFacts, Input, Rules, Sample, Step, VideoEnd, VideoSpan};

/// Frames are written together for at most this long, in microseconds of media time.
const LONGEST_FRAGMENT: i64 = 1_000_000;
/// Shorter GOPs are written together until they are this long, microseconds of media time.
const SHORTEST_FRAGMENT: i64 = 500_000;
/// No distance between frames up to this is a hole, in microseconds.
const SHORTEST_HOLE: i64 = 1_000_000;
/// While the camera's frame rate is not known yet, no distance up to this is a hole.
const HOLE_WHILE_UNKNOWN: i64 = 10_000_000;
/// How many distances the median is taken of.
const KNOWN_INTERVALS: usize = 31;

/// Longest distance between two frames that is not a hole: max(1 s, 3 × the median distance), microseconds. `intervals` are
/// recent distances, microseconds.
pub fn hole_limit(intervals: &VecDeque<i64>) -> i64 {
    if intervals.len() < 3 {
        return HOLE_WHILE_UNKNOWN;
    }
    let mut sorted: Vec<i64> = intervals.iter().copied().collect();
    sorted.sort_unstable();
    SHORTEST_HOLE.max(3 * sorted[sorted.len() / 2])
}

#[derive(Debug)]
struct Run {
    id: RunId,
    configuration: Arc<Configuration>,
    /// Decode times of the newest video frame, microseconds and ticks.
    last_video: Option<(i64, i64)>,
    intervals: VecDeque<i64>,
    /// Whether a random access point was recorded and nothing is missing since.
    decodable: bool,
}

#[derive(Debug)]
struct OpenFile {
    boundary: Option<UtcMicros>,
    /// Media time after which it is cut in any case, microseconds.
    forced: Option<i64>,
    /// Media time at which the newest fragment starts that starts with a random access point, microseconds.
    independent_from: i64,
}

/// Turns frames into steps.
#[derive(Debug)]
pub struct Cutter {
    rules: Rules,
    run: Option<Run>,
    file: Option<OpenFile>,
    /// Frames of the open file that no step holds yet; of the next one, where that goes on with sound.
    pending: Vec<Sample>,
    /// Whether the last file was closed for its configuration only.
    reconfigured: bool,
    /// A run may go on in a new file at any frame, because the file before ends just there.
    resume: Option<(RunId, u64)>,
    steps: VecDeque<Step>,
}

impl Cutter {
    /// A cutter that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            run: None,
            file: None,
            pending: Vec::new(),
            reconfigured: false,
            resume: None,
            steps: VecDeque::new(),
        }
    }

    /// Everything of `run` up to and including frame `through` is in files already: such frames are skipped, and the frame after
    /// them may begin a file whether or not it is a random access point.
    pub fn resume_after(&mut self, run: RunId, through: u64) {
        self.resume = Some((run, through));
    }

    /// The next step, if there is one.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// A step that could not be taken stays the next one.
    pub fn put_back(&mut self, step: Step) {
        self.steps.push_front(step);
    }

    /// Whether there is a step to take.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether no frame waits, in steps or for the next frame.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.steps.is_empty()
    }

    /// Takes what comes next.
    pub fn push(&mut self, input: Input) {
        match input {
            Input::Configuration { run, configuration } => self.configure(run, configuration),
            Input::Frame(frame) => self.frame(frame),
            Input::Ended { reason } => {
                self.end_file(&reason);
                self.run = None;
            }
            Input::Lost { reason } => {
                self.end_file(&reason);
                if let Some(run) = &mut self.run {
                    run.last_video = None;
                    run.decodable = false;
                }
                self.resume = None;
            }
        }
    }

    /// Time has passed: whatever waits is to be written, but for the newest picture, whose duration the next one tells. When
    /// no other picture waits, it is written too.
    pub fn tick(&mut self) {
        let is_picture = |sample: &Sample| sample.frame.track == TrackKind::Video;
        let newest = self.pending.iter().rposition(is_picture);
        match newest {
            Some(place) if self.pending[..place].iter().any(is_picture) => {
                let held = self.pending.remove(place);
                self.write(Some(held.frame.sequence));
                self.pending.push(held);
            }
            _ => self.write(None),
        }
    }

    /// Nothing more will come: the open file is to be closed.
    pub fn finish(&mut self, reason: &str) {
        self.end_file(reason);
        self.run = None;
    }

    fn configure(&mut self, id: RunId, configuration: Arc<Configuration>) {
        let configuration = if self.rules.audio || configuration.audio.is_none() {
            configuration
        } else {
            Arc::new(Configuration { audio: None, ..(*configuration).clone() })
        };
        let same_run = self.run.as_ref().is_some_and(|run| run.id == id);
        let same_parameters = self.run.as_ref().is_some_and(|run| {
            run.configuration.video == configuration.video && run.configuration.audio == configuration.audio
        });
        if self.file.is_some() && !(same_run && same_parameters) {
            self.close(Some(CONFIGURATION_CHANGED.to_owned()), None);
            self.reconfigured = true;
        }
        match &mut self.run {
            Some(run) if same_run => {
                run.decodable &= same_parameters;
                run.configuration = configuration;
            }
            _ => {
                let intervals = VecDeque::new();
                self.run = Some(Run { id, configuration, last_video: None, intervals, decodable: false });
            }
        }
    }

    fn frame(&mut self, frame: Arc<Frame>) {
        let Some(run) = &mut self.run else { return };
        if run.id != frame.run {
            return;
        }
        let mut continues = false;
        if let Some((resumed, through)) = self.resume
            && resumed == frame.run
        {
            if frame.sequence <= through {
                return;
            }
            // Only when nothing is missing in between can a picture in mid-GOP be decoded.
            continues = frame.sequence == through + 1;
        }
        if frame.track == TrackKind::Audio {
            let wanted = self.rules.audio && run.configuration.audio.is_some();
            if let Some((_, through)) = self.resume.as_mut().filter(|_| continues && self.file.is_none()) {
                // Between the end of the file before and the first picture of the next: it goes into that.
                *through = frame.sequence;
            } else if self.file.is_none() {
                return;
            }
            if wanted {
                let duration = frame.duration;
                self.pending.push(Sample { frame, duration });
            }
            return;
        }
        if !continues && self.file.is_none() {
            self.pending.clear();
        }
        self.resume = None;
        let timescale = i64::from(run.configuration.video.timescale.max(1));
        let now = to_micros(frame.decode_time, timescale);
        let mut hole = false;
        if let Some((before, before_ticks)) = run.last_video {
            let distance = now - before;
            hole = distance > SHORTEST_HOLE && distance > hole_limit(&run.intervals);
            if !hole {
                if run.intervals.len() == KNOWN_INTERVALS {
                    run.intervals.pop_front();
                }
                run.intervals.push_back(distance.max(0));
                let newest = self.pending.iter_mut().rfind(|sample| sample.frame.track == TrackKind::Video);
                if let Some(newest) = newest {
                    newest.duration = u32::try_from((frame.decode_time - before_ticks).max(0)).unwrap_or(u32::MAX);
                }
            }
        }
        run.last_video = Some((now, frame.decode_time));
        let key = frame.is_video_key();
        run.decodable |= key || continues;
        let decodable = run.decodable;
        if hole {
            self.close(Some(STALLED.to_owned()), None);
        } else if let Some(file) = &mut self.file {
            let due = file.boundary.is_some_and(|boundary| frame.utc >= boundary);
            let overdue = file.forced.is_some_and(|forced| now >= forced);
            if (due && key) || overdue {
                self.close(None, Some(VideoEnd { to: now, end_utc: frame.utc }));
            } else if key && now - file.independent_from >= SHORTEST_FRAGMENT {
                // However little waits since the last flush: a fragment must start here, or nothing can be played from here.
                file.independent_from = now;
                self.write(None);
            } else if self.waits_longer_than(LONGEST_FRAGMENT, &frame) {
                self.write(None);
            }
        }
        if self.file.is_none() {
            if !decodable {
                return;
            }
            self.open(&frame, now, !key, continues);
        }
        let duration = frame.duration;
        self.pending.push(Sample { frame, duration });
    }

    fn waits_longer_than(&self, micros: i64, frame: &Frame) -> bool {
        self.pending.first().is_some_and(|first| frame.utc.0 - first.frame.utc.0 >= micros)
    }

    fn open(&mut self, frame: &Frame, now: i64, dependent: bool, resumes: bool) {
        let Some(run) = &self.run else { return };
        let waiting = self.pending.iter().map(|sample| sample.frame.sequence).min();
        let first_sequence = waiting.map_or(frame.sequence, |waiting| waiting.min(frame.sequence));
        self.reconfigured = false;
        self.file = Some(OpenFile {
            boundary: self.rules.segment_micros.map(|length| boundary(frame.utc, length)),
            forced: self.rules.segment_micros.map(|length| now + 2 * length.max(1)),
            independent_from: now,
        });
        self.steps.push_back(Step::Open {
            run: run.id,
            configuration: run.configuration.clone(),
            start: frame.utc,
            first_sequence,
            dependent,
            resumes,
        });
    }

    /// Makes a step of all that waits; `held` is the sequence of a frame that is not among it.
    fn write(&mut self, held: Option<u64>) {
        if self.file.is_none() {
            // Sound that waits for the first picture.
            return;
        }
        let samples = std::mem::take(&mut self.pending);
        let (Some(first), Some(run)) = (samples.iter().map(|sample| sample.frame.sequence).min(), &self.run) else {
            return;
        };
        let last = samples.iter().map(|sample| sample.frame.sequence).max().unwrap_or(first);
        let timescale = i64::from(run.configuration.video.timescale.max(1));
        let mut pictures = samples.iter().filter(|sample| sample.frame.track == TrackKind::Video);
        let first_picture = pictures.next();
        let video = first_picture.map(|first| {
            let last = pictures.next_back().unwrap_or(first);
            let duration = to_micros(i64::from(last.duration), timescale);
            VideoSpan {
                utc: first.frame.utc,
                end_utc: last.frame.utc.plus_micros(duration),
                from: to_micros(first.frame.decode_time, timescale),
                to: to_micros(last.frame.decode_time + i64::from(last.duration), timescale),
            }
        });
        let facts = BatchFacts {
            first_sequence: first,
            through: held.map_or(last, |held| last.min(held.saturating_sub(1))),
            independent: first_picture.is_some_and(|first| first.frame.is_video_key()),
            video,
        };
        self.steps.push_back(Step::Write(Batch { samples, facts }));
    }

    fn close(&mut self, gap: Option<String>, until: Option<VideoEnd>) {
        if self.file.is_some() {
            self.write(None);
            self.file = None;
            self.steps.push_back(Step::Close { gap, until });
        }
        self.pending.clear();
    }

    fn end_file(&mut self, reason: &str) {
        self.pending.retain(|_| self.file.is_some());
        if self.file.is_some() {
            self.close(Some(reason.to_owned()), None);
        } else if std::mem::take(&mut self.reconfigured) {
            self.steps.push_back(Step::Gap { reason: reason.to_owned() });
        }
    }
}

/// Ticks as microseconds, exact within a microsecond for any run shorter than centuries.
pub fn to_micros(ticks: i64, timescale: i64) -> i64 {
    let micros = i128::from(ticks) * 1_000_000 / i128::from(timescale.max(1));
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// Where a file that begins at `start` is to be cut: the next multiple of `length` (microseconds) of UTC, or the next UTC hour.
pub fn boundary(start: UtcMicros, length: i64) -> UtcMicros {
    let length = length.max(1);
    let aligned = start.0.div_euclid(length).saturating_add(1).saturating_mul(length);
    UtcMicros(aligned).min(Hour::of(start).end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::samples::{configuration, picture, sound};

    const MINUTE: i64 = 60_000_000;

    fn cutter() -> Cutter {
        Cutter::new(Rules { segment_micros: Some(MINUTE), audio: true })
    }

    fn start(cutter: &mut Cutter, run: u64) {
        cutter.push(Input::Configuration { run: RunId(run), configuration: configuration(640, true) });
    }

    /// Steps in short: `O` open, `D` open dependent, a number for frames written, `C:reason`, `G:reason`.
    fn short(cutter: &mut Cutter) -> String {
        let mut words = Vec::new();
        while let Some(step) = cutter.next_step() {
            words.push(match step {
                Step::Open { dependent, .. } => if dependent { "D" } else { "O" }.to_owned(),
                Step::Write(batch) => batch.samples.len().to_string(),
                Step::Close { gap, .. } => format!("C:{}", gap.unwrap_or_default()),
                Step::Gap { reason } => format!("G:{reason}"),
            });
        }
        words.join(" ")
    }

    /// Pictures at these milliseconds of UTC, key frames where `key` says so.
    fn play(cutter: &mut Cutter, millis: impl IntoIterator<Item = i64>, key: impl Fn(i64) -> bool) {
        for at in millis {
            cutter.push(Input::Frame(picture(1, at / 10, at, key(at))));
        }
    }

    #[test]
    fn a_gop_is_written_at_once_and_longer_ones_by_the_second() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (0..2000).step_by(100), |at| at % 500 == 0);
        assert_eq!(short(&mut cutter), "O 5 5 5");
        play(&mut cutter, (2000..5000).step_by(100), |at| at == 2000);
        assert_eq!(short(&mut cutter), "5 10 10");
    }

    #[test]
    fn a_fragment_starts_at_every_key_frame_even_right_after_a_flush() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (0..1000).step_by(100), |at| at == 0);
        cutter.tick();
        play(&mut cutter, (1000..2100).step_by(100), |at| at % 1000 == 0);
        let independent: Vec<bool> = std::iter::from_fn(|| cutter.next_step())
            .filter_map(|step| if let Step::Write(batch) = step { Some(batch.facts.independent) } else { None })
            .collect();
        // The second is the one picture that the flush held back.
        assert_eq!(independent, [true, false, true]);
    }

    #[test]
    fn files_are_cut_at_the_first_key_frame_after_the_minute() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (58_000..62_000).step_by(500), |at| at % 1000 == 500 || at == 58_000);
        // A key frame every second, but none on the minute itself: cut at 60.5 s.
        assert_eq!(short(&mut cutter), "O 1 2 2 C: O 2");
        cutter.finish("ShuttingDown");
        assert_eq!(short(&mut cutter), "1 C:ShuttingDown");
    }

    #[test]
    fn without_a_key_frame_a_file_is_forced_to_end_at_twice_the_length() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (0..=121_000).step_by(1000), |at| at == 0);
        let steps = short(&mut cutter);
        assert!(steps.ends_with("1 C: D 1"), "{steps}");
        assert_eq!(steps.matches(" 1").count(), 121, "{steps}");
    }

    #[test]
    fn a_hole_closes_the_file_and_is_named() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (0..1000).step_by(100), |at| at == 0);
        play(&mut cutter, [1900, 2000, 3500, 3600], |_| false);
        // 1.9 s − 0.9 s is no hole; 1.5 s is.
        assert_eq!(short(&mut cutter), "O 10 2 C:Stalled D");
    }

    #[test]
    fn a_slow_camera_has_no_holes() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, (0..40_000).step_by(4000), |_| true);
        assert!(!short(&mut cutter).contains("Stalled"));
        play(&mut cutter, [48_000, 61_000], |_| true);
        assert!(short(&mut cutter).contains("C:Stalled O"), "13 s after 4 s distances");
    }

    #[test]
    fn durations_are_the_distance_to_the_next_picture() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, [0, 90, 210, 300], |at| at == 0);
        cutter.tick();
        cutter.finish("Stopped");
        let mut durations = Vec::new();
        let mut through = Vec::new();
        while let Some(step) = cutter.next_step() {
            if let Step::Write(batch) = step {
                durations.extend(batch.samples.iter().map(|sample| sample.duration));
                through.push(batch.facts.through);
            }
        }
        // Ticks of 1/1000 s; the last one is what the source says is usual.
        assert_eq!(durations, [90, 120, 90, 100]);
        assert_eq!(through, [21, 30]);
    }

    #[test]
    fn a_tick_holds_the_newest_picture_back_once() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, [0, 100, 200], |at| at == 0);
        cutter.tick();
        assert_eq!(short(&mut cutter), "O 2");
        cutter.tick();
        assert_eq!(short(&mut cutter), "1");
        cutter.tick();
        assert_eq!(short(&mut cutter), "");
    }

    #[test]
    fn every_end_is_named_once() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, [0], |_| true);
        cutter.push(Input::Ended { reason: "Unreachable".into() });
        cutter.finish("ShuttingDown");
        assert_eq!(short(&mut cutter), "O 1 C:Unreachable");
        // A changed configuration is followed by the reason why nothing of it came.
        start(&mut cutter, 1);
        play(&mut cutter, [5000], |_| true);
        cutter.push(Input::Configuration { run: RunId(1), configuration: configuration(320, true) });
        cutter.push(Input::Ended { reason: "Stalled".into() });
        assert_eq!(short(&mut cutter), "O 1 C:ConfigurationChanged G:Stalled");
        start(&mut cutter, 3);
        cutter.push(Input::Lost { reason: "RecorderOverrun".into() });
        assert_eq!(short(&mut cutter), "");
    }

    #[test]
    fn pictures_before_a_key_frame_are_skipped_unless_they_continue_a_file() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        play(&mut cutter, [100, 200], |_| false);
        assert_eq!(short(&mut cutter), "");
        for (through, expected) in [(19, "D 3 C:Stopped"), (18, "O 4 C:Stopped"), (10, "O 4 C:Stopped")] {
            let mut cutter = self::cutter();
            cutter.resume_after(RunId(1), through);
            start(&mut cutter, 1);
            play(&mut cutter, [190], |_| true);
            for (sequence, at) in [(20, 200), (21, 300)] {
                cutter.push(Input::Frame(picture(1, sequence, at, false)));
            }
            cutter.push(Input::Frame(picture(1, 22, 400, true)));
            cutter.finish("Stopped");
            assert_eq!(short(&mut cutter), expected, "resumed after {through}");
        }
    }

    #[test]
    fn sound_goes_to_the_file_that_is_open_and_can_be_left_out() {
        let mut cutter = cutter();
        start(&mut cutter, 1);
        cutter.push(Input::Frame(sound(1, 0, 0)));
        cutter.push(Input::Frame(picture(1, 1, 0, true)));
        cutter.push(Input::Frame(sound(1, 2, 20)));
        cutter.finish("Stopped");
        assert_eq!(short(&mut cutter), "O 2 C:Stopped");
        let mut cutter = Cutter::new(Rules { segment_micros: Some(MINUTE), audio: false });
        start(&mut cutter, 1);
        cutter.push(Input::Frame(picture(1, 1, 0, true)));
        cutter.push(Input::Frame(sound(1, 2, 20)));
        let step = cutter.next_step().expect("a step");
        assert!(matches!(&step, Step::Open { configuration, .. } if configuration.audio.is_none()));
        cutter.put_back(step);
        cutter.finish("Stopped");
        assert_eq!(short(&mut cutter), "O 1 C:Stopped");
    }

    #[test]
    fn boundaries_are_multiples_in_utc_and_never_cross_an_hour() {
        let at = |text: &str| UtcMicros::from_timestamp(text.parse().expect("timestamp"));
        let cases = [
            ("2026-11-21T01:37:10Z", 60, "2026-11-21T01:38:00Z"),
            ("2026-11-21T01:38:00Z", 60, "2026-11-21T01:39:00Z"),
            ("2026-11-21T23:59:59Z", 7 * 60, "2026-11-22T00:00:00Z"),
            ("2026-12-31T23:59:59Z", 3600, "2027-01-01T00:00:00Z"),
            ("1969-12-31T23:59:30Z", 60, "1970-01-01T00:00:00Z"),
        ];
        for (start, seconds, expected) in cases {
            assert_eq!(boundary(at(start), seconds * 1_000_000), at(expected), "{start}");
        }
    }
}
