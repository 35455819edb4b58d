//! What an output is made of: a camera's frames, the slate that stands in for them while none come, and what is encoded of both.
//! Outputs say once what they want, run beside the encoder if there is one, and read. Must not know what is made of the frames.

use jiff::Timestamp;

use super::slate::CameraOrSlate;
use crate::agent::hub::{Event, Hub, Limits, Pace};
use crate::agent::registry::Table;
use crate::agent::sound::anew::Anew;
use crate::agent::transcode::{Encode, Frames, Renditions, Shown};
use crate::agent::unit::UnitContext;
use crate::plan::transcode::Transcode;
use crate::plan::unit::{Fallback, ObjectKey};

/// Condition type of a stream whose sound is left out because it cannot be encoded.
const AUDIO_NOT_ENCODED: &str = "AudioNotEncoded";

/// What is wanted of a camera.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The camera; it may not be there yet.
    pub camera: &'a ObjectKey,
    /// How pictures are encoded; `None` = by copy.
    pub video: Option<&'a Transcode>,
    /// Whether sound is carried along with pictures that are encoded.
    pub audio: bool,
    /// Bits a second of sound that is encoded as AAC; `None` = as the camera sends it.
    pub audio_bit_rate: Option<u64>,
    /// What is shown while the camera is away; `None` = nothing.
    pub fallback: Option<&'a Fallback>,
    /// How much of what is encoded is kept for an output that falls behind; `None` = as much as one that does not needs.
    pub ring: Option<Limits>,
}

/// The material of one output.
#[derive(Debug)]
pub struct Material<'a> {
    context: &'a UnitContext,
    wanted: Wanted<'a>,
    /// Where something is encoded.
    encoded: Option<(&'a Transcode, Renditions)>,
}

impl<'a> Material<'a> {
    /// Nothing is read and nothing runs yet.
    pub fn new(context: &'a UnitContext, wanted: Wanted<'a>) -> Self {
        let encoded = wanted.video.map(|video| (video, Renditions::new(video, wanted.camera, wanted.ring)));
        Self { context, wanted, encoded }
    }

    /// The names of its renditions, best first; where nothing is encoded there is one, without a name.
    pub fn names(&self) -> Vec<&'a str> {
        match self.wanted.video {
            Some(video) => video.renditions.iter().map(|rendition| rendition.name.as_str()).collect(),
            None => vec![""],
        }
    }

    /// Runs an output until it is done, beside the encoder that feeds it, if anything is encoded; `pace`: how often that is fed.
    pub async fn run(&self, pace: Pace, output: impl Future<Output = ()> + Send) {
        let Some((transcode, renditions)) = &self.encoded else { return output.await };
        let encode = Encode { context: self.context, transcode, audio: self.wanted.audio };
        let mut source = self.source(pace);
        let encoding = async {
            encode.run(&mut source, renditions).await;
            // Cancelled. The output ends in its own time.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = output => {}
            () = encoding => {}
        }
    }

    /// Reads a rendition, at this pace.
    pub fn read(&self, rendition: usize, pace: Pace) -> MaterialReader<'_> {
        let Some((_, renditions)) = &self.encoded else { return self.source(pace) };
        // The encoder shows the slate itself.
        let frames = CameraOrSlate::new(self.context, self.hubs(rendition), self.wanted.camera, pace, None);
        MaterialReader { context: self.context, frames, sound: None, encoder: Some(renditions.shown()) }
    }

    /// Where a rendition's frames are, under the camera's name, for an output that keeps its own place among them. There is no
    /// slate among those of a camera by copy.
    pub fn hubs(&self, rendition: usize) -> &Table<Hub> {
        let encoded = self.encoded.as_ref().and_then(|(_, renditions)| renditions.table(rendition));
        encoded.unwrap_or(&self.context.registry.hubs)
    }

    /// What the camera sends, or what stands in for it.
    fn source(&self, pace: Pace) -> MaterialReader<'_> {
        let Wanted { camera, fallback, audio_bit_rate, .. } = self.wanted;
        let frames = CameraOrSlate::new(self.context, &self.context.registry.hubs, camera, pace, fallback);
        MaterialReader { context: self.context, frames, sound: audio_bit_rate.map(Anew::new), encoder: None }
    }
}

/// A place in the material of an output.
#[derive(Debug)]
pub struct MaterialReader<'a> {
    context: &'a UnitContext,
    frames: CameraOrSlate<'a>,
    /// Encodes the sound, if that is wanted; also the slate's silence, or its beginning would be that of another track.
    sound: Option<Anew>,
    /// What the encoder shows that stands between, if there is one.
    encoder: Option<&'a Shown>,
}

impl MaterialReader<'_> {
    /// Why the slate's pictures are not as the camera's, so that whoever was told the camera's parameters once and for all
    /// cannot show them; `None` when they are, or when nothing is known.
    pub fn seam(&self) -> Option<&'static str> {
        self.frames.seam()
    }
}

impl Frames for MaterialReader<'_> {
    async fn next(&mut self) -> Vec<Event> {
        let events = self.frames.next().await;
        let Some(sound) = &mut self.sound else { return events };
        let events = sound.take(events);
        self.context.set_notice(AUDIO_NOT_ENCODED, sound.problem().map(str::to_owned));
        events
    }

    fn begin_again(&mut self) {
        self.frames.begin_again();
        if let Some(sound) = &mut self.sound {
            sound.begin_again();
        }
    }

    fn slate_since(&self) -> Option<Timestamp> {
        self.encoder.map_or_else(|| self.frames.slate_since(), Shown::get)
    }
}
