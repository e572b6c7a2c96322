//! The operator is killed at every write of a pool's life: before the API server sees it, after it is done but before the
//! answer, and after the answer (OP-01).

use std::collections::BTreeMap;
use std::time::Instant;

use fault::apifault::{Fault, Match, Rule};
use fault::bed::{Bed, Trouble};
use fault::dump::differences;

use crate::life::{After, Life, Step, counts};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "kill";

const POSITIONS: [Fault; 3] = [Fault::KillBefore, Fault::KillAfterCommit, Fault::KillAfterAnswer];

/// What each step leaves behind when nothing breaks.
pub(crate) type Reference = BTreeMap<Step, After>;

/// Runs a life without faults.
pub(crate) async fn undisturbed(bed: &Bed, name: &str) -> Result<Reference, Trouble> {
    let life = Life::begin(bed, name).await?;
    let mut all = Reference::new();
    for step in Step::ALL {
        let mark = life.operator.proxy.mark();
        life.act(step).await?;
        all.insert(step, life.after(mark).await?);
    }
    life.end().await?;
    Ok(all)
}

/// Two runs without faults, which must not differ, or the mask lacks something.
pub(crate) async fn references(bed: &Bed, runner: &mut Runner) -> Result<(Reference, Reference), Trouble> {
    let (reference, again) = tokio::try_join!(undisturbed(bed, "reference-a"), undisturbed(bed, "reference-b"))?;
    let mut verdict = Verdict { cases: 1, ..Verdict::default() };
    for step in Step::ALL {
        let (one, other) = (&reference[&step], &again[&step]);
        verdict.divergences.extend(differences(&one.dump, &other.dump).iter().map(|line| format!("{step:?}: {line}")));
        if one.counts != other.counts {
            verdict.divergences.push(format!("{step:?}: {:?} and {:?}", one.counts, other.counts));
        }
        verdict.notes.push(format!("{step:?}: {} writes, {} objects", one.writes.max(other.writes), one.dump.len()));
    }
    runner.run("reference", vec![("two runs without faults".to_owned(), std::future::ready(Ok(verdict)))]).await;
    Ok((reference, again))
}

pub(crate) async fn prove(bed: &Bed, reference: &Reference, again: &Reference, runner: &mut Runner) {
    let most = |step| reference[&step].writes.max(again[&step].writes);
    let longest = Step::ALL.iter().map(|step| most(*step)).max().unwrap_or_default();
    let mut cases = Vec::new();
    for write in 0..longest {
        for (number, position) in POSITIONS.into_iter().enumerate() {
            if !runner.full() && number != write % POSITIONS.len() {
                continue;
            }
            let steps: Vec<(Step, After, bool)> =
                Step::ALL.iter().map(|step| (*step, reference[step].clone(), write < most(*step))).collect();
            let name = format!("write {write} {}", position.as_str());
            cases.push((name, killed(bed.clone(), steps, write, position)));
        }
    }
    runner.run(CLASS, cases).await;
}

/// One life, in each step of which the operator is killed at its write number `write`.
async fn killed(bed: Bed, steps: Vec<(Step, After, bool)>, write: usize, position: Fault) -> Result<Verdict, Trouble> {
    let name = format!("kill-{write}-{}", position.as_str().replace(' ', "-"));
    let life = Life::begin(&bed, &name).await?;
    let proxy = &life.operator.proxy;
    let mut verdict = Verdict::default();
    for (step, want, kill) in steps {
        let mark = proxy.mark();
        if kill {
            proxy.add(Rule::nth(Match::writes(), write, position.clone()));
        }
        life.act(step).await?;
        let began = Instant::now();
        let outcome = life.becomes(&want.dump).await;
        let reached = proxy.broken() > 0;
        proxy.clear();
        if kill && !reached {
            verdict.notes.push(format!("{step:?}: write {write} was not reached this time"));
        }
        verdict.cases += usize::from(reached);
        if reached {
            verdict.recovered.push(began.elapsed());
        }
        if let Err(differs) = outcome {
            verdict.divergences.push(format!("{step:?}: {}", differs.join("; ")));
            // What follows would start from another state than its reference did.
            break;
        }
        let have = counts(&proxy.calls(mark));
        if have != want.counts {
            verdict.divergences.push(format!("{step:?}: made and deleted {have:?} instead of {:?}", want.counts));
        }
    }
    if life.operator.ends() > 0 {
        verdict.divergences.push(format!("the operator ended by itself {} times", life.operator.ends()));
    }
    life.end().await?;
    Ok(verdict)
}
