//! `camera-operator operator`: starts everything, takes part in the election, and ends cleanly or, when the Lease is lost, at
//! once. Must hold no decision of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use kube::{Api, Config};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::access::{self, Fixed};
use super::alerts::ClusterPlace;
use super::apply::{Applier, SharedWorld};
use super::build::Settings;
use super::build::settings::{DefaultResources, NetworkPolicySettings};
use super::client::{Progress, client};
use super::election::{Elector, Leadership};
use super::events;
use super::kinds::{OBJECT_KINDS, Watched};
use super::lease::Timing;
use super::metrics::Metrics;
use super::names::{APPLICATION, TOKEN_FILE, TOKEN_FOLDER};
use super::queue::{self, SharedQueue};
use super::reconcile::{Agents, Reconciler, hosted};
use super::reports::{Asking, Reports};
use super::server::Server;
use super::watches::{Feed, follow};
use crate::alert::desk::Desk;
use crate::alert::metrics::Metrics as AlertMetrics;
use crate::host::signals::Signals;
use crate::plan::unit::ObjectRef;

/// How long one look at one object may take.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// How long what is under way may take at a clean stop.
const FINISH_LIMIT: Duration = Duration::from_secs(15);
/// A change of an agent's report waits this long for more of them.
const SETTLE_REPORT: Duration = Duration::from_millis(50);

/// Runs the controllers of a cluster.
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown, reason = "what stands here is printed as help")]
pub struct Arguments {
    /// Image of the pods that handle media: the same version as this program's.
    #[arg(long)]
    image: String,
    /// When nodes pull it: Always, IfNotPresent or Never. Default: as Kubernetes decides by its tag.
    #[arg(long, value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// Namespace that the operator runs in: where its Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "camera-operator")]
    namespace: String,
    /// Name of this replica. Default: the name of the machine.
    #[arg(long, env = "POD_NAME")]
    name: Option<String>,
    /// Address for /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// How many objects are worked on at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How many pods may be replaced at once when nobody's spec asked for it, as after an upgrade.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_rollouts: u16,
    /// How many clips of a namespace may be recorded at once.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    max_clips_per_namespace: u16,
    /// YAML file with defaults for all pods: resources, allowedSubjects, networkPolicy.
    #[arg(long)]
    resources_file: Option<PathBuf>,
    /// File of the token that this program shows to agents.
    #[arg(long, default_value_os_t = PathBuf::from(TOKEN_FOLDER).join(TOKEN_FILE))]
    agent_token_file: PathBuf,
}

/// What the resources file holds.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Defaults {
    /// Processor and memory where `spec.pod.resources` says nothing.
    resources: DefaultResources,
    /// Subjects (`system:serviceaccount:<namespace>:<name>`) that may read media of every agent.
    allowed_subjects: Vec<String>,
    /// Absent: agents get no `NetworkPolicy`.
    network_policy: Option<NetworkPolicySettings>,
}

impl Defaults {
    fn read(path: Option<&PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let parsed: Option<Self> = serde_yaml::from_str(&text).with_context(|| {
            format!("{} cannot be understood: it may hold resources, allowedSubjects and networkPolicy", path.display())
        })?;
        Ok(parsed.unwrap_or_default())
    }
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// When the cluster cannot be found, the address is taken, or a file cannot be read.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(operate(arguments))
}

/// Ends the process now: nothing that is under way may go on.
fn end_at_once(why: &str) -> ! {
    tracing::error!("{why}");
    std::process::exit(1)
}

