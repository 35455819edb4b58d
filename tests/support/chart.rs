//! The project's chart as Helm renders it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize as _;
use serde_json::Value;

use super::cluster::project;

/// A version that the chart takes.
const KUBERNETES: &str = "1.34.0";

/// Helm; `None` where it is not installed.
pub fn helm() -> Option<PathBuf> {
    let own = project(".cache/tools/bin/helm");
    if own.exists() { Some(own) } else { in_path("helm") }
}

/// A program that can be called by its name.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.exists())
}

/// What a template of the chart becomes with everything for monitoring switched on, in a namespace.
fn render(template: &str, namespace: &str) -> Vec<Value> {
    let mut command = Command::new(helm().expect("helm (scripts/install.sh chart)"));
    command.args(["template", "camera-operator"]).arg(project("charts/camera-operator"));
    command.args(["--kube-version", KUBERNETES, "--namespace", namespace, "--show-only", template]);
    command.arg("--values").arg(project("tests/chart/rules.yaml"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// The `PrometheusRule` that the chart makes, its `spec`: what the Prometheus Operator gives to Prometheus as a rule file.
pub fn prometheus_rule() -> Value {
    render("templates/prometheusrule.yaml", "camera-operator").remove(0)["spec"].take()
}

/// The `ServiceMonitor` and the `PodMonitor` that it makes.
pub fn monitors(namespace: &str) -> Vec<Value> {
    render("templates/monitors.yaml", namespace)
}
