//! A real Kubernetes for tests: `scripts/cluster.sh`, or the cluster that `KUBECONFIG` names. What is asked of it goes through
//! kubectl, as people do it. Must not hide why there is no cluster: whoever wants one gets the reason instead.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{PATIENCE, poll, process};

/// How much of a cluster a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The API server and the controllers; pods are objects that nobody runs.
    Api,
    /// A node that runs pods, reached from here and reaching this machine.
    Pods,
    /// The API server, the controllers, and that many simulated nodes: pods that only seem to run.
    Simulated(usize),
}

/// Why there is no cluster, or nothing to run on it.
#[derive(Debug)]
pub enum NoCluster {
    /// It cannot be had here, or nobody asked for one. The last line says why; the lines before it say what was done until then.
    NotHere(String),
    /// It could be had, and yet it is not there: all that was said.
    Failed(String),
}

impl From<NoCluster> for String {
    fn from(why: NoCluster) -> Self {
        match why {
            NoCluster::NotHere(why) | NoCluster::Failed(why) => why,
        }
    }
}

/// The exit code of scripts for what cannot be had here.
const NOT_HERE: i32 = 77;

/// A cluster that is up. One that was started here is ended with the value; one that was up before stays so.
pub struct Cluster {
    /// Name for `scripts/cluster.sh`; `None`: somebody else's.
    name: Option<String>,
    /// Whether it was started here.
    started: bool,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// Where pods reach servers of this machine.
    pub host: String,
}

/// The variable that says which cluster: `start` (the tests start their own), `existing` (what `KUBECONFIG` names).
pub const VARIABLE: &str = "CAMERA_OPERATOR_TEST_CLUSTER";

impl Cluster {
    /// A cluster with this name, which keeps apart those that run at the same time; or why there can be none.
    pub fn start(name: &str, needs: Needs) -> Result<Self, NoCluster> {
        match std::env::var(VARIABLE).unwrap_or_default().as_str() {
            "existing" => Self::existing().map_err(NoCluster::Failed),
            "start" => Self::own(name, needs),
            _ => Err(NoCluster::NotHere(format!(
                "{VARIABLE} is not set (start: a cluster of the tests' own; existing: that of KUBECONFIG)"
            ))),
        }
    }

    fn existing() -> Result<Self, String> {
        let kubeconfig = std::env::var_os("KUBECONFIG").ok_or("KUBECONFIG is not set")?;
        let host = std::env::var("CAMERA_OPERATOR_TEST_HOST")
            .map_err(|_| "CAMERA_OPERATOR_TEST_HOST is not set: the address of this machine for the cluster's pods")?;
        Ok(Self { name: None, started: false, kubeconfig: kubeconfig.into(), kubectl: "kubectl".into(), host })
    }

    /// Ends a cluster that somebody who did not come to an end has left.
    pub fn end(name: &str) {
        let _ = script(name, &["down"]);
    }

    /// A cluster of the caller's own, whatever [`VARIABLE`] says; or why there can be none.
    pub fn own(name: &str, needs: Needs) -> Result<Self, NoCluster> {
        let nodes;
        let arguments = match needs {
            Needs::Api => vec!["up", "--api-only"],
            Needs::Pods => vec!["up"],
            Needs::Simulated(count) => {
                nodes = count.to_string();
                vec!["up", "--simulated", &nodes]
            }
        };
        let was_up = script(name, &["kubeconfig"]).is_ok();
        let kubeconfig = PathBuf::from(made(&mut script_of(name, &arguments))?);
        let programs = PathBuf::from(made(&mut Command::new(project("tests/cluster/build.sh")))?);
        let host = made(&mut script_of(name, &["host"]))?;
        Ok(Self { name: Some(name.to_owned()), started: !was_up, kubeconfig, kubectl: programs.join("kubectl"), host })
    }

