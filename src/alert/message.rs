//! A delivery made ready for a receiver: its texts and its picture. Pure.

use bytes::Bytes;
use jiff::Timestamp;

use super::engine::Delivery;
use super::{template, text};
use crate::api::alert_receiver::Receiver;
use crate::plan::unit::ObjectKey;

/// A still picture of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A JPEG image.
    pub jpeg: Bytes,
    /// When it was captured.
    pub captured: Timestamp,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it tells, and to whom.
    pub delivery: Delivery,
    /// The first line.
    pub subject: String,
    /// The whole text.
    pub body: String,
    /// Where the page is.
    pub page: Option<String>,
    /// The latest picture of the first camera that it is about.
    pub picture: Option<Picture>,
}

impl Message {
    /// The texts of a delivery. A template that is wrong silences nobody: the built-in text is sent then.
    pub fn new(delivery: Delivery, receiver: &Receiver, page: Option<&str>) -> Self {
        let templated = receiver.template.as_ref().and_then(|one| template::render(one, &delivery, page).ok());
        let (subject, body) = templated.unwrap_or_else(|| (text::subject(&delivery), text::body(&delivery, page)));
        Self { delivery, subject, body, page: page.map(str::to_owned), picture: None }
    }

    /// With a picture, and a line that says when it was taken: it may be older than the alert.
    #[must_use]
    pub fn with_picture(mut self, camera: &ObjectKey, picture: Option<Picture>) -> Self {
        if let Some(picture) = &picture {
            self.body += &format!("\nlatest picture of {camera}: {:.0}", picture.captured);
        }
        self.picture = picture;
        self
    }
}

/// The camera whose picture goes with a delivery.
pub fn camera_of(delivery: &Delivery) -> Option<&ObjectKey> {
    let mut alerts = delivery.alerts.iter();
    alerts.find_map(|told| told.alert.camera.as_ref().filter(|_| told.ended.is_none()))
}

/// Whether a receiver can show a picture.
pub const fn shows_pictures(receiver: &Receiver) -> bool {
    receiver.telegram.is_some() || receiver.email.is_some() || receiver.chatwoot.is_some()
}
