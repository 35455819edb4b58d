//! The router as a client sees it, before a world of a few objects.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::routing::get;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::guard::HostPolicy;
use super::world::{
    Action, CameraTest, Health, HealthStatus, LogLine, Object, ObjectCounts, Picture, ProcessesHealth, ProgramHealth,
    Snapshot, SystemHealth, TestMethod, TestTimings, Update, World, WorldError,
};
use crate::local::store::Store;
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// A real store; everything else is made up.
struct FakeWorld {
    store: Store,
}

impl World for FakeWorld {
    fn list(&self, kind: Option<ObjectKind>, namespace: Option<&str>) -> Snapshot {
        self.store.list(kind, namespace)
    }

    fn get(&self, reference: &ObjectRef) -> Option<Object> {
        self.store.get(reference)
    }

    fn watch(&self, since: Option<u64>) -> BoxStream<'static, Update> {
        self.store.watch(since)
    }

    fn act<'a>(&'a self, reference: &'a ObjectRef, action: Action) -> BoxFuture<'a, Result<Object, WorldError>> {
        let object = self.get(reference).ok_or_else(|| WorldError::NotFound(reference.clone()));
        let result = match action {
            Action::Restart => Err(WorldError::Conflict("It is suspended.".into())),
            _ => object,
        };
        std::future::ready(result).boxed()
    }

    fn logs<'a>(&'a self, _: &'a ObjectRef) -> BoxFuture<'a, Result<Vec<LogLine>, WorldError>> {
        let line = LogLine { at: Timestamp::UNIX_EPOCH, level: "info".into(), message: "connected".into() };
        std::future::ready(Ok(vec![line])).boxed()
    }

    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Result<Picture, WorldError>> {
        let result = match camera.name.as_str() {
            "door" => Ok(Picture { jpeg: Bytes::from_static(b"\xff\xd8"), captured: Timestamp::UNIX_EPOCH }),
            _ => Err(WorldError::Unavailable { reason: Reason::Stalled, message: "No new picture for 12 s.".into() }),
        };
        std::future::ready(result).boxed()
    }

    fn test<'a>(&'a self, _: &'a ObjectKey) -> BoxFuture<'a, Result<CameraTest, WorldError>> {
        let test = CameraTest {
            ok: false,
            method: TestMethod::LatestAttempt,
            state: UnitState::Reconnecting,
            reason: Reason::CredentialRefused,
            code: Reason::CredentialRefused.code(),
            message: "refused".into(),
            timings: TestTimings::default(),
            media: None,
            bit_rate: None,
            reconnects: 3,
        };
        std::future::ready(Ok(test)).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        let health = Health {
            status: HealthStatus::Healthy,
            version: "1".into(),
            started: Timestamp::UNIX_EPOCH,
            uptime_seconds: 1,
            objects: ObjectCounts::default(),
            problems: Vec::new(),
            ffmpeg: ProgramHealth::default(),
            storage: Vec::new(),
            processes: ProcessesHealth::default(),
            system: SystemHealth::default(),
        };
        std::future::ready(health).boxed()
    }

    fn ready(&self) -> bool {
        !self.store.list(None, None).objects.is_empty()
    }
}

fn camera(namespace: &str, name: &str) -> (ObjectRef, Value) {
    let reference = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new(namespace, name) };
    (reference, json!({"apiVersion": super::objects::API_VERSION, "kind": "Camera", "spec": {}}))
}

struct Fixture {
    router: Router,
    store: Store,
    shutdown: CancellationToken,
}

fn fixture() -> Fixture {
    let store = Store::new(std::collections::BTreeMap::new(), 0);
    store.apply(vec![camera("default", "door"), camera("shop", "till")], Timestamp::UNIX_EPOCH);
    let shutdown = CancellationToken::new();
    let options = super::Options {
        world: Arc::new(FakeWorld { store: store.clone() }),
        media: Router::new().route("/live/{ns}/{stream}/index.m3u8", get(async || StatusCode::NOT_FOUND)),
        metrics: Arc::new(|| "data_plane 1\n".to_owned()),
        alerts: None,
        hosts: HostPolicy::default(),
        shutdown: shutdown.clone(),
    };
    Fixture { router: super::router(options).unwrap(), store, shutdown }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Fixture {
    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: to_bytes(body, 1 << 24).await.unwrap() }
    }

    async fn call(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }
}

