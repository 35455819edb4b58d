//! Secrets of a pod: files that kubelet mounts and keeps up to date. Read whenever they are asked for, never kept, so that a
//! rotated password counts from the next connection on.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::agent::unit::{Secret, Secrets};
use crate::plan::unit::{ConfigMapKey, SecretKey};

/// Where everything is mounted.
pub const FOLDER: &str = "/var/run/secrets/camera-operator.dev";

/// Where this agent's own token is beneath it.
pub fn token_file(folder: &Path) -> PathBuf {
    folder.join("agent/token")
}

/// See the module.
#[derive(Debug)]
pub struct MountedSecrets {
    folder: PathBuf,
}

impl MountedSecrets {
    /// Secrets beneath a folder: `users/<secret>/<key>`, and `agent/token`; pictures of ConfigMaps in `pictures/<name>/<key>`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }
}

/// Whether a name is one path component that Kubernetes could have made a file of.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with("..") && name != "." && !name.contains(['/', '\0'])
}

impl Secrets for MountedSecrets {
    fn get(&self, key: &SecretKey) -> Option<Secret> {
        if !is_plain(&key.name) || !is_plain(&key.key) {
            return None;
        }
        // A pod mounts Secrets of its own namespace only, which is that of its objects.
        let path = self.folder.join("users").join(&key.name).join(&key.key);
        std::fs::read_to_string(path).ok().map(Secret::new)
    }

    fn picture(&self, key: &ConfigMapKey) -> Option<Bytes> {
        if !is_plain(&key.name) || !is_plain(&key.key) {
            return None;
        }
        std::fs::read(self.folder.join("pictures").join(&key.name).join(&key.key)).ok().map(Bytes::from)
    }

    fn agent_token(&self) -> Option<Secret> {
        std::fs::read_to_string(token_file(&self.folder)).ok().map(|token| Secret::new(token.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_anew_and_names_lead_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users/door");
        std::fs::create_dir_all(&users).unwrap();
        std::fs::create_dir_all(folder.path().join("agent")).unwrap();
        std::fs::write(users.join("password"), "sesame").unwrap();
        std::fs::write(folder.path().join("agent/token"), "token\n").unwrap();
        let secrets = MountedSecrets::new(folder.path());
        let get = |name: &str, key: &str| {
            secrets.get(&SecretKey { namespace: "shop".into(), name: name.into(), key: key.into() })
        };
        assert_eq!(get("door", "password"), Some(Secret::new("sesame")));
        std::fs::write(users.join("password"), "rotated").unwrap();
        assert_eq!(get("door", "password"), Some(Secret::new("rotated")));
        assert_eq!(get("door", "username"), None);
        assert_eq!(get("gate", "password"), None);
        for (name, key) in [("..", "agent"), ("door", "../../agent/token"), ("../agent", "token"), ("", "")] {
            assert_eq!(get(name, key), None, "{name}/{key}");
        }
        std::fs::create_dir_all(folder.path().join("pictures/slate")).unwrap();
        std::fs::write(folder.path().join("pictures/slate/slate.png"), [1, 2]).unwrap();
        let picture = |name: &str, key: &str| {
            secrets.picture(&ConfigMapKey { namespace: "shop".into(), name: name.into(), key: key.into() })
        };
        assert_eq!(picture("slate", "slate.png").as_deref(), Some(&[1, 2][..]));
        assert_eq!(picture("..", "agent"), None);
        assert_eq!(secrets.agent_token(), Some(Secret::new("token")));
    }
}
