//! Why a pod does not run, in one line with what to do: from its status, and from what the cluster says of one that takes long
//! to start. Pure; the words of the cluster stand in brackets behind ours.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::live::{Container, Pod};
use crate::plan::report::Reason;

/// So many restarts are no accident any more.
const MANY_RESTARTS: i32 = 2;
/// A pod that has not started after this long is worth a question.
const SLOW: SignedDuration = SignedDuration::from_secs(15);
/// Most characters of the cluster's own words.
const MOST_WORDS: usize = 300;

/// What the cluster says of a pod: an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// When it was last so.
    pub at: Option<Timestamp>,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Such as `FailedMount`.
    pub reason: String,
    /// In the words of who tells it.
    pub message: String,
}

/// Whether a pod has a node and has not started there for long, without its status saying why.
pub fn starts_slowly(pod: &Pod, now: Timestamp) -> bool {
    let waits = |container: &Container| {
        let reason = container.waiting.as_ref().map(|(reason, _)| reason.as_str());
        matches!(reason, Some("" | "ContainerCreating" | "PodInitializing"))
    };
    pod.phase == "Pending"
        && !pod.terminating
        && pod.unschedulable.is_none()
        && pod.containers.iter().all(waits)
        && pod.created.is_some_and(|created| now.duration_since(created) >= SLOW)
}

/// Why a pod does not run; `None` when it runs, or has not had the time to.
pub fn pod_problem(pod: &Pod) -> Option<(Reason, String)> {
    let name = &pod.key.name;
    if let Some(why) = &pod.unschedulable {
        // What comes after the first sentence is about pods that would have to make room.
        let why = why.split(". ").next().unwrap_or_default();
        let advice = scheduling_advice(name, why);
        return Some((Reason::Unschedulable, join(&format!("no node takes pod {name}: {advice}"), why)));
    }
    if pod.phase == "Failed" {
        let (reason, message) = pod.failed.clone().unwrap_or_default();
        let advice = failure_advice(name, &reason, &message);
        return Some((Reason::PodFailed, join(&format!("pod {name} was ended: {advice}"), &said(&reason, &message))));
    }
    pod.containers.iter().find_map(|container| container_problem(name, container))
}

/// Why a pod has not started for long. Always says something: that nothing is known of it is worth knowing, too.
pub fn starting(pod: &str, events: &[PodEvent]) -> (Reason, String) {
    // That it went on waiting says less than for what.
    let only_waits = |event: &&PodEvent| event.message.contains("timed out waiting for the condition");
    let told = events.iter().filter(|event| event.reason != "Scheduled");
    let Some(event) = told.max_by_key(|event| (!only_waits(event), event.at)) else {
        let message = format!(
            "pod {pod} has not started yet, and nothing says why: see kubectl describe pod {pod}, and its node"
        );
        return (Reason::PodStarting, message);
    };
    match event.reason.as_str() {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => {
            let advice = mount_advice(pod, &event.message);
            let text = format!("a volume of pod {pod} cannot be mounted: {advice}");
            (Reason::MountFailed, join(&text, &event.message))
        }
        "FailedCreatePodSandBox" | "FailedPodSandBoxStatus" | "NetworkNotReady" => {
            let text =
                format!("its node cannot make pod {pod}: look at the node's container runtime and its pod network");
            (Reason::PodFailed, join(&text, &event.message))
        }
        _ if event.is_warning => {
            let text = format!("pod {pod} does not start: see kubectl describe pod {pod}");
            (Reason::PodFailed, join(&text, &said(&event.reason, &event.message)))
        }
        "Pulling" => (Reason::PodStarting, format!("the image of pod {pod} is being pulled: nothing is to be done")),
        _ => {
            let text = format!("pod {pod} has not started yet: see kubectl describe pod {pod} if it stays so");
            (Reason::PodStarting, join(&text, &said(&event.reason, &event.message)))
        }
    }
}

