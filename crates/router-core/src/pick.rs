//! Which replica of a pool gets a request.

use std::sync::Arc;
use std::time::Duration;

use crate::moment::millis;
use crate::{Endpoint, Moment, Standing, Work};

/// A weight of 1, in the thousandths that weights are counted in.
const FULL_WEIGHT: u64 = 1000;
/// The weight of a replica that has just become ready.
const LEAST_WEIGHT: u64 = 100;

/// What a request asks of the picker, besides the pool it goes to.
///
/// Whatever else a choice may come to depend on, such as which prompts a replica has cached, belongs here: as a figure for
/// each endpoint that the caller worked out before.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// What the request is expected to cost.
    pub work: Work,
    /// Requests with the same key go to the same replica as long as that carries no more than its part.
    pub session: Option<u64>,
    /// The time.
    pub now: Moment,
    /// How long it takes until a new replica gets its full part.
    pub slow_start: Duration,
    /// A random number.
    pub luck: u64,
}

/// The picked endpoint, and in which standing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Picked<'a> {
    /// One in good standing.
    Serving(&'a Arc<Endpoint>),
    /// One whose ejection is over: the request is to be its trial.
    Trial(&'a Arc<Endpoint>),
    /// One that is ejected, because too few others are left.
    Anyway(&'a Arc<Endpoint>),
}

impl<'a> Picked<'a> {
    pub(crate) fn endpoint(&self) -> &'a Arc<Endpoint> {
        match self {
            Self::Serving(endpoint) | Self::Trial(endpoint) | Self::Anyway(endpoint) => endpoint,
        }
    }
}

/// An endpoint for `want`, leaving out those in `tried`; `None` when none is left. It is the one of its session, if that
/// has one; else the less loaded of two drawn at random.
///
/// Two drawn at random spread load nearly as well as looking at all, and unlike the least loaded of all they do not send
/// every router's next request to the same replica. Load is counted in tokens, because requests differ a thousandfold in
/// what they cost.
pub(crate) fn pick<'a>(endpoints: &'a [Arc<Endpoint>], tried: &[Arc<Endpoint>], want: &Want) -> Option<Picked<'a>> {
    // The usual case looks at two endpoints, however many there are.
    if tried.is_empty() && want.session.is_none() {
        let serving = |at: usize| endpoints[at].health.standing(want.now) == Standing::Serving;
        let (first, second) = draw_two(endpoints.len(), want.luck)?;
        if serving(first) && serving(second) {
            return Some(Picked::Serving(lighter(&endpoints[first], &endpoints[second], want)));
        }
    }
    let left = candidates(endpoints, tried, want.now);
    if let Some(session) = want.session {
        return of_session(&left, session);
    }
    let (first, second) = draw_two(left.len(), want.luck)?;
    let (first, second) = (left[first], left[second]);
    // A trial is what tells that a replica is back, so load does not keep it away.
    if let Some(trial) = [first, second].into_iter().find(|picked| matches!(picked, Picked::Trial(_))) {
        return Some(trial);
    }
    let lighter = lighter(first.endpoint(), second.endpoint(), want);
    Some(if Arc::ptr_eq(lighter, first.endpoint()) { first } else { second })
}

/// The places of two different ones of `count`, or of the only one twice.
fn draw_two(count: usize, luck: u64) -> Option<(usize, usize)> {
    let first = draw(count, luck & 0xffff_ffff)?;
    // The second is drawn from the others, so that two endpoints are always compared with each other.
    let Some(second) = draw(count - 1, luck >> 32) else { return Some((first, first)) };
    Some((first, if second >= first { second + 1 } else { second }))
}

/// A number below `count` from 32 bits of luck, without the cost of a division.
fn draw(count: usize, luck: u64) -> Option<usize> {
    let drawn = (luck * u64::try_from(count).ok()?) >> 32;
    if count == 0 { None } else { usize::try_from(drawn).ok() }
}

