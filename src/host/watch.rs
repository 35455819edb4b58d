//! Tells when files may have changed. Watches folders, not files, because editors save by renaming and Kubernetes swaps a link
//! for a whole mounted `ConfigMap`; both would leave a watch on a file that is no longer there. Must not read the files:
//! whether anything really changed is for those who read them to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A change counts once nothing has changed for this long: an editor or `git pull` is then done.
const QUIET: Duration = Duration::from_millis(150);

/// A folder in which something changes all the time is read this often anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches files and folders.
pub struct Watcher {
    events: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    paths: Vec<PathBuf>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Watches `paths`, files and folders.
    ///
    /// # Errors
    /// When the operating system gives no watch at all.
    pub fn new(paths: &[PathBuf]) -> notify::Result<Self> {
        // One pending wake-up is as good as many.
        let (wake, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                let _ = wake.try_send(());
            }
        })?;
        let mut this = Self { events: watcher, changes, paths: paths.to_vec(), watched: BTreeSet::new() };
        this.follow();
        Ok(this)
    }

    /// Watches what has to be watched now: folders come and go, links are turned elsewhere.
    fn follow(&mut self) {
        let folders = folders(&self.paths);
        for gone in self.watched.difference(&folders) {
            // It may be gone altogether.
            let _ = self.events.unwatch(gone);
        }
        // A folder that was deleted and made again needs a new watch under its old name, so all are asked for again.
        self.watched =
            folders.into_iter().filter(|path| self.events.watch(path, RecursiveMode::NonRecursive).is_ok()).collect();
    }

    /// Waits until something has changed and then been quiet for a moment. Cancel safe. `None` when no more changes will
    /// ever be told.
    pub async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await?;
        let patience = Instant::now() + PATIENCE;
        while let Ok(Some(())) = timeout_at(patience.min(Instant::now() + QUIET), self.changes.recv()).await {
            if Instant::now() >= patience {
                break;
            }
        }
        self.follow();
        Some(())
    }
}

/// Reading is no change; we read the files ourselves.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The folders in which a change can matter: those given, those that hold what is given, and the same where links lead.
fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in paths {
        let target = std::fs::canonicalize(path).ok();
        for path in [Some(path.clone()), target].into_iter().flatten() {
            if path.is_dir() {
                folders.insert(path.clone());
            }
            folders.insert(parent(&path));
        }
    }
    folders
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than a machine under load needs, so that only a missing event fails.
    const LIMIT: Duration = Duration::from_secs(30);

    async fn expect_change(watcher: &mut Watcher) {
        assert_eq!(tokio::time::timeout(LIMIT, watcher.changed()).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn a_rewritten_file_and_one_saved_by_renaming_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.yaml");
        std::fs::write(&path, "a").unwrap();
        let mut watcher = Watcher::new(std::slice::from_ref(&path)).unwrap();
        std::fs::write(&path, "b").unwrap();
        expect_change(&mut watcher).await;
        for round in 0..2 {
            let new = folder.path().join(".cameras.yaml.swp");
            std::fs::write(&new, format!("c{round}")).unwrap();
            std::fs::rename(&new, &path).unwrap();
            expect_change(&mut watcher).await;
        }
    }

    #[tokio::test]
    async fn a_mounted_config_map_is_followed_over_swaps_of_its_link() {
        let mount = tempfile::tempdir().unwrap();
        let version = |number: u32| {
            let folder = mount.path().join(format!("..version_{number}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("cameras.yaml"), number.to_string()).unwrap();
            let link = mount.path().join("..data_tmp");
            std::os::unix::fs::symlink(&folder, &link).unwrap();
            std::fs::rename(&link, mount.path().join("..data")).unwrap();
        };
        version(1);
        let path = mount.path().join("cameras.yaml");
        std::os::unix::fs::symlink("..data/cameras.yaml", &path).unwrap();
        let mut watcher = Watcher::new(std::slice::from_ref(&path)).unwrap();
        for number in 2..4 {
            version(number);
            std::fs::remove_dir_all(mount.path().join(format!("..version_{}", number - 1))).unwrap();
            expect_change(&mut watcher).await;
            assert_eq!(std::fs::read_to_string(&path).unwrap(), number.to_string());
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_made_again_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("cameras");
        std::fs::create_dir(&folder).unwrap();
        let mut watcher = Watcher::new(std::slice::from_ref(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        expect_change(&mut watcher).await;
        std::fs::create_dir(&folder).unwrap();
        expect_change(&mut watcher).await;
        std::fs::write(folder.join("a.yaml"), "x").unwrap();
        expect_change(&mut watcher).await;
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Read))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(EventKind::Any));
    }
}
