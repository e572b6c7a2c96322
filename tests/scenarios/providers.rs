//! A policy that leads to a pool and to a provider: either goes, and no client notices; both are back, and each has its
//! requests again. The provider is `provider-sim` in a pod, behind the name of a Service.

mod bed;
mod issuer;
mod keys;
mod tls;

use std::time::{Duration, Instant};

use e2e::{Asker, Ending, PATIENCE, Told, Watched, kill, page, processes, routed, skip, wait_for, watched_load};

use bed::{Bed, policy, provider};

/// How long a target that fails is left alone at first.
const EJECTION: Duration = Duration::from_secs(5);
/// For looks, and for routers and clients that wait for a processor.
const SLACK: Duration = Duration::from_secs(5);
/// Answers of the target that stands in, until it is believed.
const ENOUGH: usize = 40;
/// Clients of each policy.
const STREAMS: usize = 16;
const PLAIN: usize = 4;

/// `spec.targets` in this order.
fn ordered(first: &str, second: &str) -> String {
    format!(
        "targets: [{{name: local, pool: {{name: local}}}}, {gpt}], breaker: {{consecutiveFailures: 3, ejection: {ejection}s}}, \
         rules: [{{name: all, use: {{ordered: [{first}, {second}]}}}}]",
        gpt = provider("gpt", "OpenAI"),
        ejection = EJECTION.as_secs()
    )
}

#[test]
fn no_client_notices_that_the_pool_or_the_provider_is_gone() {
    if !routed() {
        return skip("a pool and a provider that are killed: their processes are on another machine");
    }
    let bed = Bed::new("providers", "KEY");
    bed.ns.must_apply(&policy("pool-first", &ordered("local", "gpt")));
    bed.ns.must_apply(&policy("provider-first", &ordered("gpt", "local")));
    for (model, target) in [("pool-first", "local"), ("provider-first", "gpt")] {
        bed.in_effect(model);
        wait_for(&format!("{model} is answered by {target}"), PATIENCE, || match bed.chat.ask(model, 2)? {
            reply if reply.status == 200 && reply.target.as_deref() == Some(target) => Ok(()),
            reply => Err(format!("{reply:?}")),
        });
    }
    let of_each =
        |model| (0..STREAMS + PLAIN).map(move |number| Asker { model, stream: number < STREAMS }).collect::<Vec<_>>();
    let askers = [of_each("pool-first"), of_each("provider-first")].concat();
    let told = watched_load(&bed.chat, &askers, |watched| {
        answered(watched, "pool-first", "local", Instant::now());
        answered(watched, "provider-first", "gpt", Instant::now());
        the_pool_is_gone(&bed, watched);
        the_provider_is_gone(&bed, watched);
    });
    let failed: Vec<&Told> = told.iter().filter(|told| matches!(told.ending, Ending::Failed(_))).collect();
    assert!(failed.is_empty(), "{} of {} failed, the first: {:?}", failed.len(), told.len(), failed[0]);
    let broken = told.iter().filter(|told| told.ending == Ending::Broken).count();
    let by = |model: &str, target: &str| {
        told.iter().filter(|told| told.model == model && told.target.as_deref() == Some(target)).count()
    };
    println!(
        "{} requests, none failed, {broken} streams broken off with an error event; pool first: {} by the pool, {} by the \
         provider; provider first: {} by the provider, {} by the pool",
        told.len(),
        by("pool-first", "local"),
        by("pool-first", "gpt"),
        by("provider-first", "gpt"),
        by("provider-first", "local"),
    );
}

/// Waits until this target has answered `ENOUGH` requests that began after `since`.
fn answered(watched: &Watched, model: &str, target: &str, since: Instant) {
    wait_for(&format!("{target} answers {model}"), PATIENCE, || {
        let such = |told: &Told| is_by(told, model, target) && told.began > since;
        let count = watched.count(such);
        if count >= ENOUGH { Ok(()) } else { Err(format!("{count} answers")) }
    });
}

fn is_by(told: &Told, model: &str, target: &str) -> bool {
    told.ending == Ending::Answered && told.model == model && told.target.as_deref() == Some(target)
}

/// How long after `since` a request began that this target answered.
fn returned(watched: &Watched, model: &str, target: &str, since: Instant) -> Duration {
    wait_for(&format!("{target} has {model} again"), PATIENCE, || {
        let first = watched.first(|told| is_by(told, model, target) && told.began > since);
        first.map(|told| told.began - since).ok_or_else(|| "nothing".to_owned())
    })
}

/// All replicas die at once, as if their node had, and stay away.
fn the_pool_is_gone(bed: &Bed, watched: &Watched) {
    let pods = bed.pods("quartermaster.dev/pool=local");
    let killed = pods.iter().flat_map(|pod| processes(pod)).filter(|pid| kill(pid)).count();
    let gone = Instant::now();
    assert!(killed > 0, "nothing was killed");
    bed.ns.kubectl("scale inferencepools.quartermaster.dev/local --replicas=0");
    for pod in pods {
        bed.ns.kubectl(&format!("delete pod {pod} --grace-period=0 --force --wait=false --ignore-not-found"));
    }
    answered(watched, "pool-first", "gpt", gone);
    bed.ns.wait_replicas("local", 0);
    let empty = Instant::now();
    answered(watched, "pool-first", "gpt", empty);
    let strays = watched.count(|told| is_by(told, "pool-first", "local") && told.began > empty);
    assert_eq!(strays, 0, "there is no pool that could have answered");

    bed.ns.kubectl("scale inferencepools.quartermaster.dev/local --replicas=2");
    bed.ns.wait_replicas("local", 2);
    let back = Instant::now();
    let after = returned(watched, "pool-first", "local", back);
    assert!(after < SLACK, "the pool had its requests again only after {after:?}");
    answered(watched, "pool-first", "local", back);
    println!("the pool was gone for {:?}; it had its requests again {after:?} after it was ready", back - gone);
}

/// The provider can no longer be reached, and the connections that are kept to it break.
fn the_provider_is_gone(bed: &Bed, watched: &Watched) {
    let select = |app: &str| {
        let patch = format!(r#"{{"spec":{{"selector":{{"app":"{app}"}}}}}}"#);
        bed.ns.kubectl(&format!("patch service provider --type=merge --patch={patch}"));
    };
    select("nobody");
    wait_for("the provider's address leads nowhere", PATIENCE, || match page(&bed.bill_page()) {
        Ok(page) => Err(page),
        Err(_) => Ok(()),
    });
    let pod = bed.pods("app=provider").pop().unwrap();
    let gone = Instant::now();
    assert!(processes(&pod).iter().filter(|pid| kill(pid)).count() > 0, "nothing was killed");
    answered(watched, "provider-first", "local", gone);

    bed.ns.kubectl("rollout status deployment/provider --timeout=90s");
    select("provider");
    wait_for("the provider's address leads to it", PATIENCE, || page(&bed.bill_page()));
    let back = Instant::now();
    let after = returned(watched, "provider-first", "gpt", back);
    // Each trial that failed has doubled the time that it is left alone for, so it is below the sum of the times before.
    let most = EJECTION + (back - gone) + SLACK;
    assert!(after < most, "the provider had its requests again only after {after:?}; {most:?} was allowed");
    answered(watched, "provider-first", "gpt", back);
    println!("the provider was gone for {:?}; it had its requests again {after:?} after it was back", back - gone);
}
