//! One session with a target, from its start to its end. Feeds it with frames, watches whether the target takes them, and ends it
//! when it does not. Says how it went; must not know how often it was tried, nor what carries it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::arguments::target;
use super::feed::{Feed, sound};
use super::meter::PushMeter;
use super::progress::{LIMIT, Look, Progress};
use super::rate::Rate;
use super::sender::{Over, Sender};
use crate::agent::hub::Event;
use crate::agent::output::material::MaterialReader;
use crate::agent::source::fed::Ended;
use crate::agent::transcode::Frames as _;
use crate::agent::unit::UnitContext;
use crate::media::frame::{Frame, TrackKind, UtcMicros};
use crate::plan::capability::Carrier;
use crate::plan::report::{PushFacts, PushMode, Reason, UnitState};
use crate::plan::unit::Push;

/// Condition type of a push whose target is too slow for the camera.
const FRAMES_DROPPED: &str = "FramesDropped";
/// Condition type of a push that is begun again for its slate.
const NOT_SEAMLESS: &str = "NotSeamless";
/// How long that is said after the last loss.
const DROPPED_FOR: Duration = Duration::from_mins(1);
/// How often it is looked at whether the target takes anything.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// RTMP counts milliseconds with 32 bits, and many a player with 31, which end after 24.8 days: a session that has lasted so
/// long is begun anew before that.
const LONGEST_RTMP: Duration = Duration::from_hours(24 * 24);

/// A camera whose sound is away for so long is one without, whose session has other tracks.
const SOUND_PATIENCE: Duration = Duration::from_secs(5);

/// Why it is over.
enum Stop {
    Cancelled,
    /// It has lasted as long as its protocol can count.
    Full,
    /// The target or what carries the session has ended it.
    Over,
    /// The target takes nothing.
    Stalled,
    /// The camera sends something that this session cannot carry on with.
    Changed,
}

/// What a session is given.
pub struct Session<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// What was planned.
    pub push: &'a Push,
    /// What carries it.
    pub carrier: Carrier,
    /// What is counted.
    pub meter: &'a PushMeter,
}

/// What is known while it lasts.
struct State<S> {
    feed: Feed,
    sender: S,
    acknowledged: u64,
    progress: Progress,
    looked: Instant,
    /// Since when the target takes what is sent.
    since: Option<(Instant, Timestamp)>,
    /// The camera sends nothing.
    paused: bool,
    /// What is sent is the slate.
    slate: bool,
    /// Since when the sound is missing that the target was told of.
    soundless: Option<Instant>,
    dropped: Option<Instant>,
    rate: Rate,
    /// Frames that were left out, as they were counted when something else was to be told as well.
    left_out: u64,
}

