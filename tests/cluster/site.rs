//! Where a test of pods takes place: a namespace, a volume of its own for an archive, real cameras of this machine, and the
//! operator, which the chart installs once for all tests.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::camera::Camera;
use crate::support::cluster::{Cluster, Needs, NoCluster, image, project};
use crate::support::{chart, poll, process};

/// The image's repository and tag in pods.
pub const REPOSITORY: &str = "docker.io/library/camera-operator";
/// The tag of the image that the tests build.
pub const TAG: &str = "test";
/// Where the chart is installed.
pub const OPERATOR: &str = "camera-operator-system";
/// How long something in pods may take: what the kubelet does by itself takes up to about a minute and a half.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// A cluster with a node that has the image.
pub fn start() -> Result<Cluster, NoCluster> {
    chart::helm().ok_or_else(|| NoCluster::NotHere("helm is missing (scripts/install.sh chart)".to_owned()))?;
    let cluster = Cluster::start("test-pods", Needs::Pods)?;
    if cluster.is_own() {
        cluster.load_image(&image(&format!("{REPOSITORY}:{TAG}"))?)?;
    }
    Ok(cluster)
}

/// Awaits a condition of the cluster, and says what was awaited.
pub fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, ask).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Helm with these arguments.
pub fn helm(cluster: &Cluster, arguments: &[&str]) {
    let mut command = Command::new(chart::helm().unwrap());
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
}

/// `helm upgrade --install` of the project's chart with more arguments.
pub fn helm_upgrade(cluster: &Cluster, arguments: &[&str]) {
    let chart = project("charts/camera-operator");
    let upgrade = ["upgrade", "--install", "camera-operator", chart.to_str().unwrap(), "--namespace", OPERATOR];
    let (repository, tag) = (format!("image.repository={REPOSITORY}"), format!("image.tag={TAG}"));
    let values = ["--create-namespace", "--wait", "--timeout", "3m", "--set", &repository, "--set", &tag];
    helm(cluster, &[&upgrade[..], &values[..], arguments].concat());
}

/// The operator, installed by the chart once.
pub fn install(cluster: &Cluster) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| helm_upgrade(cluster, &[]));
}

/// Where the volumes of tests are on this machine.
fn volumes(cluster: &Cluster) -> PathBuf {
    cluster.kubeconfig().with_file_name("volumes")
}

/// A test's own part of the cluster.
pub struct Site<'a> {
    pub cluster: &'a Cluster,
    pub namespace: String,
}

impl<'a> Site<'a> {
    /// A new namespace on a cluster with the operator, under the strictest Pod Security Standard.
    pub fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        install(cluster);
        cluster.namespace(namespace);
        let label = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", namespace, label]);
        // What a run that failed has left on its volumes belongs to objects that are no more.
        for volume in fs::read_dir(volumes(cluster)).into_iter().flatten().flatten() {
            if volume.file_name().to_string_lossy().starts_with(&format!("{namespace}-")) {
                fs::remove_dir_all(volume.path()).unwrap();
            }
        }
        Self { cluster, namespace: namespace.to_owned() }
    }

    /// A camera of this machine that the cluster's pods reach.
    pub fn camera(&self, options: &str) -> Camera {
        Camera::start(&format!("--address {} {options}", self.cluster.host))
    }

    /// The same with a password.
    pub fn camera_with_password(&self, options: &str, user: &str, password: &str) -> Camera {
        Camera::with_password(&format!("--address {} {options}", self.cluster.host), user, password)
    }

    /// A volume that the claim of the archive `archive` will be bound to, and where it is on this machine.
    pub fn volume(&self, archive: &str) -> PathBuf {
        self.volume_of(archive, "test-local", "1Gi")
    }

    /// The same for a claim of another class and size.
    pub fn volume_of(&self, archive: &str, class: &str, size: &str) -> PathBuf {
        self.volume_for(&format!("{archive}-archive"), class, size)
    }

    /// A volume that the claim `claim` will be bound to.
    pub fn volume_for(&self, claim: &str, class: &str, size: &str) -> PathBuf {
        let name = format!("{}-{claim}", self.namespace);
        let folder = volumes(self.cluster).join(&name);
        fs::create_dir_all(&folder).unwrap();
        // The kubelet gives it to the pod's group, as it does with any volume that is mounted.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": folder},
                "claimRef": {"namespace": self.namespace, "name": claim},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
                ]}]}}
            }
        });
        let _ = self.cluster.try_kubectl(&["delete", "persistentvolume", &name, "--ignore-not-found"]);
        self.cluster.apply(&self.namespace, &volume.to_string());
        folder
    }

    /// `kubectl apply` into the namespace.
    pub fn apply(&self, manifests: &str) -> String {
        self.cluster.apply(&self.namespace, manifests)
    }

    /// `kubectl` with the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[arguments, &["--namespace", &self.namespace]].concat())
    }

    /// `kubectl wait --for=condition=Ready`, as people use it. What is amiss is told when it does not come.
    pub fn await_ready(&self, objects: &[&str]) {
        let arguments = [&["wait", "--for=condition=Ready", "--timeout=240s", "--namespace", &self.namespace], objects];
        if let Err(error) = self.cluster.try_kubectl(&arguments.concat()) {
            let shown = self.cluster.try_kubectl(&["get", "video,pods,pvc", "--namespace", &self.namespace]);
            let events = self.cluster.try_kubectl(&["events", "--namespace", &self.namespace]);
            panic!("{error}\n{}\n{}", shown.unwrap_or_default(), events.unwrap_or_default());
        }
    }

    /// An object such as `camera/front-door`.
    pub fn get(&self, what: &str) -> Option<Value> {
        self.cluster.get(&self.namespace, what)
    }

    /// A condition as (status, reason, message).
    pub fn condition(&self, what: &str, kind: &str) -> Option<(String, String, String)> {
        let object = self.get(what)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// The pods of an agent as (name, uid, restarts), without those that are on their way out.
    pub fn pods(&self, component: &str, name: &str) -> Vec<(String, String, u64)> {
        let selector = format!("app.kubernetes.io/component={component},app.kubernetes.io/instance={name}");
        let pods = self.cluster.list(&self.namespace, "pods", &selector);
        let text = |pod: &Value, name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
        pods.iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| {
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
                (text(pod, "name"), text(pod, "uid"), restarts)
            })
            .collect()
    }

    /// The one pod of an agent.
    pub fn pod(&self, component: &str, name: &str) -> (String, String, u64) {
        let pods = self.pods(component, name);
        assert_eq!(pods.len(), 1, "{component} {name}: {pods:?}");
        pods.into_iter().next().unwrap()
    }

    /// The way to a Service's port 9090 from here.
    pub fn forward(&self, service: &str) -> Forward {
        let mut command = self.cluster.command(&[
            "port-forward",
            "--namespace",
            &self.namespace,
            &format!("service/{service}"),
            ":9090",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        let port = port.unwrap_or_else(|| panic!("kubectl port-forward said {line:?}"));
        Forward { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // What went wrong stays to be looked at; what went right makes room for the next test.
        if !std::thread::panicking() {
            let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

/// `kubectl port-forward`, ended with the value.
pub struct Forward {
    child: Child,
    /// The Service's address.
    pub url: String,
}

impl Drop for Forward {
    fn drop(&mut self) {
        process::signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}
