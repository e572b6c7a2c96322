//! Two targets at once: where one takes long to begin its answer, the next one is asked, too. Whoever begins first gives the
//! answer; the other one's connection is closed at once, which ends its work. That the second does not take the request is no answer
//! while the first may still give one.

use std::time::Duration;

use futures::future::{Either, select};
use router_core::{Choice, Course, Work};
use tokio::time::timeout;

use super::settle::{Hedge, Record};
use super::way::{Outcome, Way, failure};

/// Asks `first`, and after this time also the next target of the course. What became of the one whose word counts; where both
/// fail, that is the second to fail, and the other one is put into `failed`.
pub(super) async fn hedged(
    way: &Way<'_>,
    first: Choice,
    after: Duration,
    course: &mut Course,
    failed: &mut Option<(Choice, Outcome)>,
    record: &mut Record,
) -> (Choice, Outcome) {
    let table = &way.live.table;
    let hedge = record.may_hedge();
    let mut beside = record.of_second_way();
    let second;
    let (earlier, outcome, by_second) = {
        let mut one = Box::pin(way.tried(first, false, record));
        if let Ok(outcome) = timeout(after, &mut one).await {
            return (first, outcome);
        }
        let mut ahead = course.clone();
        second = match ahead.next(table) {
            Some(second) => second,
            None => return (first, one.await),
        };
        if !way.worker.may_hedge(table.policies()[first.policy].resilience.budget_percent) {
            hedge.set(Hedge::Refused(second.target));
            return (first, one.await);
        }
        *course = ahead;
        beside.passed_over(course.passed_over());
        beside.chosen(way.live, second);
        hedge.set(Hedge::Asked(second.target));
        let two = Box::pin(way.tried(second, !course.goes_on(table), &mut beside));
        // Whichever is not waited for ends here.
        match select(one, two).await {
            Either::Left((failed, two)) if failure(&failed).is_some() => (Some(failed), two.await, true),
            Either::Left((outcome, _)) => (None, outcome, false),
            Either::Right((outcome, _)) if answers(&outcome) => (None, outcome, true),
            Either::Right((earlier, one)) => match one.await {
                // What the second says of the request is what the client would hear if it had been asked after the first.
                failed if failure(&failed).is_some() && failure(&earlier).is_none() => (Some(failed), earlier, true),
                outcome => (Some(earlier), outcome, false),
            },
        }
    };
    let well = failure(&outcome).is_none();
    hedge.set(match (by_second, &earlier) {
        (true, _) if well => Hedge::Won(second.target),
        (false, None) => Hedge::Lost(second.target),
        _ => Hedge::Failed(second.target),
    });
    let work = Work::estimate(way.ask.wants.prompt_bytes, way.ask.wants.most_tokens);
    let (this, other) = if by_second { (second, first) } else { (first, second) };
    if by_second {
        record.goes_by(beside, earlier.as_ref().and_then(failure), work);
    } else {
        record.joined(beside, earlier.as_ref().map(status), work);
    }
    if let Some(earlier) = earlier {
        *failed = Some((other, earlier));
    }
    (this, outcome)
}

/// Whether the client is better off with this than with what another target may still say.
fn answers(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|reply| reply.failed.is_none() && reply.head.status.as_u16() < 400)
}

/// The status of what was answered, if anything was.
fn status(outcome: &Outcome) -> Option<u16> {
    outcome.as_ref().ok().map(|reply| reply.head.status.as_u16())
}
