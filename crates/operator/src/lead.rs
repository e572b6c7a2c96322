//! Takes part in the election of the one operator that writes. What to do is decided in [`operator_core::lead`]; here the
//! Lease is read and written.
//!
//! Who has led and does so no longer ends its process at once: see [`fence`].

pub(crate) mod fence;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use operator_core::lead::{Election, Step, Terms};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::call::call_within;
use crate::error::{Class, Error};
use crate::health::Pulse;
use crate::metrics::Metrics;
use fence::Fence;

/// How long the API server may take for a call about the Lease. Short, so that a failed renewal can be tried again.
const DEADLINE: Duration = Duration::from_secs(2);
/// Pause after a call that failed, while there is a deadline to meet.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a failure that lasts is told.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// One participant.
pub(crate) struct Elector {
    pub(crate) leases: Api<Lease>,
    pub(crate) name: String,
    pub(crate) terms: Terms,
    pub(crate) election: Election,
    pub(crate) fence: Arc<Fence>,
    /// Becomes true when this process leads.
    pub(crate) leading: watch::Sender<bool>,
    pub(crate) metrics: Metrics,
    pub(crate) pulse: Pulse,
}

impl Elector {
    /// Takes part until `done`, and then steps down. Whoever cancels `done` has seen to it that nothing is written any more.
    pub(crate) async fn run(mut self, done: CancellationToken) {
        let mut told: Option<Instant> = None;
        while !done.is_cancelled() {
            self.pulse.beat("the election");
            let pause = match self.turn().await {
                Ok(pause) => {
                    told = None;
                    pause
                }
                Err(error) => {
                    if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                        tracing::warn!(%error, "the lease is out of reach");
                        told = Some(Instant::now());
                    }
                    // A pause like any other, unless it is ours to lose.
                    if self.election.term().is_some() { AGAIN } else { self.terms.retry(rand::random()) }
                }
            };
            // Cut short by `done`, which ends the loop.
            let _ = done.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        self.step_down().await;
    }

    /// Looks at the Lease if need be, writes it if it is ours or free, and says how long to wait.
    async fn turn(&mut self) -> Result<Duration, Error> {
        if self.election.term().is_none() {
            self.look().await?;
        }
        let now = Instant::now();
        let lease = match self.election.next(now, Timestamp::now()) {
            Step::Write(lease) => lease,
            Step::Look(by) => return Ok(by.saturating_duration_since(now).min(self.terms.retry(rand::random()))),
            Step::Lost(why) => fence::leave(&why),
        };
        self.election.sends(Lease::clone(&lease), now);
        match self.write(&lease).await {
            Ok(stored) => {
                self.election.wrote(stored, now, Instant::now());
                self.lead().await;
                Ok(self.terms.retry(rand::random()))
            }
            Err(error) => {
                // It was written by somebody else, or by us without our hearing of it.
                self.look().await?;
                if error.class() == Class::Conflict { Ok(AGAIN) } else { Err(error) }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let what = format!("read the Lease {}", self.name);
        let found = call_within(DEADLINE, &what, self.leases.get_opt(&self.name)).await?;
        self.election.saw(found, Instant::now());
        // It may have shown that a write of ours was accepted.
        self.lead().await;
        Ok(())
    }

    async fn write(&self, lease: &Lease) -> Result<Lease, Error> {
        let what = format!("write the Lease {}", self.name);
        call_within(DEADLINE, &what, self.leases.replace(&self.name, &PostParams::default(), lease)).await
    }

    /// Opens the fence for the new term, and tells everybody of the first one when it has begun.
    async fn lead(&self) {
        let Some(term) = self.election.term() else { return };
        self.fence.extend(term);
        if *self.leading.borrow() {
            return;
        }
        tokio::time::sleep_until(term.from.into()).await;
        self.metrics.leads();
        self.leading.send_replace(true);
        tracing::info!(lease = self.name, "this operator leads now");
    }

    /// Gives the Lease back, so that another need not wait for its end. When that fails, it has to.
    async fn step_down(&self) {
        self.fence.close();
        let Some(lease) = self.election.release(Timestamp::now()) else { return };
        match self.write(&lease).await {
            Ok(_) => tracing::info!(lease = self.name, "stepped down"),
            Err(error) => tracing::warn!(%error, "could not step down, so the next operator has to wait"),
        }
    }
}