/// The one that would carry less with the request, in proportion to its weight.
fn lighter<'a>(first: &'a Arc<Endpoint>, second: &'a Arc<Endpoint>, want: &Want) -> &'a Arc<Endpoint> {
    let burden = |endpoint: &Endpoint| u128::from(endpoint.load.tokens().saturating_add(want.work.tokens().max(1)));
    let weight = |endpoint: &Endpoint| u128::from(weight(endpoint.ready_since, want.now, want.slow_start));
    if burden(second) * weight(first) < burden(first) * weight(second) { second } else { first }
}

/// The part of a full load that a replica gets, in thousandths: it grows with the time since it became ready, because an
/// engine that has just started compiles and caches as it goes.
fn weight(since: Moment, now: Moment, slow_start: Duration) -> u64 {
    let (age, whole) = (now.since(since), millis(slow_start));
    if age >= whole {
        return FULL_WEIGHT;
    }
    LEAST_WEIGHT + (FULL_WEIGHT - LEAST_WEIGHT).saturating_mul(age) / whole
}

/// Those that may be picked. At most half of a pool is kept out for its failures, those that come back last: when more
/// fail, the cause is likely not with each of them, and the few that are left could not carry the rest's load.
fn candidates<'a>(endpoints: &'a [Arc<Endpoint>], tried: &[Arc<Endpoint>], now: Moment) -> Vec<Picked<'a>> {
    let mut out: Vec<(Moment, &Arc<Endpoint>)> = Vec::new();
    let mut left = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        match endpoint.health.standing(now) {
            Standing::Serving => left.push(Picked::Serving(endpoint)),
            Standing::Due => left.push(Picked::Trial(endpoint)),
            Standing::Ejected(until) | Standing::OnTrial(until) => out.push((until, endpoint)),
        }
    }
    out.sort_unstable_by_key(|(until, endpoint)| (*until, endpoint.address));
    let too_many = out.len().saturating_sub(endpoints.len() / 2);
    left.extend(out[..too_many].iter().map(|(_, endpoint)| Picked::Anyway(endpoint)));
    let fresh = |endpoint: &Arc<Endpoint>| !tried.iter().any(|t| Arc::ptr_eq(t, endpoint));
    left.retain(|picked| fresh(picked.endpoint()));
    if left.is_empty() {
        // Better an ejected one than none.
        left = out.iter().filter(|(_, endpoint)| fresh(endpoint)).map(|(_, e)| Picked::Anyway(e)).collect();
    }
    left
}

/// The candidate that this session prefers among those with room for one more request: each session has an order of its
/// own over all endpoints, so when one comes or goes only the sessions that prefer it move. Room is 1.25 times the mean,
/// so that no session, and no number of them, overloads one endpoint.
fn of_session<'a>(left: &[Picked<'a>], session: u64) -> Option<Picked<'a>> {
    let total: u64 = left.iter().map(|picked| picked.endpoint().load.in_flight()).sum();
    let room = most_of_one(total, u64::try_from(left.len()).unwrap_or(u64::MAX));
    let key = |picked: &&Picked<'_>| {
        let endpoint = picked.endpoint();
        (endpoint.load.in_flight() < room, mix(session ^ endpoint.seed))
    };
    left.iter().max_by_key(key).copied()
}

/// Most requests that one of `count` endpoints may carry when one more comes to `total`: 1.25 times the mean, rounded up.
fn most_of_one(total: u64, count: u64) -> u64 {
    (total.saturating_add(1).saturating_mul(5)).div_ceil(count.saturating_mul(4).max(1))
}

/// The key of a session by what names it. The same on every router, so that all send a session to the same replica.
#[must_use]
pub fn session_key(name: &[u8]) -> u64 {
    // FNV-1a, which is simple and never changes; `mix` makes up for what it lacks.
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads a key over all 64 bits (splitmix64's last step).
pub(crate) fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

#[cfg(test)]
pub(crate) mod tests;
