//! The API server, or the way to it, misbehaves for a while: it refuses, stays silent, answers late or not at all, and
//! watches break off or have to begin anew (OP-03 to OP-06, OP-09).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fault::apifault::{Call, Fault, Match, Proxy, Rule, Verb};
use fault::bed::{Bed, Trouble};

use crate::kill::Reference;
use crate::life::{Life, Step, counts};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "storm";

/// No call may take longer: the operator's own deadline of ten seconds, and what passes on a busy machine until the proxy
/// sees that it has hung up.
const LONGEST_CALL: Duration = Duration::from_secs(11);
/// Calls per second that an operator may make on average while everything fails: its watches, begun again every half to
/// five seconds, and the reconciles of one pool.
const MOST_CALLS: usize = 10;
/// From the end of a storm until all is as it should be, pods' starts included. The operator's longest pause after storms
/// as short as these is eight seconds.
const RECOVERED: Duration = Duration::from_secs(45);

/// What goes on while a step is made.
#[derive(Clone)]
struct Storm {
    name: String,
    /// How long it lasts.
    lasts: Duration,
    brew: Brew,
}

#[derive(Clone)]
enum Brew {
    /// One rule.
    Rule(Rule),
    /// A rule for each resource that the operator writes: the first so many writes of each.
    EachResource(usize, Fault),
    /// Open watches are cut off again and again, and what is begun anew meets the fault.
    CutWatches(Option<Fault>),
}

fn storms(full: bool) -> Vec<Storm> {
    let seconds = Duration::from_secs;
    let lasts = seconds(if full { 10 } else { 5 });
    let mut all = Vec::new();
    let mut add = |name: &str, lasts, brew| all.push(Storm { name: name.to_owned(), lasts, brew });
    for times in if full { vec![1, 3, 6] } else { vec![1, 3] } {
        let conflict = Fault::Status { code: 409, retry_after: None };
        add(&format!("{times} conflicts of each resource"), seconds(0), Brew::EachResource(times, conflict));
    }
    let refusals = [(429, None), (429, Some(1)), (429, Some(30)), (500, None), (503, None), (504, None)];
    for (code, retry_after) in refusals {
        for percent in [100, 50] {
            if percent == 50 && !full && code != 503 {
                continue;
            }
            let after = retry_after.map_or_else(String::new, |seconds| format!(" with Retry-After {seconds}"));
            let rule = Rule { percent, ..Rule::all(Match::default(), Fault::Status { code, retry_after }) };
            add(&format!("{code}{after} to {percent} of 100 calls"), lasts, Brew::Rule(rule));
        }
    }
    let on = |when, percent, then| Brew::Rule(Rule { percent, ..Rule::all(when, then) });
    add("the first answer of each resource is lost", seconds(0), Brew::EachResource(1, Fault::LoseAnswer));
    add("the first write of each resource hangs when done", seconds(0), Brew::EachResource(1, Fault::HangAfterCommit));
    add("the first write of each resource hangs", seconds(0), Brew::EachResource(1, Fault::Hang));
    add("half of the answers are lost", lasts, on(Match::writes(), 50, Fault::LoseAnswer));
    add("half of the requests are lost", lasts, on(Match::default(), 50, Fault::LoseRequest));
    add("nothing is answered", seconds(12), on(Match::default(), 100, Fault::Hang));
    add("writes take three seconds", lasts, on(Match::writes(), 100, Fault::Delay(seconds(3))));
    add("watches are cut", lasts, Brew::CutWatches(None));
    add("watches break off in a line", lasts, Brew::CutWatches(Some(Fault::Truncate)));
    add("watches have to list anew", lasts, Brew::CutWatches(Some(Fault::Gone)));
    all
}

pub(crate) async fn prove(bed: &Bed, reference: &Reference, runner: &mut Runner) {
    let cases = storms(runner.full()).into_iter().enumerate().map(|(number, storm)| {
        (storm.name.clone(), weathered(bed.clone(), reference, format!("storm-{number}"), storm))
    });
    runner.run(CLASS, cases.collect()).await;
}

