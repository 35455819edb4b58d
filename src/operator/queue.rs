//! What is to be looked at, and when: a queue in which an object stands once however often it changed, is never worked on
//! twice at the same time, and is put back by itself, with its own delay, when the work failed.
//!
//! [`Queue`] is pure (instants are handed in); [`work`] takes from it with bounded concurrency.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After the first failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// However often it fails.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// What came of looking at an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be; look again after this long at the latest, if a time is named.
    Done(Option<Duration>),
    /// It failed: again after a delay that doubles each time.
    Failed,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    /// When each waiting key is due.
    waiting: HashMap<K, Instant>,
    /// The same, by time.
    by_time: BTreeSet<(Instant, K)>,
    running: HashSet<K>,
    /// Keys that were added while they were running, and when they are due again.
    again: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            by_time: BTreeSet::new(),
            running: HashSet::new(),
            again: HashMap::new(),
            failures: HashMap::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> Queue<K> {
    /// Something about `key` changed that nobody wrote for it, such as a pod's state: look at it then, or earlier if it is
    /// due earlier. One that keeps failing is not hurried by this, or its own failures' traces could keep it spinning.
    pub fn add(&mut self, key: K, at: Instant) {
        if self.failures.contains_key(&key) && self.waiting.contains_key(&key) {
            return;
        }
        self.put(key, at);
    }

    /// What is wanted of `key` changed: look at it then, whatever failed before.
    pub fn renew(&mut self, key: K, at: Instant) {
        self.failures.remove(&key);
        self.put(key, at);
    }

    fn put(&mut self, key: K, at: Instant) {
        if self.running.contains(&key) {
            let due = self.again.entry(key).or_insert(at);
            *due = at.min(*due);
            return;
        }
        if let Some(due) = self.waiting.get(&key).copied() {
            if due <= at {
                return;
            }
            self.by_time.remove(&(due, key.clone()));
        }
        self.waiting.insert(key.clone(), at);
        self.by_time.insert((at, key));
    }

    /// The next key that is due; it is running until [`Self::finish`].
    pub fn take(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The work on `key` has ended.
    pub fn finish(&mut self, key: K, outcome: Outcome, now: Instant) {
        self.running.remove(&key);
        let again = self.again.remove(&key);
        match outcome {
            Outcome::Done(later) => {
                self.failures.remove(&key);
                if let Some(at) = later.map(|later| now + later).into_iter().chain(again).min() {
                    self.put(key, at);
                }
            }
            Outcome::Failed => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                let at = now + delay(*failures);
                // What changed during a first attempt may be the cure. Later ones wait: the change may be a trace of the failure.
                let again = again.filter(|_| *failures == 1);
                self.put(key, again.map_or(at, |again| at.min(again)));
            }
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// How many are due or waiting for their time, by what `group` makes of a key.
    pub fn depth<G: Ord>(&self, now: Instant, group: impl Fn(&K) -> G) -> BTreeMap<G, usize> {
        let mut depth = BTreeMap::new();
        for (_, key) in self.by_time.iter().take_while(|(at, _)| *at <= now) {
            *depth.entry(group(key)).or_insert(0) += 1;
        }
        depth
    }
}

/// The delay after so many failures in a row.
fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_DELAY)
}

/// A queue that tasks share.
#[derive(Debug)]
pub struct Shared<K> {
    queue: Mutex<Queue<K>>,
    wake: Notify,
}

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self { queue: Mutex::default(), wake: Notify::new() }
    }
}

