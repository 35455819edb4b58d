//! An upgrade of the chart over an older release: definitions get what is new, and objects stay what they are.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::Test;
use crate::operator::CAMERA;
use crate::site::helm;
use crate::support::cluster::{Cluster, project};
use crate::support::wait;

pub const TESTS: &[Test] =
    &[("an_upgrade_of_the_chart_upgrades_its_definitions", an_upgrade_of_the_chart_upgrades_its_definitions)];

/// What the older release does not know: a field, and a whole kind.
const NEW_FIELD: &str = "stallTimeout";
const NEW_KIND: &str = "alertroutes";

const ROUTE: &str = "
apiVersion: camera-operator.dev/v1alpha1
kind: AlertRoute
metadata: {name: ops}
spec: {receivers: [{name: hook, webhook: {url: \"http://hooks.example.com/\"}}]}
";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// The chart as it was before it had them.
fn older_chart() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&project("charts/camera-operator"), folder.path());
    let definitions = folder.path().join("files/crds");
    fs::remove_file(definitions.join(format!("{NEW_KIND}.yaml"))).unwrap();
    let cameras = definitions.join("cameras.yaml");
    let mut definition: Value = serde_yaml::from_str(&fs::read_to_string(&cameras).unwrap()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let removed = definition.pointer_mut(spec).unwrap().as_object_mut().unwrap().remove(NEW_FIELD);
    assert!(removed.is_some(), "cameras have no {NEW_FIELD}");
    fs::write(cameras, serde_yaml::to_string(&definition).unwrap()).unwrap();
    folder
}

fn an_upgrade_of_the_chart_upgrades_its_definitions(cluster: &Cluster) {
    let namespace = "operator-upgrade";
    // What other tests have applied belongs to no release.
    let kinds =
        ["cameras", "streams", "archives", "recordings", NEW_KIND].map(|kind| format!("{kind}.camera-operator.dev"));
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    cluster.kubectl(&[&["delete", "crd", "--ignore-not-found", "--wait=true"], &kinds[..]].concat());
    cluster.namespace(namespace);
    let install = |chart: &Path| {
        // Nothing here runs pods that could be waited for.
        helm(cluster, &["upgrade", "--install", "cameras", chart.to_str().unwrap(), "--namespace", namespace]);
    };
    let newer = CAMERA.replace("spec: {", &format!("spec: {{{NEW_FIELD}: 20s, "));
    install(older_chart().path());
    wait("the older definitions", || cluster.try_apply(namespace, CAMERA).ok());
    let refusal = cluster.try_apply(namespace, &newer).unwrap_err();
    assert!(refusal.contains(NEW_FIELD), "{refusal}");
    let refusal = cluster.try_apply(namespace, ROUTE).unwrap_err();
    assert!(refusal.contains("AlertRoute"), "{refusal}");
    let before = cluster.get(namespace, "camera/door").unwrap();

    install(&project("charts/camera-operator"));
    wait("the new kind", || cluster.try_apply(namespace, ROUTE).ok());
    let camera = cluster.get(namespace, "camera/door").unwrap();
    assert_eq!((&camera["metadata"]["uid"], &camera["spec"]), (&before["metadata"]["uid"], &before["spec"]));
    wait("the new field", || cluster.try_apply(namespace, &newer).ok());
    let camera = cluster.get(namespace, "camera/door").unwrap();
    assert_eq!(
        (&camera["metadata"]["uid"], &camera["spec"][NEW_FIELD]),
        (&before["metadata"]["uid"], &Value::from("20s"))
    );

    // A release that goes leaves definitions and objects.
    helm(cluster, &["uninstall", "cameras", "--namespace", namespace, "--wait"]);
    assert_eq!(cluster.get(namespace, "camera/door").unwrap()["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(cluster.get(namespace, "alertroute/ops").is_some());
}
