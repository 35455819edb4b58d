//! What a recording unit says of what it has written. Must not write. Coverage and gaps are told by the archive's own unit.

use super::sink::Sink;
use crate::agent::unit::UnitContext;

/// Notice: a clip has more than one file, because codec or size changed.
const CLIP_IN_PARTS: &str = "ClipInParts";

/// Tells what has been recorded.
pub(super) fn report(context: &UnitContext, sink: &Sink) {
    match sink {
        Sink::Continuous(writer) => {
            let created = writer.index().description().map(|description| description.created);
            context.update(|report| report.recording.get_or_insert_default().start = created);
        }
        Sink::Clip(clip) => {
            let state = clip.state();
            let parts = state.map_or(0, |state| state.parts.len());
            context.update(|report| {
                let facts = report.recording.get_or_insert_default();
                facts.start = state.map(|state| state.start);
                facts.completion = state.and_then(|state| state.completion.as_ref()).map(|completion| completion.at);
                facts.progress_percent = Some(clip.percent() / 10 * 10);
            });
            let message = format!("codec, size or sound changed while it was recorded: the clip has {parts} files");
            context.set_notice(CLIP_IN_PARTS, (parts > 1).then_some(message));
        }
    }
}
