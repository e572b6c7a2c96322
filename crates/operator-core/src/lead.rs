//! Which of several operators may write: the one that holds a Lease.
//!
//! A holder renews the Lease every few seconds, and stops writing for good when it has not managed to for the renew deadline
//! of its [`Terms`]. Another takes the Lease over when it has seen no renewal for the lease duration, which is longer. Both are
//! measured by each one's own monotonic clock, so clocks may differ by any amount: the times in the Lease are
//! for people, and are never compared.
//!
//! Every write of the Lease names the version that it was decided on, so that of two who decide at the same time one is
//! refused.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Longest lease, whoever asks for it: so long a dead holder can keep everybody else waiting.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Seconds of a Lease whose holder has stepped down: it is how the programs of Kubernetes itself mark it, too.
const RELEASED: i32 = 1;

/// How long a new leader waits with its first write when it took the place of one that did not step down. A write that the
/// old leader sent in its last moment, and that a stalled API server still has before it, is carried out by then.
pub const SETTLE: Duration = Duration::from_secs(1);

/// The lengths of time that holder and followers keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the others wait for a renewal before they take over. A whole number of seconds.
    lease: Duration,
    /// How long a holder may write after it sent its last successful renewal.
    renew_by: Duration,
    /// Pause between two renewals, or two looks.
    retry: Duration,
}

/// Why lengths do not make [`Terms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerms {
    /// The lease is too short, too long, or in fractions of a second.
    #[error("the lease duration must be a whole number of seconds from 2 to {}", LONGEST.as_secs())]
    Lease,
    /// The others would take over while the holder still writes.
    #[error("the renew deadline must be shorter than the lease duration, or two operators write at the same time")]
    Deadline,
    /// There would be no second try.
    #[error("the retry period must be less than half of the renew deadline, so that a renewal can fail once")]
    Retry,
}

/// One participant's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    /// Name and namespace of the Lease, for when it has to be made.
    blank: Lease,
    terms: Terms,
    seen: Option<Seen>,
    /// What we last sent, and when.
    sent: Option<(Lease, Instant)>,
    term: Option<Term>,
}

/// The Lease as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    lease: Option<Lease>,
    /// When it was first seen to say what it says. Later than the holder's own idea of when it renewed.
    since: Instant,
}

/// When the holder may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// From when on.
    pub from: Instant,
    /// Until when, unless the Lease is renewed.
    pub until: Instant,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Look at the Lease again, at this time at the latest.
    Look(Instant),
    /// Put this Lease in place of the one that was seen. Without a version it must be made, and not replace one.
    Write(Box<Lease>),
    /// Stop writing at once, and for good.
    Lost(Lost),
}

/// Why a holder must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The Lease could not be renewed in time.
    #[error("the lease could not be renewed in time, and another operator may have taken over")]
    Late,
    /// Somebody else holds it.
    #[error("the lease is held by {0:?}")]
    Taken(String),
}

impl Terms {
    /// Checks that holder and followers can keep to these lengths.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(lease: Duration, renew_by: Duration, retry: Duration) -> Result<Self, BadTerms> {
        if lease < Duration::from_secs(2) || lease > LONGEST || lease.subsec_nanos() != 0 {
            return Err(BadTerms::Lease);
        }
        if renew_by >= lease {
            return Err(BadTerms::Deadline);
        }
        if retry * 2 >= renew_by {
            return Err(BadTerms::Retry);
        }
        Ok(Self { lease, renew_by, retry })
    }

    /// Pause between two renewals, or two looks: `luck`, which lies in 0..1, adds up to a tenth, so that the followers do not
    /// all look at the same moment.
    #[must_use]
    pub fn retry(&self, luck: f64) -> Duration {
        self.retry.mul_f64(1.0 + luck.clamp(0.0, 1.0) / 10.0)
    }
}

impl Election {
    /// The view of `me`, who has not looked yet. `me` must be another name for every process that ever runs.
    #[must_use]
    pub fn new(me: String, namespace: &str, name: &str, terms: Terms) -> Self {
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        Self { me, blank: Lease { metadata, spec: None }, terms, seen: None, sent: None, term: None }
    }

    /// When we may write, if we hold the Lease as far as we know.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// Takes note of the Lease that was found, or that there is none. `at` is when the answer had come.
    pub fn saw(&mut self, found: Option<Lease>, at: Instant) {
        // What we sent was accepted, and only its answer was lost.
        if let (Some((sent, when)), Some(lease)) = (&self.sent, &found)
            && sent.spec == lease.spec
            && at < *when + self.terms.renew_by
        {
            return self.wrote(lease.clone(), *when, at);
        }
        let since = match &self.seen {
            // What others write beside the spec is no sign that the holder lives; it changes the spec at every renewal.
            Some(seen) if seen.lease.as_ref().map(|l| &l.spec) == found.as_ref().map(|l| &l.spec) => seen.since,
            _ => at,
        };
        self.seen = Some(Seen { lease: found, since });
    }

