//! The plan as a file: says what stands in it whenever that is something new. Must not apply it.

use std::path::{Path, PathBuf};

use crate::plan::read::{ReadPlan, read};

/// A plan is far smaller; kubelet mounts no `ConfigMap` above 1 MiB.
const LARGEST: u64 = 4 << 20;

/// The file and what stood in it last.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    last: Option<Result<Vec<u8>, String>>,
}

impl PlanFile {
    /// A file that has not been read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last: None }
    }

    /// What stands in it now, or in one sentence why it cannot be used; `None` when that is the same as before.
    pub async fn read(&mut self) -> Option<Result<ReadPlan, String>> {
        let content = self.content().await;
        if self.last.as_ref() == Some(&content) {
            return None;
        }
        let plan = match &content {
            Ok(json) => read(json).map_err(|error| format!("{}: {error}", self.path.display())),
            Err(problem) => Err(problem.clone()),
        };
        self.last = Some(content);
        Some(plan)
    }

    async fn content(&self) -> Result<Vec<u8>, String> {
        let explain = |error: std::io::Error| format!("{} cannot be read: {error}", self.path.display());
        let size = tokio::fs::metadata(&self.path).await.map_err(explain)?.len();
        if size > LARGEST {
            return Err(format!("{} is no plan: {size} bytes", self.path.display()));
        }
        tokio::fs::read(&self.path).await.map_err(explain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::Plan;

    #[tokio::test]
    async fn only_what_is_new_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let mut file = PlanFile::new(&path);
        assert!(file.read().await.unwrap().unwrap_err().contains("plan.json cannot be read"));
        assert_eq!(file.read().await, None);
        let plan = Plan::new("door-camera");
        let json = serde_json::to_vec(&plan).unwrap();
        std::fs::write(&path, &json).unwrap();
        assert_eq!(file.read().await.unwrap().unwrap().hash, plan.hash());
        assert_eq!(file.read().await, None);
        std::fs::write(&path, "{").unwrap();
        assert!(file.read().await.unwrap().unwrap_err().contains("plan.json: the plan cannot be read"));
        std::fs::write(&path, &json).unwrap();
        assert_eq!(file.read().await.unwrap().unwrap().hash, plan.hash(), "as it was before is news again");
    }
}
