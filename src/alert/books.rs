//! What is kept of each route: who was told what, what of that is written down, and what its status says. Must not decide who is
//! told, nor send anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::timeout;

use super::engine::{Receiver, State};
use super::metrics::Metrics;
use super::place::Place;
use super::status::{self, Circumstances};
use crate::api::AlertRoute;
use crate::api::alert_route::{AlertRouteStatus, TestStatus};
use crate::plan::objects::key;
use crate::plan::unit::ObjectKey;

/// How long loading, saving and showing may take: people are told all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a route whose state could not be loaded is left alone.
const LOAD_AGAIN: Duration = Duration::from_secs(5);

/// What is kept of a route.
pub(super) struct Book {
    /// The route as it was declared last.
    pub(super) route: Arc<AlertRoute>,
    /// Who was told what.
    pub(super) state: State,
    /// The state that outlives a restart.
    saved: Option<State>,
    /// What is known beside the state.
    pub(super) known: Circumstances,
    /// The status that was shown last.
    shown: Option<AlertRouteStatus>,
    /// When it is looked again whether its Secrets are there.
    pub(super) check_secrets: Instant,
}

impl Book {
    /// Where messages about it lead people.
    pub(super) fn page(&self, place: &dyn Place) -> Option<String> {
        self.route.spec.page_url.clone().or_else(|| place.page())
    }
}

/// The books of all routes.
pub(super) struct Books {
    place: Arc<dyn Place>,
    open: BTreeMap<ObjectKey, Book>,
    failed_loads: BTreeMap<ObjectKey, Instant>,
}

impl Books {
    /// None yet.
    pub(super) fn new(place: Arc<dyn Place>) -> Self {
        Self { place, open: BTreeMap::new(), failed_loads: BTreeMap::new() }
    }

    /// The book of a route, where it could be opened.
    pub(super) fn get(&self, route: &ObjectKey) -> Option<&Book> {
        self.open.get(route)
    }

    /// The same, to write in it.
    pub(super) fn get_mut(&mut self, route: &ObjectKey) -> Option<&mut Book> {
        self.open.get_mut(route)
    }

    /// All that are open.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ObjectKey, &mut Book)> {
        self.open.iter_mut()
    }

    /// Brings the books in line with the routes that there are.
    pub(super) async fn align(&mut self, routes: &[Arc<AlertRoute>]) {
        let declared: BTreeSet<ObjectKey> = routes.iter().map(|route| key(&**route)).collect();
        let gone: Vec<ObjectKey> = self.open.keys().filter(|&known| !declared.contains(known)).cloned().collect();
        for route in &gone {
            self.open.remove(route);
            self.place.forget(route);
        }
        let mut new = Vec::new();
        for route in routes {
            let name = key(&**route);
            match self.open.get_mut(&name) {
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
                    self.open.insert(name, Book { route, state, saved, known, shown, check_secrets });
                }
                Err(error) => {
                    // Without it everything that stands would be told again.
                    tracing::warn!(route = %name, "who was told of what cannot be read, and is tried again: {error}");
                    self.failed_loads.insert(name, Instant::now());
                }
            }
        }
    }

    /// Writes down what has changed.
    pub(super) async fn save(&mut self) {
        let place = self.place.clone();
        let changed = self.open.values_mut().filter(|book| book.saved.as_ref() != Some(&book.state));
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

    /// Shows how each route is doing, where that has changed.
    pub(super) async fn show(&mut self, metrics: &Metrics, now: Timestamp) {
        metrics.reset_gauges();
        let place = self.place.clone();
        let mut shows = Vec::new();
        for (name, book) in &mut self.open {
            metrics.route(name, book.state.standing(), book.known.unsaved.is_none());
            for receiver in &book.route.spec.receivers {
                let known = book.state.receiver(&receiver.name);
                let undelivered = known.map_or(0, Receiver::undelivered);
                metrics.receiver(name, &receiver.name, undelivered);
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

fn tests_of(route: &AlertRoute) -> BTreeMap<String, TestStatus> {
    let receivers = route.status.iter().flat_map(|status| &status.receivers);
    receivers.filter_map(|receiver| Some((receiver.name.clone(), receiver.test.clone()?))).collect()
}
