//! Alert routes in `run`: the objects of the store, the Secrets of the manifests, pictures of this process's hubs, and who was
//! told what in `alerts.json`, so that a kill loses nothing. Must not decide who is told.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::control::Control;
use crate::agent::output::snapshot::last_picture;
use crate::agent::unit::Secrets as _;
use crate::alert::conditions::observe;
use crate::alert::engine::State;
use crate::alert::facts::Fact;
use crate::alert::message::Picture;
use crate::alert::place::{Look, Place};
use crate::alert::volumes::Volumes;
use crate::api::{AlertRoute, AlertRouteStatus};
use crate::plan::objects::key;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef, SecretKey};

/// Name of the file.
pub const FILE: &str = "alerts.json";

/// States by route (`namespace/name`).
type States = BTreeMap<String, State>;

/// `run`, as the desk of alerts sees it.
pub struct LocalPlace {
    control: Arc<Control>,
    folder: PathBuf,
    page: Option<String>,
    remembered: Mutex<Remembered>,
    volumes: Mutex<Volumes>,
    /// The version that the file holds. One save at a time, so that an older state never replaces a newer one.
    saved: Arc<tokio::sync::Mutex<u64>>,
}

/// What the file is to hold.
#[derive(Debug, Default)]
struct Remembered {
    states: States,
    /// One more with each state that is to be saved.
    version: u64,
}

/// What the file says; nothing where there is none. One that cannot be understood is put aside: everything that stands is then
/// told again.
fn load(folder: &Path) -> std::io::Result<States> {
    let path = folder.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(States::new()),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).or_else(|error| {
        let aside = folder.join(format!("{FILE}.unreadable"));
        tracing::warn!("who was told of what cannot be understood ({error}) and was put aside as {}", aside.display());
        std::fs::rename(&path, aside).map(|()| States::new())
    })
}

/// Replaces the file: after a crash it holds the old state or the new, never a part.
fn save(folder: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = folder.join(format!("{FILE}.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

impl LocalPlace {
    /// Goes on where an earlier run ended. `page` is where the page of this process is.
    ///
    /// # Errors
    /// When what it left cannot be read.
    pub fn new(control: Arc<Control>, folder: &Path, page: Option<String>) -> anyhow::Result<Self> {
        let states = load(folder).with_context(|| format!("{} cannot be read", folder.join(FILE).display()))?;
        Ok(Self {
            control,
            folder: folder.to_owned(),
            page,
            remembered: Mutex::new(Remembered { states, version: 0 }),
            volumes: Mutex::default(),
            saved: Arc::default(),
        })
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(route: &ObjectKey) -> ObjectRef {
        ObjectRef { kind: ObjectKind::AlertRoute, key: route.clone() }
    }
}

impl Place for LocalPlace {
    fn look(&self, now: Timestamp) -> Option<Look> {
        if !self.control.is_ready() {
            return None;
        }
        let objects = self.control.store.list(None, None).objects;
        let routes = objects.iter().filter(|(reference, _)| reference.kind == ObjectKind::AlertRoute);
        // They were checked when they were read.
        let routes = routes.filter_map(|(_, object)| serde_json::from_value((**object).clone()).ok().map(Arc::new));
        let facts: Vec<Fact<'_>> = objects.iter().map(|(reference, object)| Fact::of_json(reference, object)).collect();
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        if volumes.is_due(now) {
            let archives = self.control.agent.board.report().archives;
            volumes.sample(archives.into_iter().map(|archive| (archive.key, archive.free_bytes)), now);
        }
        Some(Look { routes: routes.collect(), observed: observe(&facts, &volumes.full_in(), now) })
    }

    fn route(&self, route: &ObjectKey) -> Option<Arc<AlertRoute>> {
        let object = self.control.store.get(&Self::reference(route))?;
        serde_json::from_value((*object).clone()).ok().map(Arc::new)
    }

    fn load<'a>(&'a self, route: &'a AlertRoute) -> BoxFuture<'a, Result<Option<State>, String>> {
        let state = self.remembered().states.get(&key(route).to_string()).cloned();
        std::future::ready(Ok(state)).boxed()
    }

    fn save<'a>(&'a self, route: &'a AlertRoute, state: &'a State) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let version = {
                let mut remembered = self.remembered();
                remembered.states.insert(key(route).to_string(), state.clone());
                remembered.version += 1;
                remembered.version
            };
            let mut saved = self.saved.clone().lock_owned().await;
            if *saved >= version {
                // Another route's save has taken this one with it.
                return Ok(());
            }
            let (text, newest) = {
                let remembered = self.remembered();
                (serde_json::to_vec(&remembered.states).map_err(|error| error.to_string())?, remembered.version)
            };
            let folder = self.folder.clone();
            // Whoever waits may give up, but a write goes on, and no other may begin beside it.
            let written = tokio::task::spawn_blocking(move || {
                save(&folder, &text)?;
                *saved = newest;
                Ok(())
            });
            let written: std::io::Result<()> = written.await.map_err(|error| error.to_string())?;
            written.map_err(|error| format!("{FILE}: {error}"))
        }
        .boxed()
    }

    fn forget(&self, route: &ObjectKey) {
        self.remembered().states.remove(&route.to_string());
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, String>> {
        let key = SecretKey { namespace: namespace.to_owned(), name: name.to_owned(), key: key.to_owned() };
        let value = self.control.secrets.get(&key).map(|secret| secret.expose().to_owned());
        std::future::ready(Ok(value)).boxed()
    }

    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Option<Picture>> {
        async move {
            let picture = last_picture(&self.control.agent.registry, camera).await.ok()?;
            Some(Picture { jpeg: picture.jpeg, captured: picture.captured.timestamp() })
        }
        .boxed()
    }

    fn show<'a>(&'a self, route: &'a AlertRoute, status: &'a AlertRouteStatus) -> BoxFuture<'a, Result<(), String>> {
        // A plain type of ours: it cannot fail to serialise.
        let status = serde_json::to_value(status).unwrap_or_default();
        self.control.store.set_status(&Self::reference(&key(route)), status);
        std::future::ready(Ok(())).boxed()
    }

    fn may_see_all(&self, _namespace: &str) -> bool {
        // All manifests are of whoever runs this program.
        true
    }

    fn page(&self) -> Option<String> {
        self.page.clone()
    }
}
