//! What agents are called and where they are found in a cluster: names that the planner writes into plans and that the
//! operator gives to the objects that it makes. Pure text; must not look anything up.

use super::unit::{ObjectKey, ObjectKind, ObjectRef};

/// TCP port of every agent's HTTP interface.
pub const AGENT_PORT: i32 = 9090;
/// `aud` of the tokens that agents' callers present.
pub const AGENT_AUDIENCE: &str = "camera-operator.dev/agent";
/// Folder of an archive's volume in its recorder's pod.
pub const ARCHIVE_ROOT: &str = "/archive";

/// Name of what the operator makes for an object that has an agent of its own. At most 48 characters, since names of our
/// objects have at most 40: room for what Kubernetes appends to names of pods and jobs.
pub fn child_name(kind: ObjectKind, name: &str) -> String {
    let suffix = match kind {
        ObjectKind::Camera => "camera",
        ObjectKind::Stream => "stream",
        ObjectKind::Archive => "archive",
        ObjectKind::Recording => "recording",
        ObjectKind::AlertRoute => "alertroute",
    };
    format!("{name}-{suffix}")
}

/// Name of what asks an archive's recorder for retention. A `CronJob`'s name has at most 52 characters.
pub fn retention_name(archive: &str) -> String {
    format!("{archive}-retention")
}

/// Base URL of the agent of an object.
pub fn agent_url(owner: &ObjectRef) -> String {
    format!("http://{}.{}.svc:{AGENT_PORT}", child_name(owner.kind, &owner.key.name), owner.key.namespace)
}

/// The subject of a ServiceAccount's tokens.
pub fn subject(account: &ObjectKey) -> String {
    format!("system:serviceaccount:{}:{}", account.namespace, account.name)
}

/// The subject of the agent of an object.
pub fn agent_subject(kind: ObjectKind, key: &ObjectKey) -> String {
    subject(&ObjectKey::new(&*key.namespace, child_name(kind, &key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MAX_NAME_LENGTH;

    #[test]
    fn names_fit_what_carries_them() {
        let longest = "a".repeat(MAX_NAME_LENGTH);
        assert!(child_name(ObjectKind::Archive, &longest).len() <= 63, "a Service's name is a DNS label");
        assert!(retention_name(&longest).len() <= 52, "a CronJob's name has at most 52 characters");
    }

    #[test]
    fn agents_are_found_by_their_services_name() {
        let owner = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("shop", "front-door") };
        assert_eq!(agent_url(&owner), "http://front-door-camera.shop.svc:9090");
        assert_eq!(agent_subject(owner.kind, &owner.key), "system:serviceaccount:shop:front-door-camera");
    }
}
