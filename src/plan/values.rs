//! What several kinds of objects write alike: durations, quantities, keys of Secrets, back-off. Pure.

use super::defaults;
use super::unit::{ObjectKey, Reconnect, SecretKey};
use crate::api::reference::SecretKeyReference;
use crate::api::{Duration, Quantity, camera};

/// A key of a Secret in the namespace of what names it.
pub(super) fn secret_key(reference: &SecretKeyReference, owner: &ObjectKey) -> SecretKey {
    SecretKey { namespace: owner.namespace.clone(), name: reference.name.clone(), key: reference.key.clone() }
}

/// The length of a duration, or of the default.
pub(super) fn milliseconds(duration: Option<&Duration>, default: &str) -> u64 {
    // The defaults are our own, and a test reads each of them.
    duration
        .map_or_else(|| default.parse().map_or(0, |default: Duration| default.milliseconds()), Duration::milliseconds)
}

/// The value of a quantity: bytes, or bits a second.
pub(super) fn bytes(quantity: Option<&Quantity>, default: &str) -> u64 {
    quantity.map_or_else(|| default.parse().map_or(0, |default: Quantity| default.value()), Quantity::value)
}

/// What happens between attempts.
pub(super) fn reconnect(reconnect: Option<&camera::Reconnect>) -> Reconnect {
    let reconnect = reconnect.cloned().unwrap_or_default();
    Reconnect {
        initial_delay_ms: milliseconds(reconnect.initial_delay.as_ref(), defaults::INITIAL_DELAY),
        max_delay_ms: milliseconds(reconnect.max_delay.as_ref(), defaults::MAX_DELAY),
        max_attempts: reconnect.max_attempts,
    }
}
