//! Puts the engine to work in a place: looks, saves before it sends, sends side by side, notes what became of it, and shows how
//! each route is doing. The same in `run` and in a cluster. Must not decide who is told what, nor know where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use ring::digest;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Alert;
use super::alertmanager::{self, Refused};
use super::conditions::Observed;
use super::engine::{Delivery, Outcome, Purpose, State, sign_of_life};
use super::matching::Declared;
use super::message::{Message, Picture, camera_of, shows_pictures};
use super::metrics::Metrics;
use super::receivers::{self, Access, ReadSecret};
use super::status::{self, Circumstances, seconds};
use crate::api::AlertRoute;
use crate::api::alert_receiver::Receiver;
use crate::api::alert_route::{AlertRouteStatus, TestStatus};
use crate::plan::objects::key;
use crate::plan::unit::ObjectKey;

/// Annotation: each new value has a test message sent to all receivers of the route.
pub const TEST_ANNOTATION: &str = "camera-operator.dev/test-alerts";
/// How often time is taken into account; what changes is looked at within this, too.
const EVERY: Duration = Duration::from_secs(1);
/// How long loading, saving and showing may take: people are told all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a picture may take: then a message goes without one.
const PICTURE_PATIENCE: Duration = Duration::from_secs(8);
/// Between two looks at whether a route's Secrets are there.
const CHECK_SECRETS: Duration = Duration::from_mins(5);
/// The same while one is not.
const CHECK_MISSING: Duration = Duration::from_secs(15);
/// How long a route whose state could not be loaded is left alone.
const LOAD_AGAIN: Duration = Duration::from_secs(5);
/// Longest value of the annotation that is obeyed, in characters.
const MAX_ANNOTATION: usize = 256;

/// Everything at one instant.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The routes.
    pub routes: Vec<Arc<AlertRoute>>,
    /// What stands.
    pub observed: Observed,
}

/// Where it is put to work.
pub trait Place: Send + Sync + 'static {
    /// What is so at `now`; `None` until that can be said.
    fn look(&self, now: Timestamp) -> Option<Look>;

    /// One route.
    fn route(&self, route: &ObjectKey) -> Option<Arc<AlertRoute>>;

    /// What was remembered for a route.
    fn load<'a>(&'a self, route: &'a AlertRoute) -> BoxFuture<'a, Result<Option<State>, String>>;

    /// Remembers a state over restarts.
    fn save<'a>(&'a self, route: &'a AlertRoute, state: &'a State) -> BoxFuture<'a, Result<(), String>>;

    /// Forgets what was remembered for a route that is gone.
    fn forget(&self, route: &ObjectKey);

    /// What a Secret holds under a key.
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, String>>;

    /// The latest picture of a camera, however old.
    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Option<Picture>>;

    /// Puts a status that is another than before into place.
    fn show<'a>(&'a self, route: &'a AlertRoute, status: &'a AlertRouteStatus) -> BoxFuture<'a, Result<(), String>>;

    /// Whether routes of a namespace may see all.
    fn may_see_all(&self, namespace: &str) -> bool;

    /// Where the page is, when a route does not say.
    fn page(&self) -> Option<String>;
}

/// What came of a test, for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Whether it took the message.
    pub delivered: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why something asked of the desk cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// No such route.
    #[error("there is no alert route {0}")]
    NotFound(ObjectKey),
    /// The route takes nothing from Alertmanager.
    #[error("alert route {0} takes nothing from Alertmanager: write spec.alertmanager: {{tokenSecretRef: …}}")]
    NoSource(ObjectKey),
    /// The token is not the one that the route names.
    #[error("send the token that the route's spec.alertmanager.tokenSecretRef names, as in `Authorization: Bearer …`")]
    Unauthorized,
    /// What was sent is not understood.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not now, or not in this process.
    #[error("alerts are not delivered by this process now: ask again")]
    Unavailable,
}

enum Request {
    Test(ObjectKey, oneshot::Sender<Vec<TestResult>>),
    TakeIn(ObjectKey, Vec<(Alert, bool)>, oneshot::Sender<()>),
}

