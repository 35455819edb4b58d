//! The life of `camera-operator run`: begins everything in order, says what is happening and where to look, and ends
//! everything in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::alerts::LocalPlace;
use super::control::Control;
use super::data::{self, DataFolder};
use super::machine;
use super::manifests::{Declared, Manifests};
use super::numbers;
use super::state::{self, State};
use super::tls::{Files, Identity, TlsListener};
use super::world::LocalWorld;
use crate::agent::metrics::{self, Exposition};
use crate::agent::sidecar;
use crate::alert::desk::Desk;
use crate::alert::handle::Handle;
use crate::alert::metrics::Metrics as AlertMetrics;
use crate::gateway::guard::HostPolicy;
use crate::gateway::world::ChangeKind;
use crate::gateway::{self};
use crate::host::signals::Signals;
use crate::host::watch::Watcher;
use crate::plan::unit::{ObjectKind, ObjectRef};

/// How long open responses (live video, downloads) may go on once everything else has ended.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// Runs manifests on this machine, without a cluster.
///
/// Connects to the cameras, serves their live video, records, keeps to the retention, and applies the files again
/// whenever they change. Look at the page whose address it prints. Ctrl-C stops it cleanly.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A manifest file, or a folder of them; may be given more than once.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE OR FOLDER")]
    file: Vec<PathBuf>,
    /// Where recordings and state are kept. Default: camera-operator in `$XDG_DATA_HOME` or `~/.local/share`.
    #[arg(long, value_name = "FOLDER", env = "CAMERA_OPERATOR_DATA")]
    data: Option<PathBuf>,
    /// Address of the page and the API. There is no authentication: who can reach it can see the cameras.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Certificate for HTTPS, in PEM form with its chain; read again when it changes. With it there is no plain HTTP.
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, in PEM form; read again when it changes.
    #[arg(long, value_name = "PEM", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// A host name, besides IP addresses, localhost and local names, under which browsers may address the page; may be
    /// given more than once.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

/// Runs until a signal comes.
///
/// # Errors
/// When it cannot begin; the error says what to do.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    tracing::info!("camera-operator {}", env!("CARGO_PKG_VERSION"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(live(arguments));
    // What still blocks (a disk that does not answer) must not keep the program from ending.
    runtime.shutdown_background();
    result
}

