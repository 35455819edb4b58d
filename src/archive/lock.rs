//! One writer per archive: a lock file that names its holder. The lock is the kernel's (`flock`), so that it ends with the
//! process however that ends; the content only tells a second opener who was first. Must not decide what to do about that.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::folder::Folder;
use super::layout::LOCK;

/// Who holds an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// What it does: `camera-operator run`, `camera-operator retain`, the name of an agent.
    pub program: String,
    /// Its process.
    pub pid: u32,
    /// The machine (or pod) it runs on.
    pub host: String,
    /// Since when.
    pub since: Timestamp,
}

impl Holder {
    /// This process, from now on.
    pub fn this_process(program: impl Into<String>) -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self {
            program: program.into(),
            pid: std::process::id(),
            host: host.unwrap_or_else(|| "unknown host".to_owned()),
            since: Timestamp::now(),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} (process {} on {}, since {:.0})", self.program, self.pid, self.host, self.since)
    }
}

/// The held lock; dropping it lets the next one in.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or fails at once naming its holder.
    pub fn take(root: &Folder, holder: &Holder) -> Result<Self, ArchiveError> {
        let mut file = root.open_or_create(LOCK)?;
        let problem = |error| ArchiveError::io(format!("lock the archive {}", root.path().display()), error);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ArchiveError::Locked { root: root.path().to_owned(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(problem(error)),
        }
        let content = serde_json::to_vec_pretty(holder).unwrap_or_default();
        // The name is for people: on a full volume the lock still holds without it.
        let named = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(&content));
        if let Err(error) = named {
            tracing::warn!(%error, "the archive is locked, but its lock file does not name this process");
        }
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do; a descriptor that a child process inherited would not.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn read_holder(file: &mut File) -> String {
    let mut content = Vec::new();
    let read = file.take(4096).read_to_end(&mut content).ok();
    read.and_then(|_| serde_json::from_slice::<Holder>(&content).ok())
        .map_or_else(|| "another process".to_owned(), |holder| holder.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_learns_who_was_first_and_gets_in_when_that_one_leaves() {
        let temporary = tempfile::tempdir().expect("folder");
        let root = Folder::open_root(temporary.path()).expect("root");
        let first = Lock::take(&root, &Holder::this_process("recorder of the shop")).expect("free");
        let refused = Lock::take(&root, &Holder::this_process("second")).expect_err("held").to_string();
        assert!(refused.contains("recorder of the shop"), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        Lock::take(&root, &Holder::this_process("second")).expect("free again");
    }
}
