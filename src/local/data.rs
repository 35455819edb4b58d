//! The data folder of `run`: where it is, that it can be written, and that nobody else uses it.
//!
//! ```text
//! <data>/state.json                         what is remembered of the objects
//! <data>/alerts.json                        who has been told of what
//! <data>/numbers.json                       which names and numbers have been used
//! <data>/archives/<namespace>/<archive>/    the recordings
//! ```

use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::archive::folder::Folder;
use crate::archive::lock::{Holder, Lock};
use crate::plan::unit::ObjectKey;

/// Folder of the archives within the data folder.
const ARCHIVES: &str = "archives";

/// Why a data folder cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No default can be told.
    #[error(
        "neither XDG_DATA_HOME nor HOME is set, so there is no place for recordings; name one with --data <folder>"
    )]
    NoDefault,
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be written: {error}; name another with --data <folder>, or change its owner", path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Another process works in it.
    #[error("the data folder {} is in use by {holder}; stop that process, or name another folder with --data", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
        /// Who, for a person.
        holder: String,
    },
    /// Something else.
    #[error("the data folder {} cannot be locked: {error}", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        error: ArchiveError,
    },
}

/// A data folder that is ours until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Lock,
}

/// Where data goes when nobody says where: `$XDG_DATA_HOME/camera-operator`, else `~/.local/share/camera-operator` (XDG
/// Base Directory Specification 0.8). It does not depend on the folder in which one happens to stand, so that recordings
/// go on where they were.
///
/// # Errors
/// When neither variable is set.
pub fn default_folder() -> Result<PathBuf, DataError> {
    // The specification has relative paths ignored.
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    home.map(|home| home.join("camera-operator")).ok_or(DataError::NoDefault)
}

impl DataFolder {
    /// Makes the folder where it is missing, tries that it can be written, and takes its lock.
    ///
    /// # Errors
    /// When any of that cannot be done; see [`DataError`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let not_writable = |error| DataError::NotWritable { path: path.to_owned(), error };
        std::fs::create_dir_all(path).map_err(not_writable)?;
        let path = std::fs::canonicalize(path).map_err(not_writable)?;
        let lock_error = |error| match error {
            ArchiveError::Locked { holder, .. } => DataError::InUse { path: path.clone(), holder },
            error => DataError::Lock { path: path.clone(), error },
        };
        // Permissions tell too little (read-only mounts, quotas): what counts is whether a file can be written.
        let probe = path.join(".writable");
        std::fs::write(&probe, b"")
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|error| DataError::NotWritable { path: path.clone(), error })?;
        let folder = Folder::open_root(&path).map_err(lock_error)?;
        let lock = Lock::take(&folder, &Holder::this_process("camera-operator run")).map_err(lock_error)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Root of an archive within a data folder. Namespace and name are DNS labels, so that no path can leave it.
pub fn archive_root(data: &Path, archive: &ObjectKey) -> PathBuf {
    data.join(ARCHIVES).join(&archive.namespace).join(&archive.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_refused_and_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data");
        let first = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        assert!(refused.contains("--data"), "{refused}");
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = DataFolder::open(&file.join("data")).unwrap_err();
        assert!(matches!(refused, DataError::NotWritable { .. }), "{refused}");
        assert!(refused.to_string().contains("--data"));
    }
}
