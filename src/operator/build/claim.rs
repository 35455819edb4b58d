//! An archive's volume.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::owner::{metadata, unowned_metadata};
use crate::api::archive::{AccessMode, ReclaimPolicy};
use crate::plan::agents::{AgentPlan, Volume};

/// The claim that is made for an archive; `None` where there is nothing to make. It belongs to the Archive, and goes with it,
/// only where `reclaimPolicy` is `Delete`.
pub fn claim(plan: &AgentPlan) -> Option<PersistentVolumeClaim> {
    let Some(Volume::Made { claim, reclaim_policy }) = &plan.volume else { return None };
    let modes = if claim.access_modes.is_empty() { &[AccessMode::ReadWriteOnce][..] } else { &claim.access_modes[..] };
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(modes.iter().map(|mode| mode.name().to_owned()).collect()),
        storage_class_name: claim.storage_class_name.clone(),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(claim.size.to_string()))])),
            limits: None,
        }),
        ..PersistentVolumeClaimSpec::default()
    };
    let metadata = match reclaim_policy {
        ReclaimPolicy::Retain => unowned_metadata(plan),
        ReclaimPolicy::Delete => metadata(plan),
    };
    Some(PersistentVolumeClaim { metadata, spec: Some(spec), status: None })
}

/// Name of the claim that an archive's recorder mounts.
pub fn claim_name(plan: &AgentPlan) -> Option<&str> {
    match plan.volume.as_ref()? {
        Volume::Made { .. } => Some(&plan.name),
        Volume::Existing(name) => Some(name),
    }
}
