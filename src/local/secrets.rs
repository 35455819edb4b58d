//! Secrets of `run`: the `Secret` manifests in the same files as everything else. Kept in memory only, and handed to nobody
//! but the units that connect to devices.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use k8s_openapi::api::core::v1;

use crate::agent::unit::{Secret, Secrets};
use crate::plan::unit::{ObjectKey, SecretKey};

/// Name and value of each key of a Secret.
pub type Values = BTreeMap<String, Secret>;

/// The Secrets that are declared now.
#[derive(Default)]
pub struct ManifestSecrets {
    secrets: RwLock<BTreeMap<ObjectKey, Values>>,
}

impl fmt::Debug for ManifestSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ManifestSecrets").finish_non_exhaustive()
    }
}

impl ManifestSecrets {
    /// Makes `secrets` all that there are.
    pub fn replace(&self, secrets: BTreeMap<ObjectKey, Values>) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }
}

impl Secrets for ManifestSecrets {
    fn get(&self, key: &SecretKey) -> Option<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(&ObjectKey::new(key.namespace.clone(), key.name.clone()))?.get(&key.key).cloned()
    }
}

/// The values of a Secret manifest: `data` in base 64, over which `stringData` goes, as an API server does it. A value that
/// is no text is left out; no device takes one.
pub fn values(secret: v1::Secret) -> Values {
    let data = secret.data.unwrap_or_default().into_iter();
    let decoded = data.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?)));
    let all = decoded.chain(secret.string_data.unwrap_or_default());
    all.map(|(key, value)| (key, Secret::new(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_goes_over_data_and_nothing_is_printed() {
        let manifest = serde_json::json!({
            "metadata": {"name": "door"},
            "data": {"username": "YWRtaW4=", "password": "b2xk"},
            "stringData": {"password": "new"},
        });
        let values = values(serde_json::from_value(manifest).unwrap());
        assert_eq!(values["username"].expose(), "admin");
        assert_eq!(values["password"].expose(), "new");
        let secrets = ManifestSecrets::default();
        secrets.replace([(ObjectKey::new("default", "door"), values)].into());
        let key = |key: &str| SecretKey { namespace: "default".into(), name: "door".into(), key: key.into() };
        assert_eq!(secrets.get(&key("password")), Some(Secret::new("new")));
        assert_eq!(secrets.get(&key("token")), None);
        assert!(!format!("{secrets:?}").contains("new"));
    }
}
