//! How far a worker is behind with its work, and which share of new requests it therefore refuses.
//!
//! What a router runs out of is its processor; its tasks then queue up, and everything waits as long as that queue is. So
//! the time from when a task is queued until it runs is what is measured, by a task that does nothing else, and only
//! while requests come. The share that is refused follows it in small steps: refusing all or nothing would swing.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How often the lag is measured while requests come.
const EVERY: Duration = Duration::from_millis(5);
/// A lag that was measured longer ago than this says nothing any more.
const STALE: Duration = Duration::from_millis(200);
/// How much the share changes at most for each [`EVERY`] that a measurement took, and from one to the next.
const STEP: f64 = 0.05;
const MOST_STEP: f64 = 0.25;
/// How often in a row, and for how long, the lag must be too large before anything is refused. Another process that took
/// the processor for a moment is no overload.
const PATIENCE_LOOKS: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(500);
/// Never everything: somebody must find out that the work is done.
const MOST: f64 = 0.98;

/// The lag of one worker.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// When the measurement under way, or the last one, began.
    begun: Cell<Option<Instant>>,
    under_way: Cell<bool>,
    /// Since when each measurement found too much, and how many those are.
    above: Cell<Option<(Instant, u32)>>,
    /// Share of new requests to refuse.
    share: Cell<f64>,
}

impl Lag {
    /// Whether to refuse a request that came now. Begins a measurement by `queue` when one is due: what that is given is
    /// queued behind all other work.
    pub(crate) fn sheds<F: FnOnce() + 'static>(&self, most: Duration, seen: F) -> bool {
        if most.is_zero() {
            return false;
        }
        if !self.under_way.get() {
            let now = Instant::now();
            let since = self.begun.get().map(|begun| now - begun);
            if since.is_none_or(|since| since >= EVERY) {
                if since.is_none_or(|since| since >= STALE) {
                    self.share.set(0.0);
                    self.above.set(None);
                }
                self.begun.set(Some(now));
                self.under_way.set(true);
                tokio::task::spawn_local(async move { seen() });
            }
        }
        let share = self.share.get();
        share > 0.0 && rand::random::<f64>() < share
    }

    /// The measurement is over.
    pub(crate) fn seen(&self, most: Duration) {
        self.under_way.set(false);
        let Some(begun) = self.begun.get() else { return };
        let lag = begun.elapsed();
        let above = (lag > most).then(|| self.above.get().map_or((begun, 1), |(since, looks)| (since, looks + 1)));
        self.above.set(above);
        let lasting = above.is_some_and(|(since, looks)| looks >= PATIENCE_LOOKS && since.elapsed() >= PATIENCE);
        if lasting || above.is_none() {
            self.share.set(next_share(self.share.get(), lag, most));
        }
    }
}

/// The share to refuse after `lag` was seen: more of it the farther that is above `most`, less the farther below. A
/// measurement takes as long as the lag, so the longer that is, the fewer there are and the more each must do.
fn next_share(share: f64, lag: Duration, most: Duration) -> f64 {
    let off = lag.as_secs_f64() / most.as_secs_f64() - 1.0;
    let step = (STEP * lag.as_secs_f64() / EVERY.as_secs_f64()).clamp(STEP, MOST_STEP);
    (share + step * off.clamp(-1.0, 1.0)).clamp(0.0, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lasting_lag_counts() {
        let most = Duration::from_nanos(1);
        let lag = Lag::default();
        let begin = Instant::now();
        let mut looks = 0;
        // Each look finds too much, since nothing is faster than a nanosecond.
        while lag.share.get() == 0.0 {
            lag.under_way.set(false);
            lag.begun.set(Some(Instant::now()));
            lag.seen(most);
            looks += 1;
        }
        assert!(begin.elapsed() >= PATIENCE && looks >= PATIENCE_LOOKS, "{looks} looks in {:?}", begin.elapsed());
        // One look that finds little ends it.
        lag.seen(Duration::from_secs(60));
        assert_eq!(lag.above.get(), None);
    }

    #[test]
    fn the_share_follows_the_lag() {
        let cases = [
            (0.0, 0, 0.0),
            (0.0, 50, 0.0),
            (0.0, 75, 0.125),
            (0.0, 100, 0.25),
            (0.0, 9000, 0.25),
            (0.5, 50, 0.5),
            (0.5, 25, 0.375),
            (0.5, 1, 0.451),
            (0.97, 9000, 0.98),
            (0.01, 0, 0.0),
        ];
        for (share, lag, want) in cases {
            let got = next_share(share, Duration::from_millis(lag), Duration::from_millis(50));
            assert!((got - want).abs() < 1e-9, "{share} at {lag} ms gave {got}, not {want}");
        }
    }
}