impl<K: Clone + Ord + Hash> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Queue::add`], so long from now.
    pub fn add(&self, keys: impl IntoIterator<Item = K>, after: Duration) {
        let at = Instant::now() + after;
        let mut queue = self.lock();
        for key in keys {
            queue.add(key, at);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// [`Queue::renew`], so long from now.
    pub fn renew(&self, keys: impl IntoIterator<Item = K>, after: Duration) {
        let at = Instant::now() + after;
        let mut queue = self.lock();
        for key in keys {
            queue.renew(key, at);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// [`Queue::forget`].
    pub fn forget(&self, key: &K) {
        self.lock().forget(key);
    }

    /// [`Queue::depth`], now.
    pub fn depth<G: Ord>(&self, group: impl Fn(&K) -> G) -> BTreeMap<G, usize> {
        self.lock().depth(Instant::now(), group)
    }
}

/// Works on what is due, at most `concurrency` keys at once and each for at most `limit`, until `stop`; then finishes what is
/// under way.
pub async fn work<K, F, W>(queue: &Shared<K>, concurrency: usize, limit: Duration, stop: &CancellationToken, look_at: F)
where
    K: Clone + Ord + Hash + Send + 'static,
    F: Fn(K) -> W,
    W: Future<Output = Outcome> + Send + 'static,
{
    let mut tasks: JoinSet<(K, Outcome)> = JoinSet::new();
    // Which task works on which key: a task that panics takes its key with it otherwise.
    let mut keys = HashMap::new();
    loop {
        while !stop.is_cancelled()
            && tasks.len() < concurrency
            && let Some(key) = {
                let mut queue = queue.lock();
                queue.take(Instant::now())
            }
        {
            let looking = look_at(key.clone());
            let working = key.clone();
            let handle = tasks.spawn(async move {
                let outcome = tokio::time::timeout(limit, looking).await;
                (working, outcome.unwrap_or(Outcome::Failed))
            });
            keys.insert(handle.id(), key);
        }
        if stop.is_cancelled() && tasks.is_empty() {
            return;
        }
        let due = queue.lock().next_due().filter(|_| tasks.len() < concurrency);
        tokio::select! {
            Some(finished) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                let (id, outcome) = match finished {
                    Ok((id, (_, outcome))) => (id, outcome),
                    Err(error) => (error.id(), Outcome::Failed),
                };
                if let Some(key) = keys.remove(&id) {
                    queue.lock().finish(key, outcome, Instant::now());
                }
            }
            () = queue.wake.notified() => {}
            () = sleep_until(due), if due.is_some() && !stop.is_cancelled() => {}
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// A queue that many own.
pub type SharedQueue<K> = Arc<Shared<K>>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn many_changes_are_one_look() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now + MOMENT);
        queue.add("a", now + 2 * MOMENT);
        assert_eq!(queue.take(now), None, "changes settle first");
        assert_eq!(queue.take(now + MOMENT), Some("a"));
        assert_eq!(queue.take(now + 9 * MOMENT), None);
    }

    #[test]
    fn an_earlier_time_wins() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now + 9 * MOMENT);
        queue.add("a", now);
        assert_eq!(queue.take(now), Some("a"));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn nothing_is_worked_on_twice_at_once_and_no_change_is_lost() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now);
        assert_eq!(queue.take(now), Some("a"));
        queue.add("a", now);
        assert_eq!(queue.take(now), None, "it is being worked on");
        queue.finish("a", Outcome::Done(None), now);
        assert_eq!(queue.take(now), Some("a"), "it changed meanwhile");
        queue.finish("a", Outcome::Done(None), now);
        assert_eq!(queue.take(now + LONGEST_DELAY), None);
    }

    #[test]
    fn each_object_has_its_own_delay() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut at = now;
        let mut delays = Vec::new();
        for _ in 0..11 {
            queue.put("bad", at);
            assert_eq!(queue.take(at), Some("bad"));
            queue.finish("bad", Outcome::Failed, at);
            let due = queue.next_due().unwrap();
            delays.push((due - at).as_secs());
            at = due;
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        queue.add("good", at.checked_sub(MOMENT).unwrap());
        assert_eq!(queue.take(at), Some("good"), "another's failures delay nobody");
    }

    #[test]
    fn a_failing_one_is_hurried_by_a_changed_spec_only() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now);
        queue.take(now);
        queue.add("a", now);
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.take(now), Some("a"), "the first failure: what changed meanwhile may be the cure");
        queue.add("a", now);
        queue.finish("a", Outcome::Failed, now);
        queue.add("a", now);
        assert_eq!(queue.take(now), None);
        queue.renew("a", now);
        assert_eq!(queue.take(now), Some("a"));
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_DELAY), "and begins with the shortest delay");
    }

    #[test]
    fn a_change_during_an_attempt_that_succeeds_is_not_lost() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a", now);
        queue.take(now);
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.take(now + FIRST_DELAY), Some("a"));
        queue.add("a", now + FIRST_DELAY);
        queue.finish("a", Outcome::Done(None), now + FIRST_DELAY);
        assert_eq!(queue.take(now + FIRST_DELAY), Some("a"));
    }

    #[tokio::test]
    async fn work_is_bounded_survives_a_panic_and_finishes_what_it_began() {
        let queue: SharedQueue<usize> = Arc::default();
        queue.add(0..20, Duration::ZERO);
        let (now, most, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let finished = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let worker = tokio::spawn({
            let (queue, stop) = (queue.clone(), stop.clone());
            let (most, finished, done) = (most.clone(), finished.clone(), done.clone());
            async move {
                work(&queue, 3, Duration::from_mins(1), &stop, move |key| {
                    let (now, most, finished, done) = (now.clone(), most.clone(), finished.clone(), done.clone());
                    async move {
                        assert_ne!(key, 7, "a bug in one object's handling");
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        if finished.fetch_add(1, Ordering::SeqCst) == 18 {
                            done.notify_one();
                        }
                        Outcome::Done(None)
                    }
                })
                .await;
            }
        });
        done.notified().await;
        stop.cancel();
        worker.await.unwrap();
        assert_eq!(finished.load(Ordering::SeqCst), 19);
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert!(queue.lock().failures.contains_key(&7));
    }
}