/// A pool is made, scaled and loses its autoscaler, each in a storm.
async fn weathered(bed: Bed, reference: &Reference, name: String, storm: Storm) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &name).await?;
    let proxy = &life.operator.proxy;
    let mut verdict = Verdict::default();
    let mut written = Vec::new();
    for step in [Step::Create, Step::ScaleUp, Step::Unscale] {
        let (mark, began) = (proxy.mark(), Instant::now());
        // Before the first write it is not known what will be written, so all resources of the reference stand for it.
        written.extend(reference[&step].counts.keys().map(|key| resource_of(key)));
        written.extend(proxy.calls(0).iter().filter(|call| call.ask.mutates()).map(|call| call.ask.resource.clone()));
        written.sort();
        written.dedup();
        // Nothing can conflict with what is made anew.
        if step != Step::Create || !matches!(storm.brew, Brew::EachResource(_, Fault::Status { .. })) {
            begin(proxy, &storm.brew, &written);
        }
        life.act(step).await?;
        while began.elapsed() < storm.lasts {
            if matches!(storm.brew, Brew::CutWatches(_)) {
                proxy.cut_watches();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // A storm without a length lasts until its rules are used up, which the end state waits for.
        if !storm.lasts.is_zero() {
            proxy.clear();
        }
        let over = Instant::now();
        let outcome = life.becomes(&reference[&step].dump).await;
        let calls = proxy.calls(mark);
        let hit = matches!(storm.brew, Brew::CutWatches(None)) || calls.iter().any(|call| call.fault.is_some());
        proxy.clear();
        verdict.cases += usize::from(hit);
        // Watches that are cut are begun again at the pace at which they are cut.
        let lasts = if matches!(storm.brew, Brew::CutWatches(_)) { Duration::ZERO } else { storm.lasts };
        verdict.divergences.extend(judge(proxy, &calls, lasts).into_iter().map(|line| format!("{step:?}: {line}")));
        if !storm.lasts.is_zero() {
            verdict.recovered.push(over.elapsed());
        }
        if over.elapsed() > RECOVERED && outcome.is_ok() && !storm.lasts.is_zero() {
            verdict.divergences.push(format!("{step:?}: as it should be only {:?} after the storm", over.elapsed()));
        }
        if let Err(differs) = outcome {
            verdict.divergences.push(format!("{step:?}: {}", differs.join("; ")));
            break;
        }
        let have = counts(&calls);
        if have != reference[&step].counts {
            let want = &reference[&step].counts;
            verdict.divergences.push(format!("{step:?}: made and deleted {have:?} instead of {want:?}"));
        }
    }
    if life.operator.ends() > 0 {
        verdict.divergences.push(format!("the operator ended by itself {} times", life.operator.ends()));
    }
    life.end().await?;
    Ok(verdict)
}

fn begin(proxy: &Proxy, brew: &Brew, written: &[String]) {
    match brew {
        Brew::Rule(rule) => proxy.add(rule.clone()),
        Brew::EachResource(times, fault) => {
            for resource in written {
                let when = Match { resource: Some(resource.clone()), ..Match::writes() };
                proxy.add(Rule { nth: 0..*times, ..Rule::all(when, fault.clone()) });
            }
        }
        Brew::CutWatches(fault) => {
            if let Some(fault) = fault {
                proxy.add(Rule::all(Match::verbs(&[Verb::Watch]), fault.clone()));
            }
            proxy.cut_watches();
        }
    }
}

/// What is wrong with the calls themselves: one that took too long, or too many of them.
fn judge(proxy: &Proxy, calls: &[Call], lasts: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in calls.iter().filter(|call| call.ask.verb != Verb::Watch) {
        let lasted = proxy.lasted(call);
        if lasted > LONGEST_CALL {
            wrong.push(format!("{} took {lasted:?}", call.ask.text()));
        }
    }
    let broken = calls.iter().filter(|call| call.fault.is_some()).count();
    let most = MOST_CALLS * usize::try_from(lasts.as_secs()).unwrap_or_default().max(1);
    if !lasts.is_zero() && broken > most {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for call in calls.iter().filter(|call| call.fault.is_some()) {
            *kinds.entry(call.ask.text()).or_default() += 1;
        }
        let most = format!("at most {most} should have been made: {kinds:?}");
        wrong.push(format!("{broken} calls failed in a storm of {lasts:?}, {most}"));
    }
    wrong
}

/// The resource of a key as [`counts`] makes it.
fn resource_of(key: &str) -> String {
    key.split('/').next().unwrap_or_default().to_owned()
}
