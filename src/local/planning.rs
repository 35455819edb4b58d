//! Stub until plan::resolve and plan::status are here.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::control::Objects;
use crate::gateway::world::Snapshot;
use crate::plan::report::Report;
use crate::plan::unit::{ObjectRef, PLAN_VERSION, Plan};

/// A plan and what could not be planned.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
}

impl Default for Planned {
    fn default() -> Self {
        Self {
            plan: Plan {
                version: PLAN_VERSION,
                agent: "run".into(),
                archives: Vec::new(),
                recordings: Vec::new(),
                units: Vec::new(),
            },
        }
    }
}

/// Adds the archives that recordings name by default.
pub fn with_default_archives(objects: Objects) -> Objects {
    objects
}

/// Plans.
pub fn plan(_objects: &Snapshot, _data: &Path) -> Planned {
    Planned::default()
}

/// Statuses.
pub fn statuses(objects: &Snapshot, _planned: &Planned, _report: &Report, _now: Timestamp) -> Vec<(ObjectRef, Value)> {
    objects.objects.iter().map(|(reference, _)| (reference.clone(), json!({}))).collect()
}

/// One camera's unit.
pub fn ingest_alone(_objects: &Snapshot, _camera: &ObjectRef, _data: &Path) -> Result<crate::plan::unit::Unit, String> {
    Err("stub".into())
}
