//! Files → objects and problems. What is right is returned beside what is wrong, because `run` goes on with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::definitions::{self, Definitions};
use super::manifests::Manifests;
use super::problem::{Note, Problem, ProblemKind};
use super::yaml::{Content, Node, documents};
use super::{config_map, files, references, schema, secret};
use crate::api::{API_VERSION, DEFAULT_NAMESPACE, GROUP};
use crate::plan::objects::stable_uid;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// All that files hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// The objects that an API server would take.
    pub manifests: Manifests,
    /// What is wrong, in the order of the files.
    pub problems: Vec<Problem>,
    /// What is ignored.
    pub notes: Vec<Note>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// Where each object is declared: file and line.
    pub places: BTreeMap<ObjectRef, (PathBuf, usize)>,
}

/// One document that declares something of ours, wherever it stands.
pub(super) struct Declared {
    pub file: PathBuf,
    pub node: Node,
    /// `None` for a Secret.
    pub kind: Option<ObjectKind>,
    pub key: ObjectKey,
}

/// Reads and checks all manifests that the files and folders hold.
pub fn load(paths: &[PathBuf]) -> Loaded {
    load_texts(files::read(paths))
}

/// Checks the text of one file.
pub fn load_text(file: impl AsRef<Path>, text: &str) -> Loaded {
    load_texts(vec![(file.as_ref().to_owned(), Ok(text.to_owned()))])
}

fn load_texts(texts: Vec<files::Text>) -> Loaded {
    let mut loading = Loading { loaded: Loaded::default(), declared: Vec::new() };
    for (file, text) in texts {
        match text {
            Ok(text) => {
                for document in documents(&text) {
                    match document {
                        Ok(node) => loading.document(&file, &node),
                        Err(error) => loading.problem(&file, error.line, "", error.message, ProblemKind::Syntax),
                    }
                }
                loading.loaded.files.push(file);
            }
            Err(message) => loading.problem(&file, 0, "", message, ProblemKind::Unreadable),
        }
    }
    let Loading { mut loaded, declared, .. } = loading;
    for document in &declared {
        if let Some(kind) = document.kind {
            let object = ObjectRef { kind, key: document.key.clone() };
            loaded.places.insert(object, (document.file.clone(), document.node.line));
        }
    }
    loaded.problems.extend(references::check(&loaded.manifests, &declared));
    loaded
}

struct Loading {
    loaded: Loaded,
    declared: Vec<Declared>,
}

impl Loading {
    fn problem(&mut self, file: &Path, line: usize, path: &str, message: impl Into<String>, kind: ProblemKind) {
        let (file, path, message) = (file.to_owned(), path.to_owned(), message.into());
        self.loaded.problems.push(Problem { file, line, path, message, kind, object: None });
    }

    fn invalid(&mut self, file: &Path, node: &Node, path: &str, message: impl Into<String>) {
        self.problem(file, node.line_of(path), path, message, ProblemKind::Invalid);
    }

    fn document(&mut self, file: &Path, node: &Node) {
        if !matches!(node.content, Content::Mapping(_)) {
            return self.invalid(file, node, "", "must be an object with apiVersion, kind, metadata and spec");
        }
        let Some(api_version) = node.get("apiVersion").and_then(Node::as_str) else {
            return self.invalid(file, node, "apiVersion", format!("is required: write apiVersion: {API_VERSION}"));
        };
        let Some(kind) = node.get("kind").and_then(Node::as_str) else {
            return self.invalid(
                file,
                node,
                "kind",
                "is required: write one of Camera, Stream, Archive, Recording and AlertRoute",
            );
        };
        let is_ours = api_version == GROUP || api_version.split_once('/').is_some_and(|(group, _)| group == GROUP);
        match (api_version, kind) {
            (API_VERSION, _) => {
                if let Some(kind) = definitions::kind(kind) {
                    self.object(file, node, kind);
                } else {
                    let kinds = ["Camera", "Stream", "Archive", "Recording", "AlertRoute"];
                    let hint = schema::nearest(kind, &kinds).map(|near| format!("; did you mean {near}?"));
                    let message = format!("must be one of {}{}", kinds.join(", "), hint.unwrap_or_default());
                    self.invalid(file, node, "kind", message);
                }
            }
            _ if is_ours => {
                self.invalid(file, node, "apiVersion", format!("must be {API_VERSION}, not {api_version}"));
            }
            ("v1", "Secret") => self.secret(file, node),
            ("v1", "ConfigMap") => match config_map::read(node, Self::key(node)) {
                Ok(map) => self.loaded.manifests.config_maps.push(map),
                Err(message) => {
                    self.loaded.notes.push(Note { file: file.to_owned(), line: node.line, message });
                }
            },
            ("v1", "List") => match node.get("items").map(|items| &items.content) {
                Some(Content::Sequence(items)) => items.iter().for_each(|item| self.document(file, item)),
                _ => self.invalid(file, node, "items", "must be a list of objects"),
            },
            _ => {
                let near = definitions::kind(kind).is_some();
                let hint =
                    if near { format!("; a {kind} of ours has apiVersion: {API_VERSION}") } else { String::new() };
                let message = format!("{api_version} {kind} is not ours and is ignored{hint}");
                self.loaded.notes.push(Note { file: file.to_owned(), line: node.line, message });
            }
        }
    }

