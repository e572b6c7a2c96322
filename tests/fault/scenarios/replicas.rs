//! The number of replicas under random interleavings of everybody who writes it: `kubectl scale`, `kubectl edit`, an
//! autoscaler, an apply of the manifest, restarts of the operator, and strangers who scale the Deployment.

use std::time::Duration;

use fault::apifault::Verb;
use fault::bed::{Bed, Form, Trouble};
use fault::wait_for;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::life::{LOOK, Life, POOL, POOLS, QUIET, SETTLED, Step, at_rest, pool};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "replicas";

/// Writes in one interleaving.
const WRITES: usize = 12;

pub(crate) async fn prove(bed: &Bed, runner: &mut Runner) {
    let seeds = if runner.full() { 12 } else { 4 };
    let cases = (0..seeds).map(|seed| (format!("seed {seed}"), interleaved(bed.clone(), seed)));
    runner.run(CLASS, cases.collect()).await;
}

async fn interleaved(bed: Bed, seed: u64) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &format!("replicas-{seed}")).await?;
    life.act(Step::Create).await?;
    life.settle().await?;
    let (mut luck, mut told, mut story) = (StdRng::seed_from_u64(seed), 1, Vec::new());
    let mark = life.operator.proxy.mark();
    for _ in 0..WRITES {
        let number: i64 = luck.random_range(1..=3);
        let (word, told_now) = write(&life, luck.random_range(0..7), number).await?;
        if told_now {
            told = number;
        }
        story.push(format!("{word} {number}"));
        tokio::time::sleep(Duration::from_millis(luck.random_range(0..700))).await;
    }
    let mut verdict = Verdict { cases: 1, ..Verdict::default() };
    let end = wait_for("the Deployment has the pool's number", SETTLED, LOOK, async || {
        let pool = life.pool().await.map_err(|trouble| trouble.to_string())?;
        let deployment = life.deployment().await.map_err(|trouble| trouble.to_string())?;
        let (wants, has) = (&pool["spec"]["replicas"], &deployment["spec"]["replicas"]);
        let quiet = life.operator.proxy.quiet_for() > QUIET;
        if *wants == told && *has == told && at_rest(&pool) && quiet {
            Ok(())
        } else {
            Err(format!("told {told}, the pool wants {wants}, the Deployment has {has}: {}", pool["status"]))
        }
    });
    if let Err(late) = end.await {
        verdict.divergences.push(format!("{late}; it went {}", story.join(", ")));
    }
    // The pool's own number is others' to write.
    let calls = life.operator.proxy.calls(mark);
    let meddled = calls
        .iter()
        .filter(|call| call.ask.resource == "inferencepools" && call.ask.subresource != "status" && call.ask.mutates());
    verdict.divergences.extend(meddled.map(|call| format!("the operator wrote the pool: {}", call.ask.text())));
    // Each write of the Deployment answers one of the writes above; more would be a fight.
    let answers = calls.iter().filter(|call| call.ask.resource == "deployments" && call.ask.verb == Verb::Patch);
    let answers = answers.filter(|call| call.code.is_some_and(|code| code < 300)).count();
    if answers > WRITES {
        verdict.divergences.push(format!("the Deployment was written {answers} times for {WRITES} writes"));
    }
    life.end().await?;
    Ok(verdict)
}

/// Makes one write, and says who made it and whether it told the pool the number.
async fn write(life: &Life, who: u32, number: i64) -> Result<(&'static str, bool), Trouble> {
    let body = json!({"spec": {"replicas": number}});
    let scale = format!("{POOL}/scale");
    let (apps, deployment) = ("apis/apps/v1", "deployments/tiny");
    match who {
        0 => life.namespace.patch(POOLS, &scale, "kubectl", Form::Merge, &body).await.map(|_| ("kubectl scale", true)),
        1 => {
            life.namespace.patch(POOLS, POOL, "kubectl-edit", Form::Merge, &body).await.map(|_| ("kubectl edit", true))
        }
        2 => {
            let path = life.namespace.path(POOLS, &scale);
            let mut seen = life.namespace.get(POOLS, &scale).await?.unwrap_or_default();
            seen["spec"]["replicas"] = json!(number);
            let path = format!("{path}?fieldManager=kube-controller-manager");
            match life.bed.server.ask(Method::PUT, &path, "application/json", &seen).await {
                // The autoscaler would look again; what it read is not what is there.
                Err(fault::server::Failure::Refused { code: 409, .. }) => Ok(("autoscaler, too late,", false)),
                answer => answer.map(|_| ("autoscaler", true)),
            }
        }
        3 => {
            life.apply(&pool(1, true)?).await?;
            Ok(("an apply without a number, not", false))
        }
        4 => {
            life.operator.kill();
            Ok(("a restart, not", false))
        }
        5 => {
            let scale = format!("{deployment}/scale");
            life.namespace
                .patch(apps, &scale, "stranger", Form::Merge, &body)
                .await
                .map(|_| ("a stranger's scale", false))
        }
        _ => life
            .namespace
            .patch(apps, deployment, "stranger", Form::Merge, &body)
            .await
            .map(|_| ("a stranger's edit", false)),
    }
    .map_err(Trouble::from)
}
