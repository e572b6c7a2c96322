use super::*;

const ME: &str = "me";
const OTHER: &str = "other";

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn terms() -> Terms {
    Terms::new(s(15.0), s(10.0), s(2.0)).unwrap()
}

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A Lease as it is stored, renewed at the second `renewed` by the clock of its holder.
fn held(holder: &str, version: &str, renewed: i64) -> Lease {
    let mut lease = Election::new(holder.to_owned(), "ns", "lease", terms()).blank;
    lease.metadata.resource_version = Some(version.to_owned());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(3),
        acquire_time: Some(MicroTime(wall(0))),
        renew_time: Some(MicroTime(wall(renewed))),
        ..LeaseSpec::default()
    });
    lease
}

/// A Lease whose holder has stepped down.
fn freed(version: &str) -> Lease {
    let mut lease = held("", version, 0);
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(RELEASED);
    lease
}

/// What happens to a participant, at a second of its own clock.
#[expect(clippy::large_enum_variant, reason = "there are a handful")]
enum Event {
    Sees(f64, Option<Lease>),
    /// Sends what it wants to write, which is stored at once; the answer takes this long.
    Writes(f64, f64),
    /// The same, but the answer is lost; what is stored is seen after this long.
    Learns(f64, f64),
}

#[derive(Debug, PartialEq)]
enum Want {
    Look(f64),
    Write,
    Lost(Lost),
}

fn play(events: Vec<Event>) -> (Election, Instant) {
    let (mut election, zero) = (Election::new(ME.to_owned(), "ns", "lease", terms()), Instant::now());
    for event in events {
        match event {
            Event::Sees(at, found) => election.saw(found, zero + s(at)),
            Event::Writes(at, took) => match election.next(zero + s(at), wall(0)) {
                Step::Write(mut lease) => {
                    lease.metadata.resource_version = Some(format!("at {at}"));
                    election.wrote(*lease, zero + s(at), zero + s(at + took));
                }
                other => panic!("it does not write at {at}, but {other:?}"),
            },
            Event::Learns(at, after) => match election.next(zero + s(at), wall(0)) {
                Step::Write(mut lease) => {
                    election.sends(Lease::clone(&lease), zero + s(at));
                    lease.metadata.resource_version = Some(format!("at {at}"));
                    election.saw(Some(*lease), zero + s(at + after));
                }
                other => panic!("it does not write at {at}, but {other:?}"),
            },
        }
    }
    (election, zero)
}

fn check(what: &str, events: Vec<Event>, at: f64, want: &Want) {
    let (election, zero) = play(events);
    let got = match election.next(zero + s(at), wall(0)) {
        Step::Look(by) => Want::Look(by.saturating_duration_since(zero).as_secs_f64()),
        Step::Write(lease) => {
            assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(ME), "{what}");
            Want::Write
        }
        Step::Lost(why) => Want::Lost(why),
    };
    assert_eq!(&got, want, "{what}");
}

