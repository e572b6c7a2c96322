//! The life of a pool: observe, validate, plan, execute, report.

use std::sync::Arc;
use std::time::Instant;

use api::InferencePool;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use operator_core::pool;

use crate::context::Context;
use crate::error::{Class, Error};
use crate::execute::execute;
use crate::metrics::POOL;
use crate::observe::observe;
use crate::report::report;
use crate::unreadable::report_unreadable;

/// A pool as it comes from the API server, which may be one that we cannot read.
pub(crate) type Guarded = DeserializeGuard<InferencePool>;

/// Brings a pool one step closer to what its spec asks. Called whenever the pool, its children or its load have changed.
pub(crate) async fn reconcile(guarded: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
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
        ctx.succeeded(POOL, &name(&*guarded));
    }
    done
}

/// Decides when a pool whose reconcile failed is looked at again.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands these over by value")]
pub(crate) fn error_policy(guarded: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    ctx.failed(POOL, &name(&*guarded), guarded.meta().generation, error)
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
        Some((error, None)) if error.class() == Class::Transient && ctx.keeps_failing(POOL, &name(pool)) => {
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

/// Namespace and name.
fn name(pool: &impl ResourceExt) -> String {
    format!("{}/{}", pool.namespace().unwrap_or_default(), pool.name_any())
}

/// The pool of this name, for those who want it looked at.
pub(crate) fn reference(namespace: &str, name: &str) -> ObjectRef<Guarded> {
    ObjectRef::new(name).within(namespace)
}

#[cfg(test)]
mod tests;
