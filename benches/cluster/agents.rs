//! Stands in for a thousand agents: pods that kwok plays have addresses of this machine, so one server answers for all of
//! them, each with a report on the plan that the operator wrote for it. It answers as an agent does (`agent/sidecar.rs`): at
//! once, and a long poll when there is news. Must not know anything that a pod could not know.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::IncomingStream;
use axum::{Json, Router};
use camera_operator::media::frame::UtcMicros;
use camera_operator::operator::names::{AGENT_PORT, LABEL_COMPONENT, LABEL_INSTANCE, PLAN_KEY};
use camera_operator::plan::report::{MediaFacts, Reason, Report, UnitReport, UnitState};
use camera_operator::plan::unit::Plan;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::sight::{Key, key};
use crate::support::http::runtime;

/// As long as an agent lets a long poll wait.
const LONG_POLL: Duration = Duration::from_secs(25);

type Board = watch::Sender<Option<Arc<Report>>>;

/// All agents.
#[derive(Debug, Clone, Default)]
pub struct Agents(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By name of the `ConfigMap`, which is that of the Deployment.
    reports: HashMap<Key, Arc<Report>>,
    addresses: HashMap<Key, IpAddr>,
    /// What stands at an address.
    boards: HashMap<IpAddr, Board>,
}

impl Known {
    fn board(&mut self, address: IpAddr) -> &Board {
        self.boards.entry(address).or_default()
    }

    fn publish(&mut self, agent: &Key) {
        let (Some(address), Some(report)) = (self.addresses.get(agent).copied(), self.reports.get(agent).cloned())
        else {
            return;
        };
        self.board(address).send_if_modified(|stands| {
            let is_news = stands.as_ref() != Some(&report);
            *stands = Some(report);
            is_news
        });
    }
}

impl Agents {
    /// Listens on every address of this machine; or why it cannot.
    pub fn serve() -> Result<Self, String> {
        let agents = Self::default();
        let listener = runtime().block_on(TcpListener::bind(format!("0.0.0.0:{AGENT_PORT}")));
        let listener = listener.map_err(|error| format!("port {AGENT_PORT} cannot be listened on: {error}"))?;
        let routes = Router::new().route("/v1/report", get(report)).with_state(agents.clone());
        let service = routes.into_make_service_with_connect_info::<Asked>();
        runtime().spawn(async move { axum::serve(listener, service).await });
        Ok(agents)
    }

    /// A plan as the operator wrote it.
    pub fn config_map(&self, config_map: &Value, gone: bool) {
        let (key, mut known) = (key(config_map), self.0.lock().unwrap());
        if gone {
            known.reports.remove(&key);
            return;
        }
        let Some(plan) = config_map["data"][PLAN_KEY].as_str() else { return };
        let plan: Plan = serde_json::from_str(plan).unwrap();
        let sequence = known.reports.get(&key).map_or(1, |before| before.sequence + 1);
        let hash = plan.hash();
        if known.reports.get(&key).is_none_or(|before| before.plan_hash != hash) {
            known.reports.insert(key.clone(), Arc::new(report_on(&plan, hash, sequence)));
            known.publish(&key);
        }
    }

    /// A pod as it is now.
    pub fn pod(&self, pod: &Value, gone: bool) {
        let labels = &pod["metadata"]["labels"];
        let (Some(name), Some(component)) = (labels[LABEL_INSTANCE].as_str(), labels[LABEL_COMPONENT].as_str()) else {
            return;
        };
        let Some(address) = pod["status"]["podIP"].as_str().and_then(|address| address.parse().ok()) else { return };
        let agent = (key(pod).0, format!("{name}-{component}"));
        let mut known = self.0.lock().unwrap();
        if gone {
            // The next pod may get this address.
            known.board(address).send_replace(None);
            known.addresses.remove(&agent);
        } else {
            known.addresses.insert(agent.clone(), address);
            known.publish(&agent);
        }
    }
}

/// The address that was asked.
#[derive(Debug, Clone, Copy)]
struct Asked(IpAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Asked {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().unwrap().ip())
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<u64>,
}

async fn report(
    State(agents): State<Agents>,
    ConnectInfo(Asked(address)): ConnectInfo<Asked>,
    Query(query): Query<Since>,
) -> Result<Json<Arc<Report>>, StatusCode> {
    let mut board = agents.0.lock().unwrap().board(address).subscribe();
    let is_news =
        |report: &Option<Arc<Report>>| report.as_ref().is_some_and(|report| Some(report.sequence) != query.since);
    let _ = tokio::time::timeout(LONG_POLL, board.wait_for(is_news)).await;
    let report = board.borrow().clone();
    report.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn report_on(plan: &Plan, plan_hash: String, sequence: u64) -> Report {
    let unit = |unit: &camera_operator::plan::unit::Unit| UnitReport {
        state: UnitState::Running,
        reason: Reason::Streaming,
        message: "frames flow".to_owned(),
        media: Some(MediaFacts {
            video_codec: "H264".to_owned(),
            width: 1920,
            height: 1080,
            frames_per_second_milli: 25_000,
            audio_codec: Some("AAC".to_owned()),
        }),
        ..UnitReport::starting(unit.object.clone(), unit.generation, UtcMicros::from_timestamp(jiff::Timestamp::now()))
    };
    Report { plan_hash, sequence, units: plan.units.iter().map(unit).collect(), ..Report::default() }
}
