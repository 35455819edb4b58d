//! Draws the slate of a camera beforehand: once its parameters are known, so that the slate can begin at once. Must not decide
//! when that is, nor when the slate is shown.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::card::{Background, Card, Shape, UNSEEN};
use super::encoder::{SlateError, SlatePicture, still};
use crate::agent::unit::UnitContext;
use crate::media::frame::{Codec, Configuration, TrackConfiguration};
use crate::media::h264_slice::{Fit, Tools, tools};
use crate::media::silence;
use crate::plan::unit::Fallback;

/// So many slates are drawn beforehand at once: it is never urgent.
static DRAWING: Semaphore = Semaphore::const_new(1);

/// What a slate has to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The camera's; `None` of one that has never been seen.
    pub video: Option<Arc<TrackConfiguration>>,
    /// The camera's; `None` of one that sends no sound.
    pub audio: Option<Arc<TrackConfiguration>>,
}

/// A slate that can be shown.
#[derive(Debug)]
pub struct Prepared {
    /// What it was drawn for.
    pub wanted: Wanted,
    /// What it says.
    pub card: Card,
    /// How it is encoded.
    pub shape: Shape,
    /// The image as it was then, whether or not it is shown.
    pub image: Option<Bytes>,
    /// Why the image is not shown.
    pub image_problem: Option<String>,
    /// One picture of it.
    pub still: SlatePicture,
    /// What frames of it need.
    pub configuration: Arc<Configuration>,
    /// Makes its pictures those of the camera; or why they are not.
    pub fit: Result<Fit, &'static str>,
}

impl Prepared {
    /// Why its pictures are not as the camera's; `None` when they are, or when the camera has never been seen.
    pub fn seam(&self) -> Option<&'static str> {
        self.wanted.video.as_ref()?;
        let sound = self.configuration.audio != self.wanted.audio;
        self.fit.as_ref().err().copied().or_else(|| sound.then_some("its sound cannot be replaced by silence"))
    }
}

/// Draws the slate of a camera.
///
/// # Errors
/// When FFmpeg cannot draw or encode it.
pub async fn prepare(wanted: Wanted, fallback: &Fallback, context: &UnitContext) -> Result<Prepared, SlateError> {
    let video = wanted.video.as_deref();
    let even = |pixels: u32| (pixels & !1).max(16);
    let (width, height) = video.map_or(UNSEEN, |video| (even(video.width), even(video.height)));
    let codec = video.map_or(Codec::H264, |video| video.codec);
    let tools = video.map_or(Ok(Tools::default()), tools);
    let shape = Shape { codec, width, height, tools: tools.unwrap_or_default() };
    let mut card = Card { title: fallback.title.clone(), text: fallback.text.clone(), without_letters: false };
    let logs = &context.logs;
    let image = fallback.image.as_ref().and_then(|key| context.secrets.picture(key));
    let mut image_problem = fallback.image.as_ref().filter(|_| image.is_none()).map(|key| {
        format!("the card is shown: ConfigMap {} has no key {}; create it with the picture", key.name, key.key)
    });
    // The semaphore is never closed.
    let _permit = DRAWING.acquire().await;
    let mut drawn = None;
    if let Some(image) = &image {
        match still(&card, shape, Some((Background::Image, image.clone())), logs.clone()).await {
            Ok(picture) => drawn = Some(picture),
            Err(SlateError::Failed(why)) => {
                image_problem = Some(format!("the card is shown: the image is unreadable ({why})"));
            }
            Err(error) => return Err(error),
        }
    }
    let still = match drawn {
        Some(picture) => picture,
        None => match still(&card, shape, None, logs.clone()).await {
            // Without a font there are no letters.
            Err(SlateError::Failed(why)) if why.contains("font") || why.contains("drawtext") => {
                card.without_letters = true;
                still(&card, shape, None, logs.clone()).await?
            }
            other => other?,
        },
    };
    let fit = match (video, tools) {
        (Some(video), Ok(_)) => Fit::new(&still.configuration, video),
        (_, Err(reason)) => Err(reason),
        (None, _) => Err("it has never been seen"),
    };
    let own_silence = || Arc::new(silence::configuration());
    let audio =
        wanted.audio.as_ref().map(|audio| if silence::of(audio).is_some() { audio.clone() } else { own_silence() });
    let as_camera = video.filter(|_| fit.is_ok()).cloned().map(Arc::new);
    let video = as_camera.unwrap_or_else(|| still.configuration.clone());
    let configuration = Arc::new(Configuration { generation: 0, video, audio });
    let mut prepared = Prepared { wanted, card, shape, image, image_problem, still, configuration, fit };
    // A picture that does not go through would not be seen until it is needed.
    if let Ok(fit) = &mut prepared.fit
        && fit.apply(&prepared.still.payload).is_none()
    {
        prepared.fit = Err("no encoder here writes what it writes");
        let video = prepared.still.configuration.clone();
        prepared.configuration = Arc::new(Configuration { video, ..(*prepared.configuration).clone() });
    }
    Ok(prepared)
}
