//! Takes, renews and gives back the Lease. The deciding is in `lease`; this does the talking and keeps the deadline until
//! which this process may write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use rand::Rng as _;

use super::lease::{Observation, Step, Timing, decide, released};

/// Until when this process may write. Shared with everything that writes.
#[derive(Debug, Clone, Default)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Whether this process leads at this instant: asked right before every write, so that a process that was stopped for a
    /// while notices before it writes.
    pub fn is_held(&self) -> bool {
        self.deadline().is_some_and(|until| Instant::now() < until)
    }

    fn deadline(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why leading ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Somebody else holds the Lease.
    #[error("the lease was taken over by {0}")]
    Taken(String),
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time: {0}")]
    Expired(String),
}

/// One candidate.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    seen: Option<Observation>,
    leadership: Leadership,
}

impl Elector {
    /// A candidate for the Lease of that name; `api` must not itself ask whether this process leads.
    pub fn new(api: Api<Lease>, name: &str, identity: String, timing: Timing, leadership: Leadership) -> Self {
        Self { api, name: name.to_owned(), identity, timing, seen: None, leadership }
    }

    /// Returns when this process leads.
    pub async fn acquire(&mut self) {
        let mut reported = None;
        loop {
            let begun = Instant::now();
            match self.attempt().await {
                Ok(true) => {
                    self.leadership.set(Some(begun + self.timing.renew_deadline));
                    return;
                }
                Ok(false) => {
                    let holder = self.seen.as_ref().and_then(Observation::holder).map(str::to_owned);
                    if holder != reported {
                        tracing::info!(leader = holder.as_deref().unwrap_or("nobody"), "follows");
                        reported = holder;
                    }
                }
                Err(error) => tracing::warn!("the lease cannot be taken: {error}"),
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Keeps the Lease; returns when it is lost. Whoever calls this ends the process then: whatever is under way must not
    /// go on.
    pub async fn keep(&mut self) -> Lost {
        let mut problem = String::from("no answer");
        loop {
            tokio::time::sleep(self.timing.retry).await;
            let begun = Instant::now();
            match self.attempt().await {
                Ok(true) => self.leadership.set(Some(begun + self.timing.renew_deadline)),
                Ok(false) => {
                    self.leadership.set(None);
                    let holder = self.seen.as_ref().and_then(Observation::holder).unwrap_or("nobody");
                    return Lost::Taken(holder.to_owned());
                }
                Err(error) => {
                    tracing::warn!("the lease cannot be renewed: {error}");
                    problem = error.to_string();
                }
            }
            if !self.leadership.is_held() {
                self.leadership.set(None);
                return Lost::Expired(problem);
            }
        }
    }

    /// Gives the Lease back, so that another may lead at once. For a clean stop, after the last write.
    pub async fn release(&mut self) {
        self.leadership.set(None);
        // A renewal may have been under way when this was called: what was seen may be old.
        for _ in 0..3 {
            let Ok(seen) = self.look().await else { return };
            let Some(free) = seen.as_ref().and_then(|seen| released(&self.identity, seen, Timestamp::now())) else {
                return;
            };
            let parameters = PostParams::default();
            let replaced = self.api.replace(&self.name, &parameters, &free);
            match tokio::time::timeout(self.patience(), replaced).await {
                Ok(Ok(_)) => {
                    tracing::info!("gave the lease back");
                    return;
                }
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() => {}
                Ok(Err(error)) => return tracing::warn!("the lease cannot be given back: {error}"),
                Err(_) => return tracing::warn!("the lease cannot be given back: no answer"),
            }
        }
    }

    /// One attempt to take or renew it. `false`: somebody else holds it.
    async fn attempt(&mut self) -> Result<bool, Failed> {
        // The holder writes straight over what it wrote last, one request instead of two; anybody else looks first.
        let holds = self.seen.as_ref().is_some_and(|seen| seen.holder() == Some(self.identity.as_str()));
        if !holds {
            self.look().await?;
        }
        for _ in 0..2 {
            let now = Instant::now();
            let step = decide(&self.name, &self.identity, self.seen.as_ref(), self.timing, now, Timestamp::now());
            let written = match step {
                Step::Wait(_) => return Ok(false),
                Step::Create(lease) => self.within(self.api.create(&PostParams::default(), &lease)).await,
                Step::Replace(lease) => self.within(self.api.replace(&self.name, &PostParams::default(), &lease)).await,
            };
            match written {
                Ok(lease) => {
                    self.seen = Some(Observation::of(self.seen.take(), lease, now));
                    return Ok(true);
                }
                Err(Failed::Api(kube::Error::Api(status)))
                    if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
                {
                    // Somebody else wrote, or an answer to a write of our own was lost: look who holds it now.
                    self.look().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn look(&mut self) -> Result<Option<Observation>, Failed> {
        let lease = self.within(self.api.get_opt(&self.name)).await?;
        self.seen = lease.map(|lease| Observation::of(self.seen.take(), lease, Instant::now()));
        Ok(self.seen.clone())
    }

    async fn within<T>(&self, answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
        match tokio::time::timeout(self.patience(), answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failed::NoAnswer(self.patience())),
        }
    }

    /// How long one request may take: two must fit into the time in which the Lease has to be renewed.
    fn patience(&self) -> Duration {
        self.timing.renew_deadline / 2
    }

    /// Candidates must not all try in the same instant.
    fn pause(&self) -> Duration {
        self.timing.retry.mul_f64(rand::rng().random_range(1.0..1.2))
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
}
