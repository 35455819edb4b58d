//! The thread on which cameras are read: in turns. A camera sends a picture as many packets, a little apart from one another, and
//! many cameras send at any moment: a program that wakes up for each packet does little else. So this thread rests after all
//! that there is was read, and what comes meanwhile is read at once. Must not know what a source is.

use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// How long it rests: what is read is late by this at most. Much shorter, and there is little to be read in a turn; what a socket
/// holds (Linux: 128 KiB and more) is what 100 Mbit/s bring in this time.
const REST: Duration = Duration::from_millis(8);
/// Tasks that run before the runtime looks for news in between: more than there are, for that is what the rest is for.
const LOOK_EVERY: u32 = 4096;

/// See the module. The thread is started with the first source, and ends when this is dropped.
#[derive(Default)]
pub struct Turns {
    running: OnceLock<Option<Running>>,
}

struct Running {
    handle: Handle,
    _stop: DropGuard,
}

impl fmt::Debug for Turns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Turns {
    /// Runs something on the thread; when this is dropped, so is that. Where there is no such thread it runs here.
    ///
    /// # Panics
    /// When what it runs does.
    pub async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
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
        if let Err(error) = AbortOnDropHandle::new(running.handle.spawn(work)).await
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
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(LOOK_EVERY)
        .on_thread_park(|| thread::sleep(REST))
        .build()?;
    let handle = runtime.handle().clone();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    thread::Builder::new().name("cameras".into()).spawn(move || {
        runtime.block_on(stopped.cancelled());
        // What still blocks must not keep the program from ending.
        runtime.shutdown_background();
    })?;
    Ok(Running { handle, _stop: stop.drop_guard() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;

    use super::*;

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