    /// Its name for `scripts/cluster.sh`. Panics for a cluster that is not the tests' own.
    pub fn name(&self) -> &str {
        self.name.as_deref().expect("a cluster of the tests' own")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command of `scripts/cluster.sh`, such as `["kill", "kube-apiserver"]`. Panics for a cluster that is not the tests' own.
    pub fn part(&self, arguments: &[&str]) -> String {
        self.try_part(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The same, or what it said when it failed.
    pub fn try_part(&self, arguments: &[&str]) -> Result<String, String> {
        script(self.name(), arguments)
    }

    /// What a part has written, over all its starts.
    pub fn log(&self, part: &str) -> String {
        let logs = self.kubeconfig.with_file_name("logs");
        std::fs::read_to_string(logs.join(format!("{part}.log"))).unwrap_or_else(|error| panic!("{part}: {error}"))
    }

    /// Whether its parts can be stopped and started.
    pub fn is_own(&self) -> bool {
        self.name.is_some()
    }

    /// kubectl with these arguments, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// What kubectl prints, or its complaint.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        output(&mut self.command(arguments))
    }

    /// What kubectl prints; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// `kubectl apply` of this text into a namespace.
    pub fn try_apply(&self, namespace: &str, manifests: &str) -> Result<String, String> {
        let mut command = self.command(&["apply", "--namespace", namespace, "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        text_of(&output)
    }

    /// The same; it must succeed.
    pub fn apply(&self, namespace: &str, manifests: &str) -> String {
        self.try_apply(namespace, manifests).unwrap_or_else(|error| panic!("{error}\n{manifests}"))
    }

    /// An object such as `camera/front-door`, or a list; `None` where the API server says that there is none. One that does not answer,
    /// or does not know the kind yet, is asked again.
    pub fn get(&self, namespace: &str, what: &str) -> Option<Value> {
        let mut complaint = String::new();
        let answer =
            poll(PATIENCE, || match self.try_kubectl(&["get", what, "--namespace", namespace, "--output", "json"]) {
                Ok(answer) => Some(Some(answer)),
                Err(error) if is_not_found(&error) => Some(None),
                Err(error) => {
                    complaint = error;
                    None
                }
            });
        let answer = answer.unwrap_or_else(|| panic!("kubectl get {what} in {namespace}: {complaint}"))?;
        Some(serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{what}: {error}: {answer}")))
    }

    /// The objects of a kind with a label selector (empty: all).
    pub fn list(&self, namespace: &str, kind: &str, selector: &str) -> Vec<Value> {
        let arguments = ["get", kind, "--namespace", namespace, "--selector", selector, "--output", "json"];
        let list: Value = serde_json::from_str(&self.kubectl(&arguments)).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Makes a namespace, with nothing of an earlier one of that name.
    pub fn namespace(&self, name: &str) {
        let _ = self.try_kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=120s"]);
        self.kubectl(&["create", "namespace", name]);
    }

    /// Brings an image archive (of `scripts/image.sh`) to the node.
    pub fn load_image(&self, archive: &Path) -> Result<(), NoCluster> {
        made(&mut script_of(self.name(), &["load-image", archive.to_str().unwrap()])).map(drop)
    }

    /// Starts `kubectl proxy`: the API over plain HTTP, for requests that kubectl does not make.
    pub fn proxy(&self) -> Proxy {
        let mut command = self.command(&["proxy", "--port", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "kubectl proxy said {line:?}");
        Proxy { child, url: format!("http://{address}") }
    }

    /// Waits until the API server answers, such as after it was started again.
    pub fn await_api(&self) {
        let answers = poll(2 * PATIENCE, || self.try_kubectl(&["get", "--raw", "/readyz"]).ok());
        assert!(answers.is_some(), "the API server does not come back");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What is to be looked at afterwards stays up: CAMERA_OPERATOR_TEST_CLUSTER_KEEP=1.
        let keep = !self.started || std::env::var_os("CAMERA_OPERATOR_TEST_CLUSTER_KEEP").is_some();
        if let Some(name) = self.name.as_deref().filter(|_| !keep) {
            let _ = script(name, &["down"]);
        }
    }
}

/// `kubectl proxy`, ended with the value.
pub struct Proxy {
    child: Child,
    /// The API's address.
    pub url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        process::signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

/// The image of the program under test, as an archive; or why it cannot be built.
pub fn image(tag: &str) -> Result<PathBuf, NoCluster> {
    let mut command = Command::new(project("scripts/image.sh"));
    command.args(["--tag", tag, super::program::BINARY]);
    made(&mut command).map(PathBuf::from)
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All CRDs, as they are in the repository.
pub fn definitions() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(project("crds")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn script_of(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(project("scripts/cluster.sh"));
    command.args(["--name", name]).args(arguments);
    command
}

fn script(name: &str, arguments: &[&str]) -> Result<String, String> {
    output(&mut script_of(name, arguments))
}

/// What a script prints that makes something which cannot be had everywhere.
fn made(command: &mut Command) -> Result<String, NoCluster> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| NoCluster::Failed(error.to_string()))?;
    text_of(&output).map_err(|said| match output.status.code() {
        Some(NOT_HERE) => NoCluster::NotHere(said),
        _ => NoCluster::Failed(format!("{command:?}: {}\n{said}", output.status)),
    })
}

/// Whether kubectl's complaint is the API server's word that there is no such object. (Without the kind itself it is an address that
/// is not found.)
fn is_not_found(complaint: &str) -> bool {
    complaint.contains("(NotFound)") && !complaint.contains("could not find the requested resource")
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    text_of(&output)
}

fn text_of(output: &std::process::Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}
