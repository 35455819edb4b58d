//! The objects that files declare, typed and ready to be planned.

use kube::Resource;

use super::config_map::ConfigMap;
use super::secret::Secret;
use crate::api::{AlertRoute, Archive, Camera, Recording, Stream};
use crate::plan::objects::{Objects, key};
use crate::plan::unit::SecretKey;

/// The objects that files declare, in their order. Every object has a namespace and a uid; its generation is set by
/// [`Manifests::continue_from`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifests {
    /// Cameras.
    pub cameras: Vec<Camera>,
    /// Streams.
    pub streams: Vec<Stream>,
    /// Archives.
    pub archives: Vec<Archive>,
    /// Recordings.
    pub recordings: Vec<Recording>,
    /// Alert routes.
    pub alert_routes: Vec<AlertRoute>,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// ConfigMaps, of whomever.
    pub config_maps: Vec<ConfigMap>,
}

impl Manifests {
    /// The objects, to be planned.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        self.cameras.iter().cloned().for_each(|camera| objects.insert_camera(camera));
        self.streams.iter().cloned().for_each(|stream| objects.insert_stream(stream));
        self.archives.iter().cloned().for_each(|archive| objects.insert_archive(archive));
        self.recordings.iter().cloned().for_each(|recording| objects.insert_recording(recording));
        objects
    }

    /// The value of a Secret's key.
    pub fn secret(&self, wanted: &SecretKey) -> Option<&str> {
        let named = |secret: &&Secret| secret.key.namespace == wanted.namespace && secret.key.name == wanted.name;
        self.secrets.iter().find(named).and_then(|secret| secret.get(&wanted.key))
    }

    /// Gives every object its generation, as an API server counts it: 1 when it is new, one more than before when its spec
    /// changed.
    pub fn continue_from(&mut self, previous: &Self) {
        fn count<T: Resource>(objects: &mut [T], previous: &[T], same_spec: impl Fn(&T, &T) -> bool) {
            for object in objects {
                let before = previous.iter().find(|before| key(*before) == key(object));
                let generation = match before {
                    None => 1,
                    Some(before) => before.meta().generation.unwrap_or(1) + i64::from(!same_spec(before, object)),
                };
                object.meta_mut().generation = Some(generation);
            }
        }
        count(&mut self.cameras, &previous.cameras, |one, other| one.spec == other.spec);
        count(&mut self.streams, &previous.streams, |one, other| one.spec == other.spec);
        count(&mut self.archives, &previous.archives, |one, other| one.spec == other.spec);
        count(&mut self.recordings, &previous.recordings, |one, other| one.spec == other.spec);
        count(&mut self.alert_routes, &previous.alert_routes, |one, other| one.spec == other.spec);
    }

    /// What there is, in one line.
    pub fn summary(&self) -> String {
        let count = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        };
        let parts: Vec<String> = [
            count(self.cameras.len(), "camera", "cameras"),
            count(self.streams.len(), "stream", "streams"),
            count(self.archives.len(), "archive", "archives"),
            count(self.recordings.len(), "recording", "recordings"),
            count(self.alert_routes.len(), "alert route", "alert routes"),
            count(self.secrets.len(), "secret", "secrets"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { "nothing declared".to_owned() } else { format!("valid: {}", parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_count_changes_of_the_spec() {
        let text = |seconds| {
            format!(
                "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {{name: a}}\n\
                 spec: {{source: {{test: {{}}}}, stallTimeout: {seconds}s}}\n"
            )
        };
        let mut first = crate::check::load_text("a.yaml", &text(5)).manifests;
        first.continue_from(&Manifests::default());
        assert_eq!(first.cameras[0].metadata.generation, Some(1));
        let mut same = crate::check::load_text("a.yaml", &text(5)).manifests;
        same.continue_from(&first);
        assert_eq!(same.cameras[0].metadata.generation, Some(1));
        let mut changed = crate::check::load_text("a.yaml", &text(6)).manifests;
        changed.continue_from(&same);
        assert_eq!(changed.cameras[0].metadata.generation, Some(2));
        assert_eq!(changed.cameras[0].metadata.uid, first.cameras[0].metadata.uid);
    }
}