#[tokio::test]
async fn objects_have_the_shapes_of_kubernetes() {
    let fixture = fixture();
    let all = fixture.get("/api/v1/cameras").await;
    assert_eq!((all.status, all.header(header::CACHE_CONTROL)), (200, "no-store"));
    let list = all.json();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("camera-operator.dev/v1alpha1"), &json!("CameraList")));
    assert_eq!(list["metadata"]["resourceVersion"], "2");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let shop = fixture.get("/api/v1/namespaces/shop/cameras").await.json();
    assert_eq!(shop["items"][0]["metadata"]["name"], "till");
    assert_eq!(fixture.get("/api/v1/namespaces/shop/cameras/till").await.json(), shop["items"][0]);
    assert_eq!(fixture.get("/api/v1/namespaces/shop/streams").await.json()["items"], json!([]));
    assert_eq!(
        fixture.get("/api/v1/namespaces/shop/cameras/till/logs").await.json()["items"][0]["message"],
        "connected"
    );
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let fixture = fixture();
    for (method, path, status, slug) in [
        (Method::GET, "/api/v1/namespaces/default/cameras/nobody", 404, "not-found"),
        (Method::GET, "/api/v1/secrets", 404, "not-found"),
        (Method::GET, "/nothing/here", 404, "not-found"),
        (Method::POST, "/nothing/here", 404, "not-found"),
        (Method::GET, "/live/default/door/index.m3u8", 404, "not-found"),
        (Method::DELETE, "/api/v1/cameras", 405, "method-not-allowed"),
        (Method::GET, "/api/v1/namespaces/default/cameras/door/start", 405, "method-not-allowed"),
        (Method::GET, "/api/v1/namespaces/%ff/cameras", 400, "bad-request"),
        (Method::POST, "/api/v1/namespaces/default/cameras/door/restart", 409, "conflict"),
        (Method::GET, "/api/v1/namespaces/shop/cameras/till/snapshot.jpg", 503, "unavailable"),
    ] {
        let answer = fixture.call(method, path).await;
        assert_eq!(
            (answer.status, answer.header(header::CONTENT_TYPE)),
            (status, "application/problem+json"),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["type"], format!("{}{slug}", crate::agent::problem::TYPE_PREFIX), "{path}");
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }
    let stalled = fixture.get("/api/v1/namespaces/shop/cameras/till/snapshot.jpg").await.json();
    assert_eq!((&stalled["code"], &stalled["reason"]), (&json!(101), &json!("Stalled")));
    assert_eq!(fixture.call(Method::DELETE, "/api/v1/cameras").await.header(header::ALLOW), "GET,HEAD");
}

#[tokio::test]
async fn actions_answer_with_the_object_and_other_origins_are_refused() {
    let fixture = fixture();
    let path = "/api/v1/namespaces/default/cameras/door/stop";
    assert_eq!(fixture.call(Method::POST, path).await.json()["metadata"]["name"], "door");
    let cross = Request::post(path).header("host", "localhost:8080").header("origin", "http://evil.example");
    let refused = fixture.ask(cross.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, 403);
    let rebound = Request::get("/api/v1/cameras").header("host", "evil.example:8080");
    let refused = fixture.ask(rebound.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, 421);
    assert!(refused.json()["detail"].as_str().unwrap().contains("--allow-host evil.example"));
}

#[tokio::test]
async fn a_picture_carries_its_time_and_a_test_its_code() {
    let fixture = fixture();
    let picture = fixture.get("/api/v1/namespaces/default/cameras/door/snapshot.jpg").await;
    assert_eq!(picture.header(header::CONTENT_TYPE), "image/jpeg");
    assert_eq!(picture.header(super::cameras::CAPTURE_TIME), "1970-01-01T00:00:00.000Z");
    let test = fixture.call(Method::POST, "/api/v1/namespaces/default/cameras/door/test").await.json();
    assert_eq!((&test["ok"], &test["code"], &test["method"]), (&json!(false), &json!(103), &json!("LatestAttempt")));
}

