//! Second step: a policy's targets are asked, one after the other, until one has begun an answer that the client can have.

use std::rc::Rc;
use std::sync::Arc;

use router_core::{Choice, Course, Reason};
use tokio::time::Instant;

use super::ask::Ask;
use super::decide::decide;
use super::hedge::hedged;
use super::limits::Limits;
use super::mirror;
use super::settle::Record;
use super::way::{Outcome, Way, failure};
use crate::clock;
use crate::live::Live;
use crate::surface::Surface;
use crate::worker::Worker;

/// The answer of the first target that gives one; of those that fail, the last one's word counts.
pub(crate) async fn pass(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    surface: Surface,
    ask: &Ask,
    record: &mut Record,
) -> Outcome {
    let table = &live.table;
    let mut course = Course::of(table, &ask.model)?;
    let policy = &table.policies()[course.policy()];
    record.belongs_to(policy, ask);
    let limits = Limits::of(&worker.settings, &policy.resilience, ask.stream);
    if let Some(target) = decide(worker, live, surface, ask, &mut course, record).await? {
        mirror::begin(worker, live, surface, ask, (course.policy(), target), record);
    }
    worker.retries.borrow_mut().offered(clock::now());
    let way = Way { worker, live, surface, ask, limits: &limits };
    let hedge = policy.resilience.hedge_after;
    let mut failed: Option<(Choice, Outcome)> = None;
    while let Some(first) = course.next(table) {
        record.passed_over(course.passed_over());
        record.chosen(live, first);
        let (choice, outcome) = match hedge.filter(|_| !record.hedged() && course.goes_on(table)) {
            None => (first, way.tried(first, !course.goes_on(table), record).await),
            Some(after) => Box::pin(hedged(&way, first, after, &mut course, &mut failed, record)).await,
        };
        let Some(reason) = failure(&outcome) else { return outcome };
        // That a target cannot do what another could, had that not failed, is of less use to the client than why it failed.
        if failed.is_none() || reason != Reason::Unfit {
            failed = Some((choice, outcome));
        }
        if !course.goes_on(table) || !policy.resilience.falls_back_on(reason) || Instant::now() >= limits.until {
            break;
        }
        record.fell_back(reason);
    }
    match failed {
        Some((choice, outcome)) if !(course.cold() && failure(&outcome) == Some(Reason::Unfit)) => {
            record.chosen(live, choice);
            outcome
        }
        _ => {
            record.passed_over(course.passed_over());
            Err(course.no_replica(table, &ask.model))
        }
    }
}
