//! Secrets of `run`: the `Secret` manifests in the same files as everything else. Kept in memory only, and handed to nobody
//! but the units that connect to devices.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use crate::agent::unit::{Secret, Secrets};
use crate::check::config_map::ConfigMap;
use crate::check::secret::Secret as Declared;
use crate::plan::unit::{ConfigMapKey, ObjectKey, SecretKey};

/// The Secrets that are declared now.
#[derive(Debug, Default)]
pub struct ManifestSecrets {
    secrets: RwLock<BTreeMap<ObjectKey, Declared>>,
    config_maps: RwLock<Vec<ConfigMap>>,
}

impl ManifestSecrets {
    /// Makes `secrets` all that there are.
    pub fn replace(&self, secrets: Vec<Declared>) {
        let secrets = secrets.into_iter().map(|secret| (secret.key.clone(), secret)).collect();
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }
}

impl ManifestSecrets {
    /// Makes `maps` all the ConfigMaps that there are; of several of one name the first counts that has the key.
    pub fn replace_config_maps(&self, maps: Vec<ConfigMap>) {
        *self.config_maps.write().unwrap_or_else(PoisonError::into_inner) = maps;
    }
}

impl Secrets for ManifestSecrets {
    fn picture(&self, key: &ConfigMapKey) -> Option<Bytes> {
        let maps = self.config_maps.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = ObjectKey::new(key.namespace.clone(), key.name.clone());
        maps.iter().filter(|map| map.key == wanted).find_map(|map| map.get(&key.key)).cloned()
    }

    fn get(&self, key: &SecretKey) -> Option<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(&ObjectKey::new(key.namespace.clone(), key.name.clone()))?.get(&key.key).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_never_printed() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: door}\nstringData: {password: sesame}\n";
        let declared = crate::check::load_text("door.yaml", text).manifests.secrets;
        let secrets = ManifestSecrets::default();
        secrets.replace(declared);
        let key = |key: &str| SecretKey { namespace: "default".into(), name: "door".into(), key: key.into() };
        assert_eq!(secrets.get(&key("password")), Some(Secret::new("sesame")));
        assert_eq!(secrets.get(&key("token")), None);
        assert!(!format!("{secrets:?}").contains("sesame"));
        secrets.replace(Vec::new());
        assert_eq!(secrets.get(&key("password")), None);
    }
}
