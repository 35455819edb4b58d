//! Conditions of our objects become messages to people.
//!
//! ```text
//! objects → conditions (pure) → engine (pure) → deliveries → receivers
//!                                  ▲   state                    │
//!                                  └────────── taken, refused ◄─┘
//! ```
//!
//! `conditions` and `engine` know no clock and no network; who calls them hands in the time, keeps the state over restarts, and
//! tells what became of each delivery.

pub mod conditions;
pub mod engine;
pub mod receivers;
pub mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::alert_route::{AlertName, Severity};
use crate::plan::unit::ObjectRef;

/// What makes an alert the same one: its name and its object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    /// The object.
    pub object: ObjectRef,
    /// What is wrong with it.
    pub name: AlertName,
}

impl AlertKey {
    /// As one text, for maps in JSON.
    pub fn text(&self) -> String {
        format!("{}/{}/{:?}", self.object.kind.plural(), self.object.key, self.name)
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Which.
    pub key: AlertKey,
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
}

/// An alert as a receiver is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The alert.
    pub alert: Alert,
    /// Since when it is over; absent while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}
