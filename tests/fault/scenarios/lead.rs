//! Two operators, of which one writes: whatever happens to it, the other takes over in time, and no write of the first comes
//! after the first write of the second (OP-13, O8).
//!
//! A person changes a pool all the time, so that the leader always has something to write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fault::apifault::{Fault, Match, Rule, Verb};
use fault::bed::{Bed, Form, Namespace, Operator, PERSON, Trouble};
use fault::wait_for;
use serde_json::{Value, json};

use crate::life::{LOOK, POOLS, SETTLED, pool};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "lead";

/// What the issue asks for, from the end of one leader to the first write of the next.
const TAKEN_OVER: Duration = Duration::from_secs(20);
/// The same when the leader steps down: one look of the other, and room for a busy machine.
const HANDED_OVER: Duration = Duration::from_secs(6);
/// Longest that a leader which cannot renew goes on: its deadline, and room for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(12);
/// How long a stopped process stays stopped: three leases.
const STOPPED: Duration = Duration::from_secs(45);
/// Pause between two changes of the pool.
const BREATH: Duration = Duration::from_millis(200);
/// When the API server takes longer than this for a change of the person, the machine is too busy to judge lengths of time.
const SLOW: Duration = Duration::from_millis(750);
/// Pairs at the same time.
const AT_ONCE: usize = 4;
/// How long it is watched that nothing happens which must not.
const WATCHED: Duration = Duration::from_secs(30);
const LEASES: &str = "apis/coordination.k8s.io/v1";
const LEASE: &str = "leases/quartermaster-operator";

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// `kill -9`, and not started again.
    Killed,
    /// SIGTERM, as when its pod is deleted.
    Told,
    /// It stands still for three leases, and then goes on as if nothing had been.
    Stopped,
    /// It cannot reach the API server any more.
    CutOff,
    /// Its renewals are made, and their answers are lost.
    Deaf,
    /// Half of all calls about the Lease are refused, for both.
    Storm,
    /// The Lease is deleted.
    Deleted,
    /// A person takes its holder out.
    Emptied,
}

impl Blow {
    const ALL: [Self; 8] =
        [Self::Killed, Self::Told, Self::Stopped, Self::CutOff, Self::Deaf, Self::Storm, Self::Deleted, Self::Emptied];

    /// Within which time the other must have written, if it is to take over.
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Told => Some(HANDED_OVER),
            Self::Killed | Self::Stopped | Self::CutOff => Some(TAKEN_OVER),
            Self::Deaf | Self::Storm | Self::Deleted | Self::Emptied => None,
        }
    }
}

pub(crate) async fn prove(bed: &Bed, runner: &mut Runner) {
    for some in Blow::ALL.chunks(AT_ONCE) {
        let cases = some.iter().map(|blow| (format!("{blow:?}"), struck(bed.clone(), *blow)));
        runner.run(CLASS, cases.collect()).await;
    }
}

/// Two operators and the person who keeps them busy.
struct Pair {
    namespace: Namespace,
    first: Operator,
    second: Operator,
    busy: Arc<AtomicBool>,
    changes: Arc<AtomicU32>,
    /// Milliseconds that the slowest change took.
    slowest: Arc<AtomicU64>,
    person: tokio::task::JoinHandle<()>,
}

async fn struck(bed: Bed, blow: Blow) -> Result<Verdict, Trouble> {
    let pair = Pair::begin(&bed, &format!("{blow:?}").to_lowercase()).await?;
    let (mut verdict, mut timely) = (Verdict { cases: 1, ..Verdict::default() }, Vec::new());
    pair.slowest.store(0, Relaxed);
    let began = Instant::now();
    let before = writes(&pair.first).len();
    pair.strike(blow).await?;
    match blow.limit() {
        Some(limit) => match pair.second_writes(limit).await {
            Ok(()) => verdict.recovered.push(began.elapsed()),
            Err(late) => timely.push(late.to_string()),
        },
        None => {
            tokio::time::sleep(WATCHED).await;
            if !writes(&pair.second).is_empty() {
                timely.push("the second took over although the first was well".to_owned());
            }
            if writes(&pair.first).len() == before {
                timely.push("the first has written nothing since".to_owned());
            }
        }
    }
    pair.relieve(blow, began, &mut timely).await?;
    let slowest = Duration::from_millis(pair.slowest.load(Relaxed));
    for line in timely {
        if slowest > SLOW {
            verdict.notes.push(format!("not judged, because the API server took {slowest:?} for a call: {line}"));
        } else {
            verdict.divergences.push(line);
        }
    }
    pair.end(&mut verdict).await?;
    Ok(verdict)
}

