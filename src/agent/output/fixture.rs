//! What the tests of the outputs share: units that run, and a server to ask.

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::hub::{Hub, Limits};
use crate::agent::registry::Registry;
use crate::agent::unit::{Board, NoSecrets, UnitContext};
pub use crate::media::fixture::{Coded, H264, coded, coded_sound};
use crate::media::frame::UtcMicros;
use crate::plan::report::{UnitReport, UnitState};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// A registry with one camera, `default/cam`, and what is needed to run units that read it.
#[derive(Debug)]
pub struct Rig {
    pub registry: Arc<Registry>,
    pub board: Arc<Board>,
    pub hub: Arc<Hub>,
    pub cancel: CancellationToken,
}

pub fn camera() -> ObjectKey {
    ObjectKey::new("default", "cam")
}

impl Rig {
    pub fn new() -> Self {
        Self::with_ring(Limits { duration_micros: 10_000_000, bytes: 32 << 20 })
    }

    pub fn with_ring(limits: Limits) -> Self {
        let registry = Arc::new(Registry::default());
        let hub = Arc::new(Hub::new(limits));
        registry.hubs.insert(camera(), hub.clone());
        Self { registry, board: Arc::default(), hub, cancel: CancellationToken::new() }
    }

    pub fn context(&self, kind: ObjectKind, name: &str) -> UnitContext {
        let object = ObjectRef { kind, key: ObjectKey::new("default", name) };
        self.board.insert_unit(UnitReport::starting(object.clone(), 1, UtcMicros::default()));
        UnitContext {
            object,
            uid: "uid".into(),
            registry: self.registry.clone(),
            board: self.board.clone(),
            secrets: Arc::new(NoSecrets),
            logs: Arc::default(),
            cancel: self.cancel.clone(),
        }
    }

    /// The state of a unit, as soon as it is `wanted`.
    pub async fn state(&self, kind: ObjectKind, name: &str, wanted: UnitState) -> UnitReport {
        let object = ObjectRef { kind, key: ObjectKey::new("default", name) };
        let mut changes = self.board.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(report) = self.board.unit(&object).filter(|report| report.state == wanted) {
                return report;
            }
            changes.changed().await.unwrap();
        }
    }

    /// Serves everything that the outputs offer.
    pub async fn serve(&self) -> Server {
        let routes = super::routes()
            .with_state(self.registry.clone())
            .merge(super::sidecar_routes(&self.registry, &Arc::default()));
        serve(routes).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[derive(Debug)]
pub struct Server {
    pub address: std::net::SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(routes: Router) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Server { address, _task: AbortOnDropHandle::new(task) }
}

/// An HTTP client.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// What a program says, which must succeed.
pub fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

/// Writes pieces to a file one after the other.
pub fn write_file(folder: &std::path::Path, name: &str, pieces: impl IntoIterator<Item = Bytes>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, pieces.into_iter().flatten().collect::<Vec<u8>>()).unwrap();
    path.to_str().unwrap().to_owned()
}
