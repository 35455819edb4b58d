//! Folders and files beneath an archive's root, opened one name at a time relative to the folder above and never through a
//! symbolic link, so that nothing that is put into the volume can lead a reader or a writer out of it. The one place where
//! the archive touches the file system.
//!
//! `openat` with `O_NOFOLLOW` for every single name gives what `openat2(RESOLVE_BENEATH)` gives, and works on kernels and under
//! seccomp profiles that have no `openat2`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::layout::TEMPORARY_SUFFIX;
use super::{ArchiveError, Space};

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A link, a device, a socket: nothing that the archive makes.
    Other,
}

/// An open folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Folder {
    descriptor: Arc<OwnedFd>,
    /// For messages only; never opened.
    path: PathBuf,
}

const FOLDER_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const FILE_FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

impl Folder {
    /// Opens the archive's root, making it when it is missing. The root itself may be reached through links: whoever
    /// configures the archive chose it.
    pub fn open_root(path: &Path) -> Result<Self, ArchiveError> {
        let problem = |error| ArchiveError::io(format!("open the archive {}", path.display()), error);
        std::fs::create_dir_all(path).map_err(problem)?;
        let canonical = path.canonicalize().map_err(problem)?;
        let file = File::open(&canonical).map_err(problem)?;
        if !file.metadata().map_err(problem)?.is_dir() {
            return Err(problem(io::Error::from(Errno::ENOTDIR)));
        }
        Ok(Self { descriptor: Arc::new(file.into()), path: canonical })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn problem(&self, verb: &str, name: &str, error: impl Into<io::Error>) -> ArchiveError {
        ArchiveError::io(format!("{verb} {}", self.path.join(name).display()), error.into())
    }

    /// Opens a folder in this one; `None` where there is none.
    pub fn child(&self, name: &str) -> Result<Option<Self>, ArchiveError> {
        self.check(name)?;
        match openat(self.descriptor.as_fd(), name, FOLDER_FLAGS, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Self { descriptor: Arc::new(descriptor), path: self.path.join(name) })),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.problem("open", name, error)),
        }
    }

    /// Opens a folder in this one, making it when it is missing.
    pub fn make_child(&self, name: &str) -> Result<Self, ArchiveError> {
        self.check(name)?;
        let made = match mkdirat(self.descriptor.as_fd(), name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(error) => return Err(self.problem("make the folder", name, error)),
        };
        if made {
            self.sync()?;
        }
        self.child(name)?.ok_or_else(|| self.problem("open", name, Errno::ENOENT))
    }

    /// Opens a regular file for reading; `None` where there is none.
    pub fn open_file(&self, name: &str) -> Result<Option<File>, ArchiveError> {
        self.open_with(name, OFlag::O_RDONLY)
    }

    /// Opens a regular file for reading and writing; `None` where there is none.
    pub fn open_for_writing(&self, name: &str) -> Result<Option<File>, ArchiveError> {
        self.open_with(name, OFlag::O_RDWR)
    }

    fn open_with(&self, name: &str, flags: OFlag) -> Result<Option<File>, ArchiveError> {
        self.check(name)?;
        let file = match openat(self.descriptor.as_fd(), name, flags | FILE_FLAGS, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(self.problem("open", name, error)),
        };
        let metadata = file.metadata().map_err(|error| self.problem("look at", name, error))?;
        if metadata.is_file() { Ok(Some(file)) } else { Err(self.problem("open", name, Errno::EINVAL)) }
    }

    /// Makes a file that did not exist, for reading and writing; `None` when the name is taken, by whatever.
    pub fn create_new(&self, name: &str) -> Result<Option<File>, ArchiveError> {
        self.check(name)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | FILE_FLAGS;
        match openat(self.descriptor.as_fd(), name, flags, Mode::from_bits_truncate(0o644)) {
            Ok(descriptor) => Ok(Some(descriptor.into())),
            Err(Errno::EEXIST) => Ok(None),
            Err(error) => Err(self.problem("make", name, error)),
        }
    }

    /// Opens a regular file for reading and writing, making it when it is missing.
    pub fn open_or_create(&self, name: &str) -> Result<File, ArchiveError> {
        for _ in 0..8 {
            if let Some(file) = self.open_for_writing(name)? {
                return Ok(file);
            }
            if let Some(file) = self.create_new(name)? {
                return Ok(file);
            }
        }
        Err(self.problem("make", name, Errno::EAGAIN))
    }

    /// The whole of a file that holds at most `limit` bytes; `None` where there is none.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content).map_err(|error| self.problem("read", name, error))?;
        if content.len() as u64 > limit {
            return Err(self.problem("read", name, Errno::EFBIG));
        }
        Ok(Some(content))
    }

    /// Size of a file in bytes; `None` where there is none.
    pub fn size(&self, name: &str) -> Result<Option<u64>, ArchiveError> {
        self.check(name)?;
        match fstatat(self.descriptor.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(self.problem("look at", name, error)),
        }
    }

    /// Puts `content` in place of a file as a whole: a temporary file, synced, then renamed. After a crash there is the old
    /// file or the new one. The folder itself is not synced: call [`Folder::sync`] where that matters.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        self.replace_with(name, content, true)
    }

    /// As [`Folder::replace`], for what may be lost with the power: not synced.
    pub fn replace_unsynced(&self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        self.replace_with(name, content, false)
    }

    fn replace_with(&self, name: &str, content: &[u8], sync: bool) -> Result<(), ArchiveError> {
        let temporary = format!("{name}{TEMPORARY_SUFFIX}");
        self.check(name)?;
        // Left over from a crash: nobody but the holder of the archive's lock writes here.
        self.remove(&temporary)?;
        let written = (|| {
            let mut file =
                self.create_new(&temporary)?.ok_or_else(|| self.problem("make", &temporary, Errno::EEXIST))?;
            file.write_all(content).map_err(|error| self.problem("write", &temporary, error))?;
            if sync {
                file.sync_data().map_err(|error| self.problem("sync", &temporary, error))?;
            }
            renameat(self.descriptor.as_fd(), temporary.as_str(), self.descriptor.as_fd(), name)
                .map_err(|error| self.problem("replace", name, error))
        })();
        if written.is_err() {
            // On a full volume the half-written file is in the way of everything else.
            let _ = self.remove(&temporary);
        }
        written
    }

    /// Removes a file; whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool, ArchiveError> {
        self.check(name)?;
        match unlinkat(self.descriptor.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(self.problem("remove", name, error)),
        }
    }

    /// Removes a folder if it is empty; whether it is gone.
    pub fn remove_empty_child(&self, name: &str) -> Result<bool, ArchiveError> {
        self.check(name)?;
        match unlinkat(self.descriptor.as_fd(), name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
            Err(error) => Err(self.problem("remove", name, error)),
        }
    }

    /// What it holds, sorted by name. Names that are not UTF-8 are left out: the archive makes none.
    pub fn list(&self) -> Result<Vec<(String, Kind)>, ArchiveError> {
        let problem = |error: Errno| self.problem("list", "", error);
        // A descriptor of its own: a directory stream moves the descriptor's position.
        let descriptor = openat(self.descriptor.as_fd(), ".", FOLDER_FLAGS, Mode::empty()).map_err(problem)?;
        let mut stream = Dir::from_fd(descriptor).map_err(problem)?;
        let mut found = Vec::new();
        for entry in stream.iter() {
            let entry = entry.map_err(problem)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(nix::dir::Type::Directory) => Kind::Folder,
                Some(nix::dir::Type::File) => Kind::File,
                Some(_) => Kind::Other,
                // Some file systems do not tell.
                None => match fstatat(self.descriptor.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
                        Kind::Folder
                    }
                    Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => Kind::File,
                    Ok(_) => Kind::Other,
                    Err(Errno::ENOENT) => continue,
                    Err(error) => return Err(problem(error)),
                },
            };
            found.push((name.to_owned(), kind));
        }
        found.sort();
        Ok(found)
    }

    /// Makes the names in this folder survive a loss of power.
    pub fn sync(&self) -> Result<(), ArchiveError> {
        nix::unistd::fsync(self.descriptor.as_fd()).map_err(|error| self.problem("sync", "", error))
    }

    /// Room on its volume.
    pub fn space(&self) -> Result<Space, ArchiveError> {
        let statistics =
            fstatvfs(self.descriptor.as_fd()).map_err(|error| self.problem("ask the size of", "", error))?;
        let unit = statistics.fragment_size();
        Ok(Space {
            free_bytes: statistics.blocks_available().saturating_mul(unit),
            total_bytes: statistics.blocks().saturating_mul(unit),
        })
    }

    fn check(&self, name: &str) -> Result<(), ArchiveError> {
        let one_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        if one_name { Ok(()) } else { Err(self.problem("open", name, Errno::EINVAL)) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = Folder::open_root(temporary.path()).expect("root");
        (temporary, folder)
    }

    #[test]
    fn links_are_never_followed() {
        let (temporary, folder) = folder();
        let outside = tempfile::tempdir().expect("folder");
        std::fs::write(outside.path().join("secret"), "x").expect("file");
        symlink(outside.path(), temporary.path().join("namespace")).expect("link");
        symlink(outside.path().join("secret"), temporary.path().join("37.mp4")).expect("link");
        assert!(folder.child("namespace").is_err());
        assert!(folder.make_child("namespace").is_err());
        assert!(folder.open_file("37.mp4").is_err());
        assert!(folder.open_for_writing("37.mp4").is_err());
        assert!(folder.create_new("37.mp4").expect("no error").is_none());
        // Replacing puts a file in place of the link, and leaves its target alone.
        folder.replace("37.mp4", b"ours").expect("replaced");
        assert_eq!(std::fs::read(outside.path().join("secret")).expect("file"), b"x");
        assert_eq!(folder.list().expect("list")[1], ("namespace".to_owned(), Kind::Other));
    }

    #[test]
    fn only_single_names_are_opened() {
        let (_temporary, folder) = folder();
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(folder.child(name).is_err(), "{name:?}");
            assert!(folder.open_file(name).is_err(), "{name:?}");
            assert!(folder.create_new(name).is_err(), "{name:?}");
            assert!(folder.replace(name, b"").is_err(), "{name:?}");
            assert!(folder.remove(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_fifo_does_not_hang_a_reader_and_a_taken_name_is_not_overwritten() {
        let (temporary, folder) = folder();
        nix::unistd::mkfifo(&temporary.path().join("pipe"), Mode::S_IRWXU).expect("fifo");
        assert!(folder.open_file("pipe").is_err());
        std::fs::write(temporary.path().join("00.mp4"), "kept").expect("file");
        assert!(folder.create_new("00.mp4").expect("no error").is_none());
        assert_eq!(folder.read("00.mp4", 4).expect("read"), Some(b"kept".to_vec()));
        assert!(folder.read("00.mp4", 3).is_err());
    }

    #[test]
    fn replacing_survives_a_left_over_temporary_file() {
        let (temporary, folder) = folder();
        std::fs::write(temporary.path().join("playlist.m3u8.tmp"), "torn").expect("file");
        folder.replace("playlist.m3u8", b"whole").expect("replaced");
        assert_eq!(folder.list().expect("list"), [("playlist.m3u8".to_owned(), Kind::File)]);
    }
}
