//! What tests of pods make, and what they look at: archives, the files of recordings, live playlists, agents' pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use camera_operator::plan::report::Report;
use camera_operator::plan::unit::{ObjectKind, ObjectRef, Plan};
use serde_json::Value;

use crate::site::{Forward, OPERATOR, Site, wait};
use crate::support::cluster::Cluster;
use crate::support::{hls, http, judge, manifest};

/// An archive on the site's volume. Its retention runs when a test wants it, not because the test runs at 03:00.
pub fn archive(name: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {{name: {name}}}\n\
         spec: {{claim: {{size: 1Gi, storageClassName: test-local}}, retention: {{schedule: '0 0 29 2 *'}}}}\n"
    )
}

/// A Secret, a camera with its password, an HLS stream `<name>-live`, and a recording `<name>-rec` into the archive `default`.
pub fn everything(name: &str, url: &str, password: &str) -> String {
    let secret = manifest::credentials(name, "viewer", password);
    let camera = manifest::camera_with(name, url, &format!("credentialsSecretRef: {{name: {name}}}"));
    let stream = manifest::hls(&format!("{name}-live"), name, "");
    secret + &camera + &stream + &manifest::recording(&format!("{name}-rec"), name)
}

/// All recorded files of a recording, the oldest first.
pub fn recorded(volume: &Path, namespace: &str, recording: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![volume.join(namespace).join(recording)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "mp4") {
                files.push(path);
            }
        }
    }
    files.sort_by_key(|file| begun(file));
    files
}

/// When a file was begun, as its name says: `…/<date>/<hour>/<minute>[-<counter>].mp4`.
fn begun(file: &Path) -> (PathBuf, u32, u32) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let (minute, counter) = stem.split_once('-').unwrap_or((&stem, "0"));
    (file.parent().unwrap_or(file).to_owned(), minute.parse().unwrap_or(0), counter.parse().unwrap_or(0))
}

pub fn bytes_of(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// The live playlist of a stream through a Service: it is there and goes on.
pub fn await_live(forward: &Forward, namespace: &str, stream: &str) -> String {
    let url = format!("{}/live/{namespace}/{stream}/index.m3u8", forward.url);
    wait("a live playlist", || hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() > 1));
    url
}

pub fn await_more(volume: &Path, namespace: &str, recording: &str) {
    let before = bytes_of(&recorded(volume, namespace, recording));
    wait("the recording to grow", || (bytes_of(&recorded(volume, namespace, recording)) > before).then_some(()));
}

/// All agents' pods of a namespace as name → (uid, restarts).
pub fn agents(site: &Site) -> BTreeMap<String, (String, u64)> {
    let mut all = BTreeMap::new();
    let kinds = [("camera", "cameras"), ("stream", "streams"), ("archive", "archives")];
    for (component, kind) in kinds {
        for object in site.cluster.list(&site.namespace, kind, "") {
            for (name, uid, restarts) in site.pods(component, object["metadata"]["name"].as_str().unwrap()) {
                all.insert(name, (uid, restarts));
            }
        }
    }
    all
}

/// The operator's own token, with which it asks agents.
pub fn agent_token(cluster: &Cluster) -> String {
    let audience = ["--audience=camera-operator.dev/agent", "--duration=2h"];
    let account = ["create", "token", "camera-operator", "--namespace", OPERATOR];
    cluster.kubectl(&[&account[..], &audience].concat()).trim().to_owned()
}

const OURS: &str = "app.kubernetes.io/managed-by=camera-operator";

/// The one pod of a Deployment, as soon as it is ready.
fn pod_of<'a>(deployment: &Value, pods: &'a [Value]) -> Option<&'a Value> {
    let labels = deployment["spec"]["selector"]["matchLabels"].as_object()?;
    let is_of = |pod: &&Value| labels.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value);
    let mut its = pods.iter().filter(is_of);
    let pod = its.next()?;
    its.next().is_none().then_some(())?;
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
    Some(pod)
}

/// The plan of an agent and what its pod reports, as soon as that is of this plan.
fn report_of(site: &Site, token: &str, agent: &str, pod: &Value) -> Option<(Plan, Report)> {
    let plan = site.get(&format!("configmap/{agent}"))?;
    let plan: Plan = serde_json::from_str(plan["data"]["plan.json"].as_str()?).unwrap();
    let url = format!("http://{}:9090/v1/report", pod["status"]["podIP"].as_str()?);
    let answer = http::request("GET", &url, &[("authorization", &format!("Bearer {token}"))]).ok()?;
    (answer.status == 200).then_some(())?;
    let report: Report = serde_json::from_value(answer.json()).unwrap();
    (report.plan_hash == plan.hash()).then_some((plan, report))
}

/// A pod as its uid and restarts, by the name of its agent; `None` while some agent has no pod, or several, or does not run
/// its plan yet.
pub fn settled(site: &Site, token: &str) -> Option<BTreeMap<String, (String, u64)>> {
    let pods = site.cluster.list(&site.namespace, "pods", OURS);
    let mut settled = BTreeMap::new();
    for deployment in site.cluster.list(&site.namespace, "deployments", OURS) {
        let name = deployment["metadata"]["name"].as_str()?;
        if deployment["spec"]["replicas"] == 0 {
            let labels = deployment["spec"]["selector"]["matchLabels"].as_object()?;
            let is_of = |pod: &Value| labels.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value);
            (!pods.iter().any(is_of)).then_some(())?;
            continue;
        }
        let pod = pod_of(&deployment, &pods)?;
        report_of(site, token, name, pod)?;
        let uid = pod["metadata"]["uid"].as_str()?.to_owned();
        settled.insert(name.to_owned(), (uid, pod["status"]["containerStatuses"][0]["restartCount"].as_u64()?));
    }
    Some(settled)
}

/// Suspends a recording into the archive `default`, and waits until its last file is closed. The condition alone does not say so: it
/// is told from the spec, while the recorder goes on until the plan has come to it.
pub fn suspend(site: &Site, recording: &str) {
    let token = agent_token(site.cluster);
    site.kubectl(&["patch", "recording", recording, "--type=merge", "--patch", r#"{"spec":{"suspend":true}}"#]);
    let object = format!("recording/{recording}");
    wait("its reason", || site.condition(&object, "Ready").filter(|(_, reason, _)| reason == "Suspended"));
    let is_it = |object: &ObjectRef| object.kind == ObjectKind::Recording && object.key.name == recording;
    wait("the recorder to have closed its file", || {
        let deployment = site.get("deployment/default-archive")?;
        let pods = site.cluster.list(&site.namespace, "pods", OURS);
        let (plan, report) = report_of(site, &token, "default-archive", pod_of(&deployment, &pods)?)?;
        // A plan's hash is told as soon as it is carried out; a unit goes out of the report when it has ended.
        let is_over =
            !plan.units.iter().any(|unit| is_it(&unit.object)) && !report.units.iter().any(|unit| is_it(&unit.object));
        is_over.then_some(())
    });
}

/// Every file but the newest, which may be being written, can be decoded from beginning to end.
pub fn assert_whole_files(volume: &Path, namespace: &str, recording: &str) {
    let files = recorded(volume, namespace, recording);
    for file in files.iter().rev().skip(1).filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)) {
        judge::assert_decodes(file);
    }
}
