//! Names of objects, and of keys that stand elsewhere, as a plan writes them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of objects that units belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A `Camera`.
    Camera,
    /// A `Stream`.
    Stream,
    /// An `Archive`.
    Archive,
    /// A `Recording`.
    Recording,
    /// An `AlertRoute`; no unit runs for it.
    AlertRoute,
}

impl ObjectKind {
    /// The plural that URLs use.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Camera => "cameras",
            Self::Stream => "streams",
            Self::Archive => "archives",
            Self::Recording => "recordings",
            Self::AlertRoute => "alertroutes",
        }
    }
}

/// Namespace and name of an object whose kind is known from where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace; `default` where a manifest names none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// An object, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: ObjectKind,
    /// Namespace and name.
    #[serde(flatten)]
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.kind, self.key)
    }
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Namespace of the Secret (the object's own).
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key within its data.
    pub key: String,
}

/// A key of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Namespace of the ConfigMap (the object's own).
    pub namespace: String,
    /// Name of the ConfigMap.
    pub name: String,
    /// Key within its data.
    pub key: String,
}
