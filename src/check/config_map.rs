//! `v1` `ConfigMap` manifests, which `run` takes pictures from. A ConfigMap is nobody's secret, and most are of others: one that
//! cannot be read is left to what refers to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap as Manifest;

use super::yaml::Node;
use crate::plan::unit::ObjectKey;

/// A ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    /// Namespace and name.
    pub key: ObjectKey,
    values: BTreeMap<String, Bytes>,
}

impl ConfigMap {
    /// One with a single value.
    pub fn of_file(key: ObjectKey, name: &str, value: Bytes) -> Self {
        Self { key, values: BTreeMap::from([(name.to_owned(), value)]) }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.values.get(key)
    }
}

/// Reads a ConfigMap's manifest.
///
/// # Errors
/// What is wrong with it.
pub fn read(node: &Node, key: ObjectKey) -> Result<ConfigMap, String> {
    let manifest: Manifest = serde_json::from_value(node.json()).map_err(|error| {
        format!("cannot be read as a ConfigMap ({error}): write pictures as base64 under binaryData")
    })?;
    let texts = manifest.data.into_iter().flatten().map(|(name, text)| (name, Bytes::from(text)));
    let binary = manifest.binary_data.into_iter().flatten().map(|(name, bytes)| (name, Bytes::from(bytes.0)));
    Ok(ConfigMap { key, values: texts.chain(binary).collect() })
}
