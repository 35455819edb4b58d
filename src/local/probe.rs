//! The connection test of a camera. A camera that is connected is never connected a second time: its own frames are
//! watched. Only one that nothing connects to (suspended, or given up) gets a connection for the test, which is closed
//! again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout_at;

use super::control::Control;
use super::planning;
use crate::agent::hub::{Event, Hub, Reach};
use crate::agent::supervisor::Agent;
use crate::gateway::world::{CameraTest, TestMethod, TestTimings, WorldError};
use crate::plan::report::{Reason, UnitReport, UnitState};
use crate::plan::resolve;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef, Plan, Unit, Work};

/// How long a test waits for the next picture of a camera that is connected.
const NEXT_FRAME: Duration = Duration::from_secs(10);

/// How long frames are watched to measure the bit rate.
const WATCH: Duration = Duration::from_secs(1);

/// What a test connection may take longer than the camera's own start time-out.
const MARGIN: Duration = Duration::from_secs(5);

/// Runs tests, one at a time for each camera.
#[derive(Debug)]
pub struct Probes {
    control: Arc<Control>,
    running: Mutex<BTreeSet<ObjectKey>>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What was seen of a connected camera's frames.
#[derive(Debug, Default)]
struct Watched {
    next_frame: Option<Duration>,
    bit_rate: Option<u64>,
}

/// Watches a hub until a new picture has come and then for a moment more.
async fn watch(hub: &Hub) -> Watched {
    let mut reader = hub.subscribe(Reach::Live);
    // What is there already says nothing about now.
    reader.take_now();
    let begin = Instant::now();
    let mut watched = Watched::default();
    let mut bytes = 0;
    let mut deadline = tokio::time::Instant::now() + NEXT_FRAME;
    while let Ok(Some(events)) = timeout_at(deadline, reader.next()).await {
        for event in events {
            let Event::Frame(frame) = event else { continue };
            bytes += frame.payload.len() as u64;
            if watched.next_frame.is_none() && frame.track == crate::media::frame::TrackKind::Video {
                watched.next_frame = Some(begin.elapsed());
                deadline = tokio::time::Instant::now() + WATCH;
            }
        }
    }
    if watched.next_frame.is_some() {
        let elapsed = begin.elapsed().as_micros().max(1);
        watched.bit_rate = u64::try_from(u128::from(bytes) * 8 * 1_000_000 / elapsed).ok();
    }
    watched
}

fn result(report: UnitReport, method: TestMethod, ok: bool, timings: TestTimings) -> CameraTest {
    CameraTest {
        ok,
        method,
        state: report.state,
        reason: report.reason,
        code: report.reason.code(),
        message: report.message,
        timings,
        media: report.media,
        bit_rate: None,
        reconnects: report.reconnects,
    }
}

impl Probes {
    /// Tests of the cameras of `control`.
    pub fn new(control: Arc<Control>) -> Self {
        Self { control, running: Mutex::default() }
    }

    /// Tests a camera. Goes on to its end when the caller goes away, so that no connection is left behind.
    ///
    /// # Errors
    /// When a test of this camera is running already, or when the camera cannot be planned.
    pub async fn test(self: Arc<Self>, camera: ObjectKey) -> Result<CameraTest, WorldError> {
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(camera.clone()) {
            return Err(WorldError::Conflict("A test of this camera is running already; wait for its result.".into()));
        }
        let this = self.clone();
        let test = tokio::spawn(async move {
            let result = this.test_alone(&camera).await;
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&camera);
            result
        });
        test.await.unwrap_or_else(|error| Err(WorldError::Failed(format!("The test failed: {error}."))))
    }

    async fn test_alone(&self, camera: &ObjectKey) -> Result<CameraTest, WorldError> {
        let begin = Instant::now();
        let reference = ObjectRef { kind: ObjectKind::Camera, key: camera.clone() };
        let report = self.control.agent.board.unit(&reference);
        match (report, self.control.agent.registry.hubs.get(camera)) {
            (Some(report), Some(hub)) if report.state == UnitState::Running => {
                let watched = watch(&hub).await;
                // The report of after the test: it knows what the frames said.
                let report = self.control.agent.board.unit(&reference).unwrap_or(report);
                let connected = Timestamp::now().as_microsecond().saturating_sub(report.since.0);
                let timings = TestTimings {
                    total: millis(begin.elapsed()),
                    next_frame: watched.next_frame.map(millis),
                    connected: (report.state == UnitState::Running)
                        .then(|| u64::try_from(connected / 1000).unwrap_or(0)),
                    first_frame: None,
                };
                let ok = watched.next_frame.is_some();
                let test = result(report, TestMethod::RunningConnection, ok, timings);
                Ok(CameraTest { bit_rate: watched.bit_rate, ..test })
            }
            (Some(report), _) if report.state != UnitState::Failed => {
                let timings = TestTimings { total: millis(begin.elapsed()), ..TestTimings::default() };
                Ok(result(report, TestMethod::LatestAttempt, false, timings))
            }
            _ => self.connect(&reference, begin).await,
        }
    }

    /// Opens a connection for the test alone, in an agent of its own.
    async fn connect(&self, camera: &ObjectRef, begin: Instant) -> Result<CameraTest, WorldError> {
        let object = self.control.store.get(camera).ok_or_else(|| WorldError::NotFound(camera.clone()))?;
        let typed = planning::typed([(camera, &*object)]).cameras.remove(&camera.key);
        let typed = typed.ok_or_else(|| WorldError::NotFound(camera.clone()))?;
        let unit = resolve::ingest_unit(&typed).map_err(WorldError::Conflict)?;
        let limit = match &unit.work {
            Work::Ingest(ingest) => Duration::from_millis(ingest.start_timeout_ms) + MARGIN,
            _ => MARGIN,
        };
        let agent = Agent::new(self.control.secrets.clone());
        let mut changes = agent.board.subscribe();
        let deadline = tokio::time::Instant::now() + limit;
        // The unit logs as the camera does; these lines say that it is a test.
        tracing::info!(object = %camera, "a connection is opened for a test");
        agent.apply(&plan_of(unit)).await;
        let mut first_frame = None;
        let report = loop {
            changes.mark_unchanged();
            let report = agent.board.unit(camera);
            match report.as_ref().map(|report| report.state) {
                Some(UnitState::Running) => {
                    first_frame.get_or_insert_with(|| begin.elapsed());
                    // The facts follow the first pictures.
                    if report.as_ref().is_some_and(|report| report.media.is_some()) {
                        break report;
                    }
                }
                Some(UnitState::Reconnecting | UnitState::Failed | UnitState::Complete) => break report,
                _ => {}
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                break report;
            }
        };
        agent.shutdown().await;
        tracing::info!(object = %camera, "the test's connection is closed");
        let timings = TestTimings {
            total: millis(begin.elapsed()),
            first_frame: first_frame.map(millis),
            ..TestTimings::default()
        };
        let gone = || WorldError::Unavailable {
            reason: Reason::CameraUnavailable,
            message: "The test was interrupted.".into(),
        };
        Ok(result(report.ok_or_else(gone)?, TestMethod::TestConnection, first_frame.is_some(), timings))
    }
}

fn plan_of(unit: Unit) -> Plan {
    Plan { units: vec![unit], ..Plan::new("test") }
}
