//! The manifests of `run`: which files there are, what each declares, and what each declared when it was last right. Must
//! not apply anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1;
use serde_json::Value;

use super::secrets::{self, Values};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// What one file declares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    /// Our objects, and the line where each begins.
    pub objects: Vec<(ObjectRef, Value, usize)>,
    /// Secrets, and the line where each begins.
    pub secrets: Vec<(ObjectKey, Values, usize)>,
}

/// A file as it was read last.
#[derive(Debug)]
struct File {
    text: Result<Vec<u8>, String>,
    /// What it declared when it was last right.
    good: Option<Content>,
    /// What is wrong with it now, each as `file:line: …`.
    problems: Vec<String>,
}

/// All files.
#[derive(Debug)]
pub struct Manifests {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// What is wrong with the paths themselves.
    problems: Vec<String>,
}

/// Everything that is declared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declared {
    /// Our objects.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// Secrets.
    pub secrets: BTreeMap<ObjectKey, Values>,
    /// What is wrong, each as `file:line: …`.
    pub problems: Vec<String>,
    /// Whether every file is right, so that an object that is not declared is really not wanted.
    pub complete: bool,
    /// How many files there are.
    pub files: usize,
}

impl Manifests {
    /// Manifests in `paths`, files and folders; nothing is read yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, files: BTreeMap::new(), problems: Vec::new() }
    }

    /// Reads all files. Returns whether anything is different from the last time.
    pub fn read(&mut self) -> bool {
        let mut problems = Vec::new();
        let mut found = BTreeSet::new();
        for path in &self.paths {
            match files(path) {
                Ok(files) => found.extend(files),
                Err(problem) => {
                    // What a path declared stays in force while the path cannot be read.
                    found.extend(self.files.keys().filter(|file| file.starts_with(path)).cloned());
                    problems.push(problem);
                }
            }
        }
        let mut changed = problems != self.problems;
        self.problems = problems;
        let known = self.files.len();
        self.files.retain(|path, _| found.contains(path));
        changed |= self.files.len() != known;
        for path in found {
            changed |= self.read_file(path);
        }
        changed
    }

    fn read_file(&mut self, path: PathBuf) -> bool {
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
        let known = self.files.get_mut(&path);
        if known.as_ref().is_some_and(|file| file.text == text) {
            return false;
        }
        let parsed = match &text {
            Ok(text) => parse(&path, text),
            Err(problem) => Err(vec![problem.clone()]),
        };
        let good = known.and_then(|file| file.good.take());
        let file = match parsed {
            Ok(content) => File { text, good: Some(content), problems: Vec::new() },
            Err(problems) => File { text, good, problems },
        };
        self.files.insert(path, file);
        true
    }

    /// What is declared, every file as it was when it was last right.
    pub fn declared(&self) -> Declared {
        let mut declared = Declared { problems: self.problems.clone(), files: self.files.len(), ..Declared::default() };
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        for (path, file) in &self.files {
            for problem in &file.problems {
                let kept = if file.good.is_some() { " (what this file declared before stays in force)" } else { "" };
                declared.problems.push(format!("{problem}{kept}"));
            }
            let content = file.good.clone().unwrap_or_default();
            for (reference, object, line) in content.objects {
                if first_declaration(&mut places, &mut declared.problems, reference.to_string(), path, line) {
                    declared.objects.insert(reference, object);
                }
            }
            for (key, values, line) in content.secrets {
                if first_declaration(&mut places, &mut declared.problems, format!("Secret {key}"), path, line) {
                    declared.secrets.insert(key, values);
                }
            }
        }
        declared.complete = declared.problems.is_empty();
        declared
    }
}

/// Whether an object is declared for the first time; the second place is told.
fn first_declaration(
    places: &mut BTreeMap<String, String>,
    problems: &mut Vec<String>,
    what: String,
    path: &Path,
    line: usize,
) -> bool {
    let place = format!("{}:{line}", path.display());
    if let Some(first) = places.get(&what) {
        problems.push(format!("{place}: {what} is declared at {first} already, which is what counts; delete one of them"));
        return false;
    }
    places.insert(what, place);
    true
}

/// The manifest files of a path: the file itself, or the folder's own `.yaml`, `.yml` and `.json` files, as `kubectl` takes
/// them.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return if path.exists() { Ok(vec![path.to_owned()]) } else { Err(format!("{}: no such file or folder", path.display())) };
    }
    let cannot_read = |error| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot_read)? {
        let file = entry.map_err(cannot_read)?.path();
        let is_manifest = file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        // Editors' and Kubernetes' own files begin with a dot.
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_manifest && !is_hidden && file.is_file() {
            files.push(file);
        }
    }
    Ok(files)
}

