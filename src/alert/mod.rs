//! Conditions of our objects become messages to people.
//!
//! ```text
//! objects → conditions ─┐
//! Alertmanager ─────────┴→ engine → deliveries → messages → receivers
//!                            ▲  state                           │
//!                            └─────── taken, refused ◄──────────┘
//! ```
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`facts`], [`conditions`], [`volumes`], [`alertmanager`] | what is wrong now (pure) |
//! | [`engine`], [`matching`], [`quiet`] | who is to be told what, and when (pure) |
//! | [`message`], [`text`], [`template`] | what a message says (pure) |
//! | [`receivers`] | how it reaches people: one file each |
//! | [`desk`], `books`, `dispatch` | puts all that to work: looks, keeps, sends, notes |
//! | [`place`], [`handle`] | where: `run`, or a cluster; and how it is asked from outside |
//! | [`status`], [`metrics`] | what is seen of it |
//!
//! What is pure knows no clock and no network; who calls it hands in the time and tells what became of each delivery.

pub mod alertmanager;
mod books;
pub mod conditions;
pub mod desk;
mod dispatch;
pub mod engine;
pub mod facts;
pub mod handle;
pub mod matching;
pub mod message;
pub mod metrics;
pub mod place;
pub mod quiet;
pub mod receivers;
pub mod status;
pub mod template;
pub mod text;
pub mod volumes;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::alert_route::{AlertName, Severity};
use crate::plan::unit::{ObjectKey, ObjectRef};

/// Longest sentence of an alert that is kept, in characters.
const MAX_MESSAGE: usize = 500;

/// What makes an alert the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The object.
    pub object: ObjectRef,
    /// What is wrong with it. A camera that is first stalled, then down, then refuses the password is one alert all the while.
    pub topic: String,
}

impl AlertKey {
    /// What is called `name` and wrong with an object of ours.
    pub fn own(object: ObjectRef, name: AlertName) -> Self {
        Self { object, topic: topic(name) }
    }

    /// As one text, for maps in JSON.
    pub fn text(&self) -> String {
        format!("{}/{}/{}", self.object.kind.plural(), self.object.key, self.topic)
    }
}

/// Names that are one alert.
fn topic(name: AlertName) -> String {
    use AlertName::{CameraDown, CameraStalled, CredentialRefused, ReconnectLimitReached};
    let first = match name {
        CameraStalled | CredentialRefused | ReconnectLimitReached => CameraDown,
        name => name,
    };
    format!("{first:?}")
}

/// The name of ours that a text is.
pub fn own_name(name: &str) -> Option<AlertName> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Which.
    pub key: AlertKey,
    /// What it is called.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// The condition's reason.
    pub reason: String,
    /// The numeric code of the reason, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The condition's sentence.
    pub message: String,
    /// Since when, UTC.
    pub since: Timestamp,
    /// Labels of the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The camera whose picture shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<ObjectKey>,
    /// What it comes from: where that is told, this is told with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<AlertKey>,
    /// What is held of a day, in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// Where more can be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Alert {
    /// An alert about which nothing more is known.
    pub fn new(key: AlertKey, name: impl Into<String>, severity: Severity, reason: &str, since: Timestamp) -> Self {
        Self {
            key,
            name: name.into(),
            severity,
            reason: reason.to_owned(),
            code: None,
            message: String::new(),
            since,
            labels: BTreeMap::new(),
            camera: None,
            cause: None,
            share: None,
            url: None,
        }
    }

    /// With its sentence, which is cut where it is too long to keep.
    #[must_use]
    pub fn saying(mut self, message: &str) -> Self {
        self.message = message.chars().take(MAX_MESSAGE).collect();
        self
    }
}

/// An alert as a receiver is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The alert.
    pub alert: Alert,
    /// Since when it is over; absent while it stands.
    pub ended: Option<Timestamp>,
    /// What else does not do what it is for because of it.
    pub affects: Vec<ObjectRef>,
}
