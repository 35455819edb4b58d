//! The unit of a recording: reads a camera's hub without ever losing its place, hands frames to the archive's writer on
//! blocking threads, and says how it goes. Must not decide how files are cut (that is `archive::cut`) nor touch the disk on the
//! runtime.
//!
//! While the disk is full or fails, frames wait in the hub's ring; what leaves the ring meanwhile is a gap with that reason.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

mod facts;
mod floor;
pub mod meter;
mod sink;
#[cfg(test)]
mod tests;

use floor::{Floor, PATIENCE, Recorded, Sifted};
use meter::Meter;
use sink::Sink;

use crate::agent::hub::{Event, Hub, Limits, Pace, Reach, Reader};
use crate::agent::output::material::{Material, Wanted};
use crate::agent::registry::Table;
use crate::agent::retention::reason_of;
use crate::agent::unit::UnitContext;
use crate::archive::clip::{DEADLINE_REACHED, STOPPED};
use crate::archive::cut::{Input, Rules};
use crate::archive::description::{Claim, RecordingKind};
use crate::archive::index::RecordingPath;
use crate::archive::{Archive, ArchiveError, ClipWriter};
use crate::media::frame::{RunId, UtcMicros};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{ObjectKey, Record, RecordMode};

/// How long the reader lets frames gather in the hub's ring, all of which are then written at once: waking up for each of them would
/// cost more than writing them.
const GATHER: Duration = Duration::from_millis(700);
/// How long the newest picture waits for the one that tells how long it lasts. With the two pictures that FFmpeg holds, what a
/// kill loses is at most a second at ten pictures a second.
const HELD: Duration = Duration::from_millis(800);
const PACE: Pace = Pace::Pauses(GATHER);
/// What is encoded is handed to the encoder so often.
const ENCODED_PACE: Pace = Pace::Pauses(Duration::from_millis(100));
/// Encoded pictures that wait for a slow disk.
const RING: Limits = Limits { duration_micros: 10_000_000, bytes: 32 << 20 };
/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait before a folder that belongs to another is tried again.
const RETRY_OWNED: Duration = Duration::from_secs(30);
/// How often progress and coverage are looked at.
const FACTS: Duration = Duration::from_secs(10);

/// Why a unit no longer reads a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The unit is to stop.
    Cancelled,
    /// The archive is gone or another.
    ArchiveGone,
    /// The camera's hub is gone or another.
    HubGone,
    /// The clip is over.
    Finished,
    /// The writer is lost.
    SinkLost,
}

/// Records until it is cancelled or its clip is complete.
pub async fn run(context: UnitContext, record: Record) {
    let meter = Arc::new(Meter::default());
    let is_continuous = matches!(record.mode, RecordMode::Continuous { .. });
    if is_continuous {
        context.registry.meters.insert(context.object.key.clone(), meter.clone());
    }
    let wanted = Wanted {
        camera: &record.camera,
        video: record.video.as_ref(),
        audio: record.audio,
        audio_bit_rate: None,
        // What viewers see meanwhile is never recorded.
        fallback: None,
        ring: Some(RING),
    };
    let material = Material::new(&context, wanted);
    material.run(ENCODED_PACE, record_until_done(&context, &record, &meter, material.hubs(0))).await;
    context.registry.meters.remove(&context.object.key, &meter);
}

async fn record_until_done(context: &UnitContext, record: &Record, meter: &Meter, hubs: &Table<Hub>) {
    loop {
        let message = format!("waiting for archive {}", record.archive);
        context.set_state(UnitState::Waiting, Reason::ArchiveUnavailable, message);
        let archive = tokio::select! {
            () = context.cancel.cancelled() => return,
            archive = context.registry.archives.wait_for(&record.archive) => archive,
        };
        let gone = replaced(&context.registry.archives, &record.archive, archive.clone());
        tokio::pin!(gone);
        let Some(sink) = open(context, record, &archive, gone.as_mut()).await else {
            if context.cancel.is_cancelled() {
                return;
            }
            continue;
        };
        let mut recorder = Recorder::new(context, record, meter, hubs, sink);
        match recorder.record(gone).await {
            End::Cancelled => {
                recorder.leave(Reason::ShuttingDown).await;
                return;
            }
            End::Finished => {
                if recorder.complete().await {
                    return;
                }
            }
            End::ArchiveGone => recorder.leave(Reason::ArchiveUnavailable).await,
            End::HubGone | End::SinkLost => {}
        }
        if context.cancel.is_cancelled() {
            return;
        }
    }
}

