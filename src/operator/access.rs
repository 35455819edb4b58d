//! What agents need to check their callers' tokens: the cluster's issuer and public keys, and who the operator itself is.
//! Fetched once, and again now and then, since clusters change their keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::plan::agents::Cluster;

/// Between two looks at the keys. Clusters publish a new key long before they sign with it.
const REFRESH: Duration = Duration::from_mins(10);
/// Between two attempts while there are none.
const RETRY: Duration = Duration::from_secs(5);

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of the cluster; `None` until it was fetched once.
pub type Known = watch::Receiver<Option<Arc<Cluster>>>;

/// What is known beforehand.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Subjects that may read media of every agent.
    pub media: Vec<String>,
    /// Addresses that sources may not connect to.
    pub refused: Vec<String>,
    /// How many clips of a namespace may run at once.
    pub max_clips_per_namespace: usize,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{path}: {source}")]
    Fetch { path: &'static str, source: kube::Error },
    #[error("no answer within {PATIENCE:?}")]
    NoAnswer,
    #[error("{path} holds no {field}")]
    Shape { path: &'static str, field: &'static str },
}

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
const MYSELF: &str = "selfsubjectreviews";

/// Keeps what is known of the cluster up to date. `changed` is called after every change.
pub async fn keep(
    client: Client,
    fixed: Fixed,
    known: watch::Sender<Option<Arc<Cluster>>>,
    stop: CancellationToken,
    changed: impl Fn() + Send,
) {
    loop {
        let fetched = tokio::time::timeout(PATIENCE, fetch(&client, &fixed)).await.unwrap_or(Err(Failed::NoAnswer));
        let pause = match fetched {
            Ok(cluster) => {
                let cluster = Arc::new(cluster);
                let replaced = known.send_if_modified(|before| {
                    let differs = before.as_ref() != Some(&cluster);
                    *before = Some(cluster);
                    differs
                });
                if replaced {
                    changed();
                }
                REFRESH
            }
            Err(error) => {
                // Without the keys no agent could tell who calls it, so that none is made before they are there.
                tracing::warn!("the cluster's keys for ServiceAccount tokens cannot be fetched: {error}");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn fetch(client: &Client, fixed: &Fixed) -> Result<Cluster, Failed> {
    let configuration = document(client, CONFIGURATION).await?;
    let issuer = configuration["issuer"].as_str();
    let issuer = issuer.ok_or(Failed::Shape { path: CONFIGURATION, field: "issuer" })?.to_owned();
    let keys = document(client, KEYS).await?;
    if keys["keys"].as_array().is_none_or(Vec::is_empty) {
        return Err(Failed::Shape { path: KEYS, field: "keys" });
    }
    let review = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|source| Failed::Fetch { path: MYSELF, source })?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    let user = user.ok_or(Failed::Shape { path: MYSELF, field: "username" })?;
    Ok(Cluster {
        issuer,
        keys,
        control: vec![user],
        media: fixed.media.clone(),
        refused: fixed.refused.clone(),
        max_clips_per_namespace: fixed.max_clips_per_namespace,
    })
}

async fn document(client: &Client, path: &'static str) -> Result<Value, Failed> {
    let request = Request::get(path).body(Vec::new()).unwrap_or_default();
    client.request(request).await.map_err(|source| Failed::Fetch { path, source })
}

/// The addresses of the API server: no camera is there.
pub async fn addresses(url: &axum::http::Uri) -> Vec<String> {
    let Some(host) = url.host() else { return Vec::new() };
    let bare = host.trim_matches(['[', ']']);
    if bare.parse::<IpAddr>().is_ok() {
        return vec![bare.to_owned()];
    }
    let found = tokio::net::lookup_host((bare, 443)).await;
    let mut addresses: Vec<String> =
        found.map(|found| found.map(|address| address.ip().to_string()).collect()).unwrap_or_default();
    addresses.sort();
    addresses.dedup();
    addresses
}
