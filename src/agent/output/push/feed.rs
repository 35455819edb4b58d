//! What is sent: the frames of a camera, over all its runs, on one continuous timeline. Times go on over a cut of the camera by as
//! much as the clock did, so that the target sees one session; silence is put in where sound is wanted and there is none. No IO;
//! must not know where it is sent, nor in which format.

use std::sync::Arc;
use std::time::Duration;

use crate::media::clock::{micros_to_ticks, ticks_to_micros};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};
use crate::media::silence;
use crate::plan::capability::Carrier;
use crate::plan::unit::PushAudio;

/// A hole in the pictures beyond which silence is not filled in, but goes on where they do; in seconds.
const LONGEST_FILLED: i64 = 1;

/// What is done about sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// The camera's, as it is.
    Copied,
    /// The camera's, encoded as AAC.
    Encoded,
    /// Silence.
    Silence,
    /// None.
    Left,
}

/// What is to be done about sound: what is wanted, what the camera sends, what the protocol can carry.
pub fn sound(wanted: PushAudio, camera: Option<Codec>, carrier: Carrier) -> Sound {
    // Servers that pass RTMP on to viewers wait for sound that does not come.
    let wants_sound = carrier == Carrier::Rtmp;
    match (wanted, camera) {
        (PushAudio::None, _) | (PushAudio::Copy, None) => Sound::Left,
        (PushAudio::Copy, Some(codec)) => {
            if carrier.carries(codec) {
                Sound::Copied
            } else {
                Sound::Left
            }
        }
        (PushAudio::Auto | PushAudio::Aac, None) => {
            if wants_sound {
                Sound::Silence
            } else {
                Sound::Left
            }
        }
        (PushAudio::Auto, Some(codec)) if carrier.carries(codec) => Sound::Copied,
        (PushAudio::Auto | PushAudio::Aac, Some(_)) => Sound::Encoded,
    }
}

/// The times of one track, in ticks of its own.
#[derive(Debug)]
struct Line {
    timescale: u32,
    /// What is added to the times of the run.
    offset: i64,
    /// No frame may come before this.
    next: i64,
}

impl Line {
    fn new(track: &TrackConfiguration) -> Self {
        Self { timescale: track.timescale.max(1), offset: 0, next: 0 }
    }

    fn ticks(&self, micros: i64) -> i64 {
        micros_to_ticks(micros, self.timescale)
    }

    fn micros(&self, ticks: i64) -> i64 {
        ticks_to_micros(ticks, self.timescale)
    }
}

/// Finds frames their times in the session.
#[derive(Debug)]
pub struct Feed {
    configuration: Configuration,
    sound: Sound,
    video: Line,
    audio: Option<Line>,
    run: Option<RunId>,
    /// Capture time of what stands at time zero.
    began: Option<UtcMicros>,
}

impl Feed {
    /// One for frames of this configuration.
    pub fn new(configuration: &Configuration, sound: Sound) -> Self {
        let audio = match sound {
            Sound::Copied | Sound::Encoded => configuration.audio.clone(),
            Sound::Silence => Some(Arc::new(silence::configuration())),
            Sound::Left => None,
        };
        Self {
            video: Line::new(&configuration.video),
            audio: audio.as_deref().map(Line::new),
            configuration: Configuration { generation: 0, video: configuration.video.clone(), audio },
            sound,
            run: None,
            began: None,
        }
    }

    /// The tracks that are sent.
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether frames of this configuration can follow: the target has been told the codec's parameters once and for all.
    pub fn fits(&self, configuration: &Configuration, sound: Sound) -> bool {
        let same_sound = match sound {
            Sound::Copied | Sound::Encoded => self.configuration.audio == configuration.audio,
            Sound::Silence | Sound::Left => true,
        };
        sound == self.sound && self.configuration.video == configuration.video && same_sound
    }

    /// Whether frames of this configuration can follow for a while: what they lack is the sound, which often comes later than the first
    /// pictures of a run.
    pub fn fits_but_for_sound(&self, configuration: &Configuration) -> bool {
        matches!(self.sound, Sound::Copied | Sound::Encoded)
            && configuration.audio.is_none()
            && self.configuration.video == configuration.video
    }