/// Waits until `key` stands for another folder than `archive`. While only its rules change it goes on as it is.
async fn replaced(archives: &Table<Archive>, key: &ObjectKey, archive: Arc<Archive>) {
    let mut current = archive;
    loop {
        archives.wait_while(key, &current).await;
        let next = archives.wait_for(key).await;
        if next.root() != current.root() {
            return;
        }
        current = next;
    }
}

/// Opens the recording in the archive, trying again until it can. `None` when cancelled or the archive has gone.
async fn open(
    context: &UnitContext,
    record: &Record,
    archive: &Arc<Archive>,
    mut gone: Pin<&mut impl Future<Output = ()>>,
) -> Option<Sink> {
    loop {
        let error = match open_once(context, record, archive.clone()).await {
            Ok(sink) => return Some(sink),
            Err(error) => error,
        };
        let retry = failed(context, record, &error);
        tokio::select! {
            () = context.cancel.cancelled() => return None,
            () = gone.as_mut() => return None,
            () = sleep(retry) => {}
        }
    }
}

async fn open_once(context: &UnitContext, record: &Record, archive: Arc<Archive>) -> Result<Sink, ArchiveError> {
    let key = &context.object.key;
    let path = RecordingPath::new(key.namespace.clone(), key.name.clone())
        .map_err(|error| ArchiveError::NotFound { what: error.to_string() })?;
    let kind = match record.mode {
        RecordMode::Continuous { .. } => RecordingKind::Continuous,
        RecordMode::Clip { .. } => RecordingKind::Clip,
    };
    let claim = Claim { owner: context.uid.clone(), camera: record.camera.to_string(), kind, adopt: record.adopt };
    let (mode, audio) = (record.mode.clone(), record.audio);
    let opened = tokio::task::spawn_blocking(move || match mode {
        RecordMode::Continuous { segment_ms } => {
            let rules = Rules { segment_micros: Some(micros(segment_ms)), audio };
            archive.start_writer(&path, &claim, rules).map(Sink::Continuous)
        }
        RecordMode::Clip { duration_ms, stop } => {
            let mut clip = archive.start_clip(&path, &claim, micros(duration_ms), audio)?;
            if stop {
                clip.finish(STOPPED);
            }
            Ok(Sink::Clip(clip))
        }
    });
    opened.await.unwrap_or_else(|error| {
        Err(ArchiveError::Io { what: "open the recording".into(), source: std::io::Error::other(error) })
    })
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Says what is wrong with the disk; how long to wait before it is tried again.
fn failed(context: &UnitContext, record: &Record, error: &ArchiveError) -> Duration {
    let reason = reason_of(error);
    if reason == Reason::ArchiveFull
        && let Some(retention) = context.registry.retention.get(&record.archive)
    {
        retention.make_room();
    }
    if reason == Reason::ArchiveOwnedByAnother {
        context.set_state(UnitState::Failed, reason, error.to_string());
        return RETRY_OWNED;
    }
    context.set_state(UnitState::Waiting, reason, error.to_string());
    RETRY
}

/// A reader of `hub` that goes on right after the frame that was recorded last, where the hub still has what follows it. Else
/// it begins at the newest key frame: what came before the recording began is none of its business.
fn subscribe(hub: &Hub, resume: Option<(RunId, u64)>) -> (Reader, Vec<Event>) {
    if let Some((run, through)) = resume {
        let mut reader = hub.subscribe_after(run, through).at_pace(PACE);
        let events = reader.take_now();
        let first = events.iter().find_map(|event| if let Event::Frame(frame) = event { Some(frame) } else { None });
        if first.is_none_or(|first| first.run == run && first.sequence == through + 1) {
            return (reader, events);
        }
    }
    (hub.subscribe(Reach::Whole).at_pace(PACE), Vec::new())
}

fn now() -> UtcMicros {
    UtcMicros::from_timestamp(jiff::Timestamp::now())
}

/// Sleeps until then, or for ever.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Moves frames from hubs into the archive.
struct Recorder<'a> {
    context: &'a UnitContext,
    record: &'a Record,
    meter: &'a Meter,
    /// Where the camera's frames are, or those that are encoded of them.
    hubs: &'a Table<Hub>,
    /// How much of the sink the meter has.
    metered: Duration,
    /// `None` only while it is being flushed, and once it was lost there.
    sink: Option<Sink>,
    /// When the picture that waits must be written.
    flush_at: Option<Instant>,
    facts_at: Instant,
    /// What was wrong with the disk since frames were last read: the reason of a loss.
    trouble: Option<Reason>,
    recording: bool,
    /// What a hub replays and is not to be recorded (again).
    floor: Option<Floor>,
    /// When what the floor keeps back is let go.
    let_go_at: Option<Instant>,
}