/// The next event of a stream as name, id and data.
async fn next_event(
    body: &mut (impl StreamExt<Item = Result<Bytes, axum::Error>> + Unpin),
) -> Option<(String, String, Value)> {
    let text = String::from_utf8(body.next().await?.unwrap().to_vec()).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    Some((field("event"), field("id"), serde_json::from_str(&field("data")).unwrap()))
}

#[tokio::test]
async fn events_begin_with_a_snapshot_tell_changes_and_end_with_the_program() {
    let fixture = fixture();
    let follow = async |path: &str, last: &str| {
        let mut request = Request::get(path).header("host", "localhost");
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        let response = fixture.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        response.into_body().into_data_stream()
    };
    let mut all = follow("/api/v1/events", "").await;
    let mut shop = follow("/api/v1/namespaces/shop/events", "").await;
    let (name, id, data) = next_event(&mut all).await.unwrap();
    assert_eq!((name.as_str(), id.as_str(), data["items"].as_array().unwrap().len()), ("snapshot", "2", 2));
    assert_eq!(next_event(&mut shop).await.unwrap().2["items"].as_array().unwrap().len(), 1);

    let (door, till) = (camera("default", "door").0, camera("shop", "till").0);
    fixture.store.set_status(&door, json!({"ready": true}));
    fixture.store.set_status(&till, json!({"ready": true}));
    let (name, id, data) = next_event(&mut all).await.unwrap();
    assert_eq!((name.as_str(), id.as_str(), &data["type"]), ("change", "3", &json!("MODIFIED")));
    assert_eq!(data["object"]["status"], json!({"ready": true}));
    assert_eq!(next_event(&mut shop).await.unwrap().1, "4", "only its own namespace");

    let mut again = follow("/api/v1/events", "3").await;
    assert_eq!(next_event(&mut again).await.unwrap().1, "4", "only what was missed");
    fixture.shutdown.cancel();
    assert!(next_event(&mut again).await.is_none());
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_tell_which_objects_are_ready() {
    let fixture = fixture();
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    fixture.store.set_status(&camera("shop", "till").0, ready);
    fixture.get("/api/v1/namespaces/shop/cameras").await;
    fixture.get("/made/up/by/a/client").await;
    let text = String::from_utf8(fixture.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "data_plane 1",
        r#"camera_operator_http_requests_total{method="GET",route="/api/v1/namespaces/{ns}/{kind}",status="200"} 1"#,
        r#"camera_operator_http_requests_total{method="GET",route="other",status="404"} 1"#,
        r#"camera_operator_object_ready{kind="Camera",name="till",namespace="shop"} 1"#,
        r#"camera_operator_object_ready{kind="Camera",name="door",namespace="default"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    fixture.store.apply(Vec::new(), Timestamp::UNIX_EPOCH);
    let text = String::from_utf8(fixture.get("/metrics").await.body.to_vec()).unwrap();
    assert!(!text.contains("till"), "a deleted object leaves no metric\n{text}");
    assert_eq!(fixture.get("/readyz").await.status, 503);
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn pages_are_safe_and_load_nothing_from_elsewhere() {
    let fixture = fixture();
    for path in ["/", "/docs", "/docs/docs.js", "/docs/docs.css", "/openapi.json"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.contains("default-src 'self'") && policy.contains("media-src 'self' blob: data:"), "{policy}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("src=\"http") && !text.contains("@import"), "{path}");
    }
}

/// Every described path is routed, and nothing else is: the description cannot drift from the routes.
#[tokio::test]
async fn every_described_path_of_the_gateway_is_served() {
    let fixture = fixture();
    let document = fixture.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let is_media = item
            .as_object()
            .unwrap()
            .values()
            .any(|one| one["tags"] == json!(["Live"]) || one["tags"] == json!(["Recordings"]));
        if is_media || path.ends_with("/events") {
            continue;
        }
        let path = path.replace("{ns}", "default").replace("{kind}", "cameras").replace("{name}", "door");
        let method = if item["post"].is_object() { Method::POST } else { Method::GET };
        let answer = fixture.call(method, &path).await;
        // Nobody delivers alerts here.
        let is_of_alerts = path.contains("/alertroutes/");
        assert!(
            matches!(answer.status, 200 | 409) || (is_of_alerts && answer.status == 503),
            "{path}: {}",
            answer.status
        );
    }
}
