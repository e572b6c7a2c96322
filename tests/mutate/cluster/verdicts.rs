//! The API server and the local evaluation reach the same verdict on every object, a refusal names the field, and what is
//! accepted can be carried out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use mutate::{Fault, Mutation, Rules, mutations, pairs};
use serde_json::Value;

use crate::api_server::{Answer, ApiServer, policies, pools};
use crate::bases::{self, NOWHERE};
use crate::planned::{self, Shown};
use crate::read;

/// Requests at the same time. More only queue in an API server that has two processors.
const TOGETHER: usize = 16;
/// Alarms that are shown before the rest is only counted.
const SHOWN: usize = 400;

#[tokio::test]
async fn verdicts_are_equal_and_what_is_accepted_can_be_planned() {
    hold_court("InferencePool", bases::rules(), pools(NOWHERE), Next::Plan(Shown::default())).await;
}

#[tokio::test]
async fn verdicts_on_policies_are_equal_and_what_is_accepted_is_read_alike_by_operator_and_routers() {
    hold_court("RoutePolicy", bases::rules_of::<api::RoutePolicy>(), policies(NOWHERE), Next::Read).await;
}

/// What is done with an object that is accepted.
enum Next {
    /// It is planned for, as the operator does.
    Plan(Shown),
    /// It is read, as operator and routers do.
    Read,
}

/// Tries every mutation of every base of a kind, whose objects are created at the path `collection`.
async fn hold_court(kind: &str, rules: Rules, collection: String, next: Next) {
    let begun = Instant::now();
    let mut court = Court {
        server: ApiServer::connect().await,
        collection,
        rules,
        next,
        accepted: 0,
        refused: 0,
        judging: Duration::ZERO,
        alarms: Vec::new(),
    };
    let mut tried = BTreeSet::new();
    for (name, base) in bases::all(kind) {
        // A base further down only adds what none above has said of the same places.
        let mut new = |all: Vec<Mutation>| {
            let new = |mutation: &Mutation| is_at_home(mutation, &base) && tried.insert(mutation.changes_text());
            all.into_iter().filter(new).collect::<Vec<_>>()
        };
        let alone = new(mutations(court.rules.schema(), &base, "spec"));
        let accepted = court.hear(&name, &base, alone).await;
        let together = new(pairs(court.rules.schema(), "spec", &accepted));
        court.hear(&name, &base, together).await;
        println!("{name}: {} accepted, {} refused so far, after {:?}", court.accepted, court.refused, begun.elapsed());
    }
    let Court { accepted, refused, judging, alarms, .. } = court;
    println!(
        "{kind}: {accepted} accepted, {refused} refused, {} alarms, {judging:?} of local evaluation",
        alarms.len()
    );
    let shown = alarms.iter().take(SHOWN).fold(String::new(), |text, alarm| text + alarm + "\n");
    assert!(alarms.is_empty(), "{} alarms\n{shown}", alarms.len());
}

/// Hears what both judges say, and keeps the count.
struct Court {
    server: ApiServer,
    collection: String,
    rules: Rules,
    next: Next,
    accepted: usize,
    refused: usize,
    /// Time that the local evaluation took.
    judging: Duration,
    alarms: Vec<String>,
}

impl Court {
    /// Has every mutation of `base` judged twice, goes on with those that are accepted, and gives them.
    async fn hear(&mut self, name: &str, base: &Value, all: Vec<Mutation>) -> Vec<Mutation> {
        let server = self.server.clone();
        let path = self.collection.clone();
        let objects = all.into_iter().filter_map(|mutation| mutation.apply(base).map(|object| (mutation, object)));
        let mut answers = stream::iter(objects)
            .map(|(mutation, object)| {
                let (server, path) = (&server, &path);
                async move {
                    let answer = server.would_create(path, &object).await;
                    (mutation, object, answer)
                }
            })
            .buffered(TOGETHER);
        let mut accepted = Vec::new();
        while let Some((mutation, object, answer)) = answers.next().await {
            let start = Instant::now();
            let ours = self.rules.judge(&object);
            self.judging += start.elapsed();
            let mut found = compare(ours, &mutation, &answer).err();
            if let Ok(stored) = &answer {
                let then = match &mut self.next {
                    Next::Plan(shown) => planned::check(&server, shown, stored).await,
                    Next::Read => read::check(&mutation, stored),
                };
                found = found.or_else(|| then.err());
            }
            if let Some(alarm) = found {
                println!("{name}: {mutation}: {alarm}");
                self.alarms.push(format!("{name}: {mutation}: {alarm}"));
            }
            match answer {
                Ok(_) => accepted.push(mutation),
                Err(_) => self.refused += 1,
            }
        }
        self.accepted += accepted.len();
        accepted
    }
}

/// Whether the objects around the changed places are there, so that nothing else is missing beside them.
fn is_at_home(mutation: &Mutation, base: &Value) -> bool {
    mutation.changes.iter().all(|(path, _)| path.parent().get(base).is_some())
}

fn compare(ours: Result<Value, Vec<Fault>>, mutation: &Mutation, answer: &Answer) -> Result<(), String> {
    match (ours, answer) {
        (Ok(ours), Ok(theirs)) if ours["spec"] == theirs["spec"] => Ok(()),
        (Ok(ours), Ok(theirs)) => Err(format!("stored as {}, not {}", theirs["spec"], ours["spec"])),
        (Err(_), Err(refusal)) => named(mutation, &refusal.message, &refusal.fields),
        (Ok(_), Err(refusal)) => Err(format!("only the API server refuses: {refusal:?}")),
        (Err(faults), Ok(_)) => Err(format!("only the local evaluation refuses: {faults:?}")),
    }
}

/// Whether a refusal leads to the change: by its path, by a path around or below it, or by the name of its field.
fn named(mutation: &Mutation, message: &str, fields: &[String]) -> Result<(), String> {
    // A rule over all of a list speaks of `spec.rules[].use`, a rule over the whole spec of `spec.targets` besides.
    let told = message.split(|c: char| c.is_whitespace() || ",;:".contains(c)).filter(|word| word.starts_with("spec."));
    let told: Vec<String> = told.map(without_indices).collect();
    let found = mutation.changes.iter().any(|(path, _)| {
        let (path, plain) = (path.to_string(), without_indices(&path.to_string()));
        let near = |field: &String| field.len() > "spec".len() && (path.starts_with(field) || field.starts_with(&path));
        let meant = |told: &String| plain.starts_with(told) || told.starts_with(&plain);
        message.contains(&path) || message.contains(&plain) || fields.iter().any(near) || told.iter().any(meant)
    });
    if found { Ok(()) } else { Err(format!("the refusal does not name the field: {message}")) }
}

/// `spec.engine.env[0].name` as `spec.engine.env.name`.
fn without_indices(path: &str) -> String {
    let mut parts = path.split(['[', ']']);
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.skip(1).step_by(2).collect::<String>()
}