async fn live(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // First of all, so that a signal at any time ends it cleanly.
    let signals = Signals::new().context("cannot listen for signals")?;
    let mut manifests = Manifests::new(arguments.file.clone());
    // Before the first reading, so that no edit falls between.
    let watcher = Watcher::new(&arguments.file).context("cannot watch the manifests for changes")?;
    manifests.read();
    let declared = manifests.declared();
    if declared.objects.is_empty() && !declared.complete {
        bail!("nothing to run; put this right and start again:\n  {}", declared.problems.join("\n  "));
    }
    if !machine::ffmpeg().await.present {
        bail!(machine::FFMPEG_MISSING);
    }
    let folder = match &arguments.data {
        Some(folder) => folder.clone(),
        None => data::default_folder()?,
    };
    let data = DataFolder::open(&folder)?;
    let identity = identity(&arguments)?;
    let listener =
        TcpListener::bind(arguments.listen).await.map_err(|error| cannot_listen(arguments.listen, &error))?;
    let address = listener.local_addr().context("the address that is listened on cannot be told")?;
    let (state, aside) = State::load(data.path())
        .with_context(|| format!("{} cannot be read", data.path().join(state::FILE).display()))?;
    if let Some(aside) = aside {
        tracing::warn!(
            "what was remembered cannot be understood and was put aside as {}; what had been stopped over the page runs again",
            aside.display()
        );
    }

    let control = Arc::new(Control::new(state, data.path().to_owned()));
    control.agent.registry.numbering.restore(numbers::load(data.path()));
    let shutdown = CancellationToken::new();
    let is_secure = identity.is_some();
    let counted = prometheus::Registry::new();
    let page = (!address.ip().is_unspecified()).then(|| base_url(address, is_secure));
    let place = LocalPlace::new(control.clone(), data.path(), page)?;
    let alert_metrics = AlertMetrics::register(&counted).context("the metrics cannot be made")?;
    let (desk, alerts) = Desk::new(Arc::new(place), alert_metrics).context("cannot set up TLS for alerts")?;
    let router = router(&control, &arguments, alerts, counted, &shutdown)?;
    let server = match identity {
        Some(identity) => {
            tokio::spawn(identity.clone().follow(shutdown.clone()));
            let listener = TlsListener::new(listener, identity).context("cannot set up TLS")?;
            tokio::spawn(serve(listener, router, shutdown.clone()))
        }
        None => tokio::spawn(serve(listener, router, shutdown.clone())),
    };
    tell_what_was_found(&declared, &data);
    tell_where_to_look(address, is_secure, &declared);
    control.declare(declared).await;

    let loops = [
        tokio::spawn(desk.deliver(shutdown.clone())),
        tokio::spawn({
            let (control, shutdown) = (control.clone(), shutdown.clone());
            async move { control.apply_plans(shutdown).await }
        }),
        tokio::spawn({
            let (control, shutdown) = (control.clone(), shutdown.clone());
            async move { control.tell_statuses(shutdown).await }
        }),
        tokio::spawn(follow_files(manifests, watcher, control.clone(), shutdown.clone())),
        tokio::spawn({
            let (control, folder, shutdown) = (control.clone(), data.path().to_owned(), shutdown.clone());
            async move { numbers::keep(&control.agent.registry, &folder, shutdown).await }
        }),
    ];
    let signals = signals.first().await;
    tracing::info!("stopping: what is being recorded is completed (a second signal ends at once)");
    tokio::spawn(signals.exit_on_second());
    shutdown.cancel();
    for task in loops {
        // A loop that has panicked must not keep recordings from being closed.
        let _ = task.await;
    }
    control.agent.shutdown().await;
    numbers::keep_last(&control.agent.registry, data.path()).await;
    let _ = tokio::time::timeout(LAST_RESPONSES, server).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn router(
    control: &Arc<Control>,
    arguments: &Arguments,
    alerts: Handle,
    counted: prometheus::Registry,
    shutdown: &CancellationToken,
) -> anyhow::Result<axum::Router> {
    let agent = control.agent.clone();
    let scraped = agent.clone();
    let allowed: BTreeSet<_> = arguments.allow_host.iter().map(|name| name.to_ascii_lowercase()).collect();
    let options = gateway::Options {
        world: Arc::new(LocalWorld::new(control.clone())),
        media: sidecar::media_routes(&agent),
        metrics: Arc::new(move || {
            let exposition = Exposition::default();
            metrics::collect(&exposition, &scraped.board.report(), &scraped.registry);
            let mut text = exposition.encode();
            // Names and labels are plain text: they can always be written.
            let _ = prometheus::TextEncoder::new().encode_utf8(&counted.gather(), &mut text);
            text
        }),
        alerts: Some(alerts),
        hosts: HostPolicy { allowed, any: false },
        shutdown: shutdown.clone(),
    };
    gateway::router(options).context("the metrics cannot be made")
}

/// The certificate that the arguments name, if they do.
fn identity(arguments: &Arguments) -> anyhow::Result<Option<Arc<Identity>>> {
    let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) else { return Ok(None) };
    let files = Files { certificate: certificate.clone(), key: key.clone() };
    let identity = Identity::load(files).context("cannot serve HTTPS (--tls-certificate, --tls-key)")?;
    Ok(Some(Arc::new(identity)))
}

async fn serve<L>(listener: L, router: axum::Router, shutdown: CancellationToken)
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let next = SocketAddr::new(address.ip(), address.port().wrapping_add(1));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "another program listens on {address}; stop it, or choose another address, such as --listen {next}"
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "not allowed to listen on {address}; choose a port above 1023, such as --listen {}:8080",
                address.ip()
            )
        }
        _ => anyhow::anyhow!("cannot listen on {address} ({error}); choose another address with --listen"),
    }
}

