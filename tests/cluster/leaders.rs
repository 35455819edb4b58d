//! Who of several operators leads, and that those who do not change nothing.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::Test;
use crate::operator::{CAMERA, SHOP, await_children, children, expected, patch, prepare};
use crate::support::cluster::Cluster;
use crate::support::hold::Hold;
use crate::support::operator::{NAMESPACE, Operator};
use crate::support::wait;

pub const TESTS: &[Test] = &[
    ("of_three_operators_one_leads", of_three_operators_one_leads),
    ("a_killed_leader_is_followed_and_its_work_is_finished", a_killed_leader_is_followed_and_its_work_is_finished),
    ("what_a_stale_leader_had_in_flight_changes_nothing", what_a_stale_leader_had_in_flight_changes_nothing),
];

fn of_three_operators_one_leads(cluster: &Cluster) {
    let namespace = "operator-leaders";
    let account = prepare(cluster, namespace);
    let mut operators: Vec<Operator> =
        ["one", "two", "three"].map(|name| account.operator(name, &[])).into_iter().collect();
    let leaders = |operators: &[Operator]| operators.iter().filter(|operator| operator.leads()).count();
    wait("all to be ready", || {
        operators.iter().all(|operator| operator.get("/readyz").is_some_and(|(status, _)| status == 200)).then_some(())
    });
    wait("one to lead", || (leaders(&operators) == 1).then_some(()));
    let at = operators.iter().position(Operator::leads).unwrap();
    let mut frozen = operators.swap_remove(at);
    for operator in &operators {
        assert_eq!(operator.get("/healthz").unwrap().0, 200, "followers answer probes");
        assert_eq!(operator.writes(), BTreeMap::new(), "followers write nothing");
    }
    cluster.apply(namespace, CAMERA);
    wait("the leader to work", || cluster.get(namespace, "deployment/door-camera"));

    // One that is frozen is followed by another, and writes nothing when it wakes up.
    frozen.signal("STOP");
    wait("another to lead", || (leaders(&operators) == 1).then_some(()));
    cluster.apply(namespace, SHOP.split("---").next().unwrap());
    wait("the new leader to work", || cluster.get(namespace, "deployment/yard-camera"));
    let before = children(cluster, namespace);
    frozen.signal("CONT");
    let status = frozen.await_end();
    assert!(!status.success(), "who lost the lease ends");
    assert!(frozen.log().contains("stops leading"), "{}", frozen.log());
    assert_eq!(children(cluster, namespace), before);
    assert_eq!(leaders(&operators), 1);

    // One that ends cleanly gives the lease back: nobody waits for it to expire.
    let at = operators.iter().position(Operator::leads).unwrap();
    let lease = || cluster.get(NAMESPACE, "lease/camera-operator").unwrap()["spec"].clone();
    let transitions = lease()["leaseTransitions"].as_i64().unwrap();
    let ended = std::time::Instant::now();
    operators.swap_remove(at).stop();
    wait("the last to lead", || (leaders(&operators) == 1).then_some(()));
    println!("hand-over after a clean end: {:.1} s", ended.elapsed().as_secs_f64());
    assert_eq!(lease()["leaseTransitions"], transitions + 1);
    operators.remove(0).stop();
    assert_eq!(lease()["holderIdentity"], "", "and the last one, too");
}

fn a_killed_leader_is_followed_and_its_work_is_finished(cluster: &Cluster) {
    const CAMERAS: usize = 30;
    let namespace = "operator-killed";
    let account = prepare(cluster, namespace);
    let mut leader = account.leader("one", &[]);
    let mut follower = account.operator("two", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    leader.await_quiet(6);
    let before = children(cluster, namespace);
    let lease = || cluster.get(NAMESPACE, "lease/camera-operator").unwrap()["spec"].clone();
    let transitions = lease()["leaseTransitions"].as_i64().unwrap();

    // `kill -9` in the middle of its work: some cameras have all that they need, some nothing, some a part.
    let deployments = || cluster.list(namespace, "deployments", "app.kubernetes.io/component=camera").len() - 2;
    let cameras: String =
        (0..CAMERAS).map(|number| CAMERA.replace("name: door", &format!("name: more-{number}")) + "---").collect();
    cluster.apply(namespace, &cameras);
    wait("the leader to be at it", || (deployments() > 0).then_some(()));
    leader.signal("KILL");
    leader.await_end();
    let (killed, done) = (std::time::Instant::now(), deployments());
    follower.await_leading();
    println!(
        "hand-over after a kill: {:.1} s; {done} of {CAMERAS} cameras had their pod's object then",
        killed.elapsed().as_secs_f64()
    );
    assert_eq!(lease()["leaseTransitions"], transitions + 1);
    wait("all that was begun to be finished", || (deployments() == CAMERAS).then_some(()));
    follower.await_quiet(CAMERAS + 6);
    let after = children(cluster, namespace);
    for (child, version) in &before {
        assert_eq!(after.get(child), Some(version), "{child} was as it had to be");
    }
    for number in 0..CAMERAS {
        for kind in ["serviceaccount", "configmap", "service", "deployment"] {
            assert!(after.contains_key(&format!("{kind}/more-{number}-camera")), "{kind} of {number}");
        }
    }
    follower.stop();
}

/// Lines of the API server's audit log of writes to an object of a namespace.
fn writes_to(cluster: &Cluster, namespace: &str, resource: &str, name: &str) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(cluster.kubeconfig().with_file_name("logs").join("audit.log")).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of = |event: &serde_json::Value| {
        let object = &event["objectRef"];
        object["namespace"] == namespace && object["resource"] == resource && object["name"] == name
    };
    events.filter(|event| of(event) && event["verb"] == "patch").collect()
}

fn what_a_stale_leader_had_in_flight_changes_nothing(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: writes in flight, because only a cluster of the tests' own shows its audit log");
        return;
    }
    let namespace = "operator-stale";
    let account = prepare(cluster, namespace);
    let hold = Hold::before(&account.server());
    let mut stale = account.operator_at("stale", &hold.url);
    stale.await_leading();
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    stale.await_quiet(6);
    let arrived = || writes_to(cluster, namespace, "configmaps", "door-camera");
    // The first edit of what was created begins with a reading request: what is held later must be the writing itself.
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "20s"}}));
    wait("its first edit to be written", || {
        let plan = cluster.get(namespace, "configmap/door-camera")?;
        let is_new = plan["data"]["plan.json"].as_str()?.contains("\"stallTimeoutMs\":20000");
        (is_new && !arrived().is_empty()).then_some(())
    });
    stale.await_quiet(6);
    let at_first = arrived().len();

    // From here on what it sends goes no further, while it still hears everything: it writes, and its writing is on the way.
    hold.stop();
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "21s"}}));
    // Beside the renewal of the lease, which has a connection of its own.
    wait("its writing to be on the way", || (hold.connections_held() >= 2).then_some(()));
    assert!(!stale.await_end().success(), "who cannot renew the lease ends");

    // Another one leads, and people have changed their minds.
    let mut leader = account.operator("fresh", &[]);
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "22s"}}));
    leader.await_leading();
    leader.await_quiet(6);
    let now = children(cluster, namespace);
    let by_leader = arrived().len();
    assert!(by_leader > at_first, "the new leader has written the plan");

    // What was on the way arrives now, and is refused.
    hold.release();
    let late = wait("the late write", || arrived().into_iter().nth(by_leader));
    assert_eq!(late["responseStatus"]["code"], 409, "{late}");
    leader.await_quiet(0);
    assert_eq!(children(cluster, namespace), now);
    leader.stop();
}
