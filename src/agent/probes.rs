//! Whether a pod's agent lives and is ready, for kubelet. Must not look at whether video flows: that is a condition, told by
//! the report.
//!
//! - Alive: the runtime runs new tasks, the report can be made, and the supervisor is free or has not been busy for too long.
//! - Ready: a plan is in force, and its cameras have sent a first frame or had [`FIRST_FRAME`] for it. Once ready, it stays so:
//!   what a camera does later is no reason to take an agent's address away from its viewers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::time::{Instant, timeout};

use super::supervisor::Agent;
use crate::plan::report::Report;
use crate::plan::unit::ObjectKind;

/// How long cameras get for their first frame until a fresh agent is ready all the same.
pub const FIRST_FRAME: Duration = Duration::from_secs(20);
/// How long the event loop may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Longer than it ever takes to stop units: a disk that hangs keeps a recording's end waiting, but not for this long.
const BUSY: Duration = Duration::from_mins(3);

/// What kubelet asks.
#[derive(Debug)]
pub struct Probes {
    agent: Arc<Agent>,
    begun: Instant,
    ready: AtomicBool,
}

/// `/healthz` and `/readyz` of an agent that began just now.
pub fn routes(agent: &Arc<Agent>) -> Router {
    let probes = Probes { agent: agent.clone(), begun: Instant::now(), ready: AtomicBool::new(false) };
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(Arc::new(probes))
}

type Answer = (StatusCode, &'static str);

async fn alive(State(probes): State<Arc<Probes>>) -> Answer {
    match timeout(ANSWER, probes.look()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok"),
        Ok(Err(what)) => (StatusCode::SERVICE_UNAVAILABLE, what),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the event loop does not answer"),
    }
}

async fn ready(State(probes): State<Arc<Probes>>) -> Answer {
    match probes.readiness() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(what) => (StatusCode::SERVICE_UNAVAILABLE, what),
    }
}

impl Probes {
    /// Goes the ways that units go, so that one that is blocked shows.
    async fn look(&self) -> Result<(), &'static str> {
        if tokio::spawn(async {}).await.is_err() {
            return Err("the runtime runs no tasks");
        }
        if !self.agent.registry.turns.answer().await {
            return Err("the thread that reads cameras runs no tasks");
        }
        // The report's lock is a blocking one: waiting for it must not take a thread from the runtime.
        let board = self.agent.board.clone();
        if tokio::task::spawn_blocking(move || board.report().sequence).await.is_err() {
            return Err("the report cannot be made");
        }
        match self.agent.busy_for() {
            Some(busy) if busy > BUSY => Err("the supervisor has been busy with one change of the plan for too long"),
            _ => Ok(()),
        }
    }

    fn readiness(&self) -> Result<(), &'static str> {
        if self.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let report = self.agent.board.report();
        if report.plan_hash.is_empty() {
            return Err("no plan yet");
        }
        if !have_all_begun(&report) && self.begun.elapsed() < FIRST_FRAME {
            return Err("no first frame yet");
        }
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether every camera has sent something.
fn have_all_begun(report: &Report) -> bool {
    report.units.iter().filter(|unit| unit.object.kind == ObjectKind::Camera).all(|unit| unit.media.is_some())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::agent::unit::{NoSecrets, UnitContext};
    use crate::plan::report::MediaFacts;
    use crate::plan::unit::{Ingest, ObjectKey, ObjectRef, Plan, Reconnect, Source, Unit, Work};

    fn camera() -> Unit {
        let ingest = Ingest {
            source: Source::Hub { address: "http://door-camera:9090".into() },
            stall_timeout_ms: 10_000,
            start_timeout_ms: 30_000,
            reconnect: Reconnect { initial_delay_ms: 1000, max_delay_ms: 30_000, max_attempts: None },
            ring_ms: 10_000,
            ring_bytes: 1 << 20,
        };
        let object = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("shop", "door") };
        Unit { object, uid: "1".into(), generation: 1, work: Work::Ingest(ingest) }
    }

    /// An agent whose units do nothing, and take `stop` to end.
    fn probes(stop: Duration) -> Probes {
        let launch = move |context: UnitContext, _| {
            async move {
                context.cancel.cancelled().await;
                tokio::time::sleep(stop).await;
            }
            .boxed()
        };
        let agent = Arc::new(Agent::with_launch(Arc::new(NoSecrets), Arc::new(launch)));
        Probes { agent, begun: Instant::now(), ready: AtomicBool::new(false) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_agent_waits_for_its_first_frames_but_not_for_ever() {
        let waits = probes(Duration::ZERO);
        assert_eq!(waits.readiness(), Err("no plan yet"));
        waits.agent.apply(&Plan { units: vec![camera()], ..Plan::new("a") }).await;
        assert_eq!(waits.readiness(), Err("no first frame yet"));
        tokio::time::advance(FIRST_FRAME).await;
        assert_eq!(waits.readiness(), Ok(()));

        let served = probes(Duration::ZERO);
        served.agent.apply(&Plan { units: vec![camera()], ..Plan::new("a") }).await;
        let facts = MediaFacts {
            video_codec: "H264".into(),
            width: 64,
            height: 48,
            frames_per_second_milli: 25_000,
            audio_codec: None,
        };
        served.agent.board.update_unit(&camera().object, |report| report.media = Some(facts));
        assert_eq!(served.readiness(), Ok(()));
        served.agent.board.update_unit(&camera().object, |report| report.media = None);
        assert_eq!(served.readiness(), Ok(()), "what comes later is a condition");
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_is_stuck_is_not_alive() {
        let probes = Arc::new(probes(BUSY * 2));
        probes.agent.apply(&Plan { units: vec![camera()], ..Plan::new("a") }).await;
        assert_eq!(probes.look().await, Ok(()));
        let agent = probes.agent.clone();
        let change = tokio::spawn(async move { agent.apply(&Plan::new("a")).await });
        tokio::time::sleep(BUSY / 2).await;
        assert_eq!(probes.look().await, Ok(()), "stopping may take a while");
        tokio::time::sleep(BUSY).await;
        assert!(probes.look().await.is_err());
        change.await.expect("it ends");
        assert_eq!(probes.look().await, Ok(()));
    }
}
