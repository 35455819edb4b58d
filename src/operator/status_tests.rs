//! What is said of an agent, by tables of what can be known of it.

use std::time::Duration;

use super::*;
use crate::operator::live::Container;
use crate::operator::reports::Failing;
use crate::plan::unit::ObjectKey;

fn pod(name: &str) -> Pod {
    Pod {
        key: ObjectKey::new("shop", name),
        uid: name.to_owned(),
        controller: None,
        labelled: None,
        created: None,
        terminating: false,
        phase: "Running".into(),
        address: Some("10.0.0.9".into()),
        ready: true,
        unschedulable: None,
        failed: None,
        nudged: None,
        containers: Vec::new(),
    }
}

fn heard(plan_hash: &str) -> Heard {
    let report = Report { plan_hash: plan_hash.into(), ..Report::default() };
    Heard { report: Some(Arc::new(report)), failing: None }
}

fn view(pods: Vec<(Pod, Option<Heard>)>) -> View {
    View { runs: true, plan_hash: "now".into(), pods, ..View::default() }
}

fn stopped(view: &View) -> (Reason, String) {
    match agent_state(view, Instant::now()) {
        AgentState::Stopped(reason, message) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_report_on_the_current_plan_counts() {
    let now = Instant::now();
    assert_eq!(agent_state(&view(vec![(pod("a"), Some(heard("before")))]), now), AgentState::Unheard);
    let state = agent_state(&view(vec![(pod("a"), Some(heard("before"))), (pod("b"), Some(heard("now")))]), now);
    assert!(matches!(state, AgentState::Reports(report) if report.plan_hash == "now"));
    let going = Pod { terminating: true, ..pod("a") };
    assert_eq!(agent_state(&view(vec![(going, Some(heard("now")))]), now), AgentState::Unheard);
    assert_eq!(agent_state(&view(Vec::new()), now), AgentState::Unheard);
}

#[test]
fn what_is_not_to_run_is_not_waited_for() {
    let (reason, message) = stopped(&View { runs: false, ..view(Vec::new()) });
    assert_eq!(
        (reason, message.as_str()),
        (Reason::CameraUnavailable, "the camera does not run: see its condition Ready")
    );
}

#[test]
fn of_two_pods_the_ready_one_speaks() {
    let mut starting = heard("now");
    starting.report = Some(Arc::new(Report { plan_hash: "now".into(), sequence: 2, ..Report::default() }));
    let unready = Pod { ready: false, ..pod("new") };
    let state = agent_state(&view(vec![(unready, Some(starting)), (pod("old"), Some(heard("now")))]), Instant::now());
    assert!(matches!(state, AgentState::Reports(report) if report.sequence == 0));
}

#[test]
fn a_silent_agent_is_unknown_and_never_down() {
    let since = Instant::now();
    let silent = |hash: &str| Heard {
        failing: Some(Failing { since, why: "connection refused".into(), told: false }),
        ..heard(hash)
    };
    let view = |pod: Pod| view(vec![(pod, Some(silent("now")))]);
    let late = since + Duration::from_mins(1);
    assert!(matches!(agent_state(&view(pod("a")), since), AgentState::Reports(_)), "one missed answer");
    let AgentState::Unavailable(message) = agent_state(&view(pod("a")), late) else { panic!() };
    assert_eq!(message, "pod a runs and does not answer the operator: connection refused");
    let starting = Pod { ready: false, ..pod("a") };
    assert_eq!(agent_state(&view(starting), late), AgentState::Unheard, "it is still starting");
}

#[test]
fn what_keeps_a_pod_from_running_is_said_with_what_to_do() {
    let waiting =
        |reason: &str, said: &str| Container { waiting: Some((reason.into(), said.into())), ..Container::default() };
    let crashing = |why: &str| Container {
        waiting: Some(("CrashLoopBackOff".into(), String::new())),
        restarts: 3,
        ended: Some((why.into(), 1)),
    };
    let with =
        |container: Container| Pod { containers: vec![container], phase: "Pending".into(), ready: false, ..pod("a") };
    let cases = [
        (
            Pod { unschedulable: Some("0/3 nodes are available: insufficient memory".into()), ..pod("a") },
            Reason::Unschedulable,
            "no node takes pod a: see kubectl describe pod a (0/3 nodes are available: insufficient memory)",
        ),
        (with(waiting("ImagePullBackOff", "not found")), Reason::ImagePullFailed, "check the operator's --image"),
        (with(waiting("CreateContainerConfigError", "no such key")), Reason::PodFailed, "no such key"),
        (with(crashing("Error")), Reason::PodCrashing, "kubectl logs a --previous"),
        (with(crashing("OOMKilled")), Reason::OutOfMemory, "raise spec.pod.resources.limits.memory"),
        (
            Pod { phase: "Failed".into(), failed: Some(("Evicted".into(), "disk".into())), ..pod("a") },
            Reason::PodFailed,
            "pod a was ended: its node ran short",
        ),
    ];
    for (pod, reason, said) in cases {
        let (told, message) = stopped(&view(vec![(pod, None)]));
        assert_eq!(told, reason, "{message}");
        assert!(message.contains(said), "{message}");
    }
    let starting = with(waiting("ContainerCreating", ""));
    let mut slow = view(vec![(starting, None)]);
    assert_eq!(agent_state(&slow, Instant::now()), AgentState::Unheard);
    slow.starting.insert("a".into(), Vec::new());
    assert_eq!(stopped(&slow).0, Reason::PodStarting);
    let restarted = Container { restarts: 5, ended: Some(("Error".into(), 1)), ..Container::default() };
    let runs = Pod { containers: vec![restarted], ..pod("a") };
    assert_eq!(agent_state(&view(vec![(runs, None)]), Instant::now()), AgentState::Unheard, "it runs again");
}

#[test]
fn a_new_pod_that_cannot_start_takes_nothing_from_the_old_one() {
    let stuck = Pod { unschedulable: Some("no".into()), ready: false, ..pod("new") };
    let state = agent_state(&view(vec![(stuck, None), (pod("old"), Some(heard("now")))]), Instant::now());
    assert!(matches!(state, AgentState::Reports(_)));
}

#[test]
fn an_unbound_claim_is_the_cause_and_not_the_pod() {
    let claim = ClaimFacts { phase: "Pending".into(), requested: Some("1Gi".into()), class: Some("fast".into()) };
    let pending =
        Pod { unschedulable: Some("unbound claims".into()), phase: "Pending".into(), ready: false, ..pod("a") };
    let view = View { claim: Some(("default-archive".into(), claim)), ..view(vec![(pending, None)]) };
    let (reason, message) = stopped(&view);
    assert_eq!(reason, Reason::ClaimPending);
    assert_eq!(
        message,
        "claim default-archive (1Gi, class fast) has no volume yet: see kubectl describe pvc default-archive"
    );
}

#[test]
fn what_could_not_be_written_comes_first_and_what_may_pass_is_not_said() {
    let problem = |reason| Problem { reason, message: "in the way".into(), error: "x" };
    let running = || vec![(pod("a"), Some(heard("now")))];
    let (reason, message) =
        stopped(&View { problems: vec![problem(None), problem(Some(Reason::NameTaken))], ..view(running()) });
    assert_eq!((reason, message.as_str()), (Reason::NameTaken, "in the way"));
    let passing = View { problems: vec![problem(None)], ..view(running()) };
    assert!(matches!(agent_state(&passing, Instant::now()), AgentState::Reports(_)));
    let refused = DeploymentFacts { failure: Some("exceeded quota".into()), ..DeploymentFacts::default() };
    let (reason, message) = stopped(&View { deployment: Some(refused), ..view(Vec::new()) });
    assert_eq!((reason, message.as_str()), (Reason::PodRefused, "no pod can be made: exceeded quota"));
}

#[test]
fn notices_stand_beside_the_conditions_as_long_as_they_hold() {
    let notice = |message: &str| Notice { kind: UPDATE_PENDING.into(), message: message.into() };
    let mut status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    with_notices(&mut status, &json!({}), Some(3), "2026-11-21T00:00:00Z", &[notice("one")]);
    assert_eq!(status["conditions"][1]["lastTransitionTime"], "2026-11-21T00:00:00Z");
    assert_eq!(status["conditions"][1]["observedGeneration"], 3);
    let before = status.clone();
    with_notices(&mut status, &before, Some(3), "2026-11-22T00:00:00Z", &[notice("two")]);
    assert_eq!(status["conditions"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["conditions"][1]["message"], "two");
    assert_eq!(status["conditions"][1]["lastTransitionTime"], "2026-11-21T00:00:00Z", "it has held since then");
    with_notices(&mut status, &before, Some(3), "2026-11-23T00:00:00Z", &[]);
    assert_eq!(status, json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    let mut none = json!({});
    with_notices(&mut none, &json!({}), None, "", &[]);
    assert_eq!(none, json!({}));
}

#[test]
fn states_of_metrics() {
    let ready =
        |status: &str, reason: &str| json!({"conditions": [{"type": "Ready", "status": status, "reason": reason}]});
    assert_eq!(state(&ready("True", "Streaming")), "Ready");
    assert_eq!(state(&ready("False", "Stalled")), "NotReady");
    assert_eq!(state(&ready("False", "Suspended")), "Suspended");
    assert_eq!(state(&ready("False", "ClipLimitReached")), "Waiting");
    assert_eq!(state(&ready("Unknown", "ReportUnavailable")), "Unknown");
    assert_eq!(state(&Value::Null), "Unknown");
    let complete = json!({"conditions": [
        {"type": "Ready", "status": "False", "reason": "CameraUnavailable"}, {"type": "Complete", "status": "True"},
    ]});
    assert_eq!(state(&complete), "Ready");
}