/// What to do about a pod that no node takes.
fn scheduling_advice(pod: &str, why: &str) -> String {
    // In the order in which they can be put right; often several stand in one message, of different nodes.
    let advice = [
        ("persistentvolumeclaim", "create the claim that spec.existingClaim names, or correct that name"),
        ("unbound", "its claim has no volume: see kubectl describe pvc"),
        ("volume node affinity", "only another node reaches its volume: let the pod go there (spec.pod.nodeSelector)"),
        ("Insufficient", "add a node, or lower spec.pod.resources.requests"),
        ("Too many pods", "add a node: those that it may go to are full"),
        ("free ports", "each node takes one pod with spec.pod.hostNetwork: add a node, or do without it"),
        (
            "affinity/selector",
            "no node has what spec.pod.nodeSelector or spec.pod.affinity asks for: change that, or label a node",
        ),
        ("affinity", "change spec.pod.affinity"),
        ("unschedulable", "its nodes are cordoned: kubectl uncordon one, or add one"),
        ("taint", "add spec.pod.tolerations, or a node without that taint"),
    ];
    let found = advice.iter().find(|(text, _)| why.contains(text)).map(|(_, advice)| (*advice).to_owned());
    found.unwrap_or_else(|| format!("see kubectl describe pod {pod}"))
}

/// What to do about a pod that was ended or turned away as a whole. The cluster makes another by itself.
fn failure_advice(pod: &str, reason: &str, message: &str) -> String {
    match reason {
        "Evicted" if message.contains("emptyDir") || message.contains("EmptyDir") => {
            "it wrote too much to /tmp; another is made, and kubectl logs says what it did".to_owned()
        }
        "Evicted" => "its node ran short; another is made, and spec.pod.resources.requests keeps it safe".to_owned(),
        "NodeShutdown" | "Terminated" | "NodeLost" | "Preempting" | "DeletionByTaintManager" => {
            "its node went away; another is made".to_owned()
        }
        "NodeAffinity" | "UnexpectedAdmissionError" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" => {
            "its node turned it away; another is made, and spec.pod.resources.requests says what it needs".to_owned()
        }
        _ => format!("another is made; see kubectl describe pod {pod}"),
    }
}

/// What to do about a volume that cannot be mounted.
fn mount_advice(pod: &str, message: &str) -> String {
    let missing = message.contains("not found");
    if missing && message.contains("configmap") {
        return "its plan is missing and is written again within a minute; if not, see the operator's log".to_owned();
    }
    if missing && message.contains("secret") {
        return "create the Secret that the volume names".to_owned();
    }
    if message.contains("Multi-Attach") || message.contains("already attached") || message.contains("exclusively") {
        return "another node holds it: delete the pod that uses it there, or wait until that node lets go".to_owned();
    }
    if message.contains("does not exist") || message.contains("no such file") {
        return "what its PersistentVolume names is not there on the node: make it, or correct the PersistentVolume"
            .to_owned();
    }
    format!("see kubectl describe pod {pod}")
}

fn container_problem(pod: &str, container: &Container) -> Option<(Reason, String)> {
    let (waiting, said) =
        container.waiting.as_ref().map_or(("", ""), |(waiting, said)| (waiting.as_str(), said.as_str()));
    match waiting {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            let advice = format!(
                "the image of pod {pod} cannot be pulled: check the operator's --image, or add spec.pod.imagePullSecrets"
            );
            Some((Reason::ImagePullFailed, join(&advice, said)))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let text = format!("the container of pod {pod} cannot be made: see kubectl describe pod {pod}");
            Some((Reason::PodFailed, join(&text, said)))
        }
        _ => {
            let (why, code) = container.ended.as_ref()?;
            let crashes = waiting == "CrashLoopBackOff" || container.restarts >= MANY_RESTARTS && !waiting.is_empty();
            if why == "OOMKilled" && (crashes || !waiting.is_empty()) {
                let message =
                    format!("pod {pod} needs more memory than it may have: raise spec.pod.resources.limits.memory");
                return Some((Reason::OutOfMemory, message));
            }
            crashes.then(|| {
                let message = format!(
                    "pod {pod} ends again and again ({why}, exit code {code}): see kubectl logs {pod} --previous"
                );
                (Reason::PodCrashing, message)
            })
        }
    }
}

/// A reason with its message, either of which may be missing.
fn said(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Our words, and the cluster's in brackets: one line, not too long.
fn join(text: &str, words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return text.to_owned();
    }
    if words.chars().count() <= MOST_WORDS {
        return format!("{text} ({words})");
    }
    let words: String = words.chars().take(MOST_WORDS).collect();
    format!("{text} ({words}…)")
}

#[cfg(test)]
#[path = "pod_problem_tests.rs"]
mod tests;
