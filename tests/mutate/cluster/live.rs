//! Mutations of live pools: each ends converged, refused with nothing changed, or with a condition that says why; and the base
//! spec brings the pool back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use mutate::{Luck, Mutation, Rules, mutations};
use serde_json::{Value, json};

use crate::api_server::Refusal;
use crate::bases;
use crate::objects::{Objects, differing};
use crate::settled::{End, settle};
use crate::yard::{WITH_PODS, WITHOUT_PODS, Yard};

/// Mutations that the schema and the rules let pass, and that they refuse. Together the "at least 300" of the test programme.
const ACCEPTED: usize = 270;
const REFUSED: usize = 40;
/// Mutations of pools with a replica, whose pods are changed.
const WITH_REPLICAS: usize = 24;
/// Most replicas of a pool here: the simulator is small, and so is the machine.
const MOST_REPLICAS: i64 = 2;
/// Longest spec that is applied; larger ones only cost time here, and the dry runs have them.
const LONGEST: usize = 20_000;
/// Writes that a mutation and its way back may cost: all objects of a pool twice, and their statuses on the way.
const WRITES_EACH: f64 = 30.0;

/// A change to apply and the way back from it.
struct Job {
    name: String,
    /// The spec to come back to.
    base: Value,
    spec: Value,
    mutation: Mutation,
}

/// What came of a job that is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Converged,
    Conditioned,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_of_a_resting_pool_ends_well() {
    let (mut jobs, mut tried, rules) = (Vec::new(), BTreeSet::new(), bases::rules());
    for (name, mut base) in bases::all("InferencePool") {
        // Without replicas nothing has to start, and the pool is Ready within milliseconds.
        base["spec"]["replicas"] = json!(0);
        let new = all_jobs(&rules, &name, &base).into_iter().filter(|job| tried.insert(job.mutation.changes_text()));
        jobs.extend(new.collect::<Vec<_>>());
    }
    let (mut chosen, mut accepted, mut refused) = (Vec::new(), 0, 0);
    for job in in_turn(jobs, &mut Luck::new(7)) {
        let (count, most) = match rules.judge(&object(&job.spec)) {
            Ok(stored) if stored["spec"]["replicas"] == 0 => (&mut accepted, ACCEPTED),
            Ok(_) => continue,
            Err(_) => (&mut refused, REFUSED),
        };
        if *count < most {
            *count += 1;
            chosen.push(job);
        }
        if accepted == ACCEPTED && refused == REFUSED {
            break;
        }
    }
    assert!(chosen.len() >= 300, "only {} mutations", chosen.len());
    // Jobs of one base in a row need not come back to it twice.
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    run("resting", chosen, 16, WITHOUT_PODS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_of_a_serving_pool_ends_well() {
    let rules = bases::rules();
    let (name, mut base) = bases::simulator();
    base["spec"].as_object_mut().unwrap().remove("scaling");
    base["spec"]["replicas"] = json!(1);
    let jobs = in_turn(all_jobs(&rules, &name, &base), &mut Luck::new(11)).into_iter();
    let accepted = jobs.filter(|job| rules.judge(&object(&job.spec)).is_ok());
    run("serving", accepted.take(WITH_REPLICAS).collect(), 4, WITH_PODS).await;
}

fn object(spec: &Value) -> Value {
    json!({"apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": "m"}, "spec": spec})
}

/// Every mutation of `base` that leaves the pool small.
fn all_jobs(rules: &Rules, name: &str, base: &Value) -> Vec<Job> {
    let job = |mutation: Mutation| {
        let spec = mutation.apply(base)?["spec"].clone();
        let name = name.to_owned();
        let at_home = mutation.changes.iter().all(|(path, _)| path.parent().get(base).is_some());
        let fits = at_home && is_small(&spec) && spec.to_string().len() < LONGEST;
        fits.then(|| Job { name, base: base["spec"].clone(), spec, mutation })
    };
    mutations(rules.schema(), base, "spec").into_iter().filter_map(job).collect()
}

/// Whether neither the pool nor its autoscaler can ask for many replicas.
pub(crate) fn is_small(spec: &Value) -> bool {
    let few = |value: &Value| value.as_i64().is_none_or(|count| count <= MOST_REPLICAS);
    few(&spec["replicas"]) && few(&spec["scaling"]["minReplicas"])
}

/// The jobs in an order in which every place has one before any has a second.
fn in_turn(jobs: Vec<Job>, luck: &mut Luck) -> Vec<Job> {
    let mut places: BTreeMap<String, Vec<Job>> = BTreeMap::new();
    for job in jobs {
        places.entry(job.mutation.changes[0].0.to_string()).or_default().push(job);
    }
    let mut ordered = Vec::new();
    while !places.is_empty() {
        for jobs in places.values_mut() {
            let at = usize::try_from(luck.draw()).unwrap_or_default() % jobs.len();
            ordered.push(jobs.swap_remove(at));
        }
        places.retain(|_, jobs| !jobs.is_empty());
    }
    ordered
}

/// Applies the jobs, shared among `workers` pools, and checks the operator and the namespace at the end.
async fn run(purpose: &str, jobs: Vec<Job>, workers: usize, limit: Duration) {
    let yard = Yard::open(purpose).await;
    let count = jobs.len();
    let (jobs, done) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().unwrap().pop();
    join_all((0..workers).map(|number| {
        let (yard, next, done) = (&yard, &next, &done);
        async move {
            let mut worker = Worker { yard, pool: format!("pool-{number}"), limit, at: None };
            while let Some(job) = next() {
                let outcome = worker.one(&job).await;
                if let Err(alarm) = &outcome {
                    println!("{}: {}: {alarm}", job.name, job.mutation);
                    // Whatever state that was, the next job starts from none.
                    worker.at = None;
                    let _ = yard.delete(&worker.pool).await;
                }
                done.lock().unwrap().push(outcome.map_err(|alarm| format!("{}: {}: {alarm}", job.name, job.mutation)));
            }
        }
    }))
    .await;
    yard.must_become_quiet().await;
    let (writes, bugs) = (yard.grown("_writes_total").await, yard.grown("class=\"bug\"").await);
    let left: Vec<_> = join_all((0..workers).map(|number| {
        let yard = &yard;
        async move { yard.delete(&format!("pool-{number}")).await.err() }
    }))
    .await;
    yard.close().await;
    report(done.into_inner().unwrap(), left.into_iter().flatten().collect(), writes, bugs, count);
}

fn report(done: Vec<Result<Outcome, String>>, mut alarms: Vec<String>, writes: f64, bugs: f64, count: usize) {
    let mut outcomes = BTreeMap::<Outcome, usize>::new();
    for outcome in done {
        match outcome {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(alarm) => alarms.push(alarm),
        }
    }
    println!("{count} mutations: {outcomes:?}, {writes} writes, {bugs} bugs told, {} alarms", alarms.len());
    assert!(alarms.is_empty(), "{}", alarms.join("\n"));
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let most = count as f64 * WRITES_EACH;
    assert!(writes <= most, "{writes} writes for {count} mutations: something is written again and again");
}

/// Works on one pool.
struct Worker<'a> {
    yard: &'a Yard,
    pool: String,
    limit: Duration,
    /// The base spec that the pool rests at, and what was made for it.
    at: Option<(Value, Objects)>,
}