impl<'a> Recorder<'a> {
    fn new(context: &'a UnitContext, record: &'a Record, meter: &'a Meter, hubs: &'a Table<Hub>, sink: Sink) -> Self {
        Self {
            context,
            record,
            meter,
            hubs,
            metered: Duration::ZERO,
            sink: Some(sink),
            flush_at: None,
            facts_at: Instant::now(),
            trouble: None,
            recording: false,
            floor: None,
            let_go_at: None,
        }
    }

    /// What was recorded before.
    async fn recorded(&mut self, resume: Option<(RunId, u64)>) -> Option<Recorded> {
        let (run, through) = resume?;
        let to = self.sink.as_ref().and_then(Sink::recorded_to)?;
        let (sink, pictures) = self.sink.take()?.newest_pictures().await;
        self.sink = sink;
        Some(Recorded { run, through, to, pictures })
    }

    /// Records from one hub after the other.
    async fn record(&mut self, mut gone: Pin<&mut impl Future<Output = ()>>) -> End {
        let hubs = self.hubs;
        let mut resume = self.sink.as_ref().and_then(Sink::resume_point);
        self.floor = self.recorded(resume).await.map(Floor::recorded);
        let begins = resume.is_none();
        loop {
            self.report_facts();
            if self.sink.as_ref().is_some_and(Sink::is_finished) {
                return End::Finished;
            }
            let message = format!("waiting for camera {}, which is starting", self.record.camera);
            self.context.set_state(UnitState::Waiting, Reason::CameraUnavailable, message);
            let hub = tokio::select! {
                () = self.context.cancel.cancelled() => return End::Cancelled,
                () = gone.as_mut() => return End::ArchiveGone,
                () = until(self.deadline()) => {
                    self.check_deadline();
                    continue;
                }
                hub = hubs.wait_for(&self.record.camera) => hub,
            };
            let (reader, events) = subscribe(&hub, resume.take());
            if begins && !self.recording && !reader.has_more() {
                self.floor = Some(Floor::beginning(now()));
            }
            let replaced = hubs.wait_while(&self.record.camera, &hub);
            tokio::pin!(replaced);
            let end = self.read(reader, events, gone.as_mut(), replaced.as_mut()).await;
            if end != End::HubGone {
                return end;
            }
            self.let_go();
            if let Some(sink) = &mut self.sink {
                sink.leave(Reason::CameraUnavailable);
            }
            if let Some(end) = self.flush().await {
                return end;
            }
            // A hub may be closed before it is taken out of the table.
            tokio::select! {
                () = self.context.cancel.cancelled() => return End::Cancelled,
                () = gone.as_mut() => return End::ArchiveGone,
                () = until(self.deadline()) => self.check_deadline(),
                () = replaced => {}
            }
        }
    }

    /// Records from one hub.
    async fn read(
        &mut self,
        mut reader: Reader,
        events: Vec<Event>,
        mut gone: Pin<&mut impl Future<Output = ()>>,
        mut replaced: Pin<&mut impl Future<Output = ()>>,
    ) -> End {
        let mut events = Some(events);
        loop {
            if let Some(events) = events.take() {
                self.take(events);
                if let Some(sink) = &mut self.sink {
                    sink.tick();
                }
                if self.sink.as_ref().is_none_or(Sink::is_due)
                    && let Some(end) = self.flush().await
                {
                    return end;
                }
            }
            if self.sink.as_ref().is_some_and(Sink::is_finished) {
                return End::Finished;
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => {
                    self.take(reader.take_now());
                    return End::Cancelled;
                }
                () = gone.as_mut() => {
                    self.take(reader.take_now());
                    return End::ArchiveGone;
                }
                () = until(self.flush_at) => {
                    if let Some(sink) = &mut self.sink {
                        sink.tick();
                    }
                    if let Some(end) = self.flush().await {
                        return end;
                    }
                }
                next = reader.next() => match next {
                    Some(next) => events = Some(next),
                    None => return End::HubGone,
                },
                () = until(self.let_go_at) => self.let_go(),
                () = until(deadline) => {
                    self.take(reader.take_now());
                    self.check_deadline();
                }
                () = sleep_until(self.facts_at) => self.report_facts(),
                () = replaced.as_mut() => {
                    self.take(reader.take_now());
                    return End::HubGone;
                }
            }
        }
    }

    /// Takes what came from the hub. No IO.
    fn take(&mut self, events: Vec<Event>) {
        let Some(floor) = &mut self.floor else { return self.push(events) };
        let sifted = floor.sift(events, now());
        self.let_go_at = floor.holds().then(|| self.let_go_at.unwrap_or_else(|| Instant::now() + PATIENCE));
        self.pass(sifted);
    }

