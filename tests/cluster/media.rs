//! What tests of pods make, and what they look at: archives, the files of recordings, live playlists, agents' pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::site::{Forward, Site, wait};
use crate::support::{hls, judge, manifest};

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

/// Every file but the newest, which may be being written, can be decoded from beginning to end.
pub fn assert_whole_files(volume: &Path, namespace: &str, recording: &str) {
    let files = recorded(volume, namespace, recording);
    for file in files.iter().rev().skip(1).filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)) {
        judge::assert_decodes(file);
    }
}
