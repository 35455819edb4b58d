//! Asks agents how they are doing: one long poll for each pod, so that news arrives at once, and everything afresh now and
//! then. Asked are only pods whose owner references lead to one of our objects (`world` decides that); what they say is kept
//! here for whoever looks. Must not judge it; that is `status`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::apply::SharedWorld;
use super::names::AGENT_PORT;
use crate::plan::report::Report;
use crate::plan::unit::ObjectRef;

/// Longer than an agent lets a long poll wait.
const PATIENCE: Duration = Duration::from_secs(40);
/// An agent that could not be asked for this long counts as one that cannot be asked.
pub const UNAVAILABLE_AFTER: Duration = Duration::from_secs(15);
/// Between two full reports that are asked for whether or not there is news.
const RESYNC: Duration = Duration::from_mins(10);
/// Between two attempts to reach an agent, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A report of thousands of units is smaller; a pod that sends more is not one of ours in earnest.
const LARGEST_REPORT: usize = 8 << 20;
/// Pods change in bursts: they are gone through so often at most, and the first that changes waits for nothing.
const SETTLE: Duration = Duration::from_millis(50);
/// A new leader must not ask a thousand agents in the same instant; one agent that is new is asked at once.
const SPREAD: Duration = Duration::from_micros(500);

/// What a pod has said.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Its newest report.
    pub report: Option<Arc<Report>>,
    /// Since when it cannot be asked, and why.
    pub failing: Option<Failing>,
}

/// That a pod cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Instant,
    /// Why, the last time.
    pub why: String,
    /// Whether whoever is concerned has been told.
    pub told: bool,
}

impl Heard {
    /// Why it cannot be asked, once that has lasted.
    pub fn unavailable(&self, now: Instant) -> Option<&str> {
        let failing = self.failing.as_ref()?;
        (now.duration_since(failing.since) >= UNAVAILABLE_AFTER).then_some(failing.why.as_str())
    }
}

/// What all pods have said, by uid.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<Mutex<HashMap<String, Heard>>>);

impl Reports {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a pod has said.
    pub fn of(&self, uid: &str) -> Option<Heard> {
        self.lock().get(uid).cloned()
    }

    /// How many pods cannot be asked.
    pub fn unavailable(&self) -> usize {
        let now = Instant::now();
        self.lock().values().filter(|heard| heard.unavailable(now).is_some()).count()
    }

    /// Notes a report. Returns whether it says anything new.
    fn hear(&self, uid: &str, report: Report) -> bool {
        let mut heard = self.lock();
        let heard = heard.entry(uid.to_owned()).or_default();
        let was_failing = heard.failing.take().is_some();
        let same = heard.report.as_deref() == Some(&report);
        heard.report = Some(Arc::new(report));
        !same || was_failing
    }

    /// Notes that it could not be asked. Returns whether that has lasted, and nobody has been told yet.
    fn fail(&self, uid: &str, why: String, now: Instant) -> bool {
        let mut heard = self.lock();
        let heard = heard.entry(uid.to_owned()).or_default();
        let (since, was_told) = heard.failing.as_ref().map_or((now, false), |failing| (failing.since, failing.told));
        let told = was_told || now.duration_since(since) >= UNAVAILABLE_AFTER;
        heard.failing = Some(Failing { since, why, told });
        told && !was_told
    }
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    owner: ObjectRef,
    url: String,
}

/// Asks them.
pub struct Asking {
    /// Where pods are known.
    pub world: SharedWorld,
    /// Where to put what they say.
    pub reports: Reports,
    /// Woken when pods came, went or changed.
    pub pods_changed: Arc<Notify>,
    /// File of the operator's token for agents.
    pub token_file: PathBuf,
    /// Called with the owner of a pod that had news, or that cannot be asked any more.
    pub news: Arc<dyn Fn(&ObjectRef) + Send + Sync>,
}

