use std::collections::BTreeMap;

use super::*;
use crate::{Attempt, EjectionRules, Verdict};
use proptest::prelude::*;

/// Long after every replica here became ready.
const NOW: Moment = Moment(1 << 30);

pub(crate) fn endpoints(count: usize) -> Vec<Arc<Endpoint>> {
    let address = |i: usize| ([10, 0, 0, 1], u16::try_from(i).unwrap()).into();
    (0..count).map(|i| Arc::new(Endpoint::new(address(i), Moment(0)))).collect()
}

/// A small request without a session, long after everything became ready.
pub(crate) fn want(luck: u64) -> Want {
    let work = Work { prompt: 10, output: 10 };
    Want { work, session: None, now: Moment(0), slow_start: Duration::ZERO, luck }
}

fn port(picked: Option<Picked<'_>>) -> Option<u16> {
    picked.map(|picked| picked.endpoint().address.port())
}

/// Puts a request of so many tokens on an endpoint.
fn load(endpoint: &Arc<Endpoint>, tokens: u64) -> Attempt {
    let work = Work { prompt: tokens, output: 0 };
    Attempt::begin(std::slice::from_ref(endpoint), &[], &Want { work, ..want(0) }).unwrap()
}

fn eject(endpoint: &Arc<Endpoint>, now: Moment) {
    load(endpoint, 0).judge(Verdict::Stopping, now, &EjectionRules::default());
}

#[test]
fn takes_the_less_loaded_of_two_by_tokens() {
    let all = endpoints(3);
    // Many small requests weigh less than a large one.
    let _busy = [load(&all[0], 900), load(&all[1], 100), load(&all[1], 100)];
    let luck = |first: u64, second: u64| (first * 0x5555_5556) | ((second * 0x8000_0000) << 32);
    let cases = [((0, 0), 1), ((0, 1), 2), ((1, 0), 1), ((1, 1), 2), ((2, 0), 2), ((2, 1), 2)];
    for ((first, second), expected) in cases {
        assert_eq!(port(pick(&all, &[], &want(luck(first, second)))), Some(expected), "{first} {second}");
    }
    assert_eq!(port(pick(&all, &all[1..], &want(0))), Some(0));
    assert_eq!(port(pick(&all, &all, &want(0))), None);
    assert_eq!(port(pick(&[], &[], &want(7))), None);
}

#[test]
fn a_new_replica_gets_its_part_slowly() {
    let slow = Duration::from_secs(10);
    for (age, part) in [(0, 100), (1_000, 190), (5_000, 550), (9_999, 999), (10_000, 1000), (99_999, 1000)] {
        assert_eq!(weight(Moment(5), Moment(5 + age), slow), part, "{age}");
    }
    assert_eq!(weight(Moment(5), Moment(0), Duration::ZERO), FULL_WEIGHT);
    let (old, new) = (endpoints(1).remove(0), Arc::new(Endpoint::new(([10, 0, 0, 2], 9).into(), NOW)));
    let both = [old, new];
    // The old one carries so much; the request weighs 20. The new one counts for a tenth.
    for (carried, expected) in [(0, 0), (179, 0), (181, 9)] {
        let _busy = load(&both[0], carried);
        let picked = pick(&both, &[], &Want { now: NOW, slow_start: slow, ..want(0) });
        assert_eq!(port(picked), Some(expected), "{carried}");
    }
}

#[test]
fn ejected_endpoints_are_left_alone_but_never_more_than_half() {
    let picks = |all: &[Arc<Endpoint>], now: Moment| {
        let mut seen = BTreeMap::new();
        for i in 0..200u64 {
            let luck = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let picked = pick(all, &[], &Want { now, ..want(luck) }).unwrap();
            let how = match picked {
                Picked::Serving(_) => "",
                Picked::Trial(_) => "trial ",
                Picked::Anyway(_) => "anyway ",
            };
            *seen.entry(format!("{how}{}", picked.endpoint().address.port())).or_insert(0) += 1;
        }
        seen.into_keys().collect::<Vec<_>>().join(", ")
    };
    let all = endpoints(4);
    let steps = ["0, 1, 2, 3", "1, 2, 3", "2, 3", "3, anyway 0", "anyway 0, anyway 1"];
    for (ejected, expected) in steps.into_iter().enumerate() {
        assert_eq!(picks(&all, Moment(10)), expected, "{ejected} ejected");
        if let Some(next) = all.get(ejected) {
            eject(next, Moment(ejected as u64));
        }
    }
    // Those two are tried in vain: better the others than none.
    assert_eq!(port(pick(&all, &all[..2], &want(0))), Some(2));
    // The first ejection is over, the others not.
    assert_eq!(picks(&all, Moment(5_000)), "trial 0");
    let lonely = endpoints(1);
    eject(&lonely[0], Moment(0));
    assert_eq!(picks(&lonely, Moment(1)), "anyway 0");
}

#[test]
fn spreads_evenly_over_equals() {
    let all = endpoints(4);
    let mut counts = [0; 4];
    for i in 0..4000u64 {
        let luck = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        counts[usize::from(port(pick(&all, &[], &want(luck))).unwrap())] += 1;
    }
    assert!(counts.iter().all(|c| (900..1100).contains(c)), "{counts:?}");
}

