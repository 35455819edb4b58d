//! The test cluster itself: that of one checkout is not another's, whatever both call it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Test;
use crate::support::cluster::{Cluster, project};

pub const TESTS: &[Test] = &[("clusters_of_two_checkouts_are_apart", clusters_of_two_checkouts_are_apart)];

/// `scripts/cluster.sh` of a checkout, for a cluster of the name that the tests' own has.
fn script(checkout: &Path, name: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(checkout.join("scripts/cluster.sh"));
    // Told so, a cluster would be in the same place whoever starts it.
    command.env_remove("CAMERA_OPERATOR_CLUSTER_FOLDER").args(["--name", name]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The other checkout's cluster, ended with the value.
struct Other<'a>(&'a Path, &'a str);

impl Drop for Other<'_> {
    fn drop(&mut self) {
        let _ = script(self.0, self.1, &["down"]);
    }
}

fn clusters_of_two_checkouts_are_apart(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: two checkouts, because the tests did not start this cluster");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path();
    std::fs::create_dir(checkout.join("scripts")).unwrap();
    std::fs::copy(project("scripts/cluster.sh"), checkout.join("scripts/cluster.sh")).unwrap();
    // What both share is what nobody changes: the sources of the programs, and the programs.
    for shared in ["tests", ".cache"] {
        std::os::unix::fs::symlink(project(shared), checkout.join(shared)).unwrap();
    }
    let name = cluster.name();
    assert!(script(checkout, name, &["status"]).is_err(), "another checkout's cluster is not this one's");
    script(checkout, name, &["down"]).unwrap();
    cluster.kubectl(&["get", "--raw", "/readyz"]);

    let other = Other(checkout, name);
    let kubeconfig = script(checkout, name, &["up", "--api-only"]).unwrap();
    assert_ne!(Path::new(&kubeconfig), cluster.kubeconfig());
    let with = |kubeconfig: &str, arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        let output = command.args(["--kubeconfig", kubeconfig]).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let uid = ["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"];
    let (ours, theirs) = (cluster.kubectl(&uid), with(&kubeconfig, &uid));
    assert!(!theirs.is_empty() && ours != theirs, "{ours:?} {theirs:?}");
    drop(other);
    assert_eq!(cluster.kubectl(&uid), ours, "what one ends is its own");
}
