//! Leases: what is being exported stays.

use std::sync::Arc;

use super::RecordingIndex;
use crate::archive::ArchiveError;
use crate::archive::index::FileName;

/// Keeps a file from being deleted while it lives.
#[derive(Debug)]
pub struct Lease {
    index: Arc<RecordingIndex>,
    key: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.index.state();
        if let Some(count) = state.leases.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.leases.remove(&self.key);
            }
        }
    }
}

impl RecordingIndex {
    /// Keeps a file from being deleted while the lease lives (an export).
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it is gone already.
    pub fn lease(self: &Arc<Self>, name: FileName) -> Result<Lease, ArchiveError> {
        // Under the same lock as a deletion: a file that is leased here is still there, and stays.
        let _disk = self.disk();
        self.open_media(name)?;
        Ok(self.lease_key(name.to_string()))
    }

    pub(super) fn lease_key(self: &Arc<Self>, key: String) -> Lease {
        *self.state().leases.entry(key.clone()).or_default() += 1;
        Lease { index: self.clone(), key }
    }

    /// Whether a file may be deleted now; else who has it: `being written` or `being exported`.
    pub fn in_use(&self, name: FileName) -> Option<&'static str> {
        let state = self.state();
        if state.writing == Some(name) {
            return Some("being written");
        }
        state.leases.contains_key(&name.to_string()).then_some("being exported")
    }
}
