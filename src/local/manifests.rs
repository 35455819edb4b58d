//! The manifests of `run`: which files there are, what each declares, and what each declared when it was last right. Must
//! not apply anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use crate::check::config_map::ConfigMap;
use crate::check::secret::Secret;
use crate::check::{self, ProblemKind, files};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// A larger file is no picture for a slate.
const LARGEST_PICTURE: u64 = 16 << 20;

/// What one file declares.
#[derive(Debug, Clone, PartialEq, Default)]
struct Content {
    objects: Vec<(ObjectRef, Value)>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
}

/// A file as it was read last.
#[derive(Debug)]
struct File {
    text: Result<String, String>,
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
    /// What is wrong between files: references that lead nowhere, objects declared twice.
    between: Vec<String>,
}

/// Everything that is declared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declared {
    /// Our objects.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// ConfigMaps, and files that stand in their place.
    pub config_maps: Vec<ConfigMap>,
    /// What is wrong, each as `file:line: …`.
    pub problems: Vec<String>,
    /// Whether every file could be understood, so that an object that is not declared is really not wanted.
    pub complete: bool,
    /// How many files there are.
    pub files: usize,
}

impl Manifests {
    /// Manifests in `paths`, files and folders; nothing is read yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, files: BTreeMap::new(), between: Vec::new() }
    }

    /// Reads all files. Returns whether anything is different from the last time.
    pub fn read(&mut self) -> bool {
        let texts: Vec<_> =
            self.paths.iter().map(|path| (path.clone(), files::read(std::slice::from_ref(path)))).collect();
        let mut found = BTreeSet::new();
        let mut changed = false;
        for (path, texts) in texts {
            if texts.iter().any(|(file, text)| *file == path && text.is_err()) {
                // What a path declared stays in force while the path cannot be read.
                found.extend(self.files.keys().filter(|file| file.starts_with(&path)).cloned());
            }
            for (file, text) in texts {
                found.insert(file.clone());
                changed |= self.update(file, text);
            }
        }
        let known = self.files.len();
        self.files.retain(|path, _| found.contains(path));
        changed |= self.files.len() != known;
        if changed {
            self.between = self.problems_between();
        }
        changed
    }

    fn update(&mut self, path: PathBuf, text: Result<String, String>) -> bool {
        if self.files.get(&path).is_some_and(|file| file.text == text) {
            return false;
        }
        let parsed = match &text {
            Ok(text) => parse(&path, text),
            Err(problem) => Err(vec![format!("{}: {problem}", path.display())]),
        };
        let file = match parsed {
            Ok(content) => File { text, good: Some(content), problems: Vec::new() },
            Err(problems) => {
                let good = self.files.get_mut(&path).and_then(|file| file.good.take());
                File { text, good, problems }
            }
        };
        self.files.insert(path, file);
        true
    }

    /// What `check` finds wrong between files. Only once each is right by itself: what is missing may stand in a broken one.
    fn problems_between(&self) -> Vec<String> {
        if self.files.values().any(|file| !file.problems.is_empty()) {
            return Vec::new();
        }
        check::load(&self.paths).problems.iter().map(ToString::to_string).collect()
    }

    /// What is declared, every file as it was when it was last right.
    pub fn declared(&self) -> Declared {
        let mut declared = Declared { files: self.files.len(), complete: true, ..Declared::default() };
        for (path, file) in &self.files {
            for problem in &file.problems {
                let kept = if file.good.is_some() { " (what was declared there before stays in force)" } else { "" };
                declared.problems.push(format!("{problem}{kept}"));
                declared.complete = false;
            }
            let content = file.good.clone().unwrap_or_default();
            for (reference, object) in content.objects {
                declared.config_maps.extend(picture_beside(path, &reference, &object));
                // The first declaration counts; `problems_between` tells of the second.
                declared.objects.entry(reference).or_insert(object);
            }
            declared.secrets.extend(content.secrets);
            // Those that are declared stand before files of the same name.
            declared.config_maps.splice(0..0, content.config_maps);
        }
        declared.problems.extend(self.between.iter().cloned());
        declared
    }
}

/// The file beside a Stream's manifest that is called like the key of its picture, as the ConfigMap that it stands for.
fn picture_beside(manifest: &Path, reference: &ObjectRef, object: &Value) -> Option<ConfigMap> {
    let wanted = &object["spec"]["fallback"]["image"]["configMapRef"];
    let (name, key) = (wanted["name"].as_str()?, wanted["key"].as_str()?);
    // A key is one component of a path.
    let file = manifest.with_file_name(Some(key).filter(|key| !key.starts_with(".."))?);
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let value = (size <= LARGEST_PICTURE).then(|| std::fs::read(&file).ok()).flatten()?;
    Some(ConfigMap::of_file(ObjectKey::new(reference.key.namespace.clone(), name), key, value.into()))
}

/// What a file declares.
///
/// # Errors
/// What is wrong with it, each as `file:line: …`. A file is taken as a whole or not at all, as an edit is meant.
fn parse(path: &Path, text: &str) -> Result<Content, Vec<String>> {
    let loaded = check::load_text(path, text);
    // What one file refers to may stand in another.
    let elsewhere = [ProblemKind::Unresolved, ProblemKind::SecretMissing];
    let own = loaded.problems.iter().filter(|problem| !elsewhere.contains(&problem.kind));
    let mut problems: Vec<_> = own.map(ToString::to_string).collect();
    let mut objects = Vec::new();
    let manifests = loaded.manifests;
    problems.extend(add(&mut objects, ObjectKind::Camera, &manifests.cameras).err());
    problems.extend(add(&mut objects, ObjectKind::Stream, &manifests.streams).err());
    problems.extend(add(&mut objects, ObjectKind::Archive, &manifests.archives).err());
    problems.extend(add(&mut objects, ObjectKind::Recording, &manifests.recordings).err());
    problems.extend(add(&mut objects, ObjectKind::AlertRoute, &manifests.alert_routes).err());
    if problems.is_empty() {
        Ok(Content { objects, secrets: manifests.secrets, config_maps: manifests.config_maps })
    } else {
        Err(problems)
    }
}

fn add<T: Resource + Serialize>(
    objects: &mut Vec<(ObjectRef, Value)>,
    kind: ObjectKind,
    typed: &[T],
) -> Result<(), String> {
    for object in typed {
        let reference = ObjectRef { kind, key: check::key(object) };
        let value = serde_json::to_value(object).map_err(|error| format!("{reference}: {error}"))?;
        objects.push((reference, value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &str =
        "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: NAME}\nspec: {source: {test: {}}}\n";
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
    fn what_one_file_refers_to_may_stand_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let stream = "apiVersion: camera-operator.dev/v1alpha1\nkind: Stream\nmetadata: {name: live}\n\
            spec: {cameraRef: {name: door}, output: {hls: {}}}\n";
        std::fs::write(folder.path().join("a.yaml"), stream).unwrap();
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        manifests.read();
        let declared = manifests.declared();
        assert!(declared.complete && declared.objects.len() == 1, "the object waits for its camera");
        assert!(declared.problems[0].contains("a.yaml:4: spec.cameraRef.name"), "{:?}", declared.problems);
        std::fs::write(folder.path().join("b.yaml"), camera("door")).unwrap();
        assert!(manifests.read());
        assert!(manifests.declared().problems.is_empty());
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
        let [problem] = declared.problems.as_slice() else { panic!("{:?}", declared.problems) };
        assert!(problem.contains("b.yaml:3") && problem.contains("a.yaml:1"), "{problem}");
    }
}
