//! A copy of a request for one more target. It never delays the client's own: it runs in a task of its own, within a share of
//! what this process may hold, and is not sent at all when there is much to do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use router_core::{Choice, To};
use tokio::time::Instant;

use super::ask::Ask;
use super::limits::Limits;
use super::settle::Record;
use super::stream::stream;
use super::way::{Outcome, Way};
use crate::live::Live;
use crate::surface::Surface;
use crate::worker::Worker;

/// Most copies under way at one worker.
const MOST: usize = 64;
/// How long a copy may take, whatever the policy allows its requests.
const DEADLINE: Duration = Duration::from_secs(120);

/// One copy under way; it counts until it is dropped.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn begin(worker: &Rc<Worker>) -> Option<Self> {
        let under_way = worker.mirrors.get();
        (under_way < MOST).then(|| {
            worker.mirrors.set(under_way + 1);
            Self(Rc::clone(worker))
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

/// Begins to send a copy of the request to the target at this place of its policy, unless there is too much to do.
pub(super) fn begin(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    surface: Surface,
    ask: &Ask,
    (policy, target): (usize, usize),
    record: &Record,
) {
    // Bytes of bodies are counted again for the copy, although it shares them: they stay as long as the copy does.
    let mut held = worker.load.hold();
    let room = worker.load.requests() <= worker.settings.max_in_flight / 2
        && held.grow_to(ask.body.len(), worker.settings.max_held_bytes / 2);
    let Some(under_way) = UnderWay::begin(worker).filter(|_| room) else {
        worker.metrics.rules.count_mirror(&live.routes[policy][target], "dropped");
        return;
    };
    let pool = match &live.table.policies()[policy].targets[target].to {
        To::Pool { at, .. } => *at,
        To::Remote(_) => None,
    };
    let (worker, live, ask) = (Rc::clone(worker), Arc::clone(live), ask.clone());
    let mut record = record.of_copy();
    record.chosen(&live, Choice { policy, target, pool });
    tokio::task::spawn_local(async move {
        let _until_it_ends = (held, under_way);
        match to_target(&worker, &live, surface, &ask, Choice { policy, target, pool }, &mut record).await {
            Ok(reply) => {
                let mut body = stream(&worker, reply, record).into_body();
                // Nobody wants it; what it used is seen on its way.
                while matches!(body.frame().await, Some(Ok(_))) {}
            }
            Err(refusal) => record.refused(refusal),
        }
    });
}

async fn to_target(
    worker: &Worker,
    live: &Arc<Live>,
    surface: Surface,
    ask: &Ask,
    choice: Choice,
    record: &mut Record,
) -> Outcome {
    let policy = &live.table.policies()[choice.policy];
    let limits = Limits::of(&worker.settings, &policy.resilience, ask.stream);
    // What fails is counted, and not tried again.
    let limits = Limits { attempts: 0, until: limits.until.min(Instant::now() + DEADLINE), ..limits };
    Box::pin(Way { worker, live, surface, ask, limits: &limits }.to(choice, false, record)).await
}
