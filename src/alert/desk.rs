//! Puts the engine to work in a place: looks, saves before it sends, sends side by side, notes what became of it, and shows how
//! each route is doing. The same in `run` and in a cluster. Must not decide who is told what, nor know where it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::dispatch::Dispatcher;
use super::engine::{Delivery, Outcome};
use super::handle::{Handle, Request, TestResult};
use super::matching::Declared;
use super::metrics::Metrics;
use super::place::Place;
use super::receivers;
use super::status::seconds;
use crate::api::alert_route::TestStatus;
use crate::plan::unit::ObjectKey;

/// Annotation: each new value has a test message sent to all receivers of the route.
pub const TEST_ANNOTATION: &str = "camera-operator.dev/test-alerts";
/// How often time is taken into account; what changes is looked at within this, too.
const EVERY: Duration = Duration::from_secs(1);
/// How long what is being sent may take when everything ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether a route's Secrets are there.
const CHECK_SECRETS: Duration = Duration::from_mins(5);
/// The same while one is not.
const CHECK_MISSING: Duration = Duration::from_secs(15);
/// Longest value of the annotation that is obeyed, in characters.
const MAX_ANNOTATION: usize = 256;

enum Done {
    Sent { delivery: Box<Delivery>, outcome: Outcome },
    Tested { route: ObjectKey, results: Vec<TestResult>, reply: Option<oneshot::Sender<Vec<TestResult>>> },
    Checked { route: ObjectKey, problem: Option<String> },
}

/// Delivers alerts.
pub struct Desk {
    place: Arc<dyn Place>,
    metrics: Metrics,
    dispatcher: Dispatcher,
    requests: mpsc::Receiver<Request>,
    books: Books,
    /// Receivers that are being sent to.
    busy: BTreeSet<(ObjectKey, String)>,
    work: JoinSet<Done>,
}

impl Desk {
    /// A desk, and how it is asked.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(place: Arc<dyn Place>, metrics: Metrics) -> reqwest::Result<(Self, Handle)> {
        let (sender, requests) = mpsc::channel(64);
        let handle = Handle::new(place.clone(), sender);
        let desk = Self {
            dispatcher: Dispatcher::new(place.clone(), metrics.clone())?,
            books: Books::new(place.clone()),
            place,
            metrics,
            requests,
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
        self.books.save().await;
    }

    async fn obey(&mut self, request: Request, replies: &mut Vec<oneshot::Sender<()>>) {
        let (Request::Test(route, _) | Request::TakeIn(route, ..)) = &request;
        if self.books.get(route).is_none() {
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
        self.books.align(&look.routes).await;
        let mut deliveries = Vec::new();
        let mut asked = Vec::new();
        for (name, book) in self.books.iter_mut() {
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
        self.books.save().await;
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
        self.books.show(&self.metrics, now).await;
    }

    fn note(&mut self, done: Done) {
        let now = Timestamp::now();
        match done {
            Done::Sent { delivery, outcome } => {
                self.busy.remove(&(delivery.route.clone(), delivery.receiver.clone()));
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

    fn send(&mut self, delivery: Delivery) {
        let book = self.books.get(&delivery.route);
        let receiver =
            book.and_then(|book| book.route.spec.receivers.iter().find(|one| one.name == delivery.receiver)).cloned();
        let (Some(book), Some(receiver)) = (book, receiver) else {
            self.busy.remove(&(delivery.route.clone(), delivery.receiver.clone()));
            return;
        };
        let (dispatcher, page) = (self.dispatcher.clone(), book.page(&*self.place));
        self.work.spawn(async move {
            let outcome = dispatcher.deliver(&receiver, delivery.clone(), page.as_deref()).await;
            Done::Sent { delivery: Box::new(delivery), outcome }
        });
    }

    fn test(&mut self, route: &ObjectKey, reply: Option<oneshot::Sender<Vec<TestResult>>>) {
        let Some(book) = self.books.get(route) else { return };
        let (receivers, route) = (book.route.spec.receivers.clone(), route.clone());
        let (dispatcher, page) = (self.dispatcher.clone(), book.page(&*self.place));
        self.work.spawn(async move {
            let results = dispatcher.test(&route, &receivers, page.as_deref()).await;
            Done::Tested { route, results, reply }
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
}
