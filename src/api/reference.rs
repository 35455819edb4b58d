//! References by name within the namespace, and the bounds of names. Must not look anything up.

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use super::rule::{literal, matches, rule};

/// What the name of one of our objects looks like: a DNS label that starts with a letter (RFC 1035), because children of the
/// object, such as Services, carry it.
pub const NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
/// What the name of a Secret looks like: a DNS subdomain (RFC 1123).
pub const SECRET_NAME_PATTERN: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// What a key of a Secret looks like.
pub const SECRET_KEY_PATTERN: &str = "^[-._a-zA-Z0-9]+$";
/// Key of the user name in a Secret that is named by `credentialsSecretRef`.
pub const USERNAME_KEY: &str = "username";
/// Key of the password in a Secret that is named by `credentialsSecretRef`.
pub const PASSWORD_KEY: &str = "password";

/// The rule on the name of every object of ours.
pub(super) fn name_rule() -> Rule {
    rule(
        format!("self.metadata.name.size() <= 40 && self.metadata.name.matches({})", literal(NAME_PATTERN)),
        "metadata.name must be a DNS label of at most 40 characters that starts with a letter: lower-case letters, digits and \
         hyphens, such as front-door",
    )
}

/// An object of ours in the same namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Name of the object in the same namespace.
    #[schemars(length(min = 1, max = 40), regex(pattern = NAME_PATTERN))]
    #[x_kube(validation = matches(NAME_PATTERN, "must be the name of an object: lower-case letters, digits and hyphens, such as front-door"))]
    pub name: String,
}

/// A Secret in the same namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(SECRET_NAME_PATTERN, "must be the name of a Secret: lower-case letters, digits, hyphens and dots, such as front-door"))]
    pub name: String,
}

/// One key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(SECRET_NAME_PATTERN, "must be the name of a Secret: lower-case letters, digits, hyphens and dots, such as front-door"))]
    pub name: String,
    /// Key within the Secret's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_KEY_PATTERN))]
    #[x_kube(validation = matches(SECRET_KEY_PATTERN, "must be a key of a Secret: letters, digits, hyphens, underscores and dots, such as password"))]
    pub key: String,
}

/// One key of a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(SECRET_NAME_PATTERN, "must be the name of a ConfigMap: lower-case letters, digits, hyphens and dots, such as slate"))]
    pub name: String,
    /// Key within the ConfigMap's data or binaryData.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_KEY_PATTERN))]
    #[x_kube(validation = matches(SECRET_KEY_PATTERN, "must be a key of a ConfigMap: letters, digits, hyphens, underscores and dots, such as slate.png"))]
    pub key: String,
}
