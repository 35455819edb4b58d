//! What retention has done in this process, for metrics: counted from the outcomes of its runs. Must not run anything.

use std::collections::BTreeMap;

use crate::archive::ArchiveError;
use crate::archive::retention::DeletionReason;
use crate::archive::retention_run::RetentionOutcome;
use crate::media::frame::UtcMicros;

/// How a run over a whole archive went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// All that the rules name is gone.
    Done,
    /// It could not be carried out, or files could not be deleted.
    Failed,
    /// Files stay, although a rule names them, until a person confirms.
    Withheld,
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Withheld];

    /// As metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Withheld => "Withheld",
        }
    }
}

/// The runs of one archive.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How the newest run over the whole archive went; `None` before the first one of this process.
    pub state: Option<RunState>,
    /// When the rules were last applied to the whole archive, however that went; known over restarts.
    pub last_run: Option<UtcMicros>,
    /// Files and bytes deleted, by the rule that named them.
    pub deleted: BTreeMap<DeletionReason, (u64, u64)>,
}

impl Tally {
    /// Counts a run. One over a single recording says nothing of the archive's state.
    pub fn count(&mut self, outcome: Result<&RetentionOutcome, &ArchiveError>, whole: bool, now: UtcMicros) {
        let state = match outcome {
            Err(_) => RunState::Failed,
            Ok(outcome) if outcome.deletions.iter().any(|line| line.failed.is_some()) => RunState::Failed,
            Ok(outcome) if !outcome.withheld.is_empty() => RunState::Withheld,
            Ok(_) => RunState::Done,
        };
        if whole {
            self.state = Some(state);
        }
        let Ok(outcome) = outcome else { return };
        if whole {
            self.last_run = Some(now);
        }
        for line in outcome.deletions.iter().filter(|line| line.failed.is_none()) {
            let (files, bytes) = self.deleted.entry(line.reason).or_default();
            *files += 1;
            *bytes += line.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::retention::Withheld;
    use crate::archive::retention_run::DeletionLine;

    fn line(reason: DeletionReason, failed: Option<&str>) -> DeletionLine {
        DeletionLine {
            namespace: "shop".into(),
            recording: "door".into(),
            file: "37.mp4".into(),
            bytes: 10,
            from: String::new(),
            to: String::new(),
            reason,
            failed: failed.map(str::to_owned),
        }
    }

    fn outcome(deletions: Vec<DeletionLine>) -> RetentionOutcome {
        RetentionOutcome { deletions, ..RetentionOutcome::default() }
    }

    #[test]
    fn a_failed_run_stays_failed_until_one_succeeds() {
        let mut tally = Tally::default();
        let failed = outcome(vec![line(DeletionReason::MaxAge, None), line(DeletionReason::MaxAge, Some("read-only"))]);
        tally.count(Ok(&failed), true, UtcMicros(1));
        assert_eq!((tally.state, tally.last_run), (Some(RunState::Failed), Some(UtcMicros(1))));
        assert_eq!(
            tally.deleted[&DeletionReason::MaxAge],
            (1, 10),
            "what was deleted counts, whatever became of the rest"
        );
        // Somebody runs one recording only: the archive is as it was.
        tally.count(Ok(&outcome(Vec::new())), false, UtcMicros(2));
        assert_eq!(tally.state, Some(RunState::Failed));
        tally.count(Ok(&outcome(vec![line(DeletionReason::MinFree, None)])), true, UtcMicros(3));
        assert_eq!((tally.state, tally.last_run), (Some(RunState::Done), Some(UtcMicros(3))));
        assert_eq!(tally.deleted[&DeletionReason::MinFree], (1, 10));
    }

    #[test]
    fn what_is_withheld_and_what_never_began_are_told_apart() {
        let mut tally = Tally { last_run: Some(UtcMicros(1)), ..Tally::default() };
        let held = Withheld { recording: None, message: "confirm".into(), files: 1, bytes: 10 };
        let withheld = RetentionOutcome { withheld: vec![held], ..RetentionOutcome::default() };
        tally.count(Ok(&withheld), true, UtcMicros(2));
        assert_eq!((tally.state, tally.last_run), (Some(RunState::Withheld), Some(UtcMicros(2))));
        let error = ArchiveError::NotFound { what: "recording".into() };
        tally.count(Err(&error), true, UtcMicros(3));
        assert_eq!((tally.state, tally.last_run), (Some(RunState::Failed), Some(UtcMicros(2))));
    }
}
