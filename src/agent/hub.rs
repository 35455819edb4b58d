//! The hub: the fan-out of one camera's frames to any number of readers. A ring that writers never wait for: no reader can
//! slow the camera or another reader. Must not do IO and must not know what readers do with frames.
//!
//! A [`Reach::Live`] reader (a viewer, a push) that falls out of the ring is moved to the newest key frame and told how much
//! it lost. A [`Reach::Whole`] reader (a recorder) may lag the whole ring and resumes where it was; when it falls out even so,
//! it is told what it lost and goes on at the oldest frame that is left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};
use crate::plan::report::Reason;

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Event {
    /// The frames that follow belong to this run and need this configuration. Always precedes the first frame of a run and of
    /// a configuration generation.
    Configuration {
        /// The run that the frames belong to.
        run: RunId,
        /// Codec parameters of both tracks.
        configuration: Arc<Configuration>,
    },
    /// A frame.
    Frame(Arc<Frame>),
    /// No more frames of this run will come.
    Ended(Arc<Ending>),
    /// So many frames were missed, because this reader was too slow.
    Lost(u64),
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which run.
    pub run: RunId,
    /// Why it ended: the reason of the gap that begins here.
    pub reason: Reason,
    /// One redacted sentence.
    pub message: String,
    /// When it was noticed.
    pub at: UtcMicros,
}

/// How far a reader may lag, and what happens when it lags further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Starts at the newest key frame; moved there again when it falls out of the ring.
    Live,
    /// Starts at the newest key frame; loses only what has left the ring.
    Whole,
    /// Starts at the oldest entry of the ring and loses only what has left it: a recorder that takes over.
    FromOldest,
}

/// How often a reader is woken while frames flow. Waking a reader for every frame costs more than handing the frame over, so
/// that whoever need not have each one at once says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// For every frame.
    EveryFrame,
    /// At key frames and when a run ends, else once in this time.
    KeyFrames(Duration),
    /// Once in this time.
    Pauses(Duration),
}

/// What the ring may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At least this long, in microseconds (and at least one GOP).
    pub duration_micros: i64,
    /// Never more than so many bytes of payload; beyond it the oldest frames go, even those of the newest GOP.
    pub bytes: usize,
}

#[derive(Debug)]
enum Entry {
    Frame { frame: Arc<Frame>, configuration: Arc<Configuration> },
    Ended(Arc<Ending>),
}

/// What has gone through a hub since it was made; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Video frames published.
    pub video_frames: u64,
    /// Bytes of video published.
    pub video_bytes: u64,
    /// Audio frames published.
    pub audio_frames: u64,
    /// Bytes of audio published.
    pub audio_bytes: u64,
    /// Entries that readers missed because they were too slow, over all readers.
    pub lost: u64,
    /// Readers now.
    pub readers: u64,
    /// Bytes of payload in the ring now.
    pub ring_bytes: u64,
    /// Runs that ended while the unit went on.
    pub cuts: u64,
    /// When the newest video frame came.
    pub newest_video: Option<Instant>,
    /// By how many microseconds the camera's clock is ahead of the host's, as it last said.
    pub clock_error: Option<i64>,
}

impl Statistics {
    fn count(&mut self, frame: &Frame) {
        let (frames, bytes) = match frame.track {
            TrackKind::Video => (&mut self.video_frames, &mut self.video_bytes),
            TrackKind::Audio => (&mut self.audio_frames, &mut self.audio_bytes),
        };
        *frames += 1;
        *bytes += frame.payload.len() as u64;
    }
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    /// Absolute index of `entries[0]`.
    first: u64,
    bytes: usize,
    /// Absolute index of the newest video key frame, if it is still in the ring.
    key: Option<u64>,
    /// Whether the byte cap has evicted the newest GOP's key frame.
    key_evicted: bool,
    /// The newest run, and the capture time of its first frame.
    run: Option<(RunId, UtcMicros)>,
    closed: bool,
    statistics: Statistics,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn push(&mut self, entry: Entry) {
        if let Entry::Frame { frame, .. } = &entry {
            self.bytes += frame.payload.len();
            self.statistics.count(frame);
            if self.run.is_none_or(|(run, _)| run != frame.run) {
                self.run = Some((frame.run, frame.utc));
            }
            if frame.is_video_key() {
                self.key = Some(self.end());
                self.key_evicted = false;
            }
        }
        self.entries.push_back(entry);
    }