async fn operate(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let defaults = Defaults::read(arguments.resources_file.as_ref())?;
    let config = Config::infer().await.context(
        "no cluster is found: run this in a pod with a ServiceAccount, or set KUBECONFIG to the file of a cluster",
    )?;
    let name = arguments.name.clone().unwrap_or_else(|| {
        nix::unistd::gethostname().map_or_else(|_| APPLICATION.to_owned(), |name| name.to_string_lossy().into_owned())
    });
    let (metrics, progress, leadership) = (Metrics::new()?, Progress::default(), Leadership::default());
    let writer = client(config.clone(), &metrics, &progress, Some(&leadership))?;
    // The Lease is written before this process leads, and on a connection of its own, which no other request holds up.
    let elector = client(config.clone(), &metrics, &progress, None)?;
    let (events, sender) = events::channel();
    let watched = Watched::all();
    for kind in &watched {
        // From here on their age counts, so that one that never gets going shows, too.
        progress.touch(&kind.resource().plural);
    }
    let feed = Feed {
        world: SharedWorld::default(),
        queue: SharedQueue::default(),
        pods_changed: Arc::default(),
        progress,
        events: events.clone(),
        metrics: metrics.clone(),
        missing: Arc::new(AtomicUsize::new(watched.len())),
        complete: Arc::new(Notify::new()),
    };
    let reports = Reports::default();
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("{} cannot be listened on: choose another address with --listen", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serves probes and metrics");
    let alerts = Arc::new(OnceLock::new());
    let server = Server { feed: feed.clone(), reports: reports.clone(), alerts: alerts.clone() };
    tokio::spawn(async move { axum::serve(listener, server.routes()).await });
    for kind in watched {
        tokio::spawn(follow(writer.clone(), kind, feed.clone()));
    }
    tokio::spawn(sender.run(writer.clone(), name.clone()));
    let mut ended = std::pin::pin!(Signals::new()?.first());

    // Followers see everything, so that they can take over at once; they do nothing.
    let api = Api::namespaced(elector, &arguments.namespace);
    let identity = format!("{name}_{:08x}", rand::random::<u32>());
    let mut elector = Elector::new(api, APPLICATION, identity, Timing::default(), leadership);
    tokio::select! {
        () = elector.acquire() => {}
        _ = &mut ended => return Ok(ExitCode::SUCCESS),
    }
    tracing::info!("leads");
    metrics.leads(true);

    let (known, known_now) = watch::channel(None);
    let fixed = Fixed {
        media: defaults.allowed_subjects,
        refused: access::addresses(&config.cluster_url).await,
        max_clips_per_namespace: arguments.max_clips_per_namespace.into(),
    };
    let everything = {
        let feed = feed.clone();
        move || look_at_everything(&feed)
    };
    tokio::spawn(access::keep(writer.clone(), fixed, known, stop.clone(), everything));
    let asking = Asking {
        world: feed.world.clone(),
        reports: reports.clone(),
        pods_changed: feed.pods_changed.clone(),
        token_file: arguments.agent_token_file.clone(),
        news: Arc::new({
            let feed = feed.clone();
            move |owner: &ObjectRef| {
                let hosted = hosted(&feed.world.lock(), owner);
                feed.queue.add(hosted.into_iter().chain([owner.clone()]), SETTLE_REPORT);
            }
        }),
    };
    tokio::spawn(asking.run(stop.clone()));
    let place = ClusterPlace::new(
        writer.clone(),
        feed.clone(),
        reports.clone(),
        arguments.agent_token_file,
        arguments.namespace.clone(),
    )?;
    let (desk, handle) = Desk::new(Arc::new(place), AlertMetrics::register(metrics.registry())?)?;
    let _ = alerts.set(handle);
    let delivering = tokio::spawn(desk.deliver(stop.clone()));
    let reconciler = Arc::new(Reconciler {
        applier: Applier::new(writer.clone(), feed.world.clone(), events, arguments.max_concurrent_rollouts.into()),
        client: writer,
        feed: feed.clone(),
        reports,
        known: known_now,
        settings: Settings {
            image: arguments.image,
            image_pull_policy: arguments.image_pull_policy,
            operator_namespace: arguments.namespace,
            resources: defaults.resources,
            network_policy: defaults.network_policy,
        },
        agents: Agents::default(),
    });
    let working = {
        let (feed, stop) = (feed.clone(), stop.clone());
        tokio::spawn(async move {
            // Whoever acts on half a picture deletes what only seems to be an orphan.
            tokio::select! {
                () = feed.completed() => {}
                () = stop.cancelled() => return,
            }
            look_at_everything(&feed);
            let look = |object| reconciler.clone().look_at(object);
            queue::work(&feed.queue, arguments.concurrency.into(), LOOK_LIMIT, &stop, look).await;
        })
    };
    tokio::select! {
        lost = elector.keep() => end_at_once(&format!("stops leading, and so ends: {lost}")),
        signals = &mut ended => {
            tokio::spawn(signals.exit_on_second());
        }
    }
    tracing::info!("stops: finishes what is under way");
    stop.cancel();
    let finished = tokio::time::timeout(FINISH_LIMIT, async { tokio::join!(working, delivering) });
    tokio::select! {
        lost = elector.keep() => end_at_once(&format!("lost the lease while it stopped: {lost}")),
        finished = finished => {
            if finished.is_err() {
                bail!("what was under way did not end within {FINISH_LIMIT:?}");
            }
        }
    }
    metrics.leads(false);
    elector.release().await;
    Ok(ExitCode::SUCCESS)
}

fn look_at_everything(feed: &Feed) {
    let world = feed.world.lock();
    for kind in OBJECT_KINDS {
        let objects = world.keys(Watched::Object(kind)).into_iter().map(|key| ObjectRef { kind, key });
        feed.queue.renew(objects, Duration::ZERO);
    }
    feed.pods_changed.notify_one();
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &str) -> anyhow::Result<Defaults> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        Defaults::read(Some(&file.path().to_path_buf()))
    }

    #[test]
    fn the_resources_file() {
        assert_eq!(Defaults::read(None).unwrap(), Defaults::default());
        assert_eq!(read("").unwrap(), Defaults::default());
        let all = "resources: {camera: {requests: {cpu: \"1\"}}}\nallowedSubjects: [\"system:serviceaccount:a:b\"]\n\
            networkPolicy: {allowed: []}";
        let all = read(all).unwrap();
        assert_eq!(all.allowed_subjects, ["system:serviceaccount:a:b"]);
        assert!(all.network_policy.is_some());
        assert_ne!(all.resources.camera, DefaultResources::default().camera);
        assert_eq!(all.resources.stream, DefaultResources::default().stream, "what is left out is as it is by default");
        let error = read("resource: {}").unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `resource`"), "{error:#}");
    }
}
