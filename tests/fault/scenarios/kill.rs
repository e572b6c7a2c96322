//! The operator is killed at every write of a pool's life: before the API server sees it, after it is done but before the
//! answer, and after the answer (OP-01); and once more at one of the first writes after it has come back (OP-02).

use std::collections::BTreeMap;
use std::time::Instant;

use fault::apifault::{Fault, Match, Rule};
use fault::bed::{Bed, Trouble};
use fault::dump::differences;

use crate::life::{After, Life, Step, counts};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "kill";

/// The same with a second kill.
pub(crate) const TWICE: &str = "kill-twice";
/// The second kill is at one of so many writes after the first.
const AGAIN_WITHIN: usize = 3;

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

/// The steps, what each leaves behind, and its writes.
fn steps(reference: &Reference, again: &Reference) -> Vec<(Step, After, usize)> {
    let writes = |step| reference[&step].writes.max(again[&step].writes);
    Step::ALL.iter().map(|step| (*step, reference[step].clone(), writes(*step))).collect()
}

/// Which of all cases are run: in a full run each, else one of every so many.
fn chosen(runner: &Runner, number: usize, of: usize) -> bool {
    runner.full() || number.is_multiple_of(of)
}

pub(crate) async fn prove(bed: &Bed, reference: &Reference, again: &Reference, runner: &mut Runner) {
    let steps = steps(reference, again);
    let longest = steps.iter().map(|(_, _, writes)| *writes).max().unwrap_or_default();
    let mut cases = Vec::new();
    for write in 0..longest {
        for (number, position) in POSITIONS.into_iter().enumerate() {
            if chosen(runner, number + write, POSITIONS.len()) {
                let name = format!("write {write} {}", position.as_str());
                cases.push((name, killed(bed.clone(), steps.clone(), vec![(write, position)])));
            }
        }
    }
    runner.run(CLASS, cases).await;
}

pub(crate) async fn prove_twice(bed: &Bed, reference: &Reference, again: &Reference, runner: &mut Runner) {
    let steps = steps(reference, again);
    let longest = steps.iter().map(|(_, _, writes)| *writes).max().unwrap_or_default();
    let (mut cases, mut count) = (Vec::new(), 0);
    for write in 0..longest {
        for second in 0..AGAIN_WITHIN {
            count += 1;
            if !chosen(runner, count, 8) {
                continue;
            }
            // Each position is taken with each other one over the whole.
            let positions =
                [write + second, write / POSITIONS.len() + second].map(|at| &POSITIONS[at % POSITIONS.len()]);
            let [first, then] = positions.map(Clone::clone);
            let name = format!("write {write} {}, write {} {}", first.as_str(), write + 1 + second, then.as_str());
            cases.push((name, killed(bed.clone(), steps.clone(), vec![(write, first), (write + 1 + second, then)])));
        }
    }
    runner.run(TWICE, cases).await;
}

/// One life, in each step of which the operator is killed at these writes, counted from 0 with those that are made again.
async fn killed(bed: Bed, steps: Vec<(Step, After, usize)>, kills: Vec<(usize, Fault)>) -> Result<Verdict, Trouble> {
    // Short, because a namespace is named after it.
    let place = |position: &Fault| position.as_str().split(' ').next_back().unwrap_or_default().to_owned();
    let name = kills.iter().map(|(write, position)| format!("{write}-{}", place(position)));
    let name = format!("kill-{}", name.collect::<Vec<_>>().join("-"));
    let life = Life::begin(&bed, &name).await?;
    let proxy = &life.operator.proxy;
    let mut verdict = Verdict::default();
    for (step, want, writes) in steps {
        let mark = proxy.mark();
        let kill = kills.first().is_some_and(|(write, _)| *write < writes);
        for (write, position) in kills.iter().filter(|_| kill) {
            proxy.add(Rule::nth(Match::writes(), *write, position.clone()));
        }
        life.act(step).await?;
        let began = Instant::now();
        let outcome = life.becomes(&want.dump).await;
        let reached = proxy.broken() == kills.len();
        proxy.clear();
        if kill && !reached {
            verdict.notes.push(format!("{step:?}: not all of these writes were reached this time: {kills:?}"));
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
