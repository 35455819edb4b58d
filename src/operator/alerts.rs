//! Alert routes in a cluster, for whoever leads: what the watches know, Secrets by name, the latest pictures from agents, and who
//! was told what in a ConfigMap beside each route, so that a new leader goes on where the last one was. Must not decide who is
//! told.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use serde_json::json;

use super::kinds::Watched;
use super::names::{AGENT_PORT, APPLICATION, FIELD_MANAGER, LABEL_COMPONENT, LABEL_NAME, child_name, component};
use super::reports::Reports;
use super::watches::Feed;
use crate::alert::conditions::observe;
use crate::alert::engine::State;
use crate::alert::facts::Fact;
use crate::alert::message::Picture;
use crate::alert::place::{Look, Place};
use crate::alert::volumes::Volumes;
use crate::api::condition::{self, Condition, READY, TRUE};
use crate::api::{API_VERSION, AlertRoute, AlertRouteStatus};
use crate::plan::objects::key;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Key of the state in its ConfigMap: JSON, compressed.
const STATE_KEY: &str = "state.json.gz";
/// A ConfigMap may hold 1 MiB in all.
const LARGEST_STATE: usize = 1_000_000;
/// Longer than any state unpacks to; a ConfigMap that holds more was not written here.
const LARGEST_UNPACKED: u64 = 64 << 20;
/// How long an agent may take for a picture.
const PICTURE_PATIENCE: Duration = Duration::from_secs(8);
/// A picture that is larger is left out.
const LARGEST_PICTURE: usize = 8 << 20;

/// A cluster, as the desk of alerts sees it.
pub struct ClusterPlace {
    client: Client,
    feed: Feed,
    reports: Reports,
    token_file: PathBuf,
    /// The operator's own namespace, whose routes may see all.
    namespace: String,
    http: reqwest::Client,
    volumes: Mutex<Volumes>,
    /// uid of the ConfigMap of each route, once it is known to be the route's.
    saved: Mutex<BTreeMap<ObjectKey, String>>,
}