/// Applies the manifests again whenever they change, or on SIGHUP for file systems that tell of no changes.
async fn follow_files(
    mut manifests: Manifests,
    mut watcher: Watcher,
    control: Arc<Control>,
    shutdown: CancellationToken,
) {
    let mut hang_up = signal(SignalKind::hangup()).ok();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = watcher.changed() => if changed.is_none() {
                tracing::warn!("the manifests are no longer watched; send SIGHUP after a change");
                // Only a signal can wake this loop from now on.
                let Some(hang_up) = &mut hang_up else { return };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = hang_up.recv() => {}
                }
            },
            _ = async { match &mut hang_up { Some(signal) => signal.recv().await, None => std::future::pending().await } } => {}
        }
        let read = tokio::task::spawn_blocking(move || {
            let changed = manifests.read();
            (manifests, changed)
        });
        let Ok((returned, changed)) = read.await else { return };
        manifests = returned;
        if changed {
            apply(&control, manifests.declared()).await;
        }
    }
}

async fn apply(control: &Control, declared: Declared) {
    tell_problems(&declared);
    let is_right = declared.complete;
    let changes = control.declare(declared).await;
    if changes.is_empty() && is_right {
        tracing::info!("the manifests changed, but nothing that they declare");
    }
    for (kind, reference) in changes {
        let what = match kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "changed",
            ChangeKind::Deleted => "removed",
        };
        tracing::info!(object = %reference, "{what}");
    }
}

fn tell_problems(declared: &Declared) {
    for problem in &declared.problems {
        tracing::warn!("{problem}");
    }
}

fn tell_what_was_found(declared: &Declared, data: &DataFolder) {
    let count = |kind, one: &str| {
        let number = declared.objects.keys().filter(|reference| reference.kind == kind).count();
        (number > 0).then(|| format!("{number} {one}{}", if number == 1 { "" } else { "s" }))
    };
    let kinds = [
        count(ObjectKind::Camera, "camera"),
        count(ObjectKind::Stream, "stream"),
        count(ObjectKind::Recording, "recording"),
        count(ObjectKind::Archive, "archive"),
        count(ObjectKind::AlertRoute, "alert route"),
    ];
    let found: Vec<_> = kinds.into_iter().flatten().collect();
    let files = if declared.files == 1 { "1 file".to_owned() } else { format!("{} files", declared.files) };
    if found.is_empty() {
        tracing::warn!("no camera is declared in {files}; write one, and it is started at once");
    } else {
        tracing::info!("found {} in {files}", found.join(", "));
    }
    tell_problems(declared);
    tracing::info!("recordings and state are in {}", data.path().display());
}

/// Where to look, as a browser on this machine would.
fn tell_where_to_look(address: SocketAddr, is_secure: bool, declared: &Declared) {
    let base = base_url(address, is_secure);
    tracing::info!(url = %base, "look here: {base}  (API: {base}docs)");
    if !gateway::page::is_built() {
        tracing::warn!("this program was built without its page; {base} says how to build it");
    }
    if !address.ip().is_loopback() {
        tracing::warn!("everyone who can reach {address} can see the cameras: there is no authentication");
    }
    for (reference, object) in &declared.objects {
        if let Some(path) = stream_path(reference, object) {
            tracing::info!(object = %reference, "{base}{path}");
        }
    }
}

fn base_url(address: SocketAddr, is_secure: bool) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    if address.ip().is_unspecified() {
        return format!("{scheme}://localhost:{}/", address.port());
    }
    format!("{scheme}://{address}/")
}

/// Where a stream can be watched, beneath the base URL.
fn stream_path(reference: &ObjectRef, object: &serde_json::Value) -> Option<String> {
    if reference.kind != ObjectKind::Stream {
        return None;
    }
    let output = &object["spec"]["output"];
    if output["push"].is_object() {
        return None;
    }
    let file = if output["mjpeg"].is_object() { "stream.mjpeg" } else { "index.m3u8" };
    Some(format!("live/{}/{}/{file}", reference.key.namespace, reference.key.name))
}