/// What is asked of a desk from outside. Clones ask the same.
#[derive(Clone)]
pub struct Handle {
    place: Arc<dyn Place>,
    requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Sends a test message to each receiver of a route, and returns what came of it.
    ///
    /// # Errors
    /// When there is no such route, or the desk is closed.
    pub async fn test(&self, route: &ObjectKey) -> Result<Vec<TestResult>, DeskError> {
        self.place.route(route).ok_or_else(|| DeskError::NotFound(route.clone()))?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Test(route.clone(), reply);
        self.requests.send(request).await.map_err(|_| DeskError::Unavailable)?;
        answer.await.map_err(|_| DeskError::Unavailable)
    }

    /// Takes in a message of Alertmanager. When it returns, what was taken in outlives a restart.
    ///
    /// # Errors
    /// When the route does not want it, the token is wrong, or the message cannot be understood.
    pub async fn take_in(&self, route: &ObjectKey, bearer: Option<&str>, body: &[u8]) -> Result<usize, DeskError> {
        let declared = self.place.route(route).ok_or_else(|| DeskError::NotFound(route.clone()))?;
        let source = declared.spec.alertmanager.as_ref().ok_or_else(|| DeskError::NoSource(route.clone()))?;
        let reference = &source.token_secret_ref;
        let token = self.place.secret(&route.namespace, &reference.name, &reference.key).await;
        let token = token.map_err(|_| DeskError::Unavailable)?.ok_or(DeskError::Unauthorized)?;
        // Digests of the same length are compared, so that time tells nothing of the token.
        let hash = |text: &str| digest::digest(&digest::SHA256, text.trim().as_bytes());
        let is_right = bearer.is_some_and(|bearer| hash(bearer).as_ref() == hash(&token).as_ref());
        if !is_right || token.trim().is_empty() {
            return Err(DeskError::Unauthorized);
        }
        let alerts = alertmanager::parse(route, body)?;
        let (count, (reply, answer)) = (alerts.len(), oneshot::channel());
        let request = Request::TakeIn(route.clone(), alerts, reply);
        self.requests.send(request).await.map_err(|_| DeskError::Unavailable)?;
        answer.await.map_err(|_| DeskError::Unavailable)?;
        Ok(count)
    }
}

/// What is kept of a route.
struct Book {
    route: Arc<AlertRoute>,
    state: State,
    saved: Option<State>,
    known: Circumstances,
    shown: Option<AlertRouteStatus>,
    check_secrets: Instant,
}

enum Done {
    Sent { delivery: Box<Delivery>, type_: &'static str, outcome: Outcome, took: Duration },
    Tested { route: ObjectKey, results: Vec<TestResult>, reply: Option<oneshot::Sender<Vec<TestResult>>> },
    Checked { route: ObjectKey, problem: Option<String> },
}

/// Delivers alerts.
pub struct Desk {
    place: Arc<dyn Place>,
    metrics: Metrics,
    http: reqwest::Client,
    requests: mpsc::Receiver<Request>,
    books: BTreeMap<ObjectKey, Book>,
    failed_loads: BTreeMap<ObjectKey, Instant>,
    /// Receivers that are being sent to.
    busy: BTreeSet<(ObjectKey, String)>,
    work: JoinSet<Done>,
}

/// Secrets in one namespace of a place.
struct Within<'a> {
    place: &'a dyn Place,
    namespace: &'a str,
}

impl ReadSecret for Within<'_> {
    fn read<'a>(&'a self, name: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
        self.place.secret(self.namespace, name, key)
    }
}

