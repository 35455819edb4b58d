//! The custom resources on a real API server: it takes and refuses what `camera-operator check` takes and refuses, field by
//! field, and stores what was written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use camera_operator::check::{self, ProblemKind};
use serde_json::{Value, json};

use crate::Test;
use crate::support::cluster::{Cluster, definitions, project};
use crate::support::http;

pub const TESTS: &[Test] = &[
    ("definitions_are_stored_as_they_are_written", definitions_are_stored_as_they_are_written),
    ("good_manifests_are_taken", good_manifests_are_taken),
    ("bad_manifests_are_refused_as_check_refuses_them", bad_manifests_are_refused_as_check_refuses_them),
    ("examples_come_back_as_they_were_written", examples_come_back_as_they_were_written),
];

fn install(cluster: &Cluster) {
    for file in definitions() {
        cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    }
    cluster.kubectl(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=30s"]);
}

fn manifests(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&project(folder), &mut files);
    files.sort();
    assert!(!files.is_empty());
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// The documents of a file, as text: what `---` separates, and the comments before the first.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|document| document.lines().any(|line| !line.starts_with('#') && !line.trim().is_empty()));
    documents
}

/// A field of the document's top level or of its `metadata`, read without parsing: a bad manifest need not parse.
fn top_field<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    document.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}

fn plural(document: &str) -> Option<&'static str> {
    match top_field(document, "kind")? {
        "Camera" => Some("cameras"),
        "Stream" => Some("streams"),
        "Archive" => Some("archives"),
        "Recording" => Some("recordings"),
        "AlertRoute" => Some("alertroutes"),
        _ => None,
    }
}

fn namespace(document: &str) -> Option<String> {
    let object: Value = serde_yaml::from_str(document).ok()?;
    Some(object["metadata"]["namespace"].as_str()?.to_owned())
}

/// What the API server says to a document, without keeping it: nothing, or fields and messages.
fn verdict(cluster: &Cluster, api: &str, document: &str) -> Result<Value, Vec<(String, String)>> {
    let plural = plural(document).unwrap();
    let namespace = namespace(document).unwrap_or_else(|| "default".to_owned());
    if namespace != "default" {
        let _ = cluster.try_kubectl(&["create", "namespace", &namespace]);
    }
    let url = format!(
        "{api}/apis/camera-operator.dev/v1alpha1/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict"
    );
    let request = http::client().post(url).header("content-type", "application/yaml").body(document.to_owned());
    let (status, answer) = http::runtime().block_on(async {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    });
    if status == 201 {
        return Ok(answer);
    }
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value, name: &str| cause[name].as_str().unwrap_or_default().to_owned();
    let mut said: Vec<_> = causes.iter().map(|cause| (text(cause, "field"), text(cause, "message"))).collect();
    said.retain(|(_, message)| !message.contains("some validation rules were not checked"));
    for (field, message) in &mut said {
        // A rule about metadata stands at the object's root.
        if field == "<nil>" {
            let named = message.split_whitespace().find(|word| word.starts_with("metadata.")).unwrap_or_default();
            named.clone_into(field);
        }
    }
    if said.is_empty() {
        said.push((decoded_field(&message).unwrap_or_default(), message));
    }
    Err(said)
}

/// The field in a complaint of decoding: `… strict decoding error: unknown field "spec.source.foo"`, `… cannot unmarshal
/// number into Go struct field ObjectMeta.labels of type string`.
fn decoded_field(message: &str) -> Option<String> {
    if let Some(rest) = message.split("field \"").nth(1) {
        return Some(rest.split('"').next()?.to_owned());
    }
    let rest = message.split("field ObjectMeta.").nth(1)?;
    Some(format!("metadata.{}", rest.split_whitespace().next()?))
}

fn definitions_are_stored_as_they_are_written(cluster: &Cluster) {
    install(cluster);
    for file in definitions() {
        let written: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let name = written["metadata"]["name"].as_str().unwrap();
        let stored = cluster.get("default", &format!("crd/{name}")).unwrap();
        let versions = |definition: &Value| definition["spec"]["versions"].as_array().unwrap().clone();
        for (written, stored) in versions(&written).iter().zip(versions(&stored)) {
            assert_eq!(written["schema"], stored["schema"], "{name}: the API server keeps another schema");
            assert_eq!(written["additionalPrinterColumns"], stored["additionalPrinterColumns"], "{name}");
            assert_eq!(written["subresources"], stored["subresources"], "{name}");
        }
        let conditions = stored["status"]["conditions"].as_array().unwrap();
        assert!(
            !conditions.iter().any(|condition| condition["type"] == "NonStructuralSchema"),
            "{name}: {conditions:?}"
        );
    }
}

