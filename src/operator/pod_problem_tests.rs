//! What is said of pods that do not run, by tables of what a cluster says.

use super::*;
use crate::plan::unit::ObjectKey;

fn pod(phase: &str) -> Pod {
    Pod {
        key: ObjectKey::new("shop", "a"),
        uid: "a".into(),
        controller: None,
        labelled: None,
        created: Some(Timestamp::UNIX_EPOCH),
        terminating: false,
        phase: phase.into(),
        address: None,
        ready: false,
        unschedulable: None,
        failed: None,
        nudged: None,
        containers: Vec::new(),
    }
}

fn waiting(reason: &str) -> Container {
    Container { waiting: Some((reason.into(), String::new())), ..Container::default() }
}

#[test]
fn what_no_node_takes_is_said_with_what_to_do() {
    let none = "0/3 nodes are available: ";
    for (why, advice) in [
        ("3 Insufficient memory. preemption: 0/3 nodes are available", "lower spec.pod.resources.requests (0/3"),
        ("3 node(s) didn't match Pod's node affinity/selector. no new claims", "what spec.pod.nodeSelector"),
        ("3 node(s) had untolerated taint {dedicated: gpu}.", "add spec.pod.tolerations"),
        ("3 node(s) were unschedulable.", "kubectl uncordon"),
        ("3 node(s) didn't have free ports for the requested pod ports.", "spec.pod.hostNetwork"),
        ("persistentvolumeclaim \"films\" not found", "spec.existingClaim"),
        ("pod has unbound immediate PersistentVolumeClaims.", "kubectl describe pvc"),
        ("3 node(s) had volume node affinity conflict.", "only another node reaches its volume"),
        ("something new", "see kubectl describe pod a"),
    ] {
        let pod = Pod { unschedulable: Some(format!("{none}{why}")), ..pod("Pending") };
        let (reason, message) = pod_problem(&pod).unwrap_or_else(|| panic!("{why}"));
        assert_eq!(reason, Reason::Unschedulable);
        assert!(message.starts_with("no node takes pod a: ") && message.contains(advice), "{message}");
        assert!(!message.contains("preemption"), "{message}");
    }
}

#[test]
fn what_was_ended_is_said_with_what_to_do() {
    let usage = "Usage of EmptyDir volume \"temporary\" exceeds the limit \"256Mi\".";
    for (reason, message, advice) in [
        ("Evicted", "The node was low on resource: memory.", "spec.pod.resources.requests"),
        ("Evicted", usage, "/tmp"),
        ("NodeShutdown", "Pod was rejected", "its node went away"),
        ("OutOfcpu", "", "turned it away"),
        ("", "", "kubectl describe pod a"),
    ] {
        let pod = Pod { failed: Some((reason.into(), message.into())), ..pod("Failed") };
        let (told, said) = pod_problem(&pod).unwrap_or_else(|| panic!("{reason}"));
        assert_eq!(told, Reason::PodFailed);
        assert!(said.contains(advice) && said.contains(message), "{said}");
    }
}

#[test]
fn only_what_has_a_node_and_does_not_start_is_asked_after() {
    let now = Timestamp::UNIX_EPOCH + SLOW;
    let creating = Pod { containers: vec![waiting("ContainerCreating")], ..pod("Pending") };
    assert!(starts_slowly(&creating, now));
    assert!(starts_slowly(&pod("Pending"), now), "not even its kubelet has looked at it");
    assert!(!starts_slowly(&creating, Timestamp::UNIX_EPOCH), "it has not had the time to");
    for other in [
        Pod { unschedulable: Some("no".into()), ..creating.clone() },
        Pod { terminating: true, ..creating.clone() },
        Pod { containers: vec![waiting("ErrImagePull")], ..creating.clone() },
        Pod { containers: vec![Container::default()], ..creating },
        pod("Running"),
    ] {
        assert!(!starts_slowly(&other, now), "{other:?}");
    }
}

#[test]
fn what_does_not_start_is_said_with_what_to_do() {
    let event = |at: i64, is_warning: bool, reason: &str, message: &str| PodEvent {
        at: Timestamp::from_second(at).ok(),
        is_warning,
        reason: reason.into(),
        message: message.into(),
    };
    let scheduled = || event(0, false, "Scheduled", "Successfully assigned shop/a to node-1");
    let mount = |at: i64, message: &str| event(at, true, "FailedMount", message);
    let cases = [
        (vec![], Reason::PodStarting, "nothing says why"),
        (vec![scheduled()], Reason::PodStarting, "nothing says why"),
        (vec![scheduled(), event(1, false, "Pulling", "Pulling image")], Reason::PodStarting, "is being pulled"),
        (
            vec![mount(1, "MountVolume.SetUp failed for volume \"plan\" : configmap \"a-camera\" not found")],
            Reason::MountFailed,
            "its plan is missing",
        ),
        (
            vec![mount(1, "MountVolume.SetUp failed for volume \"x\" : secret \"key\" not found")],
            Reason::MountFailed,
            "create the Secret",
        ),
        (
            vec![mount(1, "MountVolume.NewMounter initialization failed: path \"/gone\" does not exist")],
            Reason::MountFailed,
            "correct the PersistentVolume",
        ),
        (
            vec![event(1, true, "FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\"")],
            Reason::MountFailed,
            "another node holds it",
        ),
        (
            // What it waits for says more than that it waits.
            vec![mount(1, "mount failed: exit status 32"), mount(9, "timed out waiting for the condition")],
            Reason::MountFailed,
            "exit status 32",
        ),
        (
            // It was so, and is no more.
            vec![mount(1, "mount failed"), event(2, false, "Pulling", "Pulling image")],
            Reason::PodStarting,
            "is being pulled",
        ),
        (vec![event(1, true, "FailedCreatePodSandBox", "no\n  addresses")], Reason::PodFailed, "(no addresses)"),
        (vec![event(1, true, "Odd", "odd")], Reason::PodFailed, "kubectl describe pod a (Odd: odd)"),
    ];
    for (events, reason, text) in cases {
        let (told, message) = starting("a", &events);
        assert_eq!(told, reason, "{message}");
        assert!(message.contains(text), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let long = starting("a", &[event(1, true, "Odd", &"x".repeat(5_000))]).1;
    assert!(long.chars().count() < 400, "{long}");
}
