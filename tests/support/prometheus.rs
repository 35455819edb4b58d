//! Prometheus and Alertmanager as Debian packages them, with the chart's own rules and the receiver of the project's own example.
//! Time may go faster for them: see [`Pace`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::cluster::{Cluster, project};
use super::{PATIENCE, chart, free_port, http, poll, process};

/// The variable that says how many times shorter every span of time in rules and routes is made; 1 is as people have it.
const VARIABLE: &str = "CAMERA_OPERATOR_TEST_PACE";
/// What it is where it is not set: the rule of a camera that is down looks back for 3 min and then waits for 2 min.
const DEFAULT: u64 = 12;

/// How many times faster time goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace(u64);

impl Pace {
    /// As people have it.
    pub const REAL: Self = Self(1);

    /// As the environment says.
    pub fn of_environment() -> Self {
        let said = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).filter(|pace| *pace > 0);
        Self(said.unwrap_or(DEFAULT))
    }

    /// How long something may take that takes rules and routes up to a quarter of an hour.
    fn patience(self) -> Duration {
        PATIENCE + Duration::from_mins(15) / u32::try_from(self.0).unwrap()
    }

    /// One span, such as `3m`.
    fn span(self, text: &str) -> String {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let milliseconds = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => panic!("{text} is no span of time"),
        };
        format!("{}ms", number.parse::<u64>().unwrap() * milliseconds / self.0)
    }

    /// Every span of rules or of a route, where spans stand; labels that look like spans stay as they are.
    fn shorten(self, value: &mut Value) {
        let range = Regex::new(r"\[([0-9]+[smhd])\]").unwrap();
        match value {
            Value::Array(all) => all.iter_mut().for_each(|one| self.shorten(one)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("for" | "interval" | "groupWait" | "groupInterval" | "repeatInterval", Some(text)) => {
                            *value = self.span(text).into();
                        }
                        ("expr", Some(text)) => {
                            let short = |found: &Captures<'_>| format!("[{}]", self.span(&found[1]));
                            *value = range.replace_all(text, short).into_owned().into();
                        }
                        ("labels" | "annotations", _) => {}
                        _ => self.shorten(value),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Both of them, running.
pub struct Monitoring {
    pace: Pace,
    prometheus: Child,
    alertmanager: Child,
    /// Where Prometheus is.
    url: String,
    /// Where Alertmanager is.
    pub alertmanager_url: String,
    folder: TempDir,
}

/// `prometheus`, `prometheus-alertmanager` and helm, or what is missing.
fn programs() -> Result<(PathBuf, PathBuf), &'static str> {
    chart::helm().ok_or("helm (scripts/install.sh chart)")?;
    let prometheus = chart::in_path("prometheus").ok_or("Prometheus (Debian: prometheus)")?;
    let alertmanager =
        chart::in_path("prometheus-alertmanager").ok_or("Alertmanager (Debian: prometheus-alertmanager)")?;
    Ok((prometheus, alertmanager))
}

/// Whether both can be had; says so where not.
pub fn is_installed() -> bool {
    let missing = programs().err();
    if let Some(missing) = missing {
        eprintln!("SKIPPED: alerts by way of Prometheus, because {missing} is not installed");
    }
    missing.is_none()
}

/// The configuration that the Prometheus Operator makes of the `AlertmanagerConfig` of `examples/prometheus`, but for the namespace that it
/// adds: the same receiver for each of these webhooks, with their token.
fn alertmanager_configuration(pace: Pace, webhooks: &[String], token: &str) -> Value {
    let text = fs::read_to_string(project("examples/prometheus/alertmanager.yaml")).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let mut documents = documents.map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
    let mut config = documents.find(|document| document["kind"] == "AlertmanagerConfig").unwrap()["spec"].take();
    pace.shorten(&mut config);
    let (route, receiver) = (&config["route"], &config["receivers"][0]);
    let hook = &receiver["webhookConfigs"][0];
    let matchers = route["matchers"].as_array().unwrap().iter().map(|one| {
        let text = |field: &str| one[field].as_str().unwrap();
        format!("{}{}\"{}\"", text("name"), text("matchType"), text("value"))
    });
    let hooks = webhooks.iter().map(|url| {
        let kind = &hook["httpConfig"]["authorization"]["type"];
        let authorization = json!({"type": kind, "credentials": token});
        json!({"url": url, "send_resolved": hook["sendResolved"], "http_config": {"authorization": authorization}})
    });
    json!({
        "route": {
            "receiver": "nobody",
            "routes": [{
                "receiver": route["receiver"], "group_by": route["groupBy"], "group_wait": route["groupWait"],
                "group_interval": route["groupInterval"], "repeat_interval": route["repeatInterval"],
                "matchers": matchers.collect::<Vec<_>>(),
            }],
        },
        "receivers": [{"name": "nobody"}, {"name": receiver["name"], "webhook_configs": hooks.collect::<Vec<_>>()}],
    })
}

/// The labels of an object as Prometheus' discovery in Kubernetes writes them.
fn labels_of(kind: &str, object: &Value) -> Map<String, Value> {
    let labels = object["metadata"]["labels"].as_object();
    let name = |name: &String| format!("__meta_kubernetes_{kind}_label_{}", name.replace(['.', '/', '-'], "_"));
    labels.into_iter().flatten().map(|(label, value)| (name(label), value.clone())).collect()
}

/// Everything of a kind, wherever it is.
fn everywhere(cluster: &Cluster, kind: &str) -> Vec<Value> {
    let all = cluster.kubectl(&["get", kind, "--all-namespaces", "--output", "json"]);
    serde_json::from_str::<Value>(&all).unwrap()["items"].as_array().unwrap().clone()
}

fn target(address: &Value, port: &Value, namespace: &Value, more: Map<String, Value>) -> Value {
    let mut labels = more;
    labels.insert("__meta_kubernetes_namespace".into(), namespace.clone());
    json!({"targets": [format!("{}:{port}", address.as_str().unwrap())], "labels": labels})
}

/// The targets of `role: pod`. Debian's Prometheus is built without the discovery, so that this looks for it, once.
fn pods(cluster: &Cluster) -> Vec<Value> {
    let mut targets = Vec::new();
    for pod in everywhere(cluster, "pods") {
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let ports = containers.iter().flat_map(|one| one["ports"].as_array().into_iter().flatten());
        for port in ports.filter(|_| pod["status"]["podIP"].is_string()) {
            let mut labels = labels_of("pod", &pod);
            labels.insert("__meta_kubernetes_pod_name".into(), pod["metadata"]["name"].clone());
            labels.insert("__meta_kubernetes_pod_container_port_name".into(), port["name"].clone());
            targets.push(target(
                &pod["status"]["podIP"],
                &port["containerPort"],
                &pod["metadata"]["namespace"],
                labels,
            ));
        }
    }
    targets
}

/// The same of `role: endpoints`.
fn endpoints(cluster: &Cluster) -> Vec<Value> {
    let services = everywhere(cluster, "services");
    let mut targets = Vec::new();
    for endpoints in everywhere(cluster, "endpoints") {
        let is_of = |service: &&Value| {
            ["name", "namespace"].iter().all(|field| service["metadata"][field] == endpoints["metadata"][field])
        };
        let Some(service) = services.iter().find(is_of) else { continue };
        for subset in endpoints["subsets"].as_array().into_iter().flatten() {
            let addresses = ["addresses", "notReadyAddresses"].map(|field| subset[field].as_array());
            for address in addresses.into_iter().flatten().flatten() {
                for port in subset["ports"].as_array().into_iter().flatten() {
                    let mut labels = labels_of("service", service);
                    labels.insert("__meta_kubernetes_endpoint_port_name".into(), port["name"].clone());
                    if address["targetRef"]["kind"] == "Pod" {
                        labels.insert("__meta_kubernetes_pod_name".into(), address["targetRef"]["name"].clone());
                    }
                    targets.push(target(&address["ip"], &port["port"], &service["metadata"]["namespace"], labels));
                }
            }
        }
    }
    targets.retain(|target| target["labels"]["__meta_kubernetes_endpoint_port_name"].is_string());
    targets
}

/// The scrape configuration that the Prometheus Operator makes of a `ServiceMonitor` or a `PodMonitor`.
fn scrape_of(cluster: &Cluster, monitor: &Value, pace: Pace) -> Value {
    let is_of_pods = monitor["kind"] == "PodMonitor";
    let spec = &monitor["spec"];
    let (targets, object, port, endpoint) = if is_of_pods {
        (pods(cluster), "pod", "pod_container_port_name", &spec["podMetricsEndpoints"][0])
    } else {
        (endpoints(cluster), "service", "endpoint_port_name", &spec["endpoints"][0])
    };
    let label = |name: &str| format!("__meta_kubernetes_{object}_label_{}", name.replace(['.', '/', '-'], "_"));
    let keep = |label: String, regex: String| json!({"action": "keep", "source_labels": [label], "regex": regex});
    let mut relabel = Vec::new();
    for (name, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
        relabel.push(keep(label(name), value.as_str().unwrap().to_owned()));
    }
    for one in spec["selector"]["matchExpressions"].as_array().into_iter().flatten() {
        assert_eq!(one["operator"], "In");
        let values: Vec<&str> = one["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        relabel.push(keep(label(one["key"].as_str().unwrap()), values.join("|")));
    }
    relabel.push(keep(format!("__meta_kubernetes_{port}"), endpoint["port"].as_str().unwrap().to_owned()));
    for (from, to) in [("namespace", "namespace"), ("pod_name", "pod")] {
        relabel.push(json!({"source_labels": [format!("__meta_kubernetes_{from}")], "target_label": to}));
    }
    let own = |rules: &Value| {
        let rules = rules.as_array().cloned().unwrap_or_default();
        let snake = |name: &String| match name.as_str() {
            "sourceLabels" => "source_labels".to_owned(),
            "targetLabel" => "target_label".to_owned(),
            other => other.to_owned(),
        };
        let rule = |rule: Value| -> Value {
            rule.as_object().unwrap().iter().map(|(name, value)| (snake(name), value.clone())).collect()
        };
        rules.into_iter().map(rule).collect::<Vec<Value>>()
    };
    relabel.extend(own(&endpoint["relabelings"]));
    let namespaces = spec["namespaceSelector"]["matchNames"].as_array();
    let is_looked_at =
        |target: &Value| namespaces.is_none_or(|all| all.contains(&target["labels"]["__meta_kubernetes_namespace"]));
    let targets: Vec<Value> = targets.into_iter().filter(is_looked_at).collect();
    json!({
        "job_name": monitor["kind"], "honor_labels": endpoint["honorLabels"].as_bool().unwrap_or(false),
        "metrics_path": endpoint["path"].as_str().unwrap_or("/metrics"),
        "scrape_interval": pace.span(endpoint["interval"].as_str().unwrap()), "scrape_timeout": "1s",
        "static_configs": targets, "relabel_configs": relabel, "metric_relabel_configs": own(&endpoint["metricRelabelings"]),
    })
}

/// What the chart's monitors have Prometheus scrape of what is in the cluster now, for a Prometheus beside it.
pub fn scrapes_of_the_chart(cluster: &Cluster, namespace: &str) -> Value {
    let pace = Pace::of_environment();
    chart::monitors(namespace).iter().map(|monitor| scrape_of(cluster, monitor, pace)).collect()
}

fn write(path: &Path, value: &Value) {
    // JSON is YAML.
    fs::write(path, serde_json::to_string_pretty(value).unwrap()).unwrap();
}

impl Monitoring {
    /// Starts both: Prometheus with these `scrape_configs` and the chart's rules, Alertmanager with the receiver of the example for
    /// these webhooks and their token.
    pub fn start(scrapes: &Value, webhooks: &[String], token: &str) -> Self {
        let pace = Pace::of_environment();
        let mut rules = chart::prometheus_rule();
        pace.shorten(&mut rules);
        Self::start_with(pace, scrapes, &rules, &alertmanager_configuration(pace, webhooks, token))
    }

    /// The same with these rules and this configuration of Alertmanager.
    pub fn start_with(pace: Pace, scrapes: &Value, rules: &Value, receivers: &Value) -> Self {
        let (prometheus, alertmanager) = programs().unwrap_or_else(|missing| panic!("{missing} is missing"));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        write(&file("rules.yml"), rules);
        write(&file("alertmanager.yml"), receivers);
        let (port, alertmanager_port) = (free_port(), free_port());
        write(
            &file("prometheus.yml"),
            &json!({
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [file("rules.yml")],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [format!("127.0.0.1:{alertmanager_port}")]}]}]},
                "scrape_configs": scrapes,
            }),
        );
        let start = |program: &Path, arguments: &[String], log: &str| {
            let log = fs::File::create(file(log)).unwrap();
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
        };
        let at = |name: &str, path: &str| format!("--{name}={}", file(path).display());
        let listen = |port: u16| format!("--web.listen-address=127.0.0.1:{port}");
        let alone = "--cluster.listen-address=".to_owned();
        let arguments =
            [at("config.file", "alertmanager.yml"), at("storage.path", "am"), listen(alertmanager_port), alone];
        let alertmanager = start(&alertmanager, &arguments, "alertmanager.log");
        let arguments = [at("config.file", "prometheus.yml"), at("storage.tsdb.path", "tsdb"), listen(port)];
        let prometheus = start(&prometheus, &arguments, "prometheus.log");
        let (url, alertmanager_url) =
            (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{alertmanager_port}"));
        let monitoring = Self { pace, prometheus, alertmanager, url, alertmanager_url, folder };
        for url in [&monitoring.url, &monitoring.alertmanager_url] {
            let ready = || http::get(&format!("{url}/-/ready")).ok().filter(|answer| answer.status == 200).map(drop);
            monitoring.wait("Prometheus and Alertmanager to be ready", ready);
        }
        monitoring
    }

    /// Awaits something that takes rules and routes their time.
    pub fn wait<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        poll(self.pace.patience(), ask).unwrap_or_else(|| {
            let alerts = http::get(&format!("{}/api/v1/alerts", self.url)).map(|answer| answer.text());
            panic!("not within {:?}: {what}\n{alerts:?}\n{}", self.pace.patience(), self.logs())
        })
    }

    fn logs(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("prometheus.log") + &read("alertmanager.log")
    }

    /// The results of an instant query, each its labels and its value.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)]).unwrap();
        let Ok(answer) = http::get(url.as_str()) else { return Vec::new() };
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap();
        results.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    /// Alertmanager's process.
    pub fn alertmanager_pid(&self) -> u32 {
        self.alertmanager.id()
    }

    /// Names of the alerts that fire, as Prometheus sees it.
    pub fn firing(&self) -> Vec<String> {
        let alerts = self.query("ALERTS{alertstate=\"firing\"}");
        alerts.iter().map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// How often Alertmanager has called a webhook, and how often that failed.
    pub fn notifications(&self) -> (u64, u64) {
        let text = http::get(&format!("{}/metrics", self.alertmanager_url)).unwrap().text();
        let value = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name) && line.contains("integration=\"webhook\""));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
        };
        (value("alertmanager_notifications_total{"), value("alertmanager_notifications_failed_total{"))
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        for child in [&mut self.prometheus, &mut self.alertmanager] {
            process::signal(child.id(), "KILL");
            let _ = child.wait();
        }
    }
}
