//! The life of a pool: observe, validate, plan, execute, report.

use std::sync::Arc;
use std::time::Instant;

use api::InferencePool;
use kube::Resource;
use kube::runtime::controller::Action;
use operator_core::pool;

use crate::context::Context;
use crate::error::{Class, Error};
use crate::execute::execute;
use crate::guarded::{GuardedPool, full_name};
use crate::metrics::POOL;
use crate::observe::observe;
use crate::report::report;
use crate::unreadable::report_unreadable;

/// Brings a pool one step closer to what its spec asks. Called whenever the pool, its children or its load have changed.
pub(crate) async fn reconcile(guarded: Arc<GuardedPool>, ctx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    let done = match &guarded.0 {
        // Its children go with it, by their owner references.
        Ok(pool) if pool.meta().deletion_timestamp.is_some() => Ok(Action::await_change()),
        Ok(pool) => reconcile_pool(pool, &ctx).await,
        Err(_) if guarded.meta().deletion_timestamp.is_some() => Ok(Action::await_change()),
        Err(invalid) => {
            let told = report_unreadable(&ctx, &guarded).await;
            told.and_then(|()| Err(Error::Undecodable(invalid.error.clone())))
        }
    };
    ctx.metrics.reconciled(POOL, begun.elapsed());
    if done.is_ok() {
        ctx.succeeded(POOL, &full_name(&*guarded));
    }
    done
}

/// Decides when a pool whose reconcile failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands these over by value")]
pub(crate) fn error_policy(guarded: Arc<GuardedPool>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.failed(POOL, &full_name(&*guarded), guarded.meta().generation, error)
}

async fn reconcile_pool(pool: &InferencePool, ctx: &Context) -> Result<Action, Error> {
    ctx.synced().await?;
    let now = (ctx.clock)();
    let seen = observe(ctx, pool); // reads
    let valid = match pool::validate(pool) {
        Ok(valid) => valid,
        Err(faults) => {
            let status = pool::refused(&now, &seen, pool, &faults);
            report(ctx, pool, &seen.status, &status).await?;
            return Err(Error::Invalid(faults));
        }
    };
    let plan = pool::plan(&now, &ctx.site, &seen, &valid); // decides
    let done = execute(ctx, &valid, &plan.changes).await; // writes
    let status = match done.as_ref().err().map(|error| (error, error.for_people())) {
        None => plan.status,
        Some((_, Some((reason, message)))) => pool::stalled(&now, plan.status, reason, message),
        Some((error, None)) if error.class() == Class::Transient && ctx.keeps_failing(POOL, &full_name(pool)) => {
            pool::retrying(&now, plan.status, error.to_string())
        }
        // What happened in part is told when all of it has happened.
        Some((_, None)) => return done.map(|()| Action::await_change()),
    };
    let wait = report(ctx, pool, &seen.status, &status).await?; // writes
    done?;
    if !plan.blocked.is_empty() {
        return Err(Error::Blocked(plan.blocked));
    }
    Ok(Action::requeue(wait.map_or(plan.requeue, |wait| wait.min(plan.requeue))))
}

#[cfg(test)]
mod tests;
