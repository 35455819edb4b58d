//! What is done to the operator: one camera after the other, many at once, nothing at all, and a new leader. Must not judge
//! what it measures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use camera_operator::operator::kinds::Watched;
use camera_operator::plan::unit::ObjectKind;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::json;

use crate::audit::{self, Call};
use crate::floor::{self, CHILDREN, Template};
use crate::sight::Of;
use crate::support::http::runtime;
use crate::support::operator::Operator;
use crate::support::{poll, process, wait};
use crate::{CONCURRENCY, NAMESPACE, Site};

/// The operator has had its say once it has written nothing for this long.
const QUIET: Duration = Duration::from_secs(5);
/// How long a thousand cameras may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// One camera, beside a plain client that writes the same objects.
#[derive(Debug, Clone)]
pub struct One {
    /// Until its pod was there.
    pub created: Duration,
    /// Until the camera was ready.
    pub ready: Duration,
    /// Until the plain client's pod was there.
    pub floor_created: Duration,
    /// Until that pod ran.
    pub floor_running: Duration,
}

/// Many cameras at once.
#[derive(Debug, Clone)]
pub struct Many {
    /// How many.
    pub cameras: usize,
    /// Until the last Camera was written by whoever wants them.
    pub applied: Duration,
    /// Until the operator had written the last child.
    pub written: Duration,
    /// Until the last pod was there.
    pub created: Duration,
    /// Until the last pod ran.
    pub running: Duration,
    /// Until the last camera was ready.
    pub ready: Duration,
    /// What it cost.
    pub cost: Cost,
    /// The most memory that the operator has had.
    pub peak_bytes: u64,
}

/// What something cost the operator and the API server.
#[derive(Debug, Clone)]
pub struct Cost {
    /// How long it was watched.
    pub elapsed: Duration,
    /// Processor time of the operator.
    pub cpu_seconds: f64,
    /// Its requests.
    pub calls: BTreeMap<String, usize>,
    /// How many of them wrote something, but for its Lease.
    pub writes: usize,
    /// How many of them renewed its Lease.
    pub leases: usize,
}

/// Nothing happens.
#[derive(Debug, Clone)]
pub struct Idle {
    /// What it cost.
    pub cost: Cost,
    /// How many objects have another version than before.
    pub changed: usize,
    /// How many were looked at.
    pub objects: usize,
    /// Proportional memory at the end.
    pub pss_bytes: u64,
}

/// A new leader finds everything as it should be.
#[derive(Debug, Clone)]
pub struct Takeover {
    /// From the start of its process until it has looked at everything.
    pub looked: Duration,
    /// What that cost.
    pub cost: Cost,
    /// The most memory that it has had.
    pub peak_bytes: u64,
}

fn camera(name: &str) -> DynamicObject {
    let url = format!("rtsp://192.0.2.1/{name}");
    let source = json!({"rtsp": {"url": url, "credentialsSecretRef": {"name": name}}});
    let kind = Watched::Object(ObjectKind::Camera);
    let camera = DynamicObject::new(name, &kind.resource());
    camera.data(json!({"spec": {"source": source}}))
}

fn cameras(site: &Site) -> Api<DynamicObject> {
    let kind = Watched::Object(ObjectKind::Camera);
    Api::namespaced_with(site.client.clone(), NAMESPACE, &kind.resource())
}

/// Takes what the operator did since `begin`.
struct Meter {
    begun: Instant,
    cpu_seconds: f64,
}

impl Meter {
    fn begin(site: &mut Site, pid: u32) -> Self {
        site.audit.begin();
        Self { begun: Instant::now(), cpu_seconds: process::cpu_seconds(pid) }
    }

    fn end(&self, pid: u32, calls: &[Call]) -> Cost {
        let (leases, others): (Vec<Call>, Vec<Call>) = calls.iter().cloned().partition(Call::is_lease);
        Cost {
            elapsed: self.begun.elapsed(),
            cpu_seconds: process::cpu_seconds(pid) - self.cpu_seconds,
            writes: others.iter().filter(|call| call.is_write()).count(),
            calls: audit::counts(&others),
            leases: leases.len(),
        }
    }
}