    /// Waits no longer for what the floor waits for.
    fn let_go(&mut self) {
        self.let_go_at = None;
        if let Some(floor) = &mut self.floor {
            let sifted = floor.let_go(now());
            self.pass(sifted);
        }
    }

    fn pass(&mut self, sifted: Sifted) {
        if sifted.is_over {
            self.floor = None;
        }
        self.push(sifted.events);
    }

    fn push(&mut self, events: Vec<Event>) {
        let Some(sink) = &mut self.sink else { return };
        for event in events {
            let input = match event {
                Event::Configuration { run, configuration } => Input::Configuration { run, configuration },
                Event::Frame(frame) => {
                    if !self.recording {
                        self.recording = true;
                        self.context.set_state(UnitState::Running, Reason::Recording, "recording");
                    }
                    Input::Frame(frame)
                }
                Event::Ended(ending) => {
                    self.recording = false;
                    let message = format!("waiting for the camera: {}", ending.message);
                    self.context.set_state(UnitState::Waiting, ending.reason, message);
                    Input::Ended { reason: ending.reason.name() }
                }
                Event::Lost(frames) => {
                    let reason = self.trouble.unwrap_or(Reason::RecorderOverrun);
                    self.context.logs.push("error", format!("{frames} frames were lost: {}", reason.name()));
                    tracing::warn!(object = %self.context.object, frames, ?reason, "frames were lost");
                    Input::Lost { reason: reason.name() }
                }
            };
            sink.push(input);
        }
        self.trouble = None;
    }

    /// Writes what is due, however often it takes. Not to be dropped half-way: the writer would be lost. `None` when done.
    async fn flush(&mut self) -> Option<End> {
        loop {
            let Some(sink) = self.sink.take() else { return Some(End::SinkLost) };
            let (sink, result) = sink.flush().await;
            self.sink = sink;
            self.count();
            match result {
                Ok(()) => {
                    if self.trouble.is_some() {
                        let message = "recording again";
                        self.context.set_state(UnitState::Running, Reason::Recording, message);
                    }
                    let idle = self.sink.as_ref().is_none_or(Sink::is_idle);
                    self.flush_at = (!idle).then(|| Instant::now() + HELD);
                    return None;
                }
                Err(error) => {
                    self.trouble = Some(reason_of(&error));
                    let retry = failed(self.context, self.record, &error);
                    tokio::select! {
                        () = self.context.cancel.cancelled() => return Some(End::Cancelled),
                        () = sleep(retry) => {}
                    }
                }
            }
        }
    }

    /// Tells the meter what has been written.
    fn count(&mut self) {
        let Some(covered) = self.sink.as_ref().and_then(Sink::covered) else { return };
        // The end of a file may correct the length of its last picture downwards.
        if let Some(more) = covered.checked_sub(self.metered) {
            self.meter.add(more);
            self.metered = covered;
        }
    }

    /// When a clip ends even if no frame comes.
    fn deadline(&self) -> Option<Instant> {
        self.sink.as_ref().and_then(Sink::remaining).map(|remaining| Instant::now() + remaining)
    }

    fn check_deadline(&mut self) {
        if let Some(Sink::Clip(clip)) = &mut self.sink {
            clip.check_deadline();
        }
    }

    fn report_facts(&mut self) {
        self.facts_at = Instant::now() + FACTS;
        if let Some(sink) = &self.sink {
            facts::report(self.context, sink);
        }
    }

    /// Writes down what there is and leaves the recording as it is.
    async fn leave(&mut self, reason: Reason) {
        self.let_go();
        let Some(mut sink) = self.sink.take() else { return };
        sink.leave(reason);
        let (sink, result) = sink.flush().await;
        if let Err(error) = result {
            failed(self.context, self.record, &error);
        }
        // Dropping a writer may write the index.
        let _ = tokio::task::spawn_blocking(move || drop(sink)).await;
    }

    /// Brings a clip to its end on the disk. Returns whether it is there.
    async fn complete(&mut self) -> bool {
        if self.flush().await.is_some() {
            return false;
        }
        self.report_facts();
        if let Some(Sink::Clip(clip)) = &self.sink {
            self.completed(clip);
        }
        true
    }

    fn completed(&self, clip: &ClipWriter) {
        let completion = clip.state().and_then(|state| state.completion.as_ref());
        let whole = completion.is_none_or(|completion| completion.reason == DEADLINE_REACHED);
        let (reason, how) =
            if whole { (Reason::DeadlineReached, "has its full length") } else { (Reason::Stopped, "was stopped") };
        self.context.set_state(UnitState::Complete, reason, format!("the clip {how}"));
    }
}