#[test]
fn a_session_stays_and_only_those_of_a_lost_replica_move() {
    let all = endpoints(8);
    let of = |endpoints: &[Arc<Endpoint>], session: u64| {
        let session = session_key(&session.to_le_bytes());
        port(pick(endpoints, &[], &Want { session: Some(session), ..want(session) })).unwrap()
    };
    let before: Vec<u16> = (0..1000).map(|s| of(&all, s)).collect();
    let (less, mut counts) = (&all[..7], [0; 8]);
    for (session, at) in (0..1000).zip(&before) {
        counts[usize::from(*at)] += 1;
        assert_eq!(of(&all, session), *at, "luck has no say");
        let after = of(less, session);
        assert!(after == *at || *at == 7, "session {session} moved from {at} to {after}");
    }
    assert!(counts.iter().all(|c| (80..180).contains(c)), "{counts:?}");
    // Stable across versions, because routers of two versions run side by side.
    assert_eq!(session_key(b"alice"), 0x508b_2abb_65a0_3907);
}

proptest! {
    #[test]
    fn never_leaves_what_there_is(
        count in 0usize..9, tried in 0usize..9, ejected in prop::collection::vec(any::<bool>(), 9),
        session: Option<u64>, now in 0u64..9_000, luck: u64,
    ) {
        let all = endpoints(count);
        for (endpoint, _) in all.iter().zip(ejected).filter(|(_, ejected)| *ejected) {
            eject(endpoint, Moment(0));
        }
        let tried = &all[..tried.min(count)];
        let want = Want { session, now: Moment(now), ..want(luck) };
        let picked = pick(&all, tried, &want);
        prop_assert_eq!(picked.is_none(), tried.len() == count);
        if let Some(picked) = picked {
            prop_assert!(!tried.iter().any(|t| Arc::ptr_eq(t, picked.endpoint())));
            prop_assert!(all.iter().any(|e| Arc::ptr_eq(e, picked.endpoint())));
        }
    }

    #[test]
    fn a_trial_is_one_request_s(count in 1usize..6, requests in 1usize..40, luck: u64) {
        let all = endpoints(count);
        for endpoint in &all {
            eject(endpoint, Moment(0));
        }
        let begin = |i: usize| Attempt::begin(&all, &[], &Want { now: Moment(5_000), ..want(luck.rotate_left(u32::try_from(i).unwrap())) });
        let attempts: Vec<Attempt> = (0..requests).map(|i| begin(i).unwrap()).collect();
        for endpoint in &all {
            let at = |a: &&Attempt| Arc::ptr_eq(a.endpoint(), endpoint);
            let on_trial = attempts.iter().filter(at).filter(|a| format!("{a:?}").contains("trial: Some")).count();
            prop_assert!(on_trial <= 1);
        }
    }

    #[test]
    fn sessions_never_overload_one(count in 1usize..10, sessions in prop::collection::vec(0u64..4, 1..100)) {
        let all = endpoints(count);
        let mut attempts = Vec::new();
        for session in sessions {
            let attempt = Attempt::begin(&all, &[], &Want { session: Some(session), ..want(0) }).unwrap();
            let carried = attempt.endpoint().load.in_flight();
            attempts.push(attempt);
            let (total, count) = (attempts.len() as f64, count as f64);
            prop_assert!(carried as f64 <= (1.25 * total / count).ceil(), "{carried} of {total} at one of {count}");
        }
    }
}

/// A pool of engines in virtual time: each shares one rate of tokens among all requests that it has. Gives how many tokens
/// each request found ahead of it at the replica it was sent to, from few to many.
fn simulate(seed: u64, weigh: impl Fn(u64) -> Work) -> Vec<u64> {
    /// Tokens of one engine between two arrivals: about three quarters of what eight engines can do is asked of them.
    const RATE: u64 = 40;
    let all = endpoints(8);
    let mut state = seed;
    let mut luck = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state)
    };
    let mut running: Vec<(Attempt, u64)> = Vec::new();
    let mut ahead = Vec::new();
    for _ in 0..20_000 {
        // One in twenty asks for 100 times the work of the others.
        let tokens = if luck() % 20 == 0 { 4_000 } else { 40 };
        let want = Want { work: weigh(tokens), ..want(luck()) };
        let attempt = Attempt::begin(&all, &[], &want).unwrap();
        let here = running.iter().filter(|(other, _)| Arc::ptr_eq(other.endpoint(), attempt.endpoint()));
        ahead.push(here.map(|(_, tokens)| tokens).sum());
        running.push((attempt, tokens));
        for (attempt, tokens) in &mut running {
            let done = (RATE / attempt.endpoint().load.in_flight()).min(*tokens);
            attempt.streamed(usize::try_from(done * 256).unwrap());
            *tokens -= done;
        }
        running.retain(|(_, tokens)| *tokens > 0);
    }
    ahead.sort_unstable();
    ahead
}

#[test]
fn weighing_tokens_beats_counting_requests() {
    for seed in [1, 2, 3] {
        let (by_tokens, by_requests) =
            (simulate(seed, |output| Work { prompt: 0, output }), simulate(seed, |_| Work { prompt: 1, output: 0 }));
        for of_thousand in [900, 990, 999] {
            let tail = |loads: &[u64]| loads[loads.len() * of_thousand / 1000];
            let (tokens, requests) = (tail(&by_tokens), tail(&by_requests));
            assert!(
                tokens * 10 < requests * 9,
                "seed {seed}, {of_thousand} of 1000: {tokens} against {requests} tokens"
            );
        }
    }
}
