//! The API server and the local evaluation reach the same verdict on every object, and a refusal names the field.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use mutate::{Fault, Mutation, mutations, pairs};
use serde_json::Value;

use crate::api_server::{Answer, ApiServer, pools};
use crate::bases::{self, NOWHERE};

/// Requests at the same time. More only queue in an API server that has two processors.
const TOGETHER: usize = 16;
/// Disagreements that are shown before the rest is only counted.
const SHOWN: usize = 400;

#[tokio::test]
async fn verdicts_are_equal_and_refusals_name_the_field() {
    let (server, rules) = (ApiServer::connect().await, bases::rules());
    let (mut counts, mut alarms) = (BTreeMap::<&str, usize>::new(), Vec::new());
    let (begun, mut judging) = (Instant::now(), Duration::ZERO);
    for (name, base) in bases::all() {
        let mut all = mutations(rules.schema(), &base, "spec");
        all.extend(pairs(rules.schema(), &base, "spec", |object| rules.judge(object).is_ok()));
        let objects = all.into_iter().filter_map(|mutation| mutation.apply(&base).map(|object| (mutation, object)));
        let path = pools(NOWHERE);
        let mut answers = stream::iter(objects)
            .map(|(mutation, object)| {
                let (server, path) = (&server, &path);
                async move {
                    let answer = server.would_create(path, &object).await;
                    (mutation, object, answer)
                }
            })
            .buffered(TOGETHER);
        while let Some((mutation, object, answer)) = answers.next().await {
            *counts.entry(if answer.is_ok() { "accepted" } else { "refused" }).or_default() += 1;
            let start = Instant::now();
            let ours = rules.judge(&object);
            judging += start.elapsed();
            if let Err(alarm) = compare(ours, &mutation, &answer) {
                alarms.push(format!("{name}: {mutation}: {alarm}"));
            }
        }
    }
    println!("{counts:?}, {} alarms, {judging:?} of {:?} for the local evaluation", alarms.len(), begun.elapsed());
    let shown = alarms.iter().take(SHOWN).fold(String::new(), |text, alarm| text + alarm + "\n");
    assert!(alarms.is_empty(), "{} alarms\n{shown}", alarms.len());
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
    let found = mutation.changes.iter().any(|(path, _)| {
        let path = path.to_string();
        let near = |field: &String| field.len() > "spec".len() && (path.starts_with(field) || field.starts_with(&path));
        let bare: String = without_indices(&path);
        message.contains(&path) || message.contains(&bare) || fields.iter().any(near)
    });
    if found { Ok(()) } else { Err(format!("the refusal does not name the field: {message}")) }
}

/// `spec.engine.env[0].name` as `spec.engine.env.name`.
fn without_indices(path: &str) -> String {
    let mut parts = path.split(['[', ']']);
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.skip(1).step_by(2).collect::<String>()
}
