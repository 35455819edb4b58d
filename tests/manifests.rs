//! Holds `check` against the corpus of `tests/manifests`: what must be taken is taken, what must be refused is refused at
//! the right place and with the right advice.

use std::path::{Path, PathBuf};

use camera_operator::check;

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The value of a leading comment such as `# path: spec`.
fn said<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut comments = text.lines().take_while(|line| line.starts_with('#'));
    comments.find_map(|line| line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(": "))
}

fn examples() -> Vec<PathBuf> {
    corpus("../../examples")
}

#[test]
fn good_manifests_are_taken() {
    for file in corpus("good").into_iter().chain(examples()) {
        let loaded = check::load(std::slice::from_ref(&file));
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        let documents = std::fs::read_to_string(&file).unwrap_or_default().matches("\nkind: ").count();
        let manifests = &loaded.manifests;
        let objects = manifests.cameras.len()
            + manifests.streams.len()
            + manifests.archives.len()
            + manifests.recordings.len()
            + manifests.alert_routes.len()
            + manifests.secrets.len()
            + loaded.manifests.config_maps.len()
            + loaded.notes.len();
        assert!(objects >= documents, "{}: {objects} of {documents} documents", file.display());
    }
}

#[test]
fn bad_manifests_are_refused_where_and_how_they_say() {
    let mut failures = Vec::new();
    for file in corpus("bad") {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let (Some(path), Some(message)) = (said(&text, "path"), said(&text, "message")) else {
            failures.push(format!("{}: no leading comments", file.display()));
            continue;
        };
        let path = if path == "-" { "" } else { path };
        let loaded = check::load(std::slice::from_ref(&file));
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let expected = |problem: &&check::Problem| problem.path == path && problem.message.contains(message);
        let Some(problem) = loaded.problems.iter().find(expected) else {
            failures.push(format!("{}: wanted {path}: …{message}…, got\n  {}", file.display(), problems.join("\n  ")));
            continue;
        };
        if loaded.problems.len() != 1 {
            failures.push(format!("{}: more than one problem:\n  {}", file.display(), problems.join("\n  ")));
        }
        let last = path.rsplit('.').next().unwrap_or_default();
        let (name, is_item) = last.split_once('[').map_or((last, false), |(list, _)| (list, true));
        let line = text.lines().nth(problem.line.saturating_sub(1)).unwrap_or_default();
        // An item of a list stands where its dash is, or in the line of a list that is written in one.
        let is_dashed = is_item && line.trim_start().starts_with("- ");
        let stands_there = line.contains(name) || is_dashed || problem.message.starts_with("is required");
        if !stands_there {
            failures.push(format!("{}: line {} does not hold {last}: {line:?}", file.display(), problem.line));
        }
        let is_beyond = said(&text, "beyond").is_some();
        let is_invalid = matches!(problem.kind, check::ProblemKind::Invalid | check::ProblemKind::Syntax);
        if is_beyond == is_invalid {
            failures.push(format!("{}: is it beyond an API server or not? {:?}", file.display(), problem.kind));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_bad_document_hides_no_good_one() {
    let text = "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: a}\nspec: {source: {test: {}}}\n---\n\
                : [\n---\napiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: b}\nspec: {source: {}}\n---\n\
                apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: c}\nspec: {source: {test: {}}}\n---\n\
                apiVersion: camera-operator.dev/v1alpha1\nkind: Stream\nmetadata: {name: b}\n\
                spec: {cameraRef: {name: b}, output: {hls: {}}}\n";
    let loaded = check::load_text("mixed.yaml", text);
    let names: Vec<_> = loaded.manifests.cameras.iter().filter_map(|camera| camera.metadata.name.as_deref()).collect();
    assert_eq!(names, ["a", "c"]);
    // The stream's camera is there, if broken: that is said once.
    assert_eq!(loaded.problems.len(), 2, "{:?}", loaded.problems);
    assert_eq!(loaded.manifests.streams.len(), 1);
}

#[test]
fn secrets_are_never_printed() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, nam: b}\nstringData: {password: hunter22, 'bad key': hunter22}\n\
                data: {other: hunter22!}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\nstringData: {password: hunter22}\n";
    let loaded = check::load_text("secret.yaml", text);
    assert!(!format!("{loaded:?}").contains("hunter22"));
    assert_eq!(loaded.manifests.secrets.len(), 1);
    assert_eq!(loaded.manifests.secrets[0].get("password"), Some("hunter22"));
}