    /// For how long the pictures so far last, from the start of the session on.
    pub fn lasts(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.video.micros(self.video.next)).unwrap_or(0))
    }

    /// Frames, in the order in which the hub gave them, at their times; without those that have no place.
    pub fn place(&mut self, frames: &[Arc<Frame>]) -> Vec<Frame> {
        let mut taken: Vec<Frame> = Vec::with_capacity(frames.len());
        for frame in frames {
            if self.run != Some(frame.run) {
                // The hub begins a run with a key frame.
                self.begin(frame);
            }
            taken.extend(self.place_one(frame));
        }
        if self.sound == Sound::Silence {
            self.fill(&mut taken);
        }
        // As they are heard and seen: targets take what is sent in one order.
        taken.sort_by_key(|frame| match (frame.track, &self.audio) {
            (TrackKind::Audio, Some(line)) => line.micros(frame.decode_time),
            _ => self.video.micros(frame.decode_time),
        });
        taken
    }

    /// Puts a run behind what there is, by as much later as it was captured later.
    fn begin(&mut self, first: &Frame) {
        self.run = Some(first.run);
        let began = *self.began.get_or_insert(first.utc);
        let line = self.audio.as_ref().filter(|_| first.track == TrackKind::Audio).unwrap_or(&self.video);
        let first_micros = line.micros(first.decode_time);
        let ends = [Some(&self.video), self.audio.as_ref()].into_iter().flatten().map(|line| line.micros(line.next));
        let start = ends.fold(first.utc.0.saturating_sub(began.0), i64::max);
        for line in [Some(&mut self.video), self.audio.as_mut()].into_iter().flatten() {
            line.offset = line.ticks(start.saturating_sub(first_micros));
        }
    }

    /// The frame at its time of the session; `None` for what has no place in it.
    fn place_one(&mut self, frame: &Frame) -> Option<Frame> {
        let line = match frame.track {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => match self.sound {
                Sound::Copied | Sound::Encoded => self.audio.as_mut()?,
                Sound::Silence | Sound::Left => return None,
            },
        };
        let decode_time = frame.decode_time.saturating_add(line.offset);
        // Sound that was captured before the first picture of a run.
        if decode_time < line.next && frame.track == TrackKind::Audio {
            return None;
        }
        let decode_time = decode_time.max(line.next);
        line.next = decode_time.saturating_add(i64::from(frame.duration.max(1)));
        Some(Frame { decode_time, ..frame.clone() })
    }

    /// Adds silence up to the end of the pictures.
    fn fill(&mut self, frames: &mut Vec<Frame>) {
        let Some(pictures) = frames.iter().rfind(|frame| frame.track == TrackKind::Video).cloned() else { return };
        let end = self.video.micros(self.video.next);
        let Some(line) = self.audio.as_mut() else { return };
        let end = line.ticks(end);
        let first = frames.iter().find(|frame| frame.track == TrackKind::Video).map_or(0, |frame| frame.decode_time);
        let first = line.ticks(self.video.micros(first));
        if first - line.next > LONGEST_FILLED * i64::from(line.timescale) {
            line.next = first;
        }
        while line.next + i64::from(silence::SAMPLES) <= end {
            frames.push(Frame {
                track: TrackKind::Audio,
                decode_time: line.next,
                composition_offset: 0,
                duration: silence::SAMPLES,
                kind: FrameKind::Key,
                payload: silence::access_unit(),
                ..pictures.clone()
            });
            line.next += i64::from(silence::SAMPLES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::output::fixture::{Coded, coded};

    const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10"];

    /// The same frames as another run that began `later` microseconds after.
    fn again(coded: &Coded, later: i64, run: u64) -> Vec<Arc<Frame>> {
        let moved = |frame: &Frame| Frame { run: RunId(run), utc: frame.utc.plus_micros(later), ..frame.clone() };
        coded.frames.iter().map(|frame| Arc::new(moved(frame))).collect()
    }

    /// Decode times of a track's frames, in seconds.
    fn seconds(frames: &[Frame], kind: TrackKind, feed: &Feed) -> Vec<f64> {
        let timescale = f64::from(feed.configuration().track(kind).unwrap().timescale);
        let of_track = frames.iter().filter(|frame| frame.track == kind);
        of_track.map(|frame| frame.decode_time as f64 / timescale).collect()
    }

    #[test]
    fn what_is_done_about_sound() {
        use Carrier::{Rtmp, Rtsp, Srt};
        for (wanted, camera, carrier, expected) in [
            (PushAudio::Auto, Some(Codec::Aac), Rtmp, Sound::Copied),
            (PushAudio::Auto, Some(Codec::Opus), Rtmp, Sound::Encoded),
            (PushAudio::Auto, Some(Codec::Opus), Srt, Sound::Copied),
            (PushAudio::Auto, None, Rtmp, Sound::Silence),
            (PushAudio::Auto, None, Rtsp, Sound::Left),
            (PushAudio::Copy, None, Rtmp, Sound::Left),
            (PushAudio::Copy, Some(Codec::Opus), Rtmp, Sound::Left),
            (PushAudio::Aac, Some(Codec::Aac), Srt, Sound::Encoded),
            (PushAudio::Aac, None, Rtmp, Sound::Silence),
            (PushAudio::None, Some(Codec::Aac), Rtmp, Sound::Left),
        ] {
            assert_eq!(sound(wanted, camera, carrier), expected, "{wanted:?} {camera:?} {carrier:?}");
        }
    }

    #[test]
    fn a_cut_of_the_camera_is_a_hole_in_one_timeline() {
        let coded = coded(&H264, 10, 2, true);
        let mut feed = Feed::new(&coded.configuration, Sound::Copied);
        let mut out = feed.place(&again(&coded, 0, 1));
        assert_eq!(out.iter().filter(|frame| frame.track == TrackKind::Video).count(), 20);
        assert!(feed.fits(&coded.configuration, Sound::Copied));
        // The next run begins 5 s after the first one did; and one more at once, by a clock that was set back.
        out.extend(feed.place(&again(&coded, 5_000_000, 2)));
        out.extend(feed.place(&again(&coded, 4_000_000, 3)));
        let times = seconds(&out, TrackKind::Video, &feed);
        assert_eq!(times.len(), 60);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        assert!((times[20] - times[0] - 5.0).abs() < 0.1, "{times:?}");
        assert!((times[40] - times[39]) < 0.3, "{times:?}");
        let sound = seconds(&out, TrackKind::Audio, &feed);
        assert!(sound.windows(2).all(|pair| pair[0] < pair[1]), "{sound:?}");
        // Sound keeps its place beside the pictures.
        let of_second_run = sound.iter().find(|time| **time > 4.0).unwrap();
        assert!((of_second_run - times[20]).abs() < 0.2, "{of_second_run} {}", times[20]);
    }

    #[test]
    fn silence_goes_beside_the_pictures_and_not_into_holes() {
        let coded = coded(&H264, 10, 2, false);
        let mut feed = Feed::new(&coded.configuration, Sound::Silence);
        let mut out = Vec::new();
        for batch in again(&coded, 0, 1).chunks(3) {
            out.extend(feed.place(batch));
        }
        out.extend(feed.place(&again(&coded, 60_000_000, 2)));
        let sound = seconds(&out, TrackKind::Audio, &feed);
        let unit = f64::from(silence::SAMPLES) / f64::from(silence::SAMPLE_RATE);
        let holes: Vec<f64> =
            sound.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| (step - unit).abs() > 1e-6).collect();
        assert_eq!(holes.len(), 1, "{holes:?}");
        assert!((holes[0] - 58.0).abs() < 0.5, "{holes:?}");
        assert!((sound.len() as f64 * unit - 4.0).abs() < 0.2, "{}", sound.len());
        // Beside the pictures, also where many come at once.
        let kinds: Vec<TrackKind> = out.iter().rev().take(100).map(|frame| frame.track).collect();
        let longest = kinds.chunk_by(|one, other| one == other).map(<[_]>::len).max();
        assert!(longest < Some(8), "{kinds:?}");
    }

    #[test]
    fn another_size_does_not_fit() {
        let small = coded(&H264, 10, 1, false);
        let feed = Feed::new(&small.configuration, Sound::Silence);
        let mut other = (*small.configuration).clone();
        other.generation = 7;
        assert!(feed.fits(&other, Sound::Silence), "only the number of the configuration is another one");
        assert!(!feed.fits(&other, Sound::Left));
        other.video = Arc::new(TrackConfiguration { width: 320, ..(*other.video).clone() });
        assert!(!feed.fits(&other, Sound::Silence));
    }
}
