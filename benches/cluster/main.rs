//! `make bench`: the operator with one camera, with many at once and with nothing to do, on a real API server with simulated
//! nodes, beside a plain client that writes the same objects. Writes `docs/benchmarks/cluster.md`.
//!
//! ```text
//! cargo bench --bench cluster -- [--quick] [--cameras 1000] [--seconds 120] [--output <file>]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a benchmark ends at the first thing that is not as it should be"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod agents;
mod audit;
mod floor;
mod load;
mod report;
mod sight;

use std::fs;
use std::path::PathBuf;

use agents::Agents;
use audit::{Audit, Call};
use camera_operator::operator::kinds::{ChildKind, Watched};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use sight::{Sight, follow};
use support::cluster::{Cluster, Needs, definitions, project};
use support::http::runtime;
use support::operator::{Account, Operator};
use support::wait;

/// Where the cameras are.
pub const NAMESPACE: &str = "cameras";
/// How many objects the operator works on at once, by default; and whoever writes Cameras, and the plain client.
pub const CONCURRENCY: usize = 16;
/// Simulated nodes.
pub const NODES: usize = 40;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many cameras at once.
    pub cameras: usize,
    /// How long the operator is watched while there is nothing to do.
    pub seconds: u64,
    /// How often the times of a single camera are taken.
    pub repeats: usize,
    /// Where the tables go.
    pub output: Option<PathBuf>,
}

/// Where it takes place.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// A client of the cluster's administrator.
    pub client: Client,
    /// What pods and cameras do.
    pub sight: Sight,
    /// What the API server says of the operator.
    pub audit: Audit,
    /// Namespace of the plain client.
    pub floor: String,
    account: Account,
    defaults: tempfile::NamedTempFile,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How.
    pub options: Options,
    /// When, UTC.
    pub date: String,
    /// Of this machine.
    pub processors: usize,
    /// How busy it was before: over one, five and fifteen minutes.
    pub load_before: String,
    /// Cameras one by one.
    pub ones: Vec<load::One>,
    /// The plain client.
    pub floor: floor::Floor,
    /// The operator.
    pub many: load::Many,
    /// The operator with nothing to do.
    pub idle: load::Idle,
    /// Another operator.
    pub takeover: load::Takeover,
}

fn options() -> Option<Options> {
    let mut options =
        Options { cameras: 1000, seconds: 120, repeats: 7, output: Some(project("docs/benchmarks/cluster.md")) };
    let mut called_by_cargo = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => called_by_cargo = true,
            "--quick" => (options.cameras, options.seconds, options.repeats, options.output) = (50, 10, 1, None),
            "--cameras" => options.cameras = value().parse().expect("--cameras <number>"),
            "--seconds" => options.seconds = value().parse().expect("--seconds <number>"),
            "--output" => options.output = Some(value().into()),
            other => panic!("{other} is not known: --quick, --cameras <number>, --seconds <number>, --output <file>"),
        }
    }
    // `cargo test --all-targets` runs benchmarks too, to see that they start.
    called_by_cargo.then_some(options)
}

impl Site {
    /// Starts the cluster and everything beside it but the operator; or says why there can be none.
    fn start() -> Result<Self, String> {
        // Figures of a cluster in which something has happened already would say little.
        Cluster::end("bench");
        let cluster = Cluster::own("bench", Needs::Simulated(NODES))?;
        for file in definitions() {
            cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
        }
        cluster.kubectl(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=30s"]);
        let floor = "plain-client".to_owned();
        cluster.namespace(NAMESPACE);
        cluster.namespace(&floor);
        // What makes HTTP clients also says which cryptography they use.
        let _ = support::http::client();
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let client = runtime().block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.unwrap()).unwrap()
        });
        let (agents, sight) = (Agents::serve()?, Sight::watch(&client));
        follow(&client, Watched::Pod, None, {
            let (agents, sight) = (agents.clone(), sight.clone());
            move |pod, gone| {
                agents.pod(pod, gone);
                sight.pod(pod, gone);
            }
        });
        let plans = Watched::Child(ChildKind::ConfigMap);
        follow(&client, plans, plans.labels().as_deref(), move |plan, gone| agents.config_map(plan, gone));
        let audit = Audit::open(cluster.kubeconfig().with_file_name("logs").join("audit.log"));
        let account = Account::make(&cluster);
        Ok(Self { client, sight, audit, floor, account, defaults: chart_defaults(), cluster })
    }

    /// Starts an operator and waits until it leads and knows of the cluster what agents need to know.
    pub fn operator(&mut self, name: &str) -> Operator {
        self.audit.begin();
        let file = format!("--resources-file={}", self.defaults.path().display());
        let operator = self.account.leader(name, &[&file]);
        let asks = |call: &Call| call.resource == "selfsubjectreviews";
        wait("the operator to know who it is", || self.audit.calls().iter().any(asks).then_some(()));
        operator
    }

    /// Deletes all that the plain client has written.
    fn clear_floor(&self) {
        self.cluster.kubectl(&["delete", "namespace", &self.floor, "--wait=true", "--timeout=300s"]);
        wait("the plain client's pods to go", || (self.sight.pods(&self.floor) == 0).then_some(()));
    }
}

/// What the chart gives to the operator when nobody says otherwise.
fn chart_defaults() -> tempfile::NamedTempFile {
    let rendered = fs::read_to_string(project("tests/chart/golden/default.yaml")).unwrap();
    let documents = rendered.split("\n---\n").filter(|document| document.contains("defaults.yaml: |"));
    let defaults = documents.filter_map(|document| serde_yaml::from_str::<Value>(document).ok()).find_map(|document| {
        let defaults = document["data"]["defaults.yaml"].as_str()?;
        Some(defaults.to_owned())
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), defaults.expect("the chart renders the operator's defaults")).unwrap();
    file
}

fn measure(site: &mut Site, options: &Options) -> Measured {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load_before: Vec<&str> = load.split(' ').take(3).collect();
    let first = site.operator("first");
    eprintln!("one camera, {} times", options.repeats);
    let (ones, template) = load::one_by_one(site, options.repeats);
    first.stop();
    eprintln!("{ones:#?}\na plain client: {} cameras", options.cameras);
    let (client, sight) = (&site.client, &site.sight);
    let floor = floor::write(client, sight, &template, &site.floor, "plain", options.cameras, CONCURRENCY);
    eprintln!("{floor:#?}\ndeleting what it wrote");
    site.clear_floor();
    eprintln!("the operator: {} cameras", options.cameras);
    // A new process: memory at most counts from its start.
    let operator = site.operator("first");
    let many = load::many(site, &operator, options.cameras);
    eprintln!("{many:#?}\nnothing to do, for {} s", options.seconds);
    let idle = load::idle(site, &operator, options.seconds);
    operator.stop();
    eprintln!("{idle:#?}\na new leader");
    let (takeover, operator) = load::takeover(site, options.cameras);
    operator.stop();
    eprintln!("{takeover:#?}");
    Measured {
        options: options.clone(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        load_before: load_before.join(", "),
        ones,
        floor,
        many,
        idle,
        takeover,
    }
}

fn main() {
    let Some(options) = options() else {
        println!("skipped: run it by `cargo bench --bench cluster`");
        return;
    };
    let mut site = match Site::start() {
        Ok(site) => site,
        Err(why) => {
            // The last line says why; the lines before it say what was done until then.
            println!("skipped: cluster: {}", why.lines().last().unwrap_or_default());
            return;
        }
    };
    let text = report::markdown(&measure(&mut site, &options));
    println!("{text}");
    if let Some(path) = &options.output {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        eprintln!("written to {}", path.display());
    }
}