fn good_manifests_are_taken(cluster: &Cluster) {
    install(cluster);
    let proxy = cluster.proxy();
    let mut failures = Vec::new();
    for file in manifests("tests/manifests/good").into_iter().chain(manifests("examples")) {
        for document in documents(&fs::read_to_string(&file).unwrap()) {
            if plural(&document).is_some()
                && let Err(said) = verdict(cluster, &proxy.url, &document)
            {
                failures.push(format!("{}: {said:?}", file.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The value of a leading comment such as `# path: spec`.
fn said<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut comments = text.lines().take_while(|line| line.starts_with('#'));
    comments.find_map(|line| line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(": "))
}

/// What the rules of all definitions say.
fn rule_messages() -> BTreeSet<String> {
    fn collect(schema: &Value, messages: &mut BTreeSet<String>) {
        let rules = schema["x-kubernetes-validations"].as_array();
        messages.extend(rules.into_iter().flatten().filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
        match schema {
            Value::Object(fields) => fields.values().for_each(|field| collect(field, messages)),
            Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
            _ => {}
        }
    }
    let mut messages = BTreeSet::new();
    for file in definitions() {
        let definition: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        collect(&definition, &mut messages);
    }
    messages
}

fn bad_manifests_are_refused_as_check_refuses_them(cluster: &Cluster) {
    install(cluster);
    let rules = rule_messages();
    let proxy = cluster.proxy();
    let mut failures = Vec::new();
    let (mut compared, mut by_rule) = (0, 0);
    for file in manifests("tests/manifests/bad") {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let documents = documents(&text);
        // What is no object of ours, or no object at all, other parts of the server judge.
        let is_ours = |document: &String| {
            plural(document).is_some() && top_field(document, "apiVersion") == Some("camera-operator.dev/v1alpha1")
        };
        if !documents.iter().all(is_ours) {
            continue;
        }
        let loaded = check::load(std::slice::from_ref(&file));
        let is_beyond = said(&text, "beyond").is_some();
        let of_server = |problem: &&check::Problem| !is_beyond || problem.kind == ProblemKind::Invalid;
        let ours: BTreeSet<String> =
            loaded.problems.iter().filter(of_server).map(|problem| problem.path.clone()).collect();
        let answers: Vec<(String, String)> =
            documents.iter().filter_map(|document| verdict(cluster, &proxy.url, document).err()).flatten().collect();
        let theirs: BTreeSet<String> = answers.iter().map(|(field, _)| field.clone()).collect();
        compared += 1;
        // The server's decoder names a map where `check` names the key in it.
        let is_same = |(ours, theirs): (&String, &String)| ours == theirs || ours.starts_with(&format!("{theirs}."));
        if ours.len() != theirs.len() || !ours.iter().zip(&theirs).all(is_same) {
            failures.push(format!("{name}: check names {ours:?}, the API server {theirs:?}: {answers:?}"));
            continue;
        }
        let message = said(&text, "message").unwrap();
        // The words of a rule are the server's, too; what the schema says, each says in its own words.
        let of_rule = |problem: &check::Problem| {
            problem.message.contains(message) && rules.iter().any(|rule| rule.ends_with(&problem.message))
        };
        if !loaded.problems.iter().any(of_rule) {
            continue;
        }
        by_rule += 1;
        if !answers.iter().any(|(_, theirs)| theirs.contains(message)) {
            failures.push(format!("{name}: the rule says {message:?}, the API server {answers:?}"));
        }
    }
    assert!(compared > 50 && by_rule > 20, "only {compared} manifests were compared, {by_rule} of them by their rules");
    assert!(failures.is_empty(), "{} of {compared}:\n{}", failures.len(), failures.join("\n"));
}

/// What was written, without nulls: the server drops them where null is not allowed, which is everywhere with us.
fn without_nulls(written: &Value) -> Value {
    match written {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// Whether all that was written is there; what the server added is its own.
fn holds(stored: &Value, written: &Value) -> bool {
    match (stored, written) {
        (Value::Object(stored), Value::Object(written)) => {
            written.iter().all(|(name, value)| stored.get(name).is_some_and(|stored| holds(stored, value)))
        }
        (Value::Array(stored), Value::Array(written)) => {
            stored.len() == written.len() && stored.iter().zip(written).all(|(stored, written)| holds(stored, written))
        }
        _ => stored == written,
    }
}

fn examples_come_back_as_they_were_written(cluster: &Cluster) {
    install(cluster);
    let proxy = cluster.proxy();
    let mut objects = 0;
    for file in manifests("examples").into_iter().chain(manifests("tests/manifests/good")) {
        for document in documents(&fs::read_to_string(&file).unwrap()) {
            let Some(plural) = plural(&document) else { continue };
            let written: Value = serde_yaml::from_str(&document).unwrap();
            let stored = verdict(cluster, &proxy.url, &document).unwrap();
            let place = format!("{}: {} {}", file.display(), plural, written["metadata"]["name"]);
            let spec = without_nulls(&written["spec"]);
            assert!(holds(&stored["spec"], &spec), "{place}: {spec} became {}", stored["spec"]);
            // What the server hands out, the program reads and would write again without a difference.
            let read_and_written = again(plural, &stored).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(read_and_written["spec"], stored["spec"], "{place}");
            objects += 1;
        }
    }
    assert!(objects > 10, "only {objects} objects");
}

fn again(plural: &str, object: &Value) -> Result<Value, serde_json::Error> {
    use camera_operator::api::{AlertRoute, Archive, Camera, Recording, Stream};
    fn through<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
        serde_json::to_value(serde_json::from_value::<T>(object.clone())?)
    }
    match plural {
        "cameras" => through::<Camera>(object),
        "streams" => through::<Stream>(object),
        "archives" => through::<Archive>(object),
        "recordings" => through::<Recording>(object),
        "alertroutes" => through::<AlertRoute>(object),
        _ => Ok(json!({})),
    }
}
