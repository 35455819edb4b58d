//! How many clips of a namespace run at once, and which: pure.

use super::index::Index;
use super::objects::{archive_of, has_ended};
use super::report::Reason;
use super::resolve::Refusal;
use super::unit::ObjectKey;
use crate::api::Recording;

/// Refuses a clip that has to wait for others of its namespace. Those that have begun go on; of the others the oldest go
/// first. Whatever is no clip is never refused.
pub(super) fn admit(index: &Index, key: &ObjectKey, most: usize) -> Result<(), Refusal> {
    let Some(clip) = index.objects().recordings.get(key) else { return Ok(()) };
    if !counts(index, clip) {
        return Ok(());
    }
    let own = place(key, clip);
    let before = index.clips(&key.namespace).filter(|(other, clip)| counts(index, clip) && place(other, clip) < own);
    if before.count() < most {
        return Ok(());
    }
    Err((
        Reason::ClipLimitReached,
        format!(
            "{most} clips of namespace {} run already, and no more may at once: this one begins when one of them ends",
            key.namespace
        ),
    ))
}

/// Whether a clip takes one of the places: not when it has ended, is suspended, or lacks what it would record or record to.
fn counts(index: &Index, clip: &Recording) -> bool {
    let objects = index.objects();
    let camera = super::index::camera_of_recording(clip);
    clip.spec.clip.is_some()
        && clip.spec.suspend != Some(true)
        && !has_ended(clip)
        && objects.cameras.contains_key(&camera)
        && objects.archives.contains_key(&archive_of(clip))
}

/// Smaller goes first: what has begun, then what is older, then by name.
fn place<'a>(key: &'a ObjectKey, clip: &Recording) -> (bool, i64, &'a ObjectKey) {
    let has_begun = clip.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let created = clip.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |created| created.0.as_second());
    (!has_begun, created, key)
}
