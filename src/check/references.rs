//! What objects refer to, and whether it is there: beyond what an API server checks, but what a person wants to know before
//! it is applied. Pure.

use kube::Resource;

use super::load::Declared;
use super::manifests::Manifests;
use super::problem::{Problem, ProblemKind};
use super::schema::nearest;
use crate::alert::template;
use crate::api::DEFAULT_ARCHIVE;
use crate::api::camera::CameraSource;
use crate::api::reference::{ConfigMapKeyReference, PASSWORD_KEY, SecretKeyReference, SecretReference, USERNAME_KEY};
use crate::api::stream::Fallback;
use crate::plan::objects::key;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// References that lead nowhere.
pub(super) fn check(manifests: &Manifests, declared: &[Declared]) -> Vec<Problem> {
    let mut references = References { manifests, declared, problems: Vec::new() };
    for camera in &manifests.cameras {
        references.camera(&object(ObjectKind::Camera, camera), &camera.spec.source);
    }
    for stream in &manifests.streams {
        let object = object(ObjectKind::Stream, stream);
        references.named(&object, ObjectKind::Camera, &stream.spec.camera_ref.name, "spec.cameraRef.name");
        if let Some(push) = &stream.spec.output.push {
            let path = |field: &str| format!("spec.output.push.{field}");
            references.secret_key(&object, push.stream_key_secret_ref.as_ref(), &path("streamKeySecretRef"));
            references.secret_key(&object, push.passphrase_secret_ref.as_ref(), &path("passphraseSecretRef"));
        }
    }
    for stream in &manifests.streams {
        references.fallback(&object(ObjectKind::Stream, stream), stream.spec.fallback.as_ref());
    }
    for recording in &manifests.recordings {
        let object = object(ObjectKind::Recording, recording);
        references.named(&object, ObjectKind::Camera, &recording.spec.camera_ref.name, "spec.cameraRef.name");
        if let Some(archive) = recording.spec.archive_ref.as_ref().filter(|archive| archive.name != DEFAULT_ARCHIVE) {
            references.named(&object, ObjectKind::Archive, &archive.name, "spec.archiveRef.name");
        }
    }
    for route in &manifests.alert_routes {
        let object = object(ObjectKind::AlertRoute, route);
        for (index, receiver) in route.spec.receivers.iter().enumerate() {
            let path = |field: &str| format!("spec.receivers[{index}].{field}");
            if let Some(webhook) = &receiver.webhook {
                let key = webhook.signing_secret_ref.as_ref();
                references.secret_key(&object, key, &path("webhook.signingSecretRef"));
            }
            if let Some(telegram) = &receiver.telegram {
                let key = Some(&telegram.bot_token_secret_ref);
                references.secret_key(&object, key, &path("telegram.botTokenSecretRef"));
            }
            if let Some(slack) = &receiver.slack {
                references.secret_key(&object, Some(&slack.url_secret_ref), &path("slack.urlSecretRef"));
            }
            if let Some(email) = &receiver.email {
                let reference = email.smtp.credentials_secret_ref.as_ref();
                references.credentials(&object, reference, &path("email.smtp.credentialsSecretRef"));
            }
            if let Some(chatwoot) = &receiver.chatwoot {
                references.secret_key(&object, Some(&chatwoot.token_secret_ref), &path("chatwoot.tokenSecretRef"));
            }
        }
        let token = route.spec.alertmanager.as_ref().map(|source| &source.token_secret_ref);
        references.secret_key(&object, token, "spec.alertmanager.tokenSecretRef");
        for (index, hours) in route.spec.quiet_hours.iter().enumerate() {
            if let Some(zone) = hours.time_zone.as_deref().filter(|zone| is_unknown_time_zone(zone)) {
                let message = unknown_time_zone(zone);
                let path = format!("spec.quietHours[{index}].timeZone");
                references.problem(&object, &path, message, ProblemKind::Unresolved);
            }
        }
        for (index, error) in template::problems(route) {
            let path = format!("spec.receivers[{index}].template");
            let message = format!("cannot be rendered: {error}");
            references.problem(&object, &path, message, ProblemKind::Unresolved);
        }
    }
    for archive in &manifests.archives {
        let zone = archive.spec.retention.as_ref().and_then(|retention| retention.time_zone.as_deref());
        if let Some(zone) = zone.filter(|zone| is_unknown_time_zone(zone)) {
            let message = unknown_time_zone(zone);
            let object = object(ObjectKind::Archive, archive);
            references.problem(&object, "spec.retention.timeZone", message, ProblemKind::Unresolved);
        }
    }
    references.problems
}

/// Where the machine has no list of time zones, any may be right.
fn is_unknown_time_zone(name: &str) -> bool {
    jiff::tz::db().available().next().is_some() && jiff::tz::TimeZone::get(name).is_err()
}

fn unknown_time_zone(zone: &str) -> String {
    format!("there is no time zone {zone}: write an IANA name, such as Etc/UTC or Europe/Madrid")
}

fn object<T: Resource>(kind: ObjectKind, object: &T) -> ObjectRef {
    ObjectRef { kind, key: key(object) }
}

struct References<'a> {
    manifests: &'a Manifests,
    declared: &'a [Declared],
    problems: Vec<Problem>,
}