impl Desk {
    /// A desk, and how it is asked.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(place: Arc<dyn Place>, metrics: Metrics) -> reqwest::Result<(Self, Handle)> {
        // Also where nothing else has done so yet.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, requests) = mpsc::channel(64);
        let handle = Handle { place: place.clone(), requests: sender };
        let desk = Self {
            place,
            metrics,
            http: receivers::client()?,
            requests,
            books: BTreeMap::new(),
            failed_loads: BTreeMap::new(),
            busy: BTreeSet::new(),
            work: JoinSet::new(),
        };
        Ok((desk, handle))
    }

    /// Loop: tells what is to be told, until `shutdown`.
    pub async fn deliver(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut replies = Vec::new();
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                Some(done) = self.work.join_next() => if let Ok(done) = done { self.note(done); },
                Some(request) = self.requests.recv() => self.obey(request, &mut replies).await,
            }
            self.turn().await;
            for reply in replies {
                let _ = reply.send(());
            }
        }
        // What is being sent goes on to be noted for a moment, so that a clean stop repeats nothing.
        let finished = timeout(PATIENCE, async {
            while let Some(done) = self.work.join_next().await {
                if let Ok(done) = done {
                    self.note(done);
                }
            }
        });
        let _ = finished.await;
        self.save().await;
    }

    async fn obey(&mut self, request: Request, replies: &mut Vec<oneshot::Sender<()>>) {
        let (Request::Test(route, _) | Request::TakeIn(route, ..)) = &request;
        if !self.books.contains_key(route) {
            // It may have been declared a moment ago.
            self.turn().await;
        }
        // Whoever asks for a route that cannot be opened is told so by the reply that is dropped.
        match request {
            Request::Test(route, reply) => self.test(&route, Some(reply)),
            Request::TakeIn(route, alerts, reply) => {
                if let Some(book) = self.books.get_mut(&route) {
                    book.state.take_in(alerts, Timestamp::now());
                    replies.push(reply);
                }
            }
        }
    }

    /// One look at everything.
    async fn turn(&mut self) {
        let now = Timestamp::now();
        let Some(look) = self.place.look(now) else { return };
        self.open(&look.routes).await;
        let mut deliveries = Vec::new();
        let mut asked = Vec::new();
        for (name, book) in &mut self.books {
            let may_see_all = self.place.may_see_all(&name.namespace);
            let declared = Declared { key: name, spec: &book.route.spec, may_see_all };
            deliveries.extend(book.state.step(&declared, &look.observed, now));
            let annotations = book.route.metadata.annotations.as_ref();
            let wanted = annotations.and_then(|all| all.get(TEST_ANNOTATION));
            let wanted: Option<String> = wanted.map(|value| value.chars().take(MAX_ANNOTATION).collect());
            if wanted.is_some() && book.state.tested != wanted {
                book.state.tested = wanted;
                asked.push(name.clone());
            }
        }
        // Before anything is sent: what is to be told outlives a kill.
        self.save().await;
        for delivery in deliveries {
            // One message after another to each receiver; receivers do not wait for each other.
            if self.busy.insert((delivery.route.clone(), delivery.receiver.clone())) {
                self.send(delivery);
            }
        }
        for route in asked {
            self.test(&route, None);
        }
        self.check_secrets();
        self.show(now).await;
    }

    /// Brings the books in line with the routes that there are.
    async fn open(&mut self, routes: &[Arc<AlertRoute>]) {
        let declared: BTreeSet<ObjectKey> = routes.iter().map(|route| key(&**route)).collect();
        let gone: Vec<ObjectKey> = self.books.keys().filter(|&known| !declared.contains(known)).cloned().collect();
        for route in &gone {
            self.books.remove(route);
            self.place.forget(route);
        }
        let mut new = Vec::new();
        for route in routes {
            let name = key(&**route);
            match self.books.get_mut(&name) {
                Some(book) if book.route.metadata.uid == route.metadata.uid => {
                    if book.route.metadata.generation != route.metadata.generation {
                        let may_see_all = self.place.may_see_all(&name.namespace);
                        book.known.invalid = status::invalid(route, may_see_all);
                        book.check_secrets = Instant::now();
                    }
                    book.route = route.clone();
                }
                _ => {
                    let waits = self.failed_loads.get(&name).is_some_and(|at| at.elapsed() < LOAD_AGAIN);
                    if !waits {
                        new.push((name, route.clone()));
                    }
                }
            }
        }
        let place = self.place.clone();
        let loads = new.iter().map(|(_, route)| timeout(PATIENCE, place.load(route)));
        let loaded = join_all(loads).await;
        for ((name, route), loaded) in new.into_iter().zip(loaded) {
            match loaded.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(state) => {
                    self.failed_loads.remove(&name);
                    let known = Circumstances {
                        invalid: status::invalid(&route, self.place.may_see_all(&name.namespace)),
                        tests: tests_of(&route),
                        ..Circumstances::default()
                    };
                    let shown = route.status.clone();
                    let (saved, check_secrets) = (state.clone(), Instant::now());
                    let state = state.unwrap_or_default();
                    self.books.insert(name, Book { route, state, saved, known, shown, check_secrets });
                }
                Err(error) => {
                    // Without it everything that stands would be told again.
                    tracing::warn!(route = %name, "who was told of what cannot be read, and is tried again: {error}");
                    self.failed_loads.insert(name, Instant::now());
                }
            }
        }
    }

    fn note(&mut self, done: Done) {
        let now = Timestamp::now();
        match done {
            Done::Sent { delivery, type_, outcome, took } => {
                self.busy.remove(&(delivery.route.clone(), delivery.receiver.clone()));
                tell(&delivery, &outcome);
                self.metrics.delivered(&delivery, type_, &outcome, took, now);
                if let Some(book) = self.books.get_mut(&delivery.route) {
                    book.state.settle(&delivery, &outcome, now);
                }
            }
            Done::Tested { route, results, reply } => {
                if let Some(book) = self.books.get_mut(&route) {
                    for result in &results {
                        let TestResult { name, delivered, error } = result.clone();
                        book.known.tests.insert(name, TestStatus { time: seconds(now), delivered, error });
                    }
                }
                if let Some(reply) = reply {
                    let _ = reply.send(results);
                }
            }
            Done::Checked { route, problem } => {
                if let Some(book) = self.books.get_mut(&route) {
                    let pause = if problem.is_some() { CHECK_MISSING } else { CHECK_SECRETS };
                    book.known.secret = problem;
                    book.check_secrets = Instant::now() + pause;
                }
            }
        }
    }

    async fn save(&mut self) {
        let place = self.place.clone();
        let changed = self.books.values_mut().filter(|book| book.saved.as_ref() != Some(&book.state));
        let saves = changed.map(|book| {
            let place = place.clone();
            async move {
                let saved = timeout(PATIENCE, place.save(&book.route, &book.state)).await;
                match saved.unwrap_or_else(|_| Err("no answer".to_owned())) {
                    Ok(()) => {
                        book.saved = Some(book.state.clone());
                        book.known.unsaved = None;
                    }
                    // People are told all the same; after a restart they may be told again, and the route says so.
                    Err(error) => {
                        if book.known.unsaved.as_ref() != Some(&error) {
                            tracing::warn!(route = %key(&*book.route), "who was told of what cannot be written: {error}");
                        }
                        book.known.unsaved = Some(error);
                    }
                }
            }
        });
        join_all(saves).await;
    }

    fn send(&mut self, delivery: Delivery) {
        let book = self.books.get(&delivery.route);
        let receiver =
            book.and_then(|book| book.route.spec.receivers.iter().find(|one| one.name == delivery.receiver)).cloned();
        let (Some(book), Some(receiver)) = (book, receiver) else {
            self.busy.remove(&(delivery.route.clone(), delivery.receiver.clone()));
            return;
        };
        let page = book.route.spec.page_url.clone().or_else(|| self.place.page());
        let (place, http) = (self.place.clone(), self.http.clone());
        self.work.spawn(async move {
            let begun = Instant::now();
            let outcome = attempt(&*place, &http, &receiver, delivery.clone(), page.as_deref()).await;
            let type_ = receivers::type_of(&receiver);
            Done::Sent { delivery: Box::new(delivery), type_, outcome, took: begun.elapsed() }
        });
    }

    fn test(&mut self, route: &ObjectKey, reply: Option<oneshot::Sender<Vec<TestResult>>>) {
        let Some(book) = self.books.get(route) else { return };
        let (receivers, name) = (book.route.spec.receivers.clone(), route.clone());
        let page = book.route.spec.page_url.clone().or_else(|| self.place.page());
        let (place, http, metrics) = (self.place.clone(), self.http.clone(), self.metrics.clone());
        self.work.spawn(async move {
            let tests = receivers.iter().map(|receiver| {
                let delivery = sign_of_life(&name, &receiver.name, Purpose::Test, Timestamp::now());
                let (place, http, metrics, page) = (place.clone(), http.clone(), metrics.clone(), page.clone());
                async move {
                    let begun = Instant::now();
                    let outcome = attempt(&*place, &http, receiver, delivery.clone(), page.as_deref()).await;
                    tell(&delivery, &outcome);
                    let type_ = receivers::type_of(receiver);
                    metrics.delivered(&delivery, type_, &outcome, begun.elapsed(), Timestamp::now());
                    let error = match outcome {
                        Outcome::Taken => None,
                        Outcome::Failed { error, .. } => Some(error),
                    };
                    TestResult { name: receiver.name.clone(), delivered: error.is_none(), error }
                }
            });
            let results = join_all(tests).await;
            Done::Tested { route: name, results, reply }
        });
    }

    /// Looks whether the Secrets that routes name are there, before they are needed.
    fn check_secrets(&mut self) {
        let now = Instant::now();
        for (name, book) in self.books.iter_mut().filter(|(_, book)| book.check_secrets <= now) {
            // Until the answer comes; a lost one must not be the last.
            book.check_secrets = now + CHECK_SECRETS;
            let mut wanted: Vec<(String, String)> =
                book.route.spec.receivers.iter().flat_map(receivers::secrets_of).collect();
            let source = book.route.spec.alertmanager.iter().map(|source| &source.token_secret_ref);
            wanted.extend(source.map(|reference| (reference.name.clone(), reference.key.clone())));
            let (place, route) = (self.place.clone(), name.clone());
            self.work.spawn(async move {
                let mut problem = None;
                for (secret, key) in wanted {
                    problem = match place.secret(&route.namespace, &secret, &key).await {
                        Ok(Some(_)) => None,
                        Ok(None) => Some(format!(
                            "Secret {secret} with the key {key} does not exist in namespace {}: declare it",
                            route.namespace
                        )),
                        Err(error) => Some(error),
                    };
                    if problem.is_some() {
                        break;
                    }
                }
                Done::Checked { route, problem }
            });
        }
    }

    /// Shows how each route is doing, where that has changed.
    async fn show(&mut self, now: Timestamp) {
        self.metrics.reset_gauges();
        let place = self.place.clone();
        let mut shows = Vec::new();
        for (name, book) in &mut self.books {
            self.metrics.route(name, book.state.standing(), book.known.unsaved.is_none());
            for receiver in &book.route.spec.receivers {
                let known = book.state.receiver(&receiver.name);
                let undelivered = known.map_or(0, super::engine::Receiver::undelivered);
                self.metrics.receiver(name, &receiver.name, undelivered);
            }
            let status = status::status(&book.route, book.shown.as_ref(), &book.state, &book.known, now);
            if book.shown.as_ref() == Some(&status) {
                continue;
            }
            let place = place.clone();
            shows.push(
                async move {
                    match timeout(PATIENCE, place.show(&book.route, &status)).await {
                        Ok(Ok(())) => book.shown = Some(status),
                        Ok(Err(error)) => tracing::debug!(route = %name, "its status cannot be written: {error}"),
                        Err(_) => tracing::debug!(route = %name, "its status cannot be written: no answer"),
                    }
                }
                .boxed(),
            );
        }
        join_all(shows).await;
    }
}