impl Pair {
    /// Starts both, so that the first leads, and lets the person begin.
    async fn begin(bed: &Bed, name: &str) -> Result<Self, Trouble> {
        let namespace = bed.namespace(&format!("fault-lead-{name}")).await?;
        // As the chart makes it.
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "quartermaster-operator"},
        });
        namespace.create(LEASES, "leases", &lease).await?;
        let (busy, changes) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let slowest = Arc::new(AtomicU64::new(0));
        change(&namespace, 0).await?;
        let person = tokio::spawn({
            let (namespace, busy, changes) = (namespace.clone(), Arc::clone(&busy), Arc::clone(&changes));
            let slowest = Arc::clone(&slowest);
            async move {
                while busy.load(Relaxed) {
                    let (next, began) = (changes.load(Relaxed) + 1, Instant::now());
                    if change(&namespace, next).await.is_ok() {
                        changes.store(next, Relaxed);
                    }
                    slowest.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
                    tokio::time::sleep(BREATH).await;
                }
            }
        });
        let first = Operator::candidate(bed, &namespace.name, "first").await?;
        wait_for("the first leads", SETTLED, LOOK, async || none_yet(!writes(&first).is_empty())).await?;
        let second = Operator::candidate(bed, &namespace.name, "second").await?;
        wait_for("the second is ready", SETTLED, LOOK, async || none_yet(second.log().contains("\"ready\""))).await?;
        Ok(Self { namespace, first, second, busy, changes, slowest, person })
    }

    async fn strike(&self, blow: Blow) -> Result<(), Trouble> {
        let leases = || Match { resource: Some("leases".to_owned()), ..Match::default() };
        match blow {
            Blow::Killed => self.first.stop(),
            Blow::Told => self.first.retire()?,
            Blow::Stopped => self.first.signal("STOP")?,
            Blow::CutOff => {
                self.first.proxy.hold("*");
                self.first.proxy.add(Rule::all(Match::default(), Fault::Hang));
            }
            Blow::Deaf => {
                let renewals = Match { verbs: vec![Verb::Update], ..leases() };
                self.first.proxy.add(Rule::all(renewals, Fault::HangAfterCommit));
            }
            Blow::Storm => {
                for operator in [&self.first, &self.second] {
                    let refused = Fault::Status { code: 429, retry_after: Some(30) };
                    operator.proxy.add(Rule { percent: 50, ..Rule::all(leases(), refused) });
                }
            }
            Blow::Deleted => self.namespace.delete(LEASES, LEASE).await?,
            Blow::Emptied => {
                let body = json!({"spec": {"holderIdentity": ""}});
                self.namespace.patch(LEASES, LEASE, PERSON, Form::Merge, &body).await?;
            }
        }
        Ok(())
    }

    async fn second_writes(&self, limit: Duration) -> Result<(), fault::Late> {
        let pause = Duration::from_millis(50);
        wait_for("the second writes", limit, pause, async || none_yet(!writes(&self.second).is_empty())).await
    }

    /// Ends what was done to the first, and looks at how it met it.
    async fn relieve(&self, blow: Blow, began: Instant, wrong: &mut Vec<String>) -> Result<(), Trouble> {
        match blow {
            Blow::Stopped => {
                tokio::time::sleep(STOPPED.saturating_sub(began.elapsed())).await;
                self.first.signal("CONT")?;
            }
            Blow::CutOff | Blow::Deaf | Blow::Storm => {
                self.first.proxy.clear();
                self.first.proxy.release();
                self.second.proxy.clear();
            }
            Blow::Killed | Blow::Told | Blow::Deleted | Blow::Emptied => {}
        }
        let ends = usize::from(matches!(blow, Blow::Told | Blow::Stopped | Blow::CutOff));
        let ended = wait_for("the first ends", GIVEN_UP, LOOK, async || none_yet(self.first.ends() >= ends)).await;
        wrong.extend(ended.err().map(|late| late.to_string()));
        if self.first.ends() > ends || self.second.ends() > 0 {
            let (first, second) = (self.first.ends(), self.second.ends());
            wrong.push(format!("operators ended by themselves, {first} and {second} times"));
        }
        Ok(())
    }

    /// Lets all come to rest, and judges the story as a whole.
    async fn end(self, verdict: &mut Verdict) -> Result<(), Trouble> {
        self.busy.store(false, Relaxed);
        // A person who panicked would have stopped changing the pool, which the wait below notices.
        drop(self.person.await);
        let want = self.changes.load(Relaxed).to_string();
        let settled = wait_for("the last change is carried out", SETTLED, LOOK, async || {
            let seen = self.namespace.get("apis/apps/v1", "deployments").await.map_err(|error| error.to_string())?;
            let text = seen.unwrap_or_default().to_string();
            none_yet(text.contains(&format!("\"value\":\"{want}\""))).map_err(str::to_owned)
        });
        verdict.divergences.extend(settled.await.err().map(|late| late.to_string()));
        let mut story: BTreeMap<u64, &str> = writes(&self.first).into_iter().map(|at| (at, "first")).collect();
        story.extend(writes(&self.second).into_iter().map(|at| (at, "second")));
        let mut holders: Vec<&str> = story.values().copied().collect();
        holders.dedup();
        verdict.notes.push(format!("{} writes by {}", story.len(), holders.join(", then ")));
        if holders.len() > 2 {
            verdict.divergences.push(format!("writes of two leaders interleave: {}", holders.join(", ")));
        }
        self.namespace.remove().await?;
        Ok(())
    }
}

/// Revisions of what the operator has written to pools and their objects. Each write of the cluster has a higher one than
/// all before, whoever made it.
fn writes(operator: &Operator) -> Vec<u64> {
    let calls = operator.proxy.calls(0);
    let done = calls.iter().filter(|call| call.ask.mutates() && call.ask.resource != "leases");
    done.filter(|call| call.code.is_some_and(|code| code < 300)).filter_map(|call| call.revision.parse().ok()).collect()
}

/// Changes the engine's settings of the pool, which has no replicas: only its Deployment follows.
async fn change(namespace: &Namespace, number: u32) -> Result<(), Trouble> {
    let mut pool: Value = pool(number, false)?;
    pool["spec"]["replicas"] = json!(0);
    namespace.patch(POOLS, "inferencepools/tiny", PERSON, Form::Apply, &pool).await?;
    Ok(())
}

fn none_yet(done: bool) -> Result<(), &'static str> {
    if done { Ok(()) } else { Err("not yet") }
}
