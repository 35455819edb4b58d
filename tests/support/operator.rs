//! `camera-operator operator` as a process beside a cluster, not in it: as many replicas as a test wants, stopped, frozen and
//! started as it wants, and asked by their metrics what they did.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::cluster::Cluster;
use super::program::BINARY;
use super::{free_port, http, poll, process, wait};

/// The image that agents would run; nobody pulls it.
pub const IMAGE: &str = "registry.test/camera-operator:1";
/// The namespace of the Lease.
pub const NAMESPACE: &str = "camera-operator";

/// What all replicas share: who they are.
pub struct Account {
    folder: TempDir,
}

impl Account {
    /// A ServiceAccount that may do everything, with a token for the API server and one for agents. (What the operator may
    /// do at least is tested with the chart.)
    pub fn make(cluster: &Cluster) -> Self {
        if cluster.get("default", &format!("namespace/{NAMESPACE}")).is_none() {
            cluster.kubectl(&["create", "namespace", NAMESPACE]);
            cluster.kubectl(&["create", "serviceaccount", "operator", "--namespace", NAMESPACE]);
            let account = format!("--serviceaccount={NAMESPACE}:operator");
            cluster.kubectl(&[
                "create",
                "clusterrolebinding",
                "test-operator",
                "--clusterrole=cluster-admin",
                &account,
            ]);
        }
        let token = |more: &[&str]| {
            let arguments = ["create", "token", "operator", "--namespace", NAMESPACE, "--duration=6h"];
            cluster.kubectl(&[&arguments[..], more].concat()).trim().to_owned()
        };
        let folder = tempfile::tempdir().unwrap();
        let mut kubeconfig: serde_json::Value =
            serde_json::from_str(&cluster.kubectl(&["config", "view", "--raw", "--output", "json"])).unwrap();
        kubeconfig["users"] = json!([{"name": "operator", "user": {"token": token(&[])}}]);
        for context in kubeconfig["contexts"].as_array_mut().unwrap() {
            context["context"]["user"] = "operator".into();
        }
        fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        fs::write(folder.path().join("token"), token(&["--audience=camera-operator.dev/agent"])).unwrap();
        Self { folder }
    }

    /// The API server's address.
    pub fn server(&self) -> String {
        self.kubeconfig()["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned()
    }

    fn kubeconfig(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.folder.path().join("kubeconfig")).unwrap()).unwrap()
    }

    /// Starts a replica that reaches the API server at another address.
    pub fn operator_at(&self, name: &str, server: &str) -> Operator {
        let mut kubeconfig = self.kubeconfig();
        kubeconfig["clusters"][0]["cluster"]["server"] = server.into();
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        fs::write(&path, kubeconfig.to_string()).unwrap();
        self.start(name, &path, &[])
    }

    /// Starts a replica.
    pub fn operator(&self, name: &str, more: &[&str]) -> Operator {
        self.start(name, &self.folder.path().join("kubeconfig"), more)
    }

    fn start(&self, name: &str, kubeconfig: &Path, more: &[&str]) -> Operator {
        let port = free_port();
        let mut command = Command::new(BINARY);
        command.args(["--log-format", "json", "operator", "--namespace", NAMESPACE, "--name", name]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--agent-token-file").arg(self.folder.path().join("token"));
        if !more.iter().any(|argument| argument.starts_with("--image")) {
            command.args(["--image", IMAGE]);
        }
        command.args(more).env("KUBECONFIG", kubeconfig);
        let log = fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        Operator { child, port, log: self.folder.path().join(format!("{name}.log")) }
    }

    /// Starts a replica and waits until it leads and has looked at everything.
    pub fn leader(&self, name: &str, more: &[&str]) -> Operator {
        let mut operator = self.operator(name, more);
        operator.await_leading();
        operator
    }
}

/// A replica.
pub struct Operator {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Operator {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a path of its server is.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        process::signal(self.pid(), name);
    }

    /// Status and body of a path of its server; `None` where it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = http::request("GET", &format!("http://127.0.0.1:{}{path}", self.port), &[]).ok()?;
        Some((answer.status, answer.text()))
    }

    /// Its metrics: the value of each line.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (_, text) = self.get("/metrics").unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.metrics().get("camera_operator_leader") == Some(&1.0)
    }

    /// Waits until it leads.
    pub fn await_leading(&mut self) {
        let leads = poll(super::PATIENCE, || self.leads().then_some(()));
        assert!(leads.is_some(), "it does not lead:\n{}", self.log());
    }

    /// Requests that wrote something for somebody's object: not the Lease, not who am I, not events.
    pub fn writes(&self) -> BTreeMap<String, f64> {
        writes_of(self.metrics())
    }

    /// How many looks at objects it has finished.
    pub fn looks(&self) -> f64 {
        looks_of(&self.metrics())
    }

    /// Waits until it has looked at so many objects at least, and nothing is left to look at. A look that is going on is only seen by what
    /// it writes: whoever knows what has to come waits for that first, and then for this, to see what came too much.
    pub fn await_quiet(&self, objects: usize) {
        let mut before = None;
        wait("the operator to be quiet", || {
            let metrics = self.metrics();
            let depth: f64 = metrics
                .iter()
                .filter(|(name, _)| name.starts_with("camera_operator_queue_depth"))
                .map(|(_, depth)| depth)
                .sum();
            let answers = !metrics.is_empty();
            let looks = looks_of(&metrics);
            let now = Some((looks, writes_of(metrics)));
            // One that does not answer says nothing, and is not quiet.
            let is_quiet = answers && depth == 0.0 && looks >= objects as f64 && now == before;
            before = now;
            if !is_quiet {
                // Changes settle for a tenth of a second; several of those without a look are quiet.
                std::thread::sleep(std::time::Duration::from_millis(400));
            }
            is_quiet.then_some(())
        });
    }

    /// Waits for its end.
    pub fn await_end(&mut self) -> ExitStatus {
        wait("the operator's end", || self.child.try_wait().unwrap())
    }

    /// Ends it cleanly, as Kubernetes does.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.await_end();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// See [`Operator::looks`].
fn looks_of(metrics: &BTreeMap<String, f64>) -> f64 {
    let is_count = |name: &&String| name.starts_with("camera_operator_reconcile_duration_seconds_count");
    metrics.keys().filter(is_count).map(|name| metrics[name]).sum()
}

/// See [`Operator::writes`].
fn writes_of(metrics: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let is_write = |name: &str| {
        name.starts_with("camera_operator_api_requests_total{")
            && ["create", "patch", "update", "delete"].iter().any(|verb| name.contains(&format!("verb=\"{verb}\"")))
            && !["leases", "selfsubjectreviews", "events"]
                .iter()
                .any(|resource| name.contains(&format!("resource=\"{resource}\"")))
    };
    metrics.into_iter().filter(|(name, value)| is_write(name) && *value > 0.0).collect()
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the operator's last lines, newest first:\n{}", tail.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
