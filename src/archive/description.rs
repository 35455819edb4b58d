//! `recording.json`: whose a recording is, and how far its clip has got. What must survive a restart of the program and is not
//! in the media files. Must not touch media.

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::folder::Folder;
use super::index::{Gap, RecordingPath};
use super::layout::RECORDING;
use super::names::RetiredNames;
use crate::media::frame::UtcMicros;

/// The version of the file that this program writes.
const VERSION: u32 = 1;
/// No honest file is larger.
const LARGEST: u64 = 4 << 20;

/// What is said of a recording in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Of this file's format.
    pub version: u32,
    /// `metadata.uid` of the `Recording` that owns the folder.
    pub owner: String,
    /// The camera that is recorded, as `namespace/name`.
    pub camera: String,
    /// How it was last recorded.
    pub kind: RecordingKind,
    /// When the folder was made.
    pub created: UtcMicros,
    /// Retention has deleted files that end no later than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_until: Option<UtcMicros>,
    /// The names of files that are gone, which are never given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_names: Option<RetiredNames>,
    /// The clip, if one was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipState>,
}

/// How a recording is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordingKind {
    /// Around the clock, files by UTC date, hour and minute.
    Continuous,
    /// One MP4 of a fixed length.
    Clip,
}

/// How far a clip has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClipState {
    /// UTC of its first frame.
    pub start: UtcMicros,
    /// When it ends: an instant, not an amount of video.
    pub deadline: UtcMicros,
    /// Its files, in order; more than one only when codec or size changed.
    pub parts: Vec<ClipPart>,
    /// Spans in which the camera sent nothing: there the last picture stands still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Set once it is complete; never recorded into again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<ClipCompletion>,
}

/// One file of a clip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClipPart {
    /// Counts from 1; the file is [`super::layout::clip_file`].
    pub part: u32,
    /// UTC of its first frame.
    pub start: UtcMicros,
    /// UTC of its end, once it is finished (has its full index).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<UtcMicros>,
    /// RFC 6381 codec strings.
    pub codecs: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// How a clip ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClipCompletion {
    /// When.
    pub at: UtcMicros,
    /// Condition reason: `DeadlineReached` or `Stopped`.
    pub reason: String,
}

/// Who wants to record into a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.uid` of the `Recording`.
    pub owner: String,
    /// The camera, as `namespace/name`.
    pub camera: String,
    /// How.
    pub kind: RecordingKind,
    /// Take over what another owner left.
    pub adopt: bool,
}

impl Description {
    /// Reads a recording's description; `None` where there is none.
    pub fn read(folder: &Folder) -> Result<Option<Self>, ArchiveError> {
        let Some(content) = folder.read(RECORDING, LARGEST)? else { return Ok(None) };
        let path = folder.path().join(RECORDING);
        match serde_json::from_slice::<Self>(&content) {
            Ok(description) if description.version <= VERSION => Ok(Some(description)),
            Ok(description) => Err(ArchiveError::Damaged {
                path,
                what: format!("version {} is newer than this program", description.version),
            }),
            Err(error) => Err(ArchiveError::Damaged { path, what: error.to_string() }),
        }
    }

    /// Writes it, to survive a loss of power.
    pub fn write(&self, folder: &Folder) -> Result<(), ArchiveError> {
        let content = serde_json::to_vec_pretty(self).unwrap_or_default();
        folder.replace(RECORDING, &content)?;
        folder.sync()
    }

    /// What stands in the folder once `claim` records into it.
    ///
    /// # Errors
    /// [`ArchiveError::OwnedByAnother`] when another object owns it and `claim` does not adopt.
    pub fn claimed(
        existing: Option<Self>,
        path: &RecordingPath,
        claim: &Claim,
        now: UtcMicros,
    ) -> Result<Self, ArchiveError> {
        match existing {
            None => Ok(Self {
                version: VERSION,
                owner: claim.owner.clone(),
                camera: claim.camera.clone(),
                kind: claim.kind,
                created: now,
                deleted_until: None,
                retired_names: None,
                clip: None,
            }),
            Some(existing) if existing.owner != claim.owner && !claim.adopt => {
                Err(ArchiveError::OwnedByAnother { path: path.clone(), owner: existing.owner })
            }
            // With all that it holds: a clip goes on, and one that is complete stays so.
            Some(existing) => {
                Ok(Self { owner: claim.owner.clone(), camera: claim.camera.clone(), kind: claim.kind, ..existing })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(owner: &str, adopt: bool) -> Claim {
        Claim { owner: owner.into(), camera: "shop/door".into(), kind: RecordingKind::Continuous, adopt }
    }

    #[test]
    fn a_folder_stays_with_its_owner_unless_adopted() {
        let path = RecordingPath::new("shop", "door").expect("path");
        let first = Description::claimed(None, &path, &claim("a", false), UtcMicros(7)).expect("new");
        let again = Description::claimed(Some(first.clone()), &path, &claim("a", false), UtcMicros(9)).expect("own");
        assert_eq!(again, first);
        let refused = Description::claimed(Some(first.clone()), &path, &claim("b", false), UtcMicros(9));
        assert!(matches!(refused, Err(ArchiveError::OwnedByAnother { owner, .. }) if owner == "a"));
        let adopted = Description::claimed(Some(first), &path, &claim("b", true), UtcMicros(9)).expect("adopted");
        assert_eq!((adopted.owner.as_str(), adopted.created), ("b", UtcMicros(7)));
    }

    #[test]
    fn it_is_read_back_as_written_and_never_guessed() {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = Folder::open_root(temporary.path()).expect("root");
        assert_eq!(Description::read(&folder).expect("none"), None);
        let path = RecordingPath::new("shop", "door").expect("path");
        let mut description = Description::claimed(None, &path, &claim("a", false), UtcMicros(7)).expect("new");
        description.clip = Some(ClipState {
            start: UtcMicros(1),
            deadline: UtcMicros(2),
            parts: vec![],
            gaps: vec![],
            completion: Some(ClipCompletion { at: UtcMicros(2), reason: "Stopped".into() }),
        });
        description.write(&folder).expect("written");
        assert_eq!(Description::read(&folder).expect("read"), Some(description));
        std::fs::write(temporary.path().join(RECORDING), "{").expect("torn");
        assert!(matches!(Description::read(&folder), Err(ArchiveError::Damaged { .. })));
    }
}
