//! The floor: a plain client that writes the same objects as the operator does for a camera, as many and with the same
//! concurrency, and does nothing else. What it takes is what the API server and the controllers take.

use std::time::{Duration, Instant};

use camera_operator::operator::kinds::{ChildKind, Watched};
use futures::StreamExt as _;
use futures::future::join_all;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::sight::{Of, Sight};
use crate::support::cluster::Cluster;
use crate::support::http::runtime;
use crate::support::wait;

/// What a camera becomes, in the order in which it is written: pods need the others when they start.
pub const CHILDREN: [ChildKind; 5] = [
    ChildKind::ServiceAccount,
    ChildKind::ConfigMap,
    ChildKind::Service,
    ChildKind::NetworkPolicy,
    ChildKind::Deployment,
];

/// The children of one camera, as they are to be written for others.
#[derive(Debug, Clone)]
pub struct Template {
    camera: String,
    children: Vec<(ChildKind, Value)>,
}

impl Template {
    /// From what the operator has written for a camera.
    pub fn of(cluster: &Cluster, namespace: &str, camera: &str) -> Self {
        let child = |kind: ChildKind| {
            let what = format!("{}/{camera}-camera", Watched::Child(kind).resource().plural);
            let mut object = cluster.get(namespace, &what).unwrap_or_else(|| panic!("there is no {what}"));
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for field in [
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "managedFields",
                "ownerReferences",
                "namespace",
            ] {
                metadata.remove(field);
            }
            // Nobody's, so that no operator takes it for its own.
            metadata["labels"]["app.kubernetes.io/managed-by"] = "plain-client".into();
            (kind, object)
        };
        Self { camera: camera.to_owned(), children: CHILDREN.map(child).to_vec() }
    }

    fn named(&self, name: &str) -> Vec<(ChildKind, DynamicObject)> {
        let named = |(kind, object): &(ChildKind, Value)| {
            let text = object.to_string().replace(&self.camera, name);
            (*kind, serde_json::from_str(&text).unwrap())
        };
        self.children.iter().map(named).collect()
    }
}

/// What writing them took.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Until the last object was written.
    pub written: Duration,
    /// Until the last pod was there.
    pub created: Duration,
    /// Until the last pod ran.
    pub running: Duration,
}

/// Writes the children of that many cameras.
pub fn write(
    client: &Client,
    sight: &Sight,
    template: &Template,
    namespace: &str,
    prefix: &str,
    cameras: usize,
    concurrency: usize,
) -> Floor {
    let begun = Instant::now();
    runtime().block_on(async {
        let writes =
            (0..cameras).map(|number| write_one(client, namespace, template.named(&format!("{prefix}-{number}"))));
        futures::stream::iter(writes).buffer_unordered(concurrency).collect::<()>().await;
    });
    let written = begun.elapsed();
    let all = |of: Of| {
        let last = wait("all pods of the floor", || {
            let times = sight.times(of, namespace, &format!("{prefix}-"));
            (times.len() >= cameras).then(|| times[cameras - 1])
        });
        last.duration_since(begun)
    };
    Floor { written, created: all(Of::Created), running: all(Of::Running) }
}

async fn write_one(client: &Client, namespace: &str, mut children: Vec<(ChildKind, DynamicObject)>) {
    let deployment = children.pop().unwrap();
    let create = |(kind, object): (ChildKind, DynamicObject)| async move {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &Watched::Child(kind).resource());
        api.create(&PostParams::default(), &object).await.unwrap();
    };
    join_all(children.into_iter().map(create)).await;
    create(deployment).await;
}
