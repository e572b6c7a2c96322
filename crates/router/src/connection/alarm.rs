//! The one timer of a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is moved only when it runs out, or must run out sooner. Most waits end before their deadline, and the
/// next one's lies later still; so a busy connection has a timer that is hardly ever touched.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `at` is past.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn rings_neither_early_nor_for_an_old_deadline() {
        let begin = Instant::now();
        let mut alarm = Alarm::default();
        let millis = Duration::from_millis;
        for (at, then) in [(20, 20), (60, 60), (30, 60), (90, 90)] {
            // A later deadline that nobody waits for any more holds up no earlier one.
            let _ = poll_fn(|cx| Poll::Ready(alarm.poll(cx, begin + millis(at) + Duration::from_secs(100)))).await;
            poll_fn(|cx| alarm.poll(cx, begin + millis(at))).await;
            assert!(begin.elapsed() >= millis(then) && begin.elapsed() < Duration::from_secs(50), "{at}");
        }
    }
}