    /// Takes note that we send this Lease at `at`.
    pub fn sends(&mut self, lease: Lease, at: Instant) {
        self.sent = Some((lease, at));
    }

    /// Takes note that our Lease was accepted. It was sent at `sent`, and came back as `stored` at `at`.
    pub fn wrote(&mut self, stored: Lease, sent: Instant, at: Instant) {
        self.sent = None;
        let from = match (self.term, &self.seen) {
            (Some(term), _) => term.from,
            (None, Some(seen)) if seen.given_up(&self.me) => at,
            (None, _) => at + SETTLE,
        };
        // Counted from before the write: nobody can have seen it earlier than that.
        self.term = Some(Term { from, until: sent + self.terms.renew_by });
        self.seen = Some(Seen { lease: Some(stored), since: at });
    }

    /// Decides what to do at `now`. `wall` is what the Lease will say of when that was.
    #[must_use]
    pub fn next(&self, now: Instant, wall: Timestamp) -> Step {
        let Some(seen) = &self.seen else { return Step::Look(now) };
        if let Some(term) = self.term {
            if now >= term.until {
                return Step::Lost(Lost::Late);
            }
            return match seen.holder() {
                Some(other) if other != self.me => Step::Lost(Lost::Taken(other.to_owned())),
                // Also when it was deleted, or a person took us out: if another was faster, our write is refused.
                _ => Step::Write(Box::new(self.claim(seen, wall))),
            };
        }
        let free_at = seen.since + seen.length(&self.terms);
        if seen.given_up(&self.me) || now >= free_at {
            return Step::Write(Box::new(self.claim(seen, wall)));
        }
        Step::Look(free_at)
    }

    /// The Lease by which we step down, if we hold it. Others take it at their next look.
    #[must_use]
    pub fn release(&self, wall: Timestamp) -> Option<Lease> {
        let (_, seen) = (self.term?, self.seen.as_ref()?);
        if seen.holder() != Some(self.me.as_str()) {
            return None;
        }
        let mut lease = self.claim(seen, wall);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(RELEASED);
        }
        Some(lease)
    }

    /// The Lease as it should be when it is ours.
    fn claim(&self, seen: &Seen, wall: Timestamp) -> Lease {
        let mut lease = seen.lease.clone().unwrap_or_else(|| self.blank.clone());
        let old = lease.spec.take().unwrap_or_default();
        let ours = seen.holder() == Some(self.me.as_str());
        let renewed = MicroTime(later(wall, old.renew_time.as_ref().map(|MicroTime(time)| *time)));
        let before = old.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.terms.lease.as_secs()).ok(),
            acquire_time: if ours { old.acquire_time } else { Some(renewed.clone()) },
            lease_transitions: Some(if ours { before } else { before.saturating_add(1) }),
            renew_time: Some(renewed),
            ..old
        });
        lease
    }
}

impl Seen {
    /// Who holds the Lease. Nobody does when there is none, or it names nobody.
    fn holder(&self) -> Option<&str> {
        let holder = self.lease.as_ref()?.spec.as_ref()?.holder_identity.as_deref()?;
        (!holder.is_empty()).then_some(holder)
    }

    /// Whether `me` may take it without waiting: its holder stepped down, nobody ever held it, or it is ours by a write
    /// that we learnt of too late. That there is no Lease says nothing: it may have been deleted under a holder, who makes it
    /// anew. Neither does a holder that a person has taken out.
    fn given_up(&self, me: &str) -> bool {
        let Some(lease) = &self.lease else { return false };
        let spec = lease.spec.as_ref();
        match self.holder() {
            Some(holder) => holder == me,
            None => spec.is_none_or(|spec| spec.renew_time.is_none() || spec.lease_duration_seconds == Some(RELEASED)),
        }
    }

    /// How long its holder must be silent. A holder with another idea of it than ours, say of another version, is given
    /// what it asks for, within reason.
    fn length(&self, terms: &Terms) -> Duration {
        let asked = self.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let asked = Duration::from_secs(asked.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0));
        asked.clamp(terms.lease, LONGEST)
    }
}

/// `wall`, or just after `last` where that is later. So each renewal says something new, whatever the clock does.
fn later(wall: Timestamp, last: Option<Timestamp>) -> Timestamp {
    // Kubernetes keeps microseconds.
    let wall = Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
    let next = last.and_then(|last| last.checked_add(SignedDuration::from_micros(1)).ok());
    next.map_or(wall, |next| wall.max(next))
}

#[cfg(test)]
mod tests;
