//! The way of a request to a target of its policy, whatever that is.

use std::sync::Arc;

use router_core::{Api, Choice, Reason, Refusal};
use wire::translate::wants_thread;

use super::ask::Ask;
use super::asked::Asked;
use super::limits::Limits;
use super::remote;
use super::send::{Reply, send, why};
use super::settle::Record;
use crate::live::Live;
use crate::surface::Surface;
use crate::worker::Worker;

/// What became of asking a target.
pub(crate) type Outcome = Result<Reply, Refusal>;

/// A request, and what it takes to send it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) worker: &'a Worker,
    pub(super) live: &'a Arc<Live>,
    pub(super) surface: Surface,
    pub(super) ask: &'a Ask,
    pub(super) limits: &'a Limits,
}

impl Way<'_> {
    /// Asks the target that the record has as chosen; `last` where no other is left.
    pub(super) async fn to(&self, choice: Choice, last: bool, record: &mut Record) -> Outcome {
        let Self { worker, live, surface, ask, limits } = *self;
        let policy = &live.table.policies()[choice.policy];
        let remote = policy.targets[choice.target].remote();
        let keeps = remote.is_some_and(|remote| remote.input.api == Api::Anthropic);
        if surface == Surface::Messages && !keeps && wants_thread(&ask.body) {
            // What does not know the field would answer the next turn without the ones before.
            let what = "keep a conversation: send the whole of it, without `thread`".to_owned();
            return Err(Refusal::Unfit { upstream: record.upstream(), field: Some("thread".to_owned()), what });
        }
        match remote {
            None if surface.operation().is_for_engines() => {
                send(worker, live, choice, (surface, ask), limits, record).await
            }
            None => {
                let what = format!("answer {}, which only targets at Bedrock do", surface.label());
                Err(Refusal::Unfit { upstream: record.upstream(), field: None, what })
            }
            Some(target) => {
                let asked = Asked { ask, surface, limits, policy, target, key: live.key(choice), last };
                Box::pin(remote::send(worker, &asked, record)).await
            }
        }
    }

    /// As [`Self::to`], and has the record say of a failure that it was one.
    pub(super) async fn tried(&self, choice: Choice, last: bool, record: &mut Record) -> Outcome {
        let outcome = self.to(choice, last, record).await;
        if let Some(reason) = failure(&outcome) {
            let (why, status) = why(&outcome);
            record.failed(if why.is_empty() { reason.name() } else { why }, status);
        }
        outcome
    }
}

/// For which reason another target could be asked instead; `None` for what the client is to have.
pub(crate) fn failure(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Ok(reply) => reply.failed,
        Err(refusal) => refusal.reason(),
    }
}