/// What a file declares.
///
/// # Errors
/// What is wrong with it, each as `file:line: …`.
fn parse(path: &Path, text: &[u8]) -> Result<Content, Vec<String>> {
    use serde::Deserialize as _;
    let mut content = Content::default();
    let wrong = |error: &dyn std::fmt::Display| vec![format!("{}:1: {error}", path.display())];
    let text = std::str::from_utf8(text).map_err(|error| wrong(&error))?;
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| wrong(&error))?;
        let Some(name) = value["metadata"]["name"].as_str() else { continue };
        let key = ObjectKey::new(value["metadata"]["namespace"].as_str().unwrap_or("default"), name);
        let kind = match value["kind"].as_str() {
            Some("Camera") => ObjectKind::Camera,
            Some("Stream") => ObjectKind::Stream,
            Some("Archive") => ObjectKind::Archive,
            Some("Recording") => ObjectKind::Recording,
            Some("Secret") => {
                let secret: v1::Secret = serde_json::from_value(value).map_err(|error| wrong(&error))?;
                content.secrets.push((key, secrets::values(secret), 1));
                continue;
            }
            other => return Err(wrong(&format!("unknown kind {other:?}"))),
        };
        content.objects.push((ObjectRef { kind, key }, value, 1));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &str = "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: NAME}\nspec: {source: {test: {}}}\n";
    const BROKEN: &str = "apiVersion: [\n";

    fn camera(name: &str) -> String {
        CAMERA.replace("NAME", name)
    }

    fn names(manifests: &Manifests) -> Vec<String> {
        manifests.declared().objects.keys().map(|reference| reference.key.name.clone()).collect()
    }

    #[test]
    fn a_broken_edit_keeps_what_the_file_declared_before_and_says_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first.yaml"), folder.path().join("second.yml"));
        std::fs::write(&first, camera("door")).unwrap();
        std::fs::write(&second, camera("yard")).unwrap();
        std::fs::write(folder.path().join(".first.yaml.swp"), BROKEN).unwrap();
        std::fs::write(folder.path().join("notes.txt"), BROKEN).unwrap();
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        assert!(manifests.read());
        assert!(!manifests.read(), "nothing changed");
        assert_eq!(names(&manifests), ["door", "yard"]);
        assert!(manifests.declared().complete);

        std::fs::write(&first, BROKEN).unwrap();
        std::fs::write(&second, camera("gate")).unwrap();
        assert!(manifests.read());
        assert_eq!(names(&manifests), ["door", "gate"], "the other file's edit counts");
        let declared = manifests.declared();
        assert!(!declared.complete);
        let [problem] = declared.problems.as_slice() else { panic!("{:?}", declared.problems) };
        assert!(problem.starts_with(&format!("{}:", first.display())), "{problem}");
        let line = problem[first.display().to_string().len() + 1..].split(':').next().unwrap();
        assert!(line.parse::<u32>().is_ok(), "{problem}");

        std::fs::write(&first, camera("hall")).unwrap();
        assert!(manifests.read());
        assert_eq!(names(&manifests), ["gate", "hall"]);
        std::fs::remove_file(&first).unwrap();
        assert!(manifests.read());
        assert_eq!(names(&manifests), ["gate"], "a deleted file of a folder declares nothing");
    }

    #[test]
    fn what_a_path_declared_stays_while_the_path_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.yaml");
        std::fs::write(&path, camera("door")).unwrap();
        let mut manifests = Manifests::new(vec![path.clone()]);
        manifests.read();
        std::fs::remove_file(&path).unwrap();
        assert!(manifests.read());
        assert_eq!(names(&manifests), ["door"]);
        assert!(!manifests.declared().problems.is_empty());
        std::fs::write(&path, camera("door")).unwrap();
        assert!(manifests.read());
        assert!(manifests.declared().problems.is_empty());
    }

    #[test]
    fn an_object_that_is_declared_twice_counts_where_it_stands_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), camera("door")).unwrap();
        std::fs::write(folder.path().join("b.yaml"), camera("door")).unwrap();
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        manifests.read();
        let declared = manifests.declared();
        assert_eq!(declared.objects.len(), 1);
        assert!(declared.problems[0].contains("b.yaml:1") && declared.problems[0].contains("a.yaml:1"), "{:?}", declared.problems);
    }
}