impl References<'_> {
    fn problem(&mut self, object: &ObjectRef, path: &str, message: String, kind: ProblemKind) {
        let own = |declared: &&Declared| declared.kind == Some(object.kind) && declared.key == object.key;
        let Some(declared) = self.declared.iter().find(own) else { return };
        self.problems.push(Problem {
            file: declared.file.clone(),
            line: declared.node.line_of(path),
            path: path.to_owned(),
            message,
            kind,
            object: Some(object.clone()),
        });
    }

    /// Names of the declared objects of a kind (`None`: Secrets) in a namespace.
    fn names(&self, kind: Option<ObjectKind>, namespace: &str) -> Vec<&str> {
        let of_kind =
            self.declared.iter().filter(|declared| declared.kind == kind && declared.key.namespace == namespace);
        of_kind.map(|declared| declared.key.name.as_str()).collect()
    }

    fn missing(&self, kind: Option<ObjectKind>, key: &ObjectKey) -> Option<String> {
        let names = self.names(kind, &key.namespace);
        if names.contains(&key.name.as_str()) {
            return None;
        }
        let label = kind.map_or_else(|| "Secret".to_owned(), |kind| format!("{kind:?}"));
        let hint = nearest(&key.name, &names).map(|near| format!("; did you mean {near}?"));
        let hint = hint.unwrap_or_else(|| format!(": declare it, or name another {label}"));
        Some(format!("there is no {label} {} in namespace {}{hint}", key.name, key.namespace))
    }

    fn named(&mut self, object: &ObjectRef, kind: ObjectKind, name: &str, path: &str) {
        let key = ObjectKey::new(object.key.namespace.clone(), name);
        if let Some(message) = self.missing(Some(kind), &key) {
            self.problem(object, path, message, ProblemKind::Unresolved);
        }
    }

    fn secret(&mut self, object: &ObjectRef, name: &str, keys: &[&str], path: &str) {
        let wanted = ObjectKey::new(object.key.namespace.clone(), name);
        if let Some(message) = self.missing(None, &wanted) {
            return self.problem(object, &format!("{path}.name"), message, ProblemKind::SecretMissing);
        }
        // A Secret that is declared but broken has been reported already.
        let Some(secret) = self.manifests.secrets.iter().find(|secret| secret.key == wanted) else { return };
        for key in keys.iter().filter(|key| !secret.has(key)) {
            let message = format!("Secret {name} has no key {key}: add it to the Secret's stringData");
            self.problem(object, path, message, ProblemKind::SecretMissing);
        }
    }

    fn secret_key(&mut self, object: &ObjectRef, reference: Option<&SecretKeyReference>, path: &str) {
        if let Some(reference) = reference {
            self.secret(object, &reference.name, &[&reference.key], path);
        }
    }

    /// The picture of a slate: in a ConfigMap, or in a file beside the manifest.
    fn fallback(&mut self, object: &ObjectRef, fallback: Option<&Fallback>) {
        let Some(image) = fallback.and_then(|fallback| fallback.image.as_ref()) else { return };
        let ConfigMapKeyReference { name, key } = &image.config_map_ref;
        let wanted = ObjectKey::new(object.key.namespace.clone(), name);
        let path = "spec.fallback.image.configMapRef";
        match self.manifests.config_maps.iter().find(|map| map.key == wanted) {
            Some(map) if map.get(key).is_none() => {
                let message = format!("ConfigMap {name} has no key {key}: add the picture to its binaryData");
                self.problem(object, path, message, ProblemKind::Unresolved);
            }
            Some(_) => {}
            None => {
                let own = |declared: &&Declared| declared.kind == Some(object.kind) && declared.key == object.key;
                let beside = self.declared.iter().find(own).map(|declared| declared.file.with_file_name(key));
                if !beside.is_some_and(|file| file.is_file()) {
                    let message = format!(
                        "there is no ConfigMap {name} in namespace {}: declare it (kubectl create configmap {name} \
                         --from-file={key} --dry-run=client -o yaml), or put the file {key} beside this one",
                        wanted.namespace
                    );
                    self.problem(object, &format!("{path}.name"), message, ProblemKind::Unresolved);
                }
            }
        }
    }

    fn credentials(&mut self, object: &ObjectRef, reference: Option<&SecretReference>, path: &str) {
        if let Some(reference) = reference {
            self.secret(object, &reference.name, &[USERNAME_KEY, PASSWORD_KEY], path);
        }
    }

    fn camera(&mut self, object: &ObjectRef, source: &CameraSource) {
        if let Some(rtsp) = &source.rtsp {
            self.secret_key(object, rtsp.url_secret_ref.as_ref(), "spec.source.rtsp.urlSecretRef");
            self.credentials(object, rtsp.credentials_secret_ref.as_ref(), "spec.source.rtsp.credentialsSecretRef");
        }
        for (name, http) in [("http", &source.http), ("hls", &source.hls)] {
            if let Some(http) = http {
                self.secret_key(object, http.url_secret_ref.as_ref(), &format!("spec.source.{name}.urlSecretRef"));
                let path = format!("spec.source.{name}.credentialsSecretRef");
                self.credentials(object, http.credentials_secret_ref.as_ref(), &path);
            }
        }
        if let Some(rtmp) = &source.rtmp {
            self.secret_key(object, rtmp.url_secret_ref.as_ref(), "spec.source.rtmp.urlSecretRef");
        }
        if let Some(srt) = &source.srt {
            self.secret_key(object, srt.url_secret_ref.as_ref(), "spec.source.srt.urlSecretRef");
            self.secret_key(object, srt.passphrase_secret_ref.as_ref(), "spec.source.srt.passphraseSecretRef");
        }
    }
}
