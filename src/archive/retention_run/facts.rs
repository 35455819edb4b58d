//! What retention is planned from: the files of an archive, and whether the clock can be trusted.

use std::fmt::Write as _;

use super::state::{ArchiveRules, RetentionState};
use crate::archive::retention::{FileFacts, Item, RecordingFacts};
use crate::archive::{Archive, ArchiveError};
use crate::media::frame::{RunId, UtcMicros};

/// Clocks of one machine differ from media time by less.
const CLOCK_TOLERANCE_MICROS: i64 = 60_000_000;

/// 2026-01-01T00:00:00Z: this program did not exist before; a clock that says so was never set.
const FIRST_RELEASE: UtcMicros = UtcMicros(1_767_225_600_000_000);

/// What the archive holds.
pub(super) fn gather(archive: &Archive, rules: &ArchiveRules) -> Result<Vec<RecordingFacts>, ArchiveError> {
    let mut facts = Vec::new();
    for path in archive.recordings()? {
        let index = archive.recording(&path)?;
        let mut files = Vec::new();
        for hour in index.hours() {
            for file in index.files(hour)?.iter() {
                files.push(FileFacts {
                    item: Item::Segment(file.name),
                    order: file.order(),
                    start: file.start,
                    end: file.end,
                    bytes: file.bytes,
                    in_use: index.in_use(file.name).is_some(),
                });
            }
        }
        let description = index.description();
        let clip = description.as_ref().and_then(|description| description.clip.as_ref());
        for file in index.clip_files()? {
            let part = clip.and_then(|clip| clip.parts.iter().find(|part| part.part == file.part));
            // A clip that is not complete is still wanted, even while nobody writes it; parts of an earlier owner's are whole.
            let complete = part.is_none() || clip.is_some_and(|clip| clip.completion.is_some());
            let completion = part.and(clip).and_then(|clip| clip.completion.as_ref()).map(|completion| completion.at);
            files.push(FileFacts {
                item: Item::Clip(file.part),
                order: (RunId(0), file.part.into()),
                start: part.map_or(file.modified, |part| part.start),
                end: completion.unwrap_or(file.modified),
                bytes: file.bytes,
                in_use: !complete || index.clip_in_use(file.part).is_some(),
            });
        }
        let declared = rules.recordings.get(&path);
        facts.push(RecordingFacts {
            declared: declared.is_some(),
            rules: declared.copied().unwrap_or_default(),
            files,
            path,
        });
    }
    Ok(facts)
}

/// Why `now` is not to be trusted, if it is not. `newest` is the end of the newest file; `synchronised` what the system says of
/// its clock, if it says anything.
pub fn clock_doubt(
    now: UtcMicros,
    newest: Option<UtcMicros>,
    state: &RetentionState,
    synchronised: Option<bool>,
) -> Option<String> {
    let ahead = |at: UtcMicros| at.0 - now.0 > CLOCK_TOLERANCE_MICROS;
    let mut doubt = String::new();
    if now < FIRST_RELEASE {
        let _ = write!(doubt, "the clock says {now}, which is before this program was written.");
    } else if let Some(last) = state.last_run.filter(|last| ahead(*last)) {
        let _ = write!(doubt, "the clock says {now}, but retention last ran at {last}.");
    } else if let Some(end) =
        newest.filter(|end| ahead(*end) && state.accepted_end.is_none_or(|accepted| *end > accepted))
    {
        let _ = write!(doubt, "the clock says {now}, but the newest file ends at {end}.");
    } else if synchronised == Some(false) {
        let _ = write!(doubt, "the clock was not synchronised with a time server since the system started.");
    }
    (!doubt.is_empty()).then_some(doubt)
}

/// Whether the system's clock has been synchronised, where systemd-timesyncd looks after it; else nobody can tell without a
/// privileged call.
pub(super) fn synchronised() -> Option<bool> {
    let folder = std::path::Path::new("/run/systemd/timesync");
    folder.is_dir().then(|| folder.join("synchronized").exists())
}
