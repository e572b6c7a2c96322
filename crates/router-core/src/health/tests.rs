use super::*;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64 as LoomWord;
use loom::thread;
use proptest::prelude::*;

const RULES: EjectionRules = EjectionRules {
    failures: 3,
    first: Duration::from_millis(100),
    longest: Duration::from_millis(350),
    forgiven_after: Duration::from_millis(1000),
};

fn fail(health: &Health, now: u64) -> bool {
    health.failed(None, false, Moment(now), &RULES)
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let health: Health = Health::default();
    for now in [1, 2] {
        assert!(!fail(&health, now));
    }
    health.succeeded(None, false);
    assert!(!fail(&health, 3) && !fail(&health, 4));
    assert_eq!(health.standing(Moment(4)), Standing::Serving);
    assert!(fail(&health, 5));
    assert_eq!(health.standing(Moment(5)), Standing::Ejected(Moment(105)));
    // Requests that were sent before that change nothing.
    assert!(!fail(&health, 6));
    health.succeeded(None, false);
    assert_eq!(health.standing(Moment(104)), Standing::Ejected(Moment(105)));
    assert_eq!(health.standing(Moment(105)), Standing::Due);
}

#[test]
fn each_ejection_is_longer_until_it_is_forgiven() {
    let health: Health = Health::default();
    assert!(health.failed(None, true, Moment(0), &RULES), "a certain failure ejects at once");
    let mut now = 100;
    for length in [200, 350, 350] {
        let trial = health.claim(Moment(now)).unwrap();
        assert!(health.failed(Some(&trial), false, Moment(now), &RULES));
        assert_eq!(health.standing(Moment(now)), Standing::Ejected(Moment(now + length)));
        now += length;
    }
    // Back after a good trial, it is known as one that was ejected before; until it served for long enough.
    for (rest, length) in [(999, 350), (1000, 100)] {
        let trial = health.claim(Moment(now)).unwrap();
        health.succeeded(Some(&trial), false);
        assert_eq!(health.standing(Moment(now)), Standing::Serving);
        now += rest;
        assert!(health.failed(None, true, Moment(now), &RULES));
        assert_eq!(health.standing(Moment(now)), Standing::Ejected(Moment(now + length)));
        now += length;
    }
}

#[test]
fn a_trial_is_one_s_until_it_ends() {
    let health: Health = Health::default();
    health.failed(None, true, Moment(0), &RULES);
    assert_eq!(health.claim(Moment(99)), None);
    let trial = health.claim(Moment(100)).unwrap();
    assert_eq!(health.claim(Moment(100)), None);
    assert_eq!(health.standing(Moment(100)), Standing::OnTrial(Moment(100)));
    health.give_back(&trial);
    assert_eq!(health.standing(Moment(100)), Standing::Due);
    let again = health.claim(Moment(100)).unwrap();
    // Somebody who was sent there all the same finds it well, and then it is ejected anew: the old trial has no say.
    health.succeeded(None, true);
    health.failed(None, true, Moment(100), &RULES);
    let new = health.claim(Moment(300)).unwrap();
    health.give_back(&again);
    assert!(!health.failed(Some(&again), false, Moment(300), &RULES));
    health.succeeded(Some(&again), false);
    assert_eq!(health.standing(Moment(300)), Standing::OnTrial(Moment(300)));
    health.succeeded(Some(&new), false);
    assert_eq!(health.standing(Moment(300)), Standing::Serving);
}

proptest! {
    #[test]
    fn a_state_survives_its_word(until in 0u64..1 << 40, level in 0u8..=MOST_LEVEL, phase in 0u8..3, failures: u16) {
        let phase = [Phase::Serving, Phase::Ejected, Phase::OnTrial][usize::from(phase)];
        let state = State { until, level, phase, failures };
        prop_assert_eq!(State::of(state.word()), state);
    }
}

/// An endpoint whose ejection is just over.
fn due() -> Arc<Health<LoomWord>> {
    let state = State { until: 100, level: 1, phase: Phase::Ejected, failures: 0 };
    Arc::new(Health(LoomWord::new(state.word())))
}

#[test]
fn of_several_threads_one_gets_the_trial() {
    loom::model(|| {
        let health = due();
        let claim = || {
            let health = Arc::clone(&health);
            thread::spawn(move || health.claim(Moment(100)))
        };
        let threads = [claim(), claim()];
        let own = health.claim(Moment(100));
        let got = threads.into_iter().map(|thread| thread.join().unwrap()).chain([own]).flatten().count();
        assert_eq!(got, 1);
    });
}

#[test]
fn a_trial_that_is_given_back_is_not_lost() {
    loom::model(|| {
        let (health, holders) = (due(), Arc::new(LoomWord::new(0)));
        let try_and_leave = || {
            let (health, holders) = (Arc::clone(&health), Arc::clone(&holders));
            thread::spawn(move || {
                if let Some(trial) = health.claim(Moment(100)) {
                    assert_eq!(holders.add(1), 0, "two on trial at once");
                    holders.sub(1);
                    health.give_back(&trial);
                }
            })
        };
        for thread in [try_and_leave(), try_and_leave()] {
            thread.join().unwrap();
        }
        assert_eq!(health.standing(Moment(100)), Standing::Due);
    });
}

#[test]
fn no_failure_is_lost_between_threads() {
    loom::model(|| {
        let health = Arc::new(Health(LoomWord::new(0)));
        let fail = |health: &Health<LoomWord>| health.failed(None, false, Moment(1), &RULES);
        let other = Arc::clone(&health);
        let thread = thread::spawn(move || fail(&other));
        let own = [fail(&health), fail(&health)];
        let ejected = own.into_iter().chain([thread.join().unwrap()]).filter(|ejected| *ejected).count();
        assert_eq!(ejected, 1, "the third ejects, and it alone");
        assert_eq!(health.standing(Moment(1)), Standing::Ejected(Moment(101)));
    });
}