    /// The key of an object, even of one with other faults, so that what refers to it is not reported too.
    fn key(node: &Node) -> ObjectKey {
        let metadata = |field| node.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Node::as_str);
        ObjectKey::new(metadata("namespace").unwrap_or(DEFAULT_NAMESPACE), metadata("name").unwrap_or_default())
    }

    /// Notes that an object is declared here. False when it is declared already.
    fn declare(&mut self, file: &Path, node: &Node, kind: Option<ObjectKind>, key: &ObjectKey) -> bool {
        if let Some(earlier) = self.declared.iter().find(|earlier| earlier.kind == kind && earlier.key == *key) {
            let name = kind.map_or_else(|| "Secret".to_owned(), |kind| format!("{kind:?}"));
            let message = format!(
                "{name} {key} is declared already in {}:{}: give one of them another name or remove it",
                earlier.file.display(),
                earlier.node.line
            );
            self.problem(file, node.line_of("metadata.name"), "metadata.name", message, ProblemKind::Duplicate);
            return false;
        }
        self.declared.push(Declared { file: file.to_owned(), node: node.clone(), kind, key: key.clone() });
        true
    }

    fn violations(&mut self, file: &Path, object: Option<&ObjectRef>, violations: Vec<schema::Violation>) {
        self.loaded.problems.extend(violations.into_iter().map(|violation| Problem {
            file: file.to_owned(),
            line: violation.line,
            path: violation.path,
            message: violation.message,
            kind: ProblemKind::Invalid,
            object: object.cloned(),
        }));
    }

    fn secret(&mut self, file: &Path, node: &Node) {
        let key = Self::key(node);
        if !key.name.is_empty() && !self.declare(file, node, None, &key) {
            return;
        }
        let (secret, violations) = secret::read(node, key);
        if violations.is_empty() {
            self.loaded.manifests.secrets.push(secret);
        }
        self.violations(file, None, violations);
    }

    fn object(&mut self, file: &Path, node: &Node, kind: ObjectKind) {
        let key = Self::key(node);
        if !key.name.is_empty() && !self.declare(file, node, Some(kind), &key) {
            return;
        }
        let (value, violations) = Definitions::get().check(kind, node);
        let object = ObjectRef { kind, key };
        if violations.is_empty() {
            let manifests = &mut self.loaded.manifests;
            let result = match kind {
                ObjectKind::Camera => typed(value, &object).map(|camera| manifests.cameras.push(camera)),
                ObjectKind::Stream => typed(value, &object).map(|stream| manifests.streams.push(stream)),
                ObjectKind::Archive => typed(value, &object).map(|archive| manifests.archives.push(archive)),
                ObjectKind::Recording => typed(value, &object).map(|recording| manifests.recordings.push(recording)),
                ObjectKind::AlertRoute => typed(value, &object).map(|route| manifests.alert_routes.push(route)),
            };
            if let Err(error) = result {
                self.invalid(file, node, "", format!("cannot be understood: {error}"));
            }
        }
        self.violations(file, Some(&object), violations);
    }
}

/// The typed object, with its namespace, and with what a cluster would have given it.
fn typed<T: Resource + DeserializeOwned>(value: Value, object: &ObjectRef) -> Result<T, serde_json::Error> {
    let mut value = value;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        // Left over from the cluster that a file was read from; none of it holds here.
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    let mut typed: T = serde_json::from_value(value)?;
    typed.meta_mut().namespace = Some(object.key.namespace.clone());
    typed.meta_mut().uid = Some(stable_uid(object.kind, &object.key));
    Ok(typed)
}