async fn attempt(
    place: &dyn Place,
    http: &reqwest::Client,
    receiver: &Receiver,
    delivery: Delivery,
    page: Option<&str>,
) -> Outcome {
    let namespace = delivery.route.namespace.clone();
    let mut message = Message::new(delivery, receiver, page);
    if shows_pictures(receiver)
        && let Some(camera) = camera_of(&message.delivery).cloned()
    {
        let picture = timeout(PICTURE_PATIENCE, place.picture(&camera)).await.ok().flatten();
        message = message.with_picture(&camera, picture);
    }
    let within = Within { place, namespace: &namespace };
    receivers::send(receiver, &message, Access { http, secrets: &within }).await
}

fn tests_of(route: &AlertRoute) -> BTreeMap<String, TestStatus> {
    let receivers = route.status.iter().flat_map(|status| &status.receivers);
    receivers.filter_map(|receiver| Some((receiver.name.clone(), receiver.test.clone()?))).collect()
}

fn tell(delivery: &Delivery, outcome: &Outcome) {
    let (route, receiver, alerts) = (&delivery.route, delivery.receiver.as_str(), delivery.alerts.len());
    match outcome {
        Outcome::Taken if delivery.purpose == Purpose::Heartbeat => {
            tracing::debug!(%route, receiver, "the heartbeat was delivered");
        }
        Outcome::Taken => tracing::info!(%route, receiver, alerts, "alerts were delivered"),
        Outcome::Failed { error, .. } => {
            tracing::warn!(%route, receiver, alerts, code = 201, "alerts were not delivered: {error}");
        }
    }
}
