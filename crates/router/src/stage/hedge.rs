//! Two targets at once: where the first takes long to begin its answer, the next one is asked, too. Whoever begins first gives the
//! answer; the other one's connection is closed at once, which ends its work.

use std::time::Duration;

use futures::future::{Either, select};
use router_core::{Choice, Course};
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
        if !way.worker.may_retry(table.policies()[first.policy].resilience.budget_percent) {
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
            Either::Right((failed, one)) if failure(&failed).is_some() => (Some(failed), one.await, false),
            Either::Left((outcome, _)) => (None, outcome, false),
            Either::Right((outcome, _)) => (None, outcome, true),
        }
    };
    let well = failure(&outcome).is_none();
    hedge.set(match (by_second, &earlier) {
        (true, _) if well => Hedge::Won(second.target),
        (false, None) => Hedge::Lost(second.target),
        _ => Hedge::Failed(second.target),
    });
    let (this, other) = if by_second { (second, first) } else { (first, second) };
    if by_second {
        record.goes_by(beside, earlier.as_ref().and_then(failure));
    } else {
        record.joined(beside);
    }
    if let Some(earlier) = earlier {
        *failed = Some((other, earlier));
    }
    (this, outcome)
}