impl ClusterPlace {
    /// `client` writes only while this process leads.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        client: Client,
        feed: Feed,
        reports: Reports,
        token_file: PathBuf,
        namespace: String,
    ) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(PICTURE_PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (volumes, saved) = (Mutex::default(), Mutex::default());
        Ok(Self { client, feed, reports, token_file, namespace, http, volumes, saved })
    }

    fn saved(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, String>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config_maps(&self, route: &ObjectKey) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &route.namespace)
    }

    /// The ConfigMap of a route, if it is there; its uid is noted where it is the route's own.
    async fn config_map(&self, route: &AlertRoute) -> Result<Option<ConfigMap>, String> {
        let route_key = key(route);
        let found = self.config_maps(&route_key).get_opt(&name_of(&route_key)).await;
        let found = found.map_err(|error| error.to_string())?;
        let uid = found.as_ref().filter(|found| is_of(found, route)).and_then(|found| found.metadata.uid.clone());
        match uid {
            Some(uid) => self.saved().insert(route_key, uid),
            None => self.saved().remove(&route_key),
        };
        Ok(found)
    }

    async fn write_state(&self, route: &AlertRoute, state: &State) -> Result<(), String> {
        let route_key = key(route);
        let packed = pack(state)?;
        let mut uid = self.saved().get(&route_key).cloned();
        if uid.is_none() {
            let found = self.config_map(route).await?;
            uid = self.saved().get(&route_key).cloned();
            if uid.is_none() && found.is_some() {
                let name = name_of(&route_key);
                return Err(format!(
                    "ConfigMap {name} is in the way and not touched: delete it, or give the route another name"
                ));
            }
        }
        let config_map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name_of(&route_key)),
                namespace: Some(route_key.namespace.clone()),
                // Another of its name is somebody else's.
                uid,
                labels: Some(BTreeMap::from([
                    (LABEL_NAME.to_owned(), APPLICATION.to_owned()),
                    (LABEL_COMPONENT.to_owned(), component(ObjectKind::AlertRoute).to_owned()),
                ])),
                owner_references: Some(vec![owner_of(route)]),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(STATE_KEY.to_owned(), ByteString(packed))])),
            ..ConfigMap::default()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.config_maps(&route_key);
        match api.patch(&name_of(&route_key), &parameters, &Patch::Apply(&config_map)).await {
            Ok(written) => {
                if let Some(uid) = written.metadata.uid {
                    self.saved().insert(route_key, uid);
                }
                Ok(())
            }
            Err(error) => {
                self.saved().remove(&route_key);
                Err(error.to_string())
            }
        }
    }

    /// Free bytes of the archives' volumes, as their recorders say.
    fn free(&self) -> Vec<(ObjectKey, u64)> {
        let pods: Vec<String> = {
            let world = self.feed.world.lock();
            let recorders = world.all_pods().filter(|(owner, _)| owner.kind == ObjectKind::Archive);
            recorders.map(|(_, pod)| pod.uid.clone()).collect()
        };
        let reports = pods.iter().filter_map(|uid| self.reports.of(uid)?.report);
        reports
            .flat_map(|report| {
                report.archives.iter().map(|archive| (archive.key.clone(), archive.free_bytes)).collect::<Vec<_>>()
            })
            .collect()
    }

    async fn fetch_picture(&self, camera: &ObjectKey) -> Option<Picture> {
        let owner = ObjectRef { kind: ObjectKind::Camera, key: camera.clone() };
        let addresses: Vec<String> = {
            let world = self.feed.world.lock();
            let running = world.pods_of(&owner).into_iter().filter(|pod| pod.phase == "Running" && !pod.terminating);
            running.filter_map(|pod| pod.address.clone()).collect()
        };
        let token = tokio::fs::read_to_string(&self.token_file).await.ok()?;
        for address in addresses {
            let host = if address.contains(':') { format!("[{address}]") } else { address };
            let (namespace, name) = (&camera.namespace, &camera.name);
            let url = format!("http://{host}:{AGENT_PORT}/v1/cameras/{namespace}/{name}/last-picture.jpg");
            let Ok(response) = self.http.get(url).bearer_auth(token.trim()).send().await else { continue };
            if !response.status().is_success() {
                continue;
            }
            let captured = response.headers().get("x-capture-time").and_then(|time| time.to_str().ok()?.parse().ok());
            let Ok(jpeg) = response.bytes().await else { continue };
            if let Some(captured) = captured.filter(|_| jpeg.len() <= LARGEST_PICTURE) {
                return Some(Picture { jpeg, captured });
            }
        }
        None
    }

    async fn write_status(&self, route: &AlertRoute, status: &AlertRouteStatus) -> Result<(), String> {
        let route_key = key(route);
        let kind = Watched::Object(ObjectKind::AlertRoute);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &route_key.namespace, &kind.resource());
        let patch = json!({
            "apiVersion": API_VERSION,
            "kind": "AlertRoute",
            // The uid keeps a status off a route of the same name that was made meanwhile.
            "metadata": {"name": route_key.name, "namespace": route_key.namespace, "uid": route.metadata.uid},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&route_key.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(written) => {
                if let Ok(written) = serde_json::to_value(written) {
                    let concerned = self.feed.world.lock().put(kind, written);
                    self.feed.pass_on(concerned);
                }
                self.announce(route, status);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An event when a route begins or ceases to deliver.
    fn announce(&self, route: &AlertRoute, status: &AlertRouteStatus) {
        let ready = |conditions: &[Condition]| condition::find(conditions, READY).cloned();
        let Some(after) = ready(&status.conditions) else { return };
        let before = route.status.as_ref().and_then(|status| ready(&status.conditions));
        if before.is_some_and(|before| before.status == after.status && before.reason == after.reason) {
            return;
        }
        let object = ObjectRef { kind: ObjectKind::AlertRoute, key: key(route) };
        let uid = route.metadata.uid.clone().unwrap_or_default();
        if after.status == TRUE {
            self.feed.events.normal(&object, &uid, &after.reason, after.message);
        } else {
            self.feed.events.warning(&object, &uid, &after.reason, after.message);
        }
    }
}

fn name_of(route: &ObjectKey) -> String {
    child_name(ObjectKind::AlertRoute, &route.name)
}

fn owner_of(route: &AlertRoute) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: AlertRoute::kind(&()).into_owned(),
        name: key(route).name,
        uid: route.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn is_of(config_map: &ConfigMap, route: &AlertRoute) -> bool {
    let owners = config_map.metadata.owner_references.iter().flatten();
    route.metadata.uid.is_some()
        && owners
            .into_iter()
            .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == route.metadata.uid.as_ref())
}

fn pack(state: &State) -> Result<Vec<u8>, String> {
    let text = serde_json::to_vec(state).map_err(|error| error.to_string())?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text).map_err(|error| error.to_string())?;
    let packed = encoder.finish().map_err(|error| error.to_string())?;
    if packed.len() > LARGEST_STATE {
        return Err(format!("{} bytes are more than a ConfigMap may hold: make several routes", packed.len()));
    }
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Result<State, String> {
    let mut text = Vec::new();
    GzDecoder::new(packed).take(LARGEST_UNPACKED).read_to_end(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

impl Place for ClusterPlace {
    fn look(&self, now: Timestamp) -> Option<Look> {
        if !self.feed.is_complete() {
            return None;
        }
        if self.feed.world.lock().routes().is_empty() {
            // Nobody to tell anything.
            return Some(Look::default());
        }
        let full_in = {
            let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
            if volumes.is_due(now) {
                volumes.sample(self.free(), now);
            }
            volumes.full_in()
        };
        let world = self.feed.world.lock();
        let routes: Vec<Arc<AlertRoute>> = world.routes().values().cloned().collect();
        let objects = world.index().objects();
        let own: Vec<(ObjectRef, serde_json::Value)> = routes
            .iter()
            .map(|route| {
                let status = serde_json::to_value(&route.status).unwrap_or_default();
                let object = json!({"metadata": {"labels": route.metadata.labels}, "status": status});
                (ObjectRef { kind: ObjectKind::AlertRoute, key: key(&**route) }, object)
            })
            .collect();
        let cameras = objects.cameras.iter().map(|(key, camera)| Fact::of_camera(key, camera));
        let streams = objects.streams.iter().map(|(key, stream)| Fact::of_stream(key, stream));
        let archives = objects.archives.iter().map(|(key, archive)| Fact::of_archive(key, archive));
        let recordings = objects.recordings.iter().map(|(key, recording)| Fact::of_recording(key, recording));
        let own = own.iter().map(|(reference, object)| Fact::of_json(reference, object));
        let facts: Vec<Fact<'_>> = cameras.chain(streams).chain(archives).chain(recordings).chain(own).collect();
        let observed = observe(&facts, &full_in, now);
        Some(Look { routes, observed })
    }

    fn route(&self, route: &ObjectKey) -> Option<Arc<AlertRoute>> {
        self.feed.world.lock().routes().get(route).cloned()
    }

    fn load<'a>(&'a self, route: &'a AlertRoute) -> BoxFuture<'a, Result<Option<State>, String>> {
        async move {
            let Some(found) = self.config_map(route).await? else { return Ok(None) };
            if !is_of(&found, route) {
                // Said when it is to be saved.
                return Ok(None);
            }
            let packed = found.binary_data.and_then(|mut data| data.remove(STATE_KEY));
            let Some(ByteString(packed)) = packed else { return Ok(None) };
            match unpack(&packed) {
                Ok(state) => Ok(Some(state)),
                Err(error) => {
                    tracing::warn!(route = %key(route), "who was told of what cannot be understood, and begins anew: {error}");
                    Ok(None)
                }
            }
        }
        .boxed()
    }

    fn save<'a>(&'a self, route: &'a AlertRoute, state: &'a State) -> BoxFuture<'a, Result<(), String>> {
        self.write_state(route, state).boxed()
    }

    fn forget(&self, route: &ObjectKey) {
        // Its ConfigMap names it as its owner, and goes with it.
        self.saved().remove(route);
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, String>> {
        async move {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            match api.get_opt(name).await {
                Ok(secret) => {
                    let value = secret.and_then(|secret| secret.data?.remove(key));
                    let text = value.map(|ByteString(bytes)| String::from_utf8(bytes));
                    text.transpose().map_err(|_| format!("what Secret {name} holds under the key {key} is no text"))
                }
                Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
                    "the operator may not read Secret {name} of namespace {namespace}: bind the ClusterRole \
                     camera-operator-alert-secrets to it there, or list the namespace in the chart's value \
                     alerts.secretNamespaces"
                )),
                // What the API server answers does not hold what it did not hand out.
                Err(kube::Error::Api(status)) => Err(format!("Secret {name} cannot be read: {}", status.message)),
                Err(_) => Err(format!("Secret {name} cannot be read: the API server does not answer")),
            }
        }
        .boxed()
    }

    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Option<Picture>> {
        self.fetch_picture(camera).boxed()
    }

    fn show<'a>(&'a self, route: &'a AlertRoute, status: &'a AlertRouteStatus) -> BoxFuture<'a, Result<(), String>> {
        self.write_status(route, status).boxed()
    }

    fn may_see_all(&self, namespace: &str) -> bool {
        namespace == self.namespace
    }

    fn page(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::field_reassign_with_default, reason = "the other fields are the engine's own")]
    fn a_state_is_packed_and_unpacked() {
        let mut state = State::default();
        state.tested = Some("1".into());
        assert_eq!(unpack(&pack(&state).unwrap()), Ok(state));
        assert!(unpack(b"no gzip").is_err());
    }

    #[test]
    fn only_the_routes_own_config_map_is_touched() {
        let mut route = AlertRoute::new("ops", serde_json::from_value(json!({"receivers": []})).unwrap());
        route.metadata.uid = Some("a".into());
        let mut config_map = ConfigMap::default();
        assert!(!is_of(&config_map, &route));
        config_map.metadata.owner_references = Some(vec![owner_of(&route)]);
        assert!(is_of(&config_map, &route));
        route.metadata.uid = Some("b".into());
        assert!(!is_of(&config_map, &route), "an earlier route of the same name");
    }
}
