//! Holds the chart against the program: the operator takes the arguments that the chart gives it, and the chart's defaults for
//! media pods are the program's own. Reads the rendered chart of `tests/chart/golden`.

use std::path::Path;
use std::process::Command;

use camera_operator::alert::own_name;
use camera_operator::operator::build::settings::DefaultResources;
use serde::Deserialize as _;
use serde_json::Value;

/// The objects of a kind in a rendered variant of the chart.
fn rendered(variant: &str, kind: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/golden").join(variant).with_extension("yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|document| Value::deserialize(document).expect("YAML"));
    objects.filter(|object| object["kind"] == kind).collect()
}

#[test]
fn the_operator_takes_the_charts_arguments() {
    for variant in ["default", "everything", "least"] {
        let deployments = rendered(variant, "Deployment");
        let containers = deployments[0]["spec"]["template"]["spec"]["containers"].as_array().expect("containers");
        let arguments = containers[0]["args"].as_array().expect("arguments");
        assert_eq!(arguments[0], "operator");
        // Help is only given when all that stands before it is right.
        let output = Command::new(env!("CARGO_BIN_EXE_camera-operator"))
            .args(arguments.iter().map(|argument| argument.as_str().expect("a text")))
            .arg("--help")
            .output()
            .expect("runs");
        assert!(output.status.success(), "{variant}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_charts_defaults_for_media_pods_are_the_programs() {
    let maps = rendered("default", "ConfigMap");
    let text = maps[0]["data"]["defaults.yaml"].as_str().expect("a file");
    let file: Value = serde_yaml::from_str(text).expect("YAML");
    let resources = DefaultResources::deserialize(&file["resources"]).expect("resources");
    assert_eq!(resources, DefaultResources::default());
}

/// Alerts of the chart that speak of what the operator itself cannot see of its objects' conditions.
const ONLY_PROMETHEUS: [&str; 3] = ["CameraReconnecting", "ObjectsNotReady", "OperatorUnhealthy"];
/// Alerts of routes that need no rule: Prometheus tells of the camera or the recording under another name.
const ONLY_ROUTES: [&str; 4] = ["CredentialRefused", "ReconnectLimitReached", "StreamDown", "RecordingGap"];

#[test]
fn the_charts_alerts_have_the_names_that_routes_know() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/camera-operator/files/alerts.yaml");
    let text = std::fs::read_to_string(file).expect("the rules");
    let rules: Value = serde_yaml::from_str(&text).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let of_chart: std::collections::BTreeSet<&str> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    for name in &of_chart {
        let is_known = own_name(name).is_some();
        assert_ne!(is_known, ONLY_PROMETHEUS.contains(name), "{name}: known to routes: {is_known}");
    }
    let definition = camera_operator::api::crds::all().into_iter().find(|one| one.spec.names.plural == "alertroutes");
    let schema = camera_operator::api::crds::schema(&definition.expect("a definition"));
    let names = &schema["properties"]["spec"]["properties"]["match"]["properties"]["alerts"]["items"];
    let names = names["enum"].as_array().or_else(|| names["oneOf"].as_array()).expect("names");
    for name in names.iter().filter_map(Value::as_str) {
        assert_ne!(of_chart.contains(name), ONLY_ROUTES.contains(&name), "{name}: in the chart or not");
    }
}