#[test]
fn followers_wait_for_as_long_as_the_holder_may_live() {
    use Event::Sees;
    let stranger = |seconds| {
        let mut lease = held(OTHER, "1", 0);
        lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
        Some(lease)
    };
    let other = |version: &str, renewed| Some(held(OTHER, version, renewed));
    let free = || Some(freed("1"));
    let emptied = || Some(held("", "1", 0));
    let blank = || Some(Lease { spec: None, ..held("", "1", 0) });
    check("nothing is known", vec![], 1.0, &Want::Look(1.0));
    check("held by another", vec![Sees(0.0, other("1", 0))], 2.0, &Want::Look(15.0));
    check("silent for almost too long", vec![Sees(0.0, other("1", 0))], 14.9, &Want::Look(15.0));
    check("silent for too long", vec![Sees(0.0, other("1", 0))], 15.0, &Want::Write);
    check("renewed", vec![Sees(0.0, other("1", 0)), Sees(9.0, other("2", 9))], 15.0, &Want::Look(24.0));
    check("seen again as it was", vec![Sees(0.0, other("1", 0)), Sees(9.0, other("1", 0))], 15.0, &Want::Write);
    check("labelled by a person", vec![Sees(0.0, other("1", 0)), Sees(9.0, other("2", 0))], 15.0, &Want::Write);
    // The holder's clock is ten minutes off, either way; only that the time changes counts.
    check("a clock behind", vec![Sees(0.0, other("1", -600)), Sees(2.0, other("2", -598))], 16.0, &Want::Look(17.0));
    check("a clock ahead", vec![Sees(0.0, other("1", 600))], 15.0, &Want::Write);
    check("a clock set back", vec![Sees(0.0, other("1", 600)), Sees(2.0, other("2", -600))], 16.0, &Want::Look(17.0));
    check("given back", vec![Sees(0.0, other("1", 0)), Sees(3.0, free())], 3.0, &Want::Write);
    check("emptied by a person", vec![Sees(0.0, other("1", 0)), Sees(3.0, emptied())], 3.0, &Want::Look(18.0));
    check("never held", vec![Sees(0.0, blank())], 0.0, &Want::Write);
    check("deleted under its holder", vec![Sees(0.0, other("1", 0)), Sees(9.0, None)], 16.0, &Want::Look(24.0));
    check("there is none", vec![Sees(0.0, None)], 0.0, &Want::Look(15.0));
    check("there is none for long", vec![Sees(0.0, None)], 15.0, &Want::Write);
    check("ours, by a lost answer", vec![Sees(0.0, Some(held(ME, "1", 0)))], 0.0, &Want::Write);
    check("a stranger's longer lease", vec![Sees(0.0, stranger(Some(40)))], 15.0, &Want::Look(40.0));
    check("a stranger's shorter lease", vec![Sees(0.0, stranger(Some(1)))], 2.0, &Want::Look(15.0));
    check("a stranger's endless lease", vec![Sees(0.0, stranger(Some(i32::MAX)))], 2.0, &Want::Look(60.0));
    check("a stranger's lease of no length", vec![Sees(0.0, stranger(None))], 2.0, &Want::Look(15.0));
    check("a stranger's lease below zero", vec![Sees(0.0, stranger(Some(-5)))], 2.0, &Want::Look(15.0));
}

#[test]
fn holders_stop_in_time() {
    use Event::{Sees, Writes};
    let led = |then: Vec<Event>| {
        let mut events = vec![Sees(0.0, Some(freed("1"))), Writes(0.0, 0.0)];
        events.extend(then);
        events
    };
    check("renews", led(vec![]), 2.0, &Want::Write);
    check("almost late", led(vec![]), 9.9, &Want::Write);
    check("late", led(vec![]), 10.0, &Want::Lost(Lost::Late));
    check("renewed", led(vec![Writes(9.0, 0.0)]), 18.9, &Want::Write);
    check("counted from when it was sent", led(vec![Writes(9.0, 5.0)]), 19.0, &Want::Lost(Lost::Late));
    check("stopped for a minute", led(vec![]), 60.0, &Want::Lost(Lost::Late));
    let taken = Some(held(OTHER, "2", 1));
    check("renewed, and learnt of it later", led(vec![Event::Learns(8.0, 3.0)]), 17.9, &Want::Write);
    check("and late after that", led(vec![Event::Learns(8.0, 3.0)]), 18.0, &Want::Lost(Lost::Late));
    check("learnt of it too late", led(vec![Event::Learns(8.0, 10.0)]), 18.0, &Want::Lost(Lost::Late));
    check("taken", led(vec![Sees(2.0, taken)]), 2.0, &Want::Lost(Lost::Taken(OTHER.to_owned())));
    check("deleted", led(vec![Sees(2.0, None)]), 2.0, &Want::Write);
    check("deleted, and late", led(vec![Sees(2.0, None)]), 10.0, &Want::Lost(Lost::Late));
    check("emptied by a person", led(vec![Sees(2.0, Some(held("", "9", 1)))]), 2.0, &Want::Write);
    check("written beside us", led(vec![Sees(2.0, Some(held(ME, "9", 1)))]), 2.0, &Want::Write);
}