impl Worker<'_> {
    /// One mutation and the way back.
    async fn one(&mut self, job: &Job) -> Result<Outcome, String> {
        let before = match self.at.take() {
            Some((base, objects)) if base == job.base => objects,
            _ => self.base(job).await.map_err(|word| format!("the base: {word}"))?,
        };
        let generation = self.generation().await;
        let outcome = match self.yard.apply(&self.pool, &job.spec).await {
            Err(refusal) if !is_refusal(&refusal) => return Err(format!("the API server fails: {refusal:?}")),
            Err(_) if generation != self.generation().await => return Err("refused, yet changed".to_owned()),
            Err(_) => {
                self.at = Some((job.base.clone(), before));
                return Ok(Outcome::Refused);
            }
            Ok(_) => self.ended(job, &before).await?,
        };
        let after = self.base(job).await.map_err(|word| format!("the way back: {word}"))?;
        same(&before, &after).map_err(|word| format!("after the way back, {word}"))?;
        self.at = Some((job.base.clone(), after));
        Ok(outcome)
    }

    async fn base(&self, job: &Job) -> Result<Objects, String> {
        self.yard.converge(&self.pool, &job.base, self.limit).await
    }

    async fn ended(&self, job: &Job, before: &Objects) -> Result<Outcome, String> {
        match settle(&self.yard.server, &self.yard.namespace, &self.pool, self.limit).await? {
            End::Converged => Ok(Outcome::Converged),
            End::Conditioned { reason, message } => {
                told(&reason, &message, job)?;
                if reason == "InvalidSpec" {
                    let now = self.yard.objects(&self.pool).await;
                    same(before, &now).map_err(|word| format!("wrong spec, yet {word}"))?;
                }
                Ok(Outcome::Conditioned)
            }
        }
    }

    async fn generation(&self) -> Value {
        let pool = self.yard.server.get(&self.yard.path(&self.pool)).await;
        pool.map(|pool| pool["metadata"]["generation"].clone()).unwrap_or_default()
    }
}

/// A server-side apply whose types are wrong is answered with an internal error, by every API server there is.
fn is_refusal(refusal: &Refusal) -> bool {
    refusal.code < 500 || refusal.message.starts_with("failed to create typed patch object")
}

/// A condition about the spec must name the field.
fn told(reason: &str, message: &str, job: &Job) -> Result<(), String> {
    let about_spec = ["InvalidSpec", "Refused"].contains(&reason);
    let fields: BTreeSet<String> = job.mutation.changes.iter().map(|(path, _)| path.to_string()).collect();
    let leaf = |path: &str| path.rsplit(['.', '[']).next().unwrap_or_default().to_owned();
    if about_spec && !fields.iter().any(|path| message.contains(path) || message.contains(&leaf(path))) {
        return Err(format!("{reason} does not name the field: {message}"));
    }
    // What the API server would have refused at once should never get as far as this.
    if reason == "Refused" { Err(format!("accepted, but cannot be carried out: {message}")) } else { Ok(()) }
}

fn same(one: &Objects, other: &Objects) -> Result<(), String> {
    let found = differing(one, other);
    if found.is_empty() { Ok(()) } else { Err(format!("objects differ: {}", found.join("; "))) }
}