impl Asking {
    /// Asks all pods until `stop`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub async fn run(self, stop: CancellationToken) -> Result<(), reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(5))
            // An agent has no reason to send anybody elsewhere, least of all somebody with a token.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let mut polls: BTreeMap<String, (Asked, AbortHandle)> = BTreeMap::new();
        loop {
            let wanted = self.wanted();
            polls.retain(|uid, (asked, poll)| {
                let stays = wanted.get(uid) == Some(asked);
                if !stays {
                    poll.abort();
                    if !wanted.contains_key(uid) {
                        self.reports.lock().remove(uid);
                    }
                }
                stays
            });
            let mut new = 0;
            for (uid, asked) in wanted {
                if let Entry::Vacant(place) = polls.entry(uid) {
                    let poll = poll(
                        SPREAD * new,
                        client.clone(),
                        place.key().clone(),
                        asked.clone(),
                        self.token_file.clone(),
                        self.reports.clone(),
                        self.news.clone(),
                    );
                    place.insert((asked, tokio::spawn(poll).abort_handle()));
                    new += 1;
                }
            }
            let changed = async {
                tokio::time::sleep(SETTLE).await;
                self.pods_changed.notified().await;
            };
            tokio::select! {
                () = changed => {}
                () = stop.cancelled() => break,
            }
        }
        for (_, (_, poll)) in polls {
            poll.abort();
        }
        Ok(())
    }

    fn wanted(&self) -> BTreeMap<String, Asked> {
        let world = self.world.lock();
        let running = world.all_pods().filter(|(_, pod)| pod.phase == "Running");
        running
            .filter_map(|(owner, pod)| {
                let address = pod.address.as_ref()?;
                let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
                let url = format!("http://{host}:{AGENT_PORT}/v1/report");
                Some((pod.uid.clone(), Asked { owner: owner.clone(), url }))
            })
            .collect()
    }
}

async fn poll(
    after: Duration,
    client: reqwest::Client,
    uid: String,
    asked: Asked,
    token_file: PathBuf,
    reports: Reports,
    news: Arc<dyn Fn(&ObjectRef) + Send + Sync>,
) {
    tokio::time::sleep(after).await;
    let mut since = None;
    let mut resync = Instant::now() + RESYNC;
    let mut pause = Duration::from_millis(500);
    loop {
        if Instant::now() >= resync {
            since = None;
            resync = Instant::now() + RESYNC;
        }
        match ask(&client, &asked.url, since, &token_file).await {
            Ok(report) => {
                pause = Duration::from_millis(500);
                since = Some(report.sequence);
                if reports.hear(&uid, report) {
                    news(&asked.owner);
                }
            }
            Err(why) => {
                if reports.fail(&uid, why, Instant::now()) {
                    news(&asked.owner);
                }
                let jitter = rand::rng().random_range(0.8..1.2);
                tokio::time::sleep(pause.mul_f64(jitter)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                since = None;
            }
        }
    }
}

/// One question. What went wrong is said without the URL: it names a pod's address, which is gone tomorrow.
async fn ask(client: &reqwest::Client, url: &str, since: Option<u64>, token_file: &PathBuf) -> Result<Report, String> {
    // Read each time, since the kubelet replaces it before it expires.
    let token = tokio::fs::read_to_string(token_file)
        .await
        .map_err(|error| format!("the operator's token {} cannot be read: {error}", token_file.display()))?;
    let mut request = client.get(url).bearer_auth(token.trim());
    if let Some(since) = since {
        request = request.query(&[("since", since)]);
    }
    let response = request.send().await.map_err(|error| describe(&error))?;
    if !response.status().is_success() {
        return Err(format!("the agent answers {}", response.status()));
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|error| describe(&error))?);
        if body.len() > LARGEST_REPORT {
            return Err("the agent's report is too long".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|error| format!("the agent's report cannot be read: {error}"))
}

/// What is wrong, in words that stay the same as long as it is the same that is wrong: refused now and timed out the next time is
/// no news, and each news would be written to every object.
fn describe(error: &reqwest::Error) -> String {
    if error.is_connect() || error.is_timeout() {
        return format!("its port {AGENT_PORT} cannot be reached (a NetworkPolicy may keep the operator out)");
    }
    // The innermost cause; the error itself would name the address.
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| "the request fails".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_answer_is_not_yet_an_agent_that_cannot_be_asked() {
        let reports = Reports::default();
        assert!(reports.hear("pod", Report::default()));
        assert!(!reports.hear("pod", Report::default()), "the same again is no news");
        let since = Instant::now();
        assert!(!reports.fail("pod", "connection refused".into(), since));
        let heard = reports.of("pod").unwrap();
        assert_eq!(heard.unavailable(since), None);
        assert_eq!(heard.unavailable(since + UNAVAILABLE_AFTER), Some("connection refused"));
        assert!(heard.report.is_some(), "what it said last is kept");
        let almost = since + UNAVAILABLE_AFTER.saturating_sub(Duration::from_millis(1));
        assert!(!reports.fail("pod", "no route".into(), almost));
        assert_eq!(reports.of("pod").unwrap().failing.unwrap().since, since, "it has failed since then");
        assert!(reports.fail("pod", "no route".into(), since + UNAVAILABLE_AFTER), "now it is news");
        assert!(!reports.fail("pod", "no route".into(), since + 2 * UNAVAILABLE_AFTER), "once");
        assert!(reports.hear("pod", Report::default()), "that it answers again is news");
        assert_eq!(reports.of("pod").unwrap().unavailable(since + UNAVAILABLE_AFTER), None);
    }
}