impl Session<'_> {
    /// Stays with it until it has ended. `first` is what has been read of the camera already.
    pub async fn run<S: Sender>(
        self,
        sender: S,
        camera: &mut MaterialReader<'_>,
        feed: Feed,
        first: Vec<Event>,
    ) -> Ended {
        let mut state = State {
            feed,
            sender,
            acknowledged: 0,
            progress: Progress::default(),
            looked: Instant::now(),
            since: None,
            paused: false,
            slate: camera.slate_since().is_some(),
            soundless: None,
            dropped: None,
            rate: Rate::default(),
            left_out: self.meter.counts().dropped,
        };
        let stop = match self.accept(first, &mut state) {
            Ok(()) => self.follow(camera, &mut state).await,
            Err(stop) => stop,
        };
        self.context.set_notice(FRAMES_DROPPED, None);
        self.meter.set_since(None);
        self.tell(PushMode::Reconnecting, None, &state);
        let (was_accepted, lasted) = (state.sender.is_accepted(), state.since.map(|(since, _)| since.elapsed()));
        let said = state.sender.end(matches!(stop, Stop::Cancelled | Stop::Changed | Stop::Full)).await;
        self.conclude(&stop, said, was_accepted, lasted)
    }

    async fn follow<S: Sender>(&self, camera: &mut MaterialReader<'_>, state: &mut State<S>) -> Stop {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_fed = state.sender.is_fed();
            let result = tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return Stop::Cancelled,
                _ = looks.tick() => self.look(state).await,
                went_on = state.sender.go_on() => went_on.map_err(|Over| Stop::Over),
                events = camera.next(), if is_fed => {
                    state.slate = camera.slate_since().is_some();
                    self.tell_seam(camera);
                    self.accept(events, state)
                }
            };
            if let Err(stop) = result {
                return stop;
            }
        }
    }

    /// Takes what the camera sent.
    fn accept<S: Sender>(&self, events: Vec<Event>, state: &mut State<S>) -> Result<(), Stop> {
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        let mut result = Ok(());
        for event in events {
            match event {
                Event::Frame(frame) => frames.push(frame),
                Event::Configuration { configuration, .. } => {
                    self.write(&mut frames, state);
                    let lacks_sound = state.feed.fits_but_for_sound(&configuration);
                    state.soundless = lacks_sound.then(|| state.soundless.unwrap_or_else(Instant::now));
                    let codec = configuration.audio.as_ref().map(|audio| audio.codec);
                    if !lacks_sound && !state.feed.fits(&configuration, sound(self.push.audio, codec, self.carrier)) {
                        result = Err(Stop::Changed);
                        break;
                    }
                }
                Event::Ended(ending) => {
                    self.write(&mut frames, state);
                    state.paused = true;
                    // Of a camera that is away no sound is expected; the next run says anew whether it has any.
                    state.soundless = None;
                    if let Some((_, since)) = state.since {
                        self.tell(PushMode::Paused, Some(since), state);
                        self.context.set_state(UnitState::Waiting, ending.reason, ending.message.clone());
                    }
                }
                Event::Lost(entries) => {
                    self.meter.count_dropped(entries);
                    if state.dropped.replace(Instant::now()).is_none() {
                        // Where the condition appears, the count does.
                        state.left_out = self.meter.counts().dropped;
                    }
                    let message = format!(
                        "{} takes less than the camera sends: pictures are left out; give it more bandwidth, or let the camera \
                         send less",
                        target(&self.push.url)
                    );
                    self.context.set_notice(FRAMES_DROPPED, Some(message));
                }
            }
        }
        self.write(&mut frames, state);
        result
    }

    fn write<S: Sender>(&self, frames: &mut Vec<Arc<Frame>>, state: &mut State<S>) {
        if !frames.is_empty() {
            state.paused = false;
            let placed = state.feed.place(frames);
            self.meter.count_pictures(placed.iter().filter(|frame| frame.track == TrackKind::Video).count() as u64);
            state.sender.write(placed);
            frames.clear();
        }
    }

    /// Sees whether the target takes what is sent.
    async fn look<S: Sender>(&self, state: &mut State<S>) -> Result<(), Stop> {
        if state.soundless.is_some_and(|since| since.elapsed() >= SOUND_PATIENCE) {
            return Err(Stop::Changed);
        }
        let acknowledged = match state.sender.acknowledged().await {
            // A connection that was closed takes its count with it.
            Some(bytes) => bytes.max(state.acknowledged),
            // What was handed over is the next best that is known.
            None => state.sender.given(),
        };
        let look = Look { given: state.sender.given(), held_up: !state.sender.is_fed(), acknowledged };
        let elapsed = state.looked.elapsed();
        let moved = state.progress.look(look, elapsed);
        state.looked = Instant::now();
        let bytes = acknowledged.saturating_sub(state.acknowledged);
        state.acknowledged = acknowledged;
        if state.dropped.is_some_and(|dropped| dropped.elapsed() > DROPPED_FOR) {
            state.dropped = None;
            state.left_out = self.meter.counts().dropped;
            self.context.set_notice(FRAMES_DROPPED, None);
        }
        if moved {
            self.meter.count_bytes(bytes);
        }
        if moved && state.sender.is_accepted() && !state.paused {
            let (_, since) = *state.since.get_or_insert_with(|| {
                let since = Timestamp::now();
                self.meter.set_since(Some(since));
                (Instant::now(), since)
            });
            if self.carrier == Carrier::Rtmp && state.feed.lasts() >= LONGEST_RTMP {
                return Err(Stop::Full);
            }
            let place = target(&self.push.url);
            let (mode, reason, message) = if state.slate {
                let message = format!("the slate is sent to {place}, because the camera sends no pictures");
                (PushMode::Slate, Reason::Slate, message)
            } else {
                (PushMode::Camera, Reason::Streaming, format!("sent to {place}"))
            };
            if state.rate.count(bytes, elapsed) {
                state.left_out = self.meter.counts().dropped;
            }
            self.tell(mode, Some(since), state);
            self.context.set_state(UnitState::Running, reason, message);
        }
        if state.progress.is_stalled() { Err(Stop::Stalled) } else { Ok(()) }
    }

    /// Says when the slate will need a session of its own.
    fn tell_seam(&self, camera: &MaterialReader<'_>) {
        let message = camera.seam().map(|reason| {
            format!(
                "the slate needs another session with the target than the camera's pictures, because of the camera: {reason}; \
                 let the camera send progressive H.264 with AAC"
            )
        });
        self.context.set_notice(NOT_SEAMLESS, message);
    }

    fn tell<S>(&self, mode: PushMode, since: Option<Timestamp>, state: &State<S>) {
        let facts = PushFacts {
            since: since.map(UtcMicros::from_timestamp),
            bit_rate: since.and(state.rate.bits_per_second()),
            dropped_frames: state.left_out,
            ..PushFacts::new(mode)
        };
        self.context.update(|report| report.push = Some(facts));
    }

    fn conclude(&self, stop: &Stop, said: (Reason, String), was_accepted: bool, lasted: Option<Duration>) -> Ended {
        let place = target(&self.push.url);
        let (reason, message) = match stop {
            Stop::Cancelled => (Reason::ShuttingDown, "stopped".to_owned()),
            Stop::Full => (
                Reason::ConfigurationChanged,
                "the session has lasted for 24 days, and RTMP cannot count much further".to_owned(),
            ),
            Stop::Changed => (
                Reason::ConfigurationChanged,
                "the format of the pictures has changed, which needs another session with the target".to_owned(),
            ),
            Stop::Stalled if !was_accepted => {
                (Reason::TargetUnreachable, format!("no session: {place} has not answered for {LIMIT:?}"))
            }
            Stop::Stalled => (Reason::PushStalled, format!("{place} has taken nothing for {LIMIT:?}")),
            Stop::Over => said,
        };
        Ended { reason, message, lasted, at_once: matches!(stop, Stop::Changed | Stop::Full) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::hub::{Ending, Pace};
    use crate::agent::output::fixture::{Coded, H264, Rig, camera, coded};
    use crate::agent::output::material::{Material, Wanted};
    use crate::agent::output::push::feed::Sound;
    use crate::media::frame::{Configuration, RunId};
    use crate::plan::unit::{ObjectKind, PushAudio, Reconnect};

    /// A target that takes all.
    #[derive(Default)]
    struct Taker {
        given: u64,
    }

    impl Sender for Taker {
        fn is_accepted(&self) -> bool {
            true
        }

        fn is_fed(&self) -> bool {
            true
        }

        fn given(&self) -> u64 {
            self.given
        }

        fn write(&mut self, frames: Vec<Frame>) {
            self.given += frames.iter().map(|frame| frame.payload.len() as u64).sum::<u64>();
        }

        async fn go_on(&mut self) -> Result<(), Over> {
            std::future::pending().await
        }

        async fn acknowledged(&mut self) -> Option<u64> {
            Some(self.given)
        }

        async fn end(self, leave: bool) -> (Reason, String) {
            assert!(leave, "the target is told");
            (Reason::ShuttingDown, String::new())
        }
    }

    /// How a session ends that goes on over a cut of so many days; `None`: it goes on.
    async fn ended_after(days: i64, carrier: Carrier) -> Option<Ended> {
        let Coded { configuration, frames } = coded(&H264, 25, 1, false);
        let cut = |frame: &Frame| Frame {
            run: RunId(frame.run.0 + 1),
            utc: UtcMicros(frame.utc.0 + days * 86_400_000_000),
            ..frame.clone()
        };
        let first = [frames[0].clone(), cut(&frames[0])].map(|frame| Event::Frame(Arc::new(frame))).into();
        ended(Feed::new(&configuration, Sound::Left), first, carrier).await
    }

    /// How a session ends within ten seconds; `None`: it goes on.
    async fn ended(feed: Feed, first: Vec<Event>, carrier: Carrier) -> Option<Ended> {
        let rig = Rig::new();
        let context = rig.context(ObjectKind::Stream, "push");
        let push = Push {
            camera: camera(),
            url: "rtmp://127.0.0.1/live".into(),
            stream_key: None,
            passphrase: None,
            audio: PushAudio::Auto,
            audio_bit_rate: 128_000,
            video: None,
            reconnect: Reconnect { initial_delay_ms: 1000, max_delay_ms: 1000, max_attempts: None },
            fallback: None,
        };
        let key = camera();
        let wanted =
            Wanted { camera: &key, video: None, audio: true, audio_bit_rate: None, fallback: None, ring: None };
        let material = Material::new(&context, wanted);
        let mut reader = material.read(0, Pace::EveryFrame);
        let meter = PushMeter::default();
        let session = Session { context: &context, push: &push, carrier, meter: &meter };
        let run = session.run(Taker::default(), &mut reader, feed, first);
        tokio::time::timeout(Duration::from_secs(10), run).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn sound_that_comes_later_than_pictures_needs_no_other_session_and_sound_that_is_gone_does() {
        let Coded { configuration: whole, .. } = coded(&H264, 25, 1, true);
        let silent = Arc::new(Configuration { audio: None, ..Configuration::clone(&whole) });
        let told = |configuration: &Arc<Configuration>| Event::Configuration {
            run: RunId(2),
            configuration: configuration.clone(),
        };
        let feed = || Feed::new(&whole, Sound::Copied);
        assert!(ended(feed(), vec![told(&silent), told(&whole)], Carrier::Rtmp).await.is_none());
        let (run, message, at) = (RunId(2), String::new(), UtcMicros(0));
        let away = Event::Ended(Arc::new(Ending { run, reason: Reason::Stalled, message, at }));
        assert!(ended(feed(), vec![told(&silent), away], Carrier::Rtmp).await.is_none(), "the camera is missed");
        let gone = ended(feed(), vec![told(&silent)], Carrier::Rtmp).await.expect("the sound is missed");
        assert_eq!((gone.reason, gone.at_once), (Reason::ConfigurationChanged, true), "{}", gone.message);
    }

    #[tokio::test(start_paused = true)]
    async fn an_rtmp_session_is_begun_anew_before_its_times_run_out() {
        let ended = ended_after(24, Carrier::Rtmp).await.expect("it is full");
        assert_eq!((ended.reason, ended.at_once), (Reason::ConfigurationChanged, true), "{}", ended.message);
        assert!(ended.message.contains("24 days"), "{}", ended.message);
        assert!(ended_after(23, Carrier::Rtmp).await.is_none());
        assert!(ended_after(24, Carrier::Rtsp).await.is_none(), "RTP counts on from anywhere");
    }
}
