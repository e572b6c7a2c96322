//! The operator sees the past: its lists are old when it starts (OP-07), or one kind's watch stands still while it runs
//! (OP-08).

use std::collections::BTreeSet;
use std::time::Duration;

use fault::apifault::{Fault, Match, Rule, Verb};
use fault::bed::{Bed, Trouble};
use fault::wait_for;

use crate::kill::Reference;
use crate::life::{LOOK, Life, QUIET, SETTLED, Step, counts};
use crate::runner::{Runner, Verdict};

pub(crate) const RESTART: &str = "stale-restart";
pub(crate) const HELD: &str = "held-watch";

/// States to go back from, as the steps that lead there. Every revision written on the way is gone back to.
const WAYS: [&[Step]; 3] = [
    &[Step::Create, Step::ScaleUp],
    &[Step::Create, Step::ScaleUp, Step::Unscale, Step::ScaleDown],
    &[Step::Create, Step::ScaleUp, Step::Unscale, Step::ScaleDown, Step::Roll, Step::Flip, Step::Rescale],
];

pub(crate) async fn prove_restart(bed: &Bed, reference: &Reference, runner: &mut Runner) {
    // Each way is walked several times, and each walk goes back to another part of the revisions.
    let walks = if runner.full() { 4 } else { 2 };
    let every = if runner.full() { walks } else { 4 * walks };
    let mut cases = Vec::new();
    for (number, way) in WAYS.into_iter().enumerate() {
        for walk in 0..walks {
            let name = format!("stale-{number}-{walk}");
            cases.push((format!("way {number}, walk {walk}"), back(bed.clone(), reference, name, way, walk, every)));
        }
    }
    runner.run(RESTART, cases).await;
}

/// Walks the way, then starts the operator once for every `every`th revision, from number `first` on, with the lists of
/// then.
async fn back(
    bed: Bed,
    reference: &Reference,
    name: String,
    way: &[Step],
    first: usize,
    every: usize,
) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &name).await?;
    let proxy = &life.operator.proxy;
    let (mut verdict, mut revisions) = (Verdict::default(), Vec::new());
    let mut last = Step::Create;
    for step in way {
        life.act(*step).await?;
        // What the person wrote is a moment of its own: the operator has not followed yet.
        revisions.push(revision(&life.pool().await?));
        if let Err(differs) = life.becomes(&reference[step].dump).await {
            verdict.divergences.push(format!("on the way, {step:?}: {}", differs.join("; ")));
            return Ok(verdict);
        }
        last = *step;
    }
    let calls = proxy.calls(0);
    revisions.extend(calls.iter().filter(|call| !call.ask.is_event()).map(|call| call.revision.clone()));
    let moments: BTreeSet<u64> = revisions.iter().map(|revision| number(revision)).filter(|it| *it > 0).collect();
    for moment in moments.into_iter().skip(first).step_by(every) {
        let pods = life.pods().await?;
        let (mark, before) = (proxy.mark(), life.namespace.contents(&life.bed.kinds).await?);
        life.operator.stop();
        let past = Match { query: Some(("fieldSelector".to_owned(), false)), ..Match::verbs(&[Verb::List]) };
        proxy.add(Rule::all(past, Fault::Stale { revision: moment.to_string() }));
        proxy.hold("*");
        life.operator.resume();
        wait_for("the operator acts on the past", SETTLED, LOOK, async || {
            let watches = proxy.calls(mark).iter().filter(|call| call.ask.verb == Verb::Watch).count();
            // It has listed, and had the time to do something about it.
            if watches > 0 && proxy.since(mark, Verb::Watch) > QUIET { Ok(()) } else { Err("it has not begun") }
        })
        .await?;
        proxy.clear();
        proxy.release();
        let outcome = life.becomes(&reference[&last].dump).await;
        verdict.cases += 1;
        let at = || format!("at revision {moment} of {last:?}");
        if let Err(differs) = outcome {
            verdict.divergences.push(format!("{}: {}", at(), differs.join("; ")));
            break;
        }
        let have = counts(&proxy.calls(mark));
        if !have.is_empty() {
            verdict.divergences.push(format!("{}: made and deleted {have:?}", at()));
        }
        if life.pods().await? != pods {
            verdict.divergences.push(format!("{}: replicas were replaced", at()));
        }
        let stray: Vec<String> = proxy
            .calls(mark)
            .iter()
            .filter(|call| call.ask.mutates() && !call.ask.is_event() && call.ask.subresource.is_empty())
            // A write that changes nothing is answered with what was there before, but for the status, which may change.
            .filter(|call| call.code.is_some_and(|code| code < 300) && call.content != 0)
            .filter(|call| before.get(&(call.ask.resource.clone(), call.ask.name.clone())) != Some(&call.content))
            .map(|call| call.ask.text())
            .collect();
        if !stray.is_empty() {
            verdict.divergences.push(format!("{}: written by the past: {}", at(), stray.join(", ")));
        }
    }
    if life.operator.ends() > 0 {
        verdict.divergences.push(format!("the operator ended by itself {} times", life.operator.ends()));
    }
    life.end().await?;
    Ok(verdict)
}

pub(crate) async fn prove_held(bed: &Bed, reference: &Reference, runner: &mut Runner) -> Result<(), Trouble> {
    // Which kinds are watched is for the operator to say.
    let life = Life::begin(bed, "watched").await?;
    wait_for("the operator watches", SETTLED, QUIET, async || {
        let quiet = life.operator.proxy.since(0, Verb::Watch);
        if quiet > QUIET { Ok(()) } else { Err(format!("the last watch began {quiet:?} ago")) }
    })
    .await?;
    let calls = life.operator.proxy.calls(0);
    life.end().await?;
    let watched: BTreeSet<String> =
        calls.iter().filter(|call| call.ask.verb == Verb::Watch).map(|call| call.ask.resource.clone()).collect();
    let seconds = if runner.full() { vec![1, 30] } else { vec![8] };
    let mut cases = Vec::new();
    for resource in watched {
        for seconds in &seconds {
            let lasts = Duration::from_secs(*seconds);
            cases.push((format!("{resource} for {lasts:?}"), held(bed.clone(), reference, resource.clone(), lasts)));
        }
    }
    runner.run(HELD, cases).await;
    Ok(())
}

/// Each step of a life is made while the watch of one kind stands still, which then goes on.
async fn held(bed: Bed, reference: &Reference, resource: String, lasts: Duration) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &format!("held-{resource}-{}", lasts.as_secs())).await?;
    let proxy = &life.operator.proxy;
    let mut verdict = Verdict::default();
    for step in [Step::Create, Step::ScaleUp, Step::Unscale, Step::ScaleDown, Step::Roll] {
        let mark = proxy.mark();
        proxy.hold(&resource);
        life.act(step).await?;
        tokio::time::sleep(lasts).await;
        proxy.release();
        verdict.cases += 1;
        let released = std::time::Instant::now();
        if let Err(differs) = life.becomes(&reference[&step].dump).await {
            verdict.divergences.push(format!("{step:?}: {}", differs.join("; ")));
            break;
        }
        verdict.recovered.push(released.elapsed());
        let have = counts(&proxy.calls(mark));
        if have != reference[&step].counts {
            let want = &reference[&step].counts;
            verdict.divergences.push(format!("{step:?}: made and deleted {have:?} instead of {want:?}"));
        }
    }
    life.end().await?;
    Ok(verdict)
}

/// A revision as a number; 0 for none.
fn number(revision: &str) -> u64 {
    revision.parse().unwrap_or_default()
}

fn revision(object: &serde_json::Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}
