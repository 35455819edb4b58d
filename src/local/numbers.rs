//! Keeps on disk what [`crate::agent::numbering`] must know after a restart. One small JSON file in the data folder, replaced as a whole.
//! Must not know what the numbers are for.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::agent::numbering::Remembered;
use crate::agent::registry::Registry;

/// Name of the file.
pub const FILE: &str = "numbers.json";

/// How often it is written at least; what happens until then is allowed for.
const EVERY: Duration = Duration::from_mins(1);
/// How often it is looked whether a stream has used up a discontinuity number, for which time allows nothing.
const LOOK: Duration = Duration::from_secs(1);

/// What was remembered; nothing where there is no file, or none that can be understood: then the clock must do.
pub fn load(folder: &Path) -> Remembered {
    let path = folder.join(FILE);
    let read = std::fs::read(&path).map(|text| serde_json::from_slice(&text).map_err(std::io::Error::from));
    match read {
        Ok(Ok(remembered)) => remembered,
        Err(error) if error.kind() == ErrorKind::NotFound => Remembered::default(),
        Ok(Err(error)) | Err(error) => {
            tracing::warn!("{} cannot be understood and is written anew: {error}", path.display());
            Remembered::default()
        }
    }
}

/// Replaces the file: after a crash it holds the old numbers or the new, never a part.
fn save(folder: &Path, remembered: &Remembered) -> std::io::Result<()> {
    let temporary = folder.join(format!("{FILE}.new"));
    let mut text = serde_json::to_vec_pretty(remembered)?;
    text.push(b'\n');
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

/// Writes the file whenever it is due, until `shutdown`.
pub async fn keep(registry: &Registry, folder: &Path, shutdown: CancellationToken) {
    let mut due = Instant::now();
    let mut written = None;
    loop {
        let remembered = registry.numbering.remembered(EVERY);
        let discontinuities: Vec<u64> = remembered.streams.values().map(|numbers| numbers.discontinuity).collect();
        if Instant::now() >= due || written.as_ref() != Some(&discontinuities) {
            write(folder, remembered).await;
            due = Instant::now() + EVERY;
            written = Some(discontinuities);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(LOOK) => {}
        }
    }
}

/// Writes the file when everything has ended.
pub async fn keep_last(registry: &Registry, folder: &Path) {
    write(folder, registry.numbering.remembered(Duration::ZERO)).await;
}

async fn write(folder: &Path, remembered: Remembered) {
    let folder = folder.to_owned();
    let saved = tokio::task::spawn_blocking(move || save(&folder, &remembered)).await;
    if let Ok(Err(error)) = saved {
        // A full disk, which is said elsewhere; names are still right as long as the clock is.
        tracing::debug!("{FILE} cannot be written: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_cannot_be_understood_is_left() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), Remembered::default());
        let remembered = Remembered { newest_micros: 7, newest_run: 8, ..Remembered::default() };
        save(folder.path(), &remembered).unwrap();
        assert_eq!(load(folder.path()), remembered);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(load(folder.path()), Remembered::default());
    }
}
