//! What users write: the custom resources of group `camera-operator.dev`, their schema and CEL rules. One kind a file. Holds
//! shapes and bounds only: what a field leads to is decided in `plan`. Imports nothing of ours.
//!
//! Whatever can be refused is refused by the schema, so that `kubectl apply` says it: a pattern or bound for machines, and a
//! CEL rule whose message says what to write instead.

// The documentation of a field becomes the description that `kubectl explain` prints as it stands.
#![allow(clippy::doc_markdown)]

pub mod affinity;
pub mod alert_receiver;
pub mod alert_route;
pub mod archive;
pub mod camera;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod pod;
pub mod quantity;
pub mod recording;
pub mod reference;
mod rule;
pub mod stream;
pub mod url;

pub use alert_route::{AlertRoute, AlertRouteSpec, AlertRouteStatus};
pub use archive::{Archive, ArchiveSpec, ArchiveStatus};
pub use camera::{Camera, CameraSpec, CameraStatus};
pub use duration::Duration;
pub use quantity::Quantity;
pub use recording::{Recording, RecordingSpec, RecordingStatus};
pub use stream::{Stream, StreamSpec, StreamStatus};

/// API group of all our kinds.
pub const GROUP: &str = "camera-operator.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// What manifests write as `apiVersion`.
pub const API_VERSION: &str = "camera-operator.dev/v1alpha1";
/// The category that lists all our kinds: `kubectl get video`.
pub const CATEGORY: &str = "video";
/// The namespace of objects whose manifest names none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The archive that recordings go to when they name none.
pub const DEFAULT_ARCHIVE: &str = "default";
/// Longest name of an object, so that the names of its children stay within a DNS label.
pub const MAX_NAME_LENGTH: usize = 40;

#[cfg(test)]
mod tests {
    use kube::{CustomResourceExt as _, Resource};

    use super::*;

    fn assert_kind<T: Resource<DynamicType = ()>>(kind: &str) {
        assert_eq!(T::kind(&()), kind);
        assert_eq!(T::group(&()), GROUP);
        assert_eq!(T::version(&()), VERSION);
        assert_eq!(T::api_version(&()), API_VERSION);
    }

    #[test]
    fn the_constants_are_what_the_types_say() {
        assert_kind::<Camera>("Camera");
        assert_kind::<Stream>("Stream");
        assert_kind::<Archive>("Archive");
        assert_kind::<Recording>("Recording");
        for crd in [Camera::crd(), Stream::crd(), Archive::crd(), Recording::crd()] {
            assert_eq!(crd.spec.names.categories, Some(vec![CATEGORY.to_owned()]));
        }
    }
}
