//! The thread on which cameras are read: in turns. A camera sends a picture as many packets, a little apart from one another, and
//! many cameras send at any moment: a program that wakes up for each packet does little else. So this thread rests after all
//! that there is was read, and what comes meanwhile is read at once. Who only passes on what a source sends runs beside it, and need
//! not be woken on another thread. Must not know what a source is.
//!
//! While a single source had something, it rests but every other time: the rest of a picture has come by then, and the next one is
//! waited for. With more of them there is always something to come. Who runs beside them does not count.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// How long it rests: what is read is late by this at most. Much shorter, and there is little to be read in a turn; what a socket
/// takes before it is read (Linux: 64 KiB at first, and more where more comes) is what 32 Mbit/s bring in this time.
const REST: Duration = Duration::from_millis(16);
/// Tasks that run before the runtime looks for news in between: more than there are, for that is what the rest is for.
const LOOK_EVERY: u32 = 4096;

/// See the module. The thread is started with the first source, and ends when this is dropped.
#[derive(Default)]
pub struct Turns {
    running: OnceLock<Option<Running>>,
}

struct Running {
    handle: Handle,
    rests: Arc<Rests>,
    _stop: DropGuard,
}

/// When it rests.
#[derive(Default)]
struct Rests {
    /// Sources that had something to do since it was last asked.
    busy: AtomicU32,
    /// How often it was asked.
    turn: AtomicU32,
    /// It rested when it was last asked.
    has_rested: AtomicBool,
}

impl Rests {
    /// A source has something to do; `newest`: the turn in which it last had.
    fn note(&self, newest: &mut u32) {
        let turn = self.turn.load(Ordering::Relaxed);
        if std::mem::replace(newest, turn) != turn {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether to rest now that all is done.
    fn is_due(&self) -> bool {
        self.turn.fetch_add(1, Ordering::Relaxed);
        let is_due = match self.busy.swap(0, Ordering::Relaxed) {
            0 => false,
            1 => !self.has_rested.load(Ordering::Relaxed),
            _ => true,
        };
        self.has_rested.store(is_due, Ordering::Relaxed);
        is_due
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Turns {
    /// Reads a source on the thread; when this is dropped, so is that. Where there is no such thread it runs here.
    ///
    /// # Panics
    /// When what it runs does.
    pub async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work, |running, work| {
            let (rests, mut newest) = (running.rests.clone(), u32::MAX);
            running.handle.spawn(async move {
                let mut work = pin!(work);
                poll_fn(|context| {
                    rests.note(&mut newest);
                    work.as_mut().poll(context)
                })
                .await;
            })
        })
        .await;
    }

    /// Runs on the thread what is to be near the sources, and has little to do: the thread rests when they say so.
    ///
    /// # Panics
    /// When what it runs does.
    pub async fn run_beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work, |running, work| running.handle.spawn(work)).await;
    }

    async fn spawn<F: Future<Output = ()>>(&self, work: F, spawn: impl FnOnce(&Running, F) -> JoinHandle<()>) {
        let running = self.running.get_or_init(|| match start() {
            Ok(running) => Some(running),
            Err(error) => {
                tracing::warn!(
                    "the thread that reads cameras cannot be started, so that reading them costs more: {error}"
                );
                None
            }
        });
        let Some(running) = running else { return work.await };
        if let Err(error) = AbortOnDropHandle::new(spawn(running, work)).await
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }

    /// Whether the thread, if there is one, still does something.
    pub async fn answer(&self) -> bool {
        match self.running.get() {
            Some(Some(running)) => running.handle.spawn(async {}).await.is_ok(),
            _ => true,
        }
    }
}

fn start() -> io::Result<Running> {
    let rests = Arc::new(Rests::default());
    let asked = rests.clone();
    let rest = move || {
        if asked.is_due() {
            thread::sleep(REST);
        }
    };
    let runtime = Builder::new_current_thread().enable_all().event_interval(LOOK_EVERY).on_thread_park(rest).build()?;
    let handle = runtime.handle().clone();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    thread::Builder::new().name("cameras".into()).spawn(move || {
        runtime.block_on(stopped.cancelled());
        // What still blocks must not keep the program from ending.
        runtime.shutdown_background();
    })?;
    Ok(Running { handle, rests, _stop: stop.drop_guard() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn it_rests_when_more_is_to_come() {
        let rests = Rests::default();
        let after = |busy: u32| {
            rests.busy.store(busy, Ordering::Relaxed);
            rests.is_due()
        };
        // One camera: the first packet of a picture, the rest of it, the next picture.
        assert_eq!([1, 1, 1, 1].map(after), [true, false, true, false]);
        // Nothing was done: whatever woke it was nothing.
        assert_eq!([0, 1, 0, 1, 1].map(after), [false, true, false, true, false]);
        // There is always another one.
        assert_eq!([5, 2, 3, 1, 2].map(after), [true, true, true, false, true]);
        // A source counts once a turn.
        let (mut one, mut other) = (u32::MAX, u32::MAX);
        for newest in [&mut one, &mut other] {
            (0..3).for_each(|_| rests.note(newest));
        }
        assert_eq!(rests.busy.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn all_run_on_one_thread_that_is_not_ours() {
        let turns = Turns::default();
        let (sender, mut threads) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..2 {
            let sender = sender.clone();
            turns.run(async move { sender.send(thread::current().id()).expect("somebody listens") }).await;
        }
        let (first, second) = (threads.recv().await, threads.recv().await);
        assert_eq!(first, second);
        assert_ne!(first, Some(thread::current().id()));
    }

    #[tokio::test]
    async fn a_panic_is_the_callers() {
        let turns = Turns::default();
        let run = std::panic::AssertUnwindSafe(turns.run(async { panic!("on purpose") }));
        assert!(run.catch_unwind().await.is_err());
        turns.run(async {}).await;
        assert!(turns.answer().await);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_ends() {
        let turns = Turns::default();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (ended, ends) = tokio::sync::oneshot::channel::<()>();
        let work = turns.run(async move {
            let _ended = ended;
            begun.send(()).expect("somebody listens");
            std::future::pending::<()>().await;
        });
        tokio::select! {
            () = work => panic!("it never ends by itself"),
            _ = begins => {}
        }
        assert!(ends.await.is_err(), "dropped with its sender");
    }

    #[tokio::test]
    async fn the_thread_ends_with_its_owner() {
        let turns = Turns::default();
        let over = Arc::new(AtomicBool::new(false));
        let (ended, ends) = tokio::sync::oneshot::channel::<()>();
        let shared = over.clone();
        turns
            .run(async move {
                tokio::spawn(async move {
                    let _ended = ended;
                    shared.store(true, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
            })
            .await;
        assert!(over.load(Ordering::Relaxed));
        drop(turns);
        assert!(ends.await.is_err(), "its tasks are dropped with it");
    }
}
