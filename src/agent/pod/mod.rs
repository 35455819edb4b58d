//! `camera-operator agent`: what runs in every media pod. Reads its plan from a mounted file, applies every change of it by
//! difference, serves the agent's HTTP interface, and ends in order on SIGTERM. Must not know Kubernetes beyond files and
//! signals: who may ask for what, and where sources may not connect to, stands in the plan.

mod ending;
pub mod plan_file;
pub mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::plan_file::PlanFile;
use self::secrets::MountedSecrets;
use super::access::Verifier;
use super::sidecar;
use super::supervisor::Agent;
use crate::host::signals::Signals;
use crate::host::watch::Watcher;
use crate::plan::read::ReadPlan;

/// The plan is read this often even if nothing says that it changed: some file systems tell of no changes.
const POLL: Duration = Duration::from_secs(10);
/// How long units get to end: a pod's usual grace period (30 s) less what comes before and after.
const LAST_WORK: Duration = Duration::from_secs(25);
/// How long open responses (live video, downloads) may go on once everything else has ended.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// Runs the units of a plan; what the operator's pods run.
///
/// Applies the plan again whenever its file changes, so that only the units that changed restart. SIGTERM ends it cleanly:
/// recordings are closed, viewers and recorders elsewhere are let go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The plan, as JSON; in a pod a key of a mounted `ConfigMap`.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Where Secrets (`users/<secret>/<key>`) and this agent's own token (`agent/token`) are mounted.
    #[arg(long, value_name = "FOLDER", default_value = secrets::FOLDER)]
    secrets: PathBuf,
    /// Address of the HTTP interface.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    listen: SocketAddr,
}

/// Runs until a signal comes.
///
/// # Errors
/// When it cannot begin; a plan that cannot be read is no such case, since it may be put right.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tracing::info!("camera-operator agent {}", env!("CARGO_PKG_VERSION"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(live(arguments));
    // What still blocks (a disk that does not answer) must not keep the program from ending.
    runtime.shutdown_background();
    result
}

async fn live(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // First of all, so that a signal at any time ends it cleanly.
    let signals = Signals::new().context("cannot listen for signals")?;
    // Before the first reading, so that no change falls between.
    let watcher = Watcher::new(std::slice::from_ref(&arguments.plan))
        .inspect_err(|error| tracing::warn!(%error, "the plan's folder cannot be watched; it is read every {POLL:?}"));
    let agent = Arc::new(Agent::new(Arc::new(MountedSecrets::new(&arguments.secrets))));
    agent.registry.gate.close();
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", arguments.listen))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(arguments.listen), "listening");

    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, agent.clone(), shutdown.clone()));
    let plan = PlanFile::new(&arguments.plan);
    let follow = tokio::spawn(follow_plan(plan, watcher.ok(), agent.clone(), shutdown.clone()));
    let signals = signals.first().await;
    tracing::info!("stopping: what is being recorded is completed (a second signal ends at once)");
    tokio::spawn(signals.exit_on_second());
    // No new connections from here on: readers whose stream ends go to the pod that takes over.
    shutdown.cancel();
    let ended = timeout(LAST_WORK, async {
        // A loop that has panicked must not keep recordings from being closed.
        let _ = follow.await;
        agent.shutdown().await;
    });
    let in_time = ended.await.is_ok();
    let _ = timeout(LAST_RESPONSES, server).await;
    if !in_time {
        tracing::error!("not everything has ended within {LAST_WORK:?}; what was written up to now is whole");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, agent: Arc<Agent>, shutdown: CancellationToken) {
    let routes = sidecar::routes(&agent).layer(from_fn_with_state(shutdown.clone(), ending::elsewhere));
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

/// Puts the plan in force, now and whenever it changes.
async fn follow_plan(mut file: PlanFile, mut watcher: Option<Watcher>, agent: Arc<Agent>, shutdown: CancellationToken) {
    loop {
        match file.read().await {
            None => {}
            Some(Ok(read)) => apply(&agent, read).await,
            Some(Err(problem)) => {
                tracing::error!("{problem}; what runs goes on as it is");
                agent.board.set_plan_problem(problem);
            }
        }
        let changed = async {
            match &mut watcher {
                Some(watcher) => watcher.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(POLL) => {}
            changed = changed => if changed.is_none() {
                tracing::warn!("the plan's folder is no longer watched; it is read every {POLL:?}");
                watcher = None;
            },
        }
    }
}

async fn apply(agent: &Agent, ReadPlan { plan, hash }: ReadPlan) {
    // Who may ask comes first: a caller must not see units of a plan that does not let it.
    match plan.access.as_ref().map(Verifier::new).transpose() {
        Ok(Some(verifier)) => agent.registry.gate.verify_by(verifier),
        Ok(None) => agent.registry.gate.open(),
        Err(error) => {
            tracing::error!("{error}; what runs goes on as it is");
            agent.board.set_plan_problem(error.to_string());
            return;
        }
    }
    tracing::info!(%hash, units = plan.units.len(), "putting a plan in force");
    agent.apply_as(&plan, hash).await;
}