/// Cameras one by one, each deleted before the next, and then what a plain client needs for the same. Returns also what the
/// operator writes for one.
pub fn one_by_one(site: &mut Site, repeats: usize) -> (Vec<One>, Template) {
    let mut template = None;
    let measured = (0..repeats).map(|repeat| {
        let name = format!("one-{repeat}");
        let begun = Instant::now();
        runtime().block_on(cameras(site).create(&PostParams::default(), &camera(&name))).unwrap();
        let seen = |of: Of, name: &str| {
            let at = wait(&format!("{name} {of:?}"), || site.sight.times(of, NAMESPACE, name).first().copied());
            at.duration_since(begun)
        };
        let (created, ready) = (seen(Of::Created, &format!("{name}-")), seen(Of::Ready, &name));
        let template = template.get_or_insert_with(|| Template::of(&site.cluster, NAMESPACE, &name)).clone();
        runtime().block_on(cameras(site).delete(&name, &DeleteParams::default())).unwrap();
        wait("its pod to go", || (site.sight.pods(NAMESPACE) == 0).then_some(()));
        site.audit.await_quiet(Duration::from_secs(1));
        let floor = floor::write(&site.client, &site.sight, &template, &site.floor, &format!("one-{repeat}"), 1, 1);
        One { created, ready, floor_created: floor.created, floor_running: floor.running }
    });
    let measured = measured.collect();
    (measured, template.unwrap())
}

/// That many cameras at once.
pub fn many(site: &mut Site, operator: &Operator, count: usize) -> Many {
    let pid = operator.pid();
    let (begun_at, meter) = (Timestamp::now(), Meter::begin(site, pid));
    let begun = meter.begun;
    let api = cameras(site);
    runtime().block_on(async {
        let api = &api;
        let writes = (0..count).map(|number| async move {
            api.create(&PostParams::default(), &camera(&format!("many-{number}"))).await.unwrap();
        });
        futures::stream::iter(writes).buffer_unordered(CONCURRENCY).collect::<()>().await;
    });
    let applied = begun.elapsed();
    let all = |of: Of| {
        let last = poll(PATIENCE, || {
            let times = site.sight.times(of, NAMESPACE, "many-");
            (times.len() >= count).then(|| times[count - 1])
        });
        last.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {count} times {of:?}")).duration_since(begun)
    };
    let (created, running, ready) = (all(Of::Created), all(Of::Running), all(Of::Ready));
    site.audit.await_quiet(QUIET);
    let calls = site.audit.calls();
    let children = CHILDREN.map(|kind| Watched::Child(kind).resource().plural);
    let written = calls.iter().rfind(|call| call.is_write() && children.contains(&call.resource));
    let written = written.unwrap().answered.duration_since(begun_at).try_into().unwrap();
    let (cost, peak_bytes) = (meter.end(pid, &calls), process::peak_bytes(pid));
    Many { cameras: count, applied, written, created, running, ready, cost, peak_bytes }
}

/// Watches the operator do nothing.
pub fn idle(site: &mut Site, operator: &Operator, seconds: u64) -> Idle {
    let pid = operator.pid();
    let before = versions(site);
    let meter = Meter::begin(site, pid);
    // A measured time, not a condition: this is how long it is watched.
    std::thread::sleep(Duration::from_secs(seconds));
    let cost = meter.end(pid, &site.audit.calls());
    let after = versions(site);
    let changed = after.iter().filter(|(object, version)| before.get(*object) != Some(*version)).count();
    Idle {
        cost,
        changed: changed.max(before.len().abs_diff(after.len())),
        objects: after.len(),
        pss_bytes: process::pss_bytes(pid),
    }
}

/// The resource version of every camera and of everything that was made for one.
fn versions(site: &Site) -> BTreeMap<String, String> {
    let kinds = CHILDREN.map(Watched::Child).into_iter().chain([Watched::Object(ObjectKind::Camera)]);
    let mut versions = BTreeMap::new();
    for kind in kinds {
        let plural = kind.resource().plural;
        for object in site.cluster.list(NAMESPACE, &plural, &kind.labels().unwrap_or_default()) {
            let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
            versions.insert(format!("{plural}/{}", text("name")), text("resourceVersion"));
        }
    }
    versions
}

/// Starts another operator where nothing runs now, and lets it look at everything.
pub fn takeover(site: &mut Site, count: usize) -> (Takeover, Operator) {
    site.audit.begin();
    let begun = Instant::now();
    let operator = site.operator("second");
    let looked = poll(PATIENCE, || (operator.looks() >= count as f64).then(|| begun.elapsed()));
    let looked = looked.unwrap_or_else(|| panic!("a new leader does not look at {count} objects"));
    site.audit.await_quiet(QUIET);
    let meter = Meter { begun, cpu_seconds: 0.0 };
    let cost = meter.end(operator.pid(), &site.audit.calls());
    (Takeover { looked, cost, peak_bytes: process::peak_bytes(operator.pid()) }, operator)
}
