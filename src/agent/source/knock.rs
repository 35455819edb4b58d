//! Notices that a device which was away takes connections again, so that nobody waits out a long back-off for a camera that is
//! there. A connection is opened and closed at once, nothing is said: a device that refuses sessions is not asked for any. Must
//! not decide how long a back-off is, nor connect to what the plan refuses.

use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::guard::Guard;

/// The longest time between two looks, and how long each may take.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest.
const SOONEST: Duration = Duration::from_millis(100);
/// How long a device may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns when the device takes a connection after it had not taken one. Not when it takes them all along: what keeps the
/// camera away is something else then, and is not helped by haste. Cancel safe.
pub async fn until_it_answers_again(host: &str, port: u16, guard: &Guard) {
    let mut was_away = false;
    let since = Instant::now();
    loop {
        let answers = matches!(timeout(EVERY, answers(host, port, guard)).await, Ok(true));
        if answers && was_away {
            return;
        }
        was_away |= !answers;
        sleep(pause(since.elapsed())).await;
    }
}

/// Until the next look at a device that was waited for so long: who was away for a moment is not kept waiting for long, and who
/// is away for hours is not asked ten times a second.
fn pause(waited: Duration) -> Duration {
    (waited / 32).clamp(SOONEST, EVERY)
}

/// Whether the device takes a connection now; if not, why not.
pub async fn is_anybody_there((host, port): &(String, u16)) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect((host.as_str(), *port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("no connection: {error}")),
        Err(_) => Err(format!("no connection: no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn answers(host: &str, port: u16, guard: &Guard) -> bool {
    let Ok(addresses) = lookup_host((host, port)).await else { return false };
    for address in addresses {
        if guard.allows(address.ip()) && TcpStream::connect(address).await.is_ok() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::unit::SourceGuard;

    #[tokio::test]
    async fn a_device_is_noticed_when_it_comes_back_and_only_then() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard::default();
        assert!(answers("127.0.0.1", address.port(), &guard).await);
        let all_along = timeout(3 * EVERY, until_it_answers_again("127.0.0.1", address.port(), &guard));
        assert!(all_along.await.is_err(), "it was never away");
        drop(listener);
        assert!(!answers("127.0.0.1", address.port(), &guard).await);
        let (away, came_back) = tokio::sync::oneshot::channel();
        let device = tokio::spawn(async move {
            came_back.await.unwrap();
            TcpListener::bind(address).await.unwrap()
        });
        let mut again = std::pin::pin!(until_it_answers_again("127.0.0.1", address.port(), &guard));
        // The first look finds nobody.
        assert!(timeout(SOONEST / 2, again.as_mut()).await.is_err());
        away.send(()).unwrap();
        let _listener = device.await.unwrap();
        again.await;
    }

    #[test]
    fn looks_are_rarer_the_longer_it_is_waited() {
        let millis = |waited| pause(Duration::from_secs(waited)).as_millis();
        assert_eq!([0, 1, 8, 40, 4000].map(millis), [100, 100, 250, 1000, 1000]);
    }

    #[tokio::test]
    async fn what_the_plan_refuses_is_not_called() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let guard = Guard::default();
        guard.set(Some(&SourceGuard { refused: Vec::new() }));
        assert!(!answers("127.0.0.1", listener.local_addr().unwrap().port(), &guard).await, "loopback");
    }
}
