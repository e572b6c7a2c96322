//! Second step: a policy's targets are asked, one after the other, until one has begun an answer that the client can have.

use std::rc::Rc;
use std::sync::Arc;

use router_core::{Choice, Course, Reason, Refusal};
use tokio::time::Instant;

use super::ask::Ask;
use super::decide::decide;
use super::limits::Limits;
use super::mirror;
use super::remote;
use super::send::{Reply, send};
use super::settle::Record;
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
) -> Result<Reply, Refusal> {
    let table = &live.table;
    let mut course = Course::of(table, &ask.model)?;
    let policy = &table.policies()[course.policy()];
    record.belongs_to(policy, ask);
    let limits = Limits::of(&worker.settings, &policy.resilience, ask.stream);
    if let Some(target) = decide(worker, live, surface, ask, &mut course, record).await? {
        mirror::begin(worker, live, surface, ask, (course.policy(), target), record);
    }
    worker.retries.borrow_mut().offered(clock::now());
    let mut failed: Option<(Choice, Result<Reply, Refusal>)> = None;
    while let Some(choice) = course.next(table) {
        record.passed_over(course.passed_over());
        record.chosen(live, choice);
        let last = !course.goes_on(table);
        let outcome = match policy.targets[choice.target].remote() {
            None if surface.operation().is_for_engines() => send(worker, live, choice, ask, &limits, record).await,
            None => {
                let what = format!("answer {}, which only targets at Bedrock do", surface.label());
                Err(Refusal::Unfit { upstream: record.upstream(), field: None, what })
            }
            Some(target) => {
                let asked =
                    remote::Asked { ask, surface, limits: &limits, policy, target, key: live.key(choice), last };
                Box::pin(remote::send(worker, &asked, record)).await
            }
        };
        let Some(reason) = failure(&outcome) else { return outcome };
        record.failed(reason, &outcome);
        // That a target cannot do what another could, had that not failed, is of less use to the client than why it failed.
        if failed.is_none() || reason != Reason::Unfit {
            failed = Some((choice, outcome));
        }
        if last || !policy.resilience.falls_back_on(reason) || Instant::now() >= limits.until {
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

/// For which reason another target could be asked instead; `None` for what the client is to have.
fn failure(outcome: &Result<Reply, Refusal>) -> Option<Reason> {
    match outcome {
        Ok(reply) => reply.failed,
        Err(refusal) => refusal.reason(),
    }
}
