//! What all pods have in common: they pass the `restricted` Pod Security Standard, and mount what an agent or a job reads.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, EmptyDirVolumeSource, KeyToPath, LocalObjectReference, PodSecurityContext,
    PodSpec, ProjectedVolumeSource, SeccompProfile, SecretProjection, SecurityContext, ServiceAccountTokenProjection,
    Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::operator::names::{AGENT_AUDIENCE, CONFIG_MAPS_FOLDER, SECRETS_FOLDER, TOKEN_FILE, TOKEN_FOLDER};
use crate::plan::unit::{ConfigMapKey, SecretKey};

/// User and group of the image.
const USER: i64 = 10001;
/// Group of video devices in Debian, whose nodes most clusters' device plugins pass on as they are.
const VIDEO_GROUP: i64 = 44;
/// How long a token is valid; the kubelet renews it before.
const TOKEN_SECONDS: i64 = 3600;
/// Bound of `/tmp`, the only place that can be written beside an archive's volume.
const TEMPORARY: &str = "256Mi";
/// Readable by owner and group (`fsGroup`).
const READ_ONLY: i32 = 0o440;

/// A pod that passes `restricted`, without containers.
pub fn restricted(service_account: &str, image_pull_secrets: &[String], opens_device: bool) -> PodSpec {
    let context = PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // Looking at every file of a large archive would hold up its recorder for minutes.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        supplemental_groups: opens_device.then(|| vec![VIDEO_GROUP]),
        ..PodSecurityContext::default()
    };
    let secrets = image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        service_account_name: Some(service_account.to_owned()),
        automount_service_account_token: Some(false),
        // Hundreds of Services would become thousands of environment variables.
        enable_service_links: Some(false),
        security_context: Some(context),
        image_pull_secrets: (!image_pull_secrets.is_empty()).then(|| secrets.collect()),
        ..PodSpec::default()
    }
}

/// A container that passes `restricted`.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

/// A volume and where it is mounted.
pub type Mounted = (Volume, VolumeMount);

/// A volume mounted at `path`.
pub fn mounted(volume: Volume, path: &str, read_only: bool) -> Mounted {
    let mount = VolumeMount {
        name: volume.name.clone(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    (volume, mount)
}

/// `/tmp`.
pub fn temporary() -> Mounted {
    let empty =
        EmptyDirVolumeSource { size_limit: Some(Quantity(TEMPORARY.to_owned())), ..EmptyDirVolumeSource::default() };
    let volume = Volume { name: "temporary".to_owned(), empty_dir: Some(empty), ..Volume::default() };
    mounted(volume, "/tmp", false)
}

/// The token that the pod shows to agents.
pub fn token() -> Mounted {
    let token = ServiceAccountTokenProjection {
        audience: Some(AGENT_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: TOKEN_FILE.to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    mounted(projected("agent-token", vec![source]), TOKEN_FOLDER, true)
}

/// Keys of users' Secrets as files `<secret>/<key>`, and no other key. A Secret or key that is not there yet keeps no pod from
/// starting: it is awaited, and said, by what needs it. `None` where there is none.
pub fn secrets(keys: &[SecretKey]) -> Option<Mounted> {
    let mut sources: Vec<SecretProjection> = Vec::new();
    for SecretKey { name, key, .. } in keys {
        // No Secret can hold such a key, and no file can be called so.
        if matches!(key.as_str(), "." | "..") {
            continue;
        }
        let item = KeyToPath { key: key.clone(), path: format!("{name}/{key}"), ..KeyToPath::default() };
        match sources.last_mut().filter(|source| source.name == *name) {
            Some(source) => source.items.get_or_insert_default().push(item),
            None => {
                sources.push(SecretProjection { name: name.clone(), items: Some(vec![item]), optional: Some(true) });
            }
        }
    }
    let sources: Vec<VolumeProjection> = sources
        .into_iter()
        .map(|secret| VolumeProjection { secret: Some(secret), ..VolumeProjection::default() })
        .collect();
    (!sources.is_empty()).then(|| mounted(projected("user-secrets", sources), SECRETS_FOLDER, true))
}

/// Keys of users' ConfigMaps as files `<name>/<key>`, as [`secrets`] does it. `None` where there is none.
pub fn config_maps(keys: &[ConfigMapKey]) -> Option<Mounted> {
    let source = |ConfigMapKey { name, key, .. }: &ConfigMapKey| {
        let item = KeyToPath { key: key.clone(), path: format!("{name}/{key}"), ..KeyToPath::default() };
        let map = ConfigMapProjection { name: name.clone(), items: Some(vec![item]), optional: Some(true) };
        VolumeProjection { config_map: Some(map), ..VolumeProjection::default() }
    };
    let plain = keys.iter().filter(|key| !matches!(key.key.as_str(), "." | ".."));
    let sources: Vec<VolumeProjection> = plain.map(source).collect();
    (!sources.is_empty()).then(|| mounted(projected("pictures", sources), CONFIG_MAPS_FOLDER, true))
}

fn projected(name: &str, sources: Vec<VolumeProjection>) -> Volume {
    let projected = ProjectedVolumeSource {
        default_mode: Some(READ_ONLY),
        sources: Some(sources),
        ..ProjectedVolumeSource::default()
    };
    Volume { name: name.to_owned(), projected: Some(projected), ..Volume::default() }
}