    fn trim(&mut self, limits: Limits, newest: UtcMicros) {
        let oldest_wanted = newest.0 - limits.duration_micros;
        while let Some(front) = self.entries.front() {
            let (run, at, size) = match front {
                Entry::Frame { frame, .. } => (frame.run, frame.utc.0, frame.payload.len()),
                Entry::Ended(ending) => (ending.run, ending.at.0, 0),
            };
            // Between two runs the host's clock may have been set: what an earlier one left is as old as the newest one is long.
            let at = self.run.filter(|(newest, _)| *newest != run).map_or(at, |(_, began)| began.0);
            let over = self.bytes > limits.bytes && self.entries.len() > 1;
            // The newest GOP stays whole, so that a new reader has a key frame to start at. With no key frame in the ring
            // there is nothing to protect.
            let protected = self.key.is_some_and(|key| self.first >= key);
            let expired = at < oldest_wanted && !protected;
            if !over && !expired {
                break;
            }
            if self.key == Some(self.first) {
                self.key = None;
                self.key_evicted = true;
            }
            self.entries.pop_front();
            self.bytes -= size;
            self.first += 1;
        }
    }
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    limits: Mutex<Limits>,
    /// Absolute index one past the newest entry; `u64::MAX` once closed.
    head: watch::Sender<u64>,
    /// The same, but only told at key frames, ends of runs, and when closed.
    landmark: watch::Sender<u64>,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic while the lock was held leaves at worst one entry too few; the data path goes on.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side and the place to get readers from. Clones share one ring.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl Hub {
    /// An empty hub.
    pub fn new(limits: Limits) -> Self {
        let (head, landmark) = (watch::channel(0).0, watch::channel(0).0);
        Self { shared: Arc::new(Shared { ring: Mutex::default(), limits: Mutex::new(limits), head, landmark }) }
    }

    fn limits(&self) -> Limits {
        *self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the ring may hold, from the next frame on.
    pub fn set_limits(&self, limits: Limits) {
        *self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Adds frames of one source batch, in order, that came just now. Never waits for a reader.
    pub fn publish(&self, configuration: &Arc<Configuration>, frames: impl IntoIterator<Item = Frame>) {
        self.add(configuration, frames, true);
    }

    /// The same for frames that came before, and were kept back until nothing more comes.
    pub fn publish_rest(&self, configuration: &Arc<Configuration>, frames: impl IntoIterator<Item = Frame>) {
        self.add(configuration, frames, false);
    }

    fn add(&self, configuration: &Arc<Configuration>, frames: impl IntoIterator<Item = Frame>, just_now: bool) {
        let limits = self.limits();
        let mut key = false;
        let head = {
            let mut ring = self.shared.ring();
            let mut newest = None;
            for frame in frames {
                newest = Some(frame.utc);
                key |= frame.is_video_key();
                if just_now && frame.track == TrackKind::Video {
                    ring.statistics.newest_video = Some(Instant::now());
                }
                ring.push(Entry::Frame { frame: Arc::new(frame), configuration: configuration.clone() });
            }
            let Some(newest) = newest else { return };
            ring.trim(limits, newest);
            ring.end()
        };
        self.shared.head.send_replace(head);
        if key {
            self.shared.landmark.send_replace(head);
        }
    }

    /// Takes note of how far the camera's clock is ahead of the host's, in microseconds.
    pub fn note_clock_error(&self, micros: i64) {
        self.shared.ring().statistics.clock_error = Some(micros);
    }

    /// Ends a run; readers learn the reason in its place among the frames.
    pub fn end_run(&self, ending: Ending) {
        let head = {
            let mut ring = self.shared.ring();
            // A dead run's pictures are no place for a new reader to start.
            ring.key = None;
            ring.statistics.cuts += u64::from(ending.reason != Reason::ShuttingDown);
            ring.push(Entry::Ended(Arc::new(ending)));
            ring.end()
        };
        self.shared.head.send_replace(head);
        self.shared.landmark.send_replace(head);
    }

    /// No more frames will ever come; readers end when they have read what there is.
    pub fn close(&self) {
        self.shared.ring().closed = true;
        self.shared.head.send_replace(u64::MAX);
        self.shared.landmark.send_replace(u64::MAX);
    }

    /// A new reader.
    pub fn subscribe(&self, reach: Reach) -> Reader {
        let mut ring = self.shared.ring();
        ring.statistics.readers += 1;
        let (next, wait_for_key) = match reach {
            Reach::FromOldest => (ring.first, true),
            Reach::Live | Reach::Whole => (ring.key.unwrap_or_else(|| ring.end()), true),
        };
        drop(ring);
        self.reader(reach, next, wait_for_key)
    }

    /// A reader that goes on after a frame that it had before, without a hole if what came after that frame is still in the
    /// ring; else it starts at the oldest entry of the ring, like [`Reach::FromOldest`]. Sequence numbers tell which.
    pub fn subscribe_after(&self, run: RunId, sequence: u64) -> Reader {
        let mut ring = self.shared.ring();
        ring.statistics.readers += 1;
        let is = |entry: &Entry, wanted: Option<u64>| matches!(entry, Entry::Frame { frame, .. } if frame.run == run && Some(frame.sequence) == wanted);
        // From the newest back: a reader that reconnects was here a moment ago. The frame itself may just have left the ring.
        let found = ring.entries.iter().rposition(|entry| is(entry, Some(sequence))).map(|index| index + 1);
        let found = found.or_else(|| ring.entries.iter().position(|entry| is(entry, sequence.checked_add(1))));
        let (next, wait_for_key) = match found {
            Some(index) => (ring.first + index as u64, false),
            None => (ring.first, true),
        };
        drop(ring);
        self.reader(Reach::Whole, next, wait_for_key)
    }

    fn reader(&self, reach: Reach, next: u64, wait_for_key: bool) -> Reader {
        Reader {
            shared: self.shared.clone(),
            head: self.shared.head.subscribe(),
            landmark: self.shared.landmark.subscribe(),
            reach,
            pace: Pace::EveryFrame,
            not_before: Instant::now(),
            next,
            wait_for_key,
            known: None,
            batch: usize::MAX,
        }
    }

    /// What the newest frame needs that is still held, of a run that has ended as well.
    pub fn newest_configuration(&self) -> Option<Arc<Configuration>> {
        self.shared.ring().entries.iter().rev().find_map(|entry| match entry {
            Entry::Frame { configuration, .. } => Some(configuration.clone()),
            Entry::Ended(_) => None,
        })
    }

    /// The frames of the newest GOP up to now, video only, with their configuration: what a snapshot decodes. `None` while no
    /// run is alive or its key frame has left the ring.
    pub fn newest_gop(&self) -> Option<(Arc<Configuration>, Vec<Arc<Frame>>)> {
        let ring = self.shared.ring();
        let start = usize::try_from(ring.key? - ring.first).ok()?;
        let mut found: Option<Arc<Configuration>> = None;
        let mut frames = Vec::new();
        for entry in ring.entries.iter().skip(start) {
            if let Entry::Frame { frame, configuration } = entry
                && frame.track == TrackKind::Video
            {
                found.get_or_insert_with(|| configuration.clone());
                frames.push(frame.clone());
            }
        }
        found.map(|configuration| (configuration, frames))
    }

    /// The frames of the last GOP that came, video only, whether or not its run has ended since. `None` when nothing of it is left.
    pub fn last_gop(&self) -> Option<(Arc<Configuration>, Vec<Arc<Frame>>)> {
        let ring = self.shared.ring();
        let mut found: Option<Arc<Configuration>> = None;
        let mut frames = Vec::new();
        for entry in ring.entries.iter().rev() {
            let Entry::Frame { frame, configuration } = entry else { continue };
            if frame.track != TrackKind::Video {
                continue;
            }
            let of_another = found.as_ref().is_some_and(|known| !Arc::ptr_eq(known, configuration));
            if of_another {
                // The last configuration has no key frame left.
                return None;
            }
            found.get_or_insert_with(|| configuration.clone());
            frames.push(frame.clone());
            if frame.is_video_key() {
                frames.reverse();
                return found.map(|configuration| (configuration, frames));
            }
        }
        None
    }

    /// Whether key frames are so far apart that the byte cap cannot hold a GOP: new readers must wait for the next one.
    pub fn key_evicted(&self) -> bool {
        self.shared.ring().key_evicted
    }

    /// What has gone through, and what the ring holds.
    pub fn statistics(&self) -> Statistics {
        let ring = self.shared.ring();
        Statistics { ring_bytes: ring.bytes as u64, ..ring.statistics }
    }
}

/// One reader's place in the ring.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    landmark: watch::Receiver<u64>,
    reach: Reach,
    pace: Pace,
    /// Its pace lets it rest until then.
    not_before: Instant,
    next: u64,
    /// Frames before the next video key frame are skipped.
    wait_for_key: bool,
    known: Option<(RunId, u32)>,
    /// Most bytes of payload to hand out at once.
    batch: usize,
}

impl Reader {
    /// Hands out no more than `bytes` of payload at once (and one frame beyond that), so that a reader which may be stopped
    /// half-way keeps no more than that alive when the ring has gone on.
    #[must_use]
    pub const fn in_batches_of(mut self, bytes: usize) -> Self {
        self.batch = bytes;
        self
    }

    /// Reads at this pace.
    #[must_use]
    pub const fn at_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Everything that has come since the last call, waiting until there is something and the reader's pace wants it. `None`
    /// once the hub is closed and all is read. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        self.rest().await;
        loop {
            self.head.mark_unchanged();
            self.landmark.mark_unchanged();
            let (events, closed) = self.take();
            if !events.is_empty() {
                // In step with itself: readers that were woken together once, late, would else be so for ever.
                let (now, pause) = (Instant::now(), self.pause());
                self.not_before = (self.not_before + pause).clamp(now, now + pause);
                return Some(events);
            }
            if closed || self.head.changed().await.is_err() {
                return None;
            }
        }
    }

    const fn pause(&self) -> Duration {
        match self.pace {
            Pace::EveryFrame => Duration::ZERO,
            Pace::KeyFrames(pause) | Pace::Pauses(pause) => pause,
        }
    }

    async fn rest(&mut self) {
        match self.pace {
            Pace::EveryFrame => {}
            Pace::Pauses(_) => sleep_until(self.not_before).await,
            Pace::KeyFrames(_) => tokio::select! {
                // The sender lives as long as this reader's share of the hub.
                _ = self.landmark.changed() => {}
                () = sleep_until(self.not_before) => {}
            },
        }
    }

    /// Whether there is something to read now.
    pub fn has_more(&self) -> bool {
        self.next < self.shared.ring().end()
    }

    /// Everything that has come since the last call, without waiting.
    pub fn take_now(&mut self) -> Vec<Event> {
        self.take().0
    }

    fn take(&mut self) -> (Vec<Event>, bool) {
        let mut ring = self.shared.ring();
        let mut events = Vec::new();
        if self.next < ring.first {
            let to = match self.reach {
                Reach::Live => ring.key.unwrap_or_else(|| ring.end()),
                Reach::Whole | Reach::FromOldest => ring.first,
            };
            events.push(Event::Lost(to - self.next));
            ring.statistics.lost += to - self.next;
            self.next = to;
            // After a hole only a key frame can be decoded.
            self.wait_for_key = true;
        }
        let skip = usize::try_from(self.next - ring.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for entry in ring.entries.iter().skip(skip) {
            if bytes > self.batch {
                return (events, false);
            }
            self.next += 1;
            match entry {
                Entry::Ended(ending) => {
                    self.wait_for_key = true;
                    self.known = None;
                    events.push(Event::Ended(ending.clone()));
                }
                Entry::Frame { frame, configuration } => {
                    if self.wait_for_key && !frame.is_video_key() {
                        continue;
                    }
                    self.wait_for_key = false;
                    let needs = Some((frame.run, frame.generation));
                    if self.known != needs {
                        self.known = needs;
                        events.push(Event::Configuration { run: frame.run, configuration: configuration.clone() });
                    }
                    bytes += frame.payload.len();
                    events.push(Event::Frame(frame.clone()));
                }
            }
        }
        (events, ring.closed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.ring().statistics.readers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::frame::{Codec, FrameKind, TrackConfiguration};

    fn configuration(generation: u32) -> Arc<Configuration> {
        let video = TrackConfiguration {
            codec: Codec::H264,
            timescale: 1000,
            sample_entry: Bytes::new(),
            codec_string: "avc1.42c01e".into(),
            width: 64,
            height: 48,
            sample_rate: 0,
            channels: 0,
        };
        Arc::new(Configuration { generation, video: Arc::new(video), audio: None })
    }

    fn frame(sequence: u64, key: bool) -> Frame {
        Frame {
            run: RunId(1),
            sequence,
            track: TrackKind::Video,
            decode_time: sequence as i64 * 40,
            composition_offset: 0,
            duration: 40,
            kind: if key { FrameKind::Key } else { FrameKind::Delta },
            generation: 0,
            utc: UtcMicros(sequence as i64 * 40_000),
            payload: Bytes::from_static(&[0; 100]),
        }
    }

    fn hub(millis: i64, bytes: usize) -> Hub {
        Hub::new(Limits { duration_micros: millis * 1000, bytes })
    }

    fn sequences(events: &[Event]) -> Vec<u64> {
        events
            .iter()
            .filter_map(|event| if let Event::Frame(frame) = event { Some(frame.sequence) } else { None })
            .collect()
    }

    #[test]
    fn a_new_reader_starts_at_the_newest_key_frame_with_its_configuration() {
        let hub = hub(10_000, 1 << 20);
        hub.publish(&configuration(0), (0..10).map(|n| frame(n, n % 4 == 0)));
        let events = hub.subscribe(Reach::Live).take_now();
        assert!(matches!(events[0], Event::Configuration { run: RunId(1), .. }));
        assert_eq!(sequences(&events), [8, 9]);
    }

    #[test]
    fn what_was_kept_back_did_not_come_just_now() {
        let hub = hub(10_000, 1 << 20);
        hub.publish_rest(&configuration(0), [frame(0, true)]);
        assert_eq!((hub.statistics().newest_video, hub.statistics().video_frames), (None, 1));
        hub.publish(&configuration(0), [frame(1, false)]);
        assert!(hub.statistics().newest_video.is_some());
    }

    #[test]
    fn without_a_key_frame_a_reader_waits_for_one() {
        let hub = hub(10_000, 1 << 20);
        let mut reader = hub.subscribe(Reach::Whole);
        hub.publish(&configuration(0), (1..4).map(|n| frame(n, false)));
        assert!(reader.take_now().is_empty());
        hub.publish(&configuration(0), (4..6).map(|n| frame(n, n == 4)));
        assert_eq!(sequences(&reader.take_now()), [4, 5]);
    }

    #[test]
    fn a_recorder_that_lags_the_ring_loses_nothing_and_a_viewer_jumps_to_the_key_frame() {
        let hub = hub(400, 1 << 20);
        let (mut recorder, mut viewer) = (hub.subscribe(Reach::Whole), hub.subscribe(Reach::Live));
        hub.publish(&configuration(0), (0..8).map(|n| frame(n, n % 5 == 0)));
        assert_eq!(sequences(&recorder.take_now()).len(), 8);
        hub.publish(&configuration(0), (8..40).map(|n| frame(n, n % 5 == 0)));
        let late = viewer.take_now();
        assert!(matches!(late[0], Event::Lost(35)), "{late:?}");
        assert_eq!(sequences(&late), [35, 36, 37, 38, 39]);
        assert_eq!(hub.statistics().readers, 2);
        // The recorder fell out of the ring too: it is told, and goes on at the oldest key frame that is left.
        let recorded = recorder.take_now();
        assert!(matches!(recorded[0], Event::Lost(_)));
        assert_eq!(sequences(&recorded).first(), Some(&30));
    }

    #[test]
    fn the_ring_keeps_a_whole_gop_but_never_more_than_its_bytes() {
        let hub = hub(100, 1000);
        hub.publish(&configuration(0), (0..8).map(|n| frame(n, n == 0)));
        assert_eq!(hub.statistics().ring_bytes, 800, "longer than 100 ms, but one GOP");
        hub.publish(&configuration(0), (8..30).map(|n| frame(n, false)));
        assert!(hub.statistics().ring_bytes <= 1000);
        assert!(hub.key_evicted());
        assert!(hub.newest_gop().is_none());
        hub.publish(&configuration(0), [frame(30, true)]);
        assert!(!hub.key_evicted());
    }

    #[test]
    fn the_end_of_a_run_is_told_in_its_place() {
        let hub = hub(10_000, 1 << 20);
        let mut reader = hub.subscribe(Reach::Whole);
        hub.publish(&configuration(0), [frame(0, true)]);
        hub.end_run(Ending { run: RunId(1), reason: Reason::Stalled, message: String::new(), at: UtcMicros(1) });
        assert!(hub.newest_gop().is_none(), "a dead run's picture is not live");
        let mut next = frame(0, true);
        next.run = RunId(2);
        hub.publish(&configuration(0), [next]);
        let events = reader.take_now();
        assert!(matches!(&events[2], Event::Ended(ending) if ending.reason == Reason::Stalled));
        assert!(matches!(events[3], Event::Configuration { run: RunId(2), .. }));
    }

    #[test]
    fn a_clock_that_is_set_takes_nothing_from_a_reader() {
        let hub = hub(400, 1 << 20);
        let mut reader = hub.subscribe(Reach::Whole);
        hub.publish(&configuration(0), (0..5).map(|n| frame(n, n == 0)));
        let of = |run: u64, years: i64| {
            move |n: u64| Frame {
                run: RunId(run),
                utc: frame(n, false).utc.plus_micros(years * 31_536_000_000_000),
                ..frame(n, n.is_multiple_of(5))
            }
        };
        hub.publish(&configuration(0), (0..5).map(of(2, 1)));
        hub.publish(&configuration(0), (0..5).map(of(3, -1)));
        assert_eq!(sequences(&reader.take_now()), [0, 1, 2, 3, 4].repeat(3));
        hub.publish(&configuration(0), (5..30).map(of(3, -1)));
        let mut oldest = hub.subscribe(Reach::FromOldest);
        assert!(sequences(&oldest.take_now())[0] > 5, "earlier runs have gone");
    }

    #[test]
    fn a_reader_that_comes_back_goes_on_behind_its_last_frame() {
        let hub = hub(10_000, 1 << 20);
        hub.publish(&configuration(0), (0..10).map(|n| frame(n, n % 4 == 0)));
        assert_eq!(sequences(&hub.subscribe_after(RunId(1), 5).take_now()), [6, 7, 8, 9]);
        assert_eq!(sequences(&hub.subscribe_after(RunId(1), 9).take_now()), [0_u64; 0]);
        assert_eq!(sequences(&hub.subscribe_after(RunId(9), 5).take_now()).first(), Some(&0), "unknown: all there is");
    }

    #[test]
    fn a_reader_goes_on_after_a_frame_it_had_or_at_the_oldest() {
        let hub = hub(400, 1 << 20);
        hub.publish(&configuration(0), (0..20).map(|n| frame(n, n % 5 == 0)));
        let events = hub.subscribe_after(RunId(1), 16).take_now();
        assert!(matches!(events[0], Event::Configuration { .. }));
        assert_eq!(sequences(&events), [17, 18, 19]);
        let oldest = sequences(&hub.subscribe(Reach::FromOldest).take_now())[0];
        assert!(oldest > 2);
        assert_eq!(sequences(&hub.subscribe_after(RunId(1), 2).take_now())[0], oldest, "long gone");
        assert_eq!(sequences(&hub.subscribe_after(RunId(7), 16).take_now())[0], oldest, "another run");
        let mut newest = hub.subscribe_after(RunId(1), 19);
        assert!(newest.take_now().is_empty());
        hub.publish(&configuration(0), [frame(20, false)]);
        assert_eq!(sequences(&newest.take_now()), [20], "in the middle of a GOP");
    }

    #[test]
    fn batches_hand_out_everything_in_pieces() {
        let hub = hub(10_000, 1 << 20);
        let mut reader = hub.subscribe(Reach::Whole).in_batches_of(250);
        hub.publish(&configuration(0), (0..8).map(|n| frame(n, n == 0)));
        let batches: Vec<Vec<u64>> = (0..4).map(|_| sequences(&reader.take_now())).collect();
        assert_eq!(batches, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7], vec![]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_paces_itself_is_not_woken_for_each_frame() {
        const PAUSE: Duration = Duration::from_secs(1);
        for (pace, wakes_at_key_frames) in [(Pace::KeyFrames(PAUSE), true), (Pace::Pauses(PAUSE), false)] {
            let hub = hub(10_000, 1 << 20);
            let mut reader = hub.subscribe(Reach::Whole).at_pace(pace);
            hub.publish(&configuration(0), [frame(0, true)]);
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [0], "the first comes at once");
            let since = Instant::now();
            hub.publish(&configuration(0), [frame(1, false)]);
            hub.publish(&configuration(0), [frame(2, false)]);
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [1, 2]);
            assert_eq!(since.elapsed(), PAUSE, "{pace:?}");
            hub.publish(&configuration(0), [frame(3, true)]);
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [3]);
            let rested = if wakes_at_key_frames { PAUSE } else { 2 * PAUSE };
            assert_eq!(since.elapsed(), rested, "{pace:?}");
            hub.close();
            assert!(reader.next().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readers_that_were_woken_late_together_go_on_in_their_own_steps() {
        const PAUSE: Duration = Duration::from_secs(1);
        let hub = hub(10_000, 1 << 20);
        hub.publish(&configuration(0), [frame(0, true)]);
        let mut readers = Vec::new();
        for _ in 0..3 {
            let mut reader = hub.subscribe(Reach::Whole).at_pace(Pace::Pauses(PAUSE));
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [0]);
            readers.push(reader);
            tokio::time::advance(PAUSE / 4).await;
        }
        hub.publish(&configuration(0), [frame(1, false)]);
        tokio::time::advance(PAUSE).await;
        let late = Instant::now();
        for reader in &mut readers {
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [1]);
        }
        assert_eq!(late.elapsed(), Duration::ZERO, "all of them were due");
        hub.publish(&configuration(0), [frame(2, false)]);
        for (number, reader) in (1..).zip(&mut readers) {
            assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [2]);
            assert_eq!(late.elapsed(), number * PAUSE / 4, "when the first of them has been due again");
        }
    }

    #[tokio::test]
    async fn a_closed_hub_ends_its_readers_after_the_last_frame() {
        let hub = hub(10_000, 1 << 20);
        let mut reader = hub.subscribe(Reach::Whole);
        hub.publish(&configuration(0), [frame(0, true)]);
        hub.close();
        assert_eq!(sequences(&reader.next().await.unwrap_or_default()), [0]);
        assert!(reader.next().await.is_none());
    }
}