#[test]
fn the_holder_has_stopped_before_another_begins() {
    use Event::{Sees, Writes};
    let term = |events| {
        let (election, zero) = play(events);
        let term = election.term().unwrap();
        [term.from, term.until].map(|at| at.saturating_duration_since(zero).as_secs_f64())
    };
    let other = || Some(held(OTHER, "1", 0));
    let back = || Some(freed("2"));
    assert_eq!(term(vec![Sees(0.0, back()), Writes(0.0, 0.5)]), [0.5, 10.0], "after one that stepped down");
    assert_eq!(term(vec![Sees(0.0, other()), Writes(15.0, 0.5)]), [16.5, 25.0], "after one that fell silent");
    assert_eq!(term(vec![Sees(0.0, other()), Event::Learns(15.0, 3.0)]), [19.0, 25.0], "and learnt of it later");
    assert_eq!(term(vec![Sees(0.0, None), Writes(15.0, 0.0)]), [16.0, 25.0], "after who knows");
    assert_eq!(term(vec![Sees(0.0, back()), Writes(0.0, 0.0), Writes(2.0, 1.0)]), [0.0, 12.0], "renewed");
    let Terms { lease, renew_by, .. } = terms();
    assert!(renew_by < lease);
}

#[test]
fn what_is_written() {
    let write = |found: Option<Lease>, after: f64, clock: i64| {
        let (mut election, zero) = (Election::new(ME.to_owned(), "ns", "lease", terms()), Instant::now());
        election.saw(found, zero);
        match election.next(zero + s(after), wall(clock)) {
            Step::Write(lease) => *lease,
            other => panic!("{other:?}"),
        }
    };
    let mut marked = held(OTHER, "7", 100);
    marked.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let taken = write(Some(marked.clone()), 15.0, 200);
    let spec = taken.spec.unwrap();
    assert_eq!(taken.metadata, marked.metadata, "the version that it was decided on, and what others wrote");
    assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(4), Some(15)));
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(MicroTime(wall(200))), Some(MicroTime(wall(200)))));

    let made = write(None, 15.0, 0);
    assert_eq!((made.metadata.name.as_deref(), made.metadata.namespace.as_deref()), (Some("lease"), Some("ns")));
    assert_eq!(made.metadata.resource_version, None, "made, so nothing that is there is replaced");

    let renewed = write(Some(held(ME, "7", 100)), 0.0, 102).spec.unwrap();
    assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(3), Some(MicroTime(wall(0)))));
    assert_eq!(renewed.renew_time, Some(MicroTime(wall(102))));
    // With a clock that stands, or was set back, the renewal still says something new.
    for clock in [100, -500] {
        let MicroTime(at) = write(Some(held(ME, "7", 100)), 0.0, clock).spec.unwrap().renew_time.unwrap();
        assert_eq!(at.as_microsecond(), wall(100).as_microsecond() + 1, "{clock}");
    }
}

#[test]
fn a_holder_steps_down() {
    use Event::{Sees, Writes};
    let free = || Sees(0.0, Some(freed("1")));
    let (leader, _) = play(vec![free(), Writes(0.0, 0.0)]);
    let released = leader.release(wall(5)).unwrap();
    assert_eq!(released.metadata.resource_version.as_deref(), Some("at 0"));
    let (mut follower, zero) = play(vec![Sees(0.0, Some(held(OTHER, "0", 0)))]);
    follower.saw(Some(released), zero + s(1.0));
    assert!(matches!(follower.next(zero + s(1.0), wall(0)), Step::Write(_)), "the next may begin at once");

    let none = [
        ("never led", vec![free()]),
        ("was replaced", vec![free(), Writes(0.0, 0.0), Sees(1.0, Some(held(OTHER, "2", 1)))]),
        ("was deleted", vec![free(), Writes(0.0, 0.0), Sees(1.0, None)]),
    ];
    for (what, events) in none {
        assert_eq!(play(events).0.release(wall(5)), None, "{what}");
    }
}

#[test]
fn lengths_must_fit_together() {
    let table = [
        (15.0, 10.0, 2.0, None),
        (2.0, 1.5, 0.5, None),
        (60.0, 59.0, 2.0, None),
        (1.0, 0.5, 0.1, Some(BadTerms::Lease)),
        (61.0, 10.0, 2.0, Some(BadTerms::Lease)),
        (15.5, 10.0, 2.0, Some(BadTerms::Lease)),
        (15.0, 15.0, 2.0, Some(BadTerms::Deadline)),
        (15.0, 10.0, 5.0, Some(BadTerms::Retry)),
    ];
    for (lease, deadline, retry, want) in table {
        let got = Terms::new(s(lease), s(deadline), s(retry)).err();
        assert_eq!(got, want, "{lease} {deadline} {retry}");
    }
    assert_eq!([terms().retry(0.0), terms().retry(1.0)], [s(2.0), s(2.2)]);
}
