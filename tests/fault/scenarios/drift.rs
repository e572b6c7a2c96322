//! Somebody else deletes, relabels, edits or extends what the operator has made (OP-18).

use std::time::Duration;

use fault::bed::{Bed, Form, Trouble};
use fault::dump::Kind;
use fault::server::Failure;
use fault::wait_for;
use serde_json::{Value, json};

use crate::kill::Reference;
use crate::life::{LOOK, Life, QUIET, SETTLED, Step, at_rest};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "drift";

/// Who drifts.
const STRANGER: &str = "stranger";
/// What a stranger leaves on every object.
const MARK: &str = "example.org/left-here";
/// From an edit until the operator has answered it: it hears of it at once.
const ANSWERED: Duration = Duration::from_secs(30);

/// An object that the operator made.
#[derive(Clone)]
struct Made {
    kind: Kind,
    name: String,
}

impl Made {
    fn rest(&self) -> String {
        format!("{}/{}", self.kind.plural, self.name)
    }
}

pub(crate) async fn prove(bed: &Bed, reference: &Reference, runner: &mut Runner) -> Result<(), Trouble> {
    // Which kinds are made is for the operator to say.
    let life = Life::begin(bed, "drift").await?;
    life.act(Step::Create).await?;
    life.settle().await?;
    let mut all = Vec::new();
    for kind in &bed.kinds {
        let found = life.namespace.get(&kind.api, &kind.plural).await?.unwrap_or_default();
        for object in found["items"].as_array().into_iter().flatten() {
            if object["metadata"]["ownerReferences"][0]["kind"] == "InferencePool" {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                all.push(Made { kind: kind.clone(), name });
            }
        }
    }
    life.end().await?;
    let every = if runner.full() { 1 } else { 8 };
    let mut cases = Vec::new();
    for made in all {
        let case = drifted(bed.clone(), reference, made.clone());
        cases.push((made.rest(), Box::pin(case) as std::pin::Pin<Box<dyn Future<Output = _>>>));
        let case = edited(bed.clone(), made.clone(), every);
        cases.push((format!("edits of {}", made.rest()), Box::pin(case)));
    }
    cases.push(("a namespace without its operator".to_owned(), Box::pin(orphaned(bed.clone()))));
    runner.run(CLASS, cases).await;
    Ok(())
}

/// The object is deleted and relabelled, and comes back; what a stranger adds to it stays.
async fn drifted(bed: Bed, reference: &Reference, made: Made) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &format!("drift-{}", made.kind.plural)).await?;
    let mut verdict = Verdict::default();
    life.act(Step::Create).await?;
    life.settle().await?;
    let want = &reference[&Step::Create].dump;
    let labels = life.read(&made).await?["metadata"]["labels"].clone();
    let gone = labels.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), Value::Null));
    let relabel = json!({"metadata": {"labels": gone.collect::<serde_json::Map<_, _>>()}});
    for what in ["deleted", "relabelled"] {
        match what {
            "deleted" => life.namespace.delete(&made.kind.api, &made.rest()).await?,
            _ => drop(life.change(&made, &relabel).await?),
        }
        verdict.cases += 1;
        let began = std::time::Instant::now();
        match life.becomes(want).await {
            Ok(()) => verdict.recovered.push(began.elapsed()),
            Err(differs) => verdict.divergences.push(format!("{what}: {}", differs.join("; "))),
        }
    }
    verdict.cases += 1;
    verdict.divergences.extend(extended(&life, &made).await?);
    life.end().await?;
    Ok(verdict)
}

/// A stranger's annotation, and a sidecar where there is a pod template, outlive the operator's own changes.
async fn extended(life: &Life, made: &Made) -> Result<Vec<String>, Trouble> {
    let mark = json!({"metadata": {"annotations": {MARK: "yes"}, "labels": {MARK: "yes"}}});
    life.change(made, &mark).await?;
    let engine = life.read(made).await?["spec"]["template"]["spec"]["containers"][0].clone();
    let sidecar = json!({
        "name": "sidecar", "image": engine["image"], "args": ["file:///models/side", "--port", "8999"],
        "securityContext": engine["securityContext"],
    });
    if !engine.is_null() {
        let body = json!({
            "apiVersion": made.kind.api.trim_start_matches("apis/"), "kind": "Deployment",
            "metadata": {"name": made.name}, "spec": {"template": {"spec": {"containers": [sidecar]}}},
        });
        life.namespace.patch(&made.kind.api, &made.rest(), STRANGER, Form::Apply, &body).await?;
    }
    for step in [Step::ScaleUp, Step::Unscale, Step::ScaleDown, Step::Roll, Step::Rescale] {
        life.act(step).await?;
        life.settle().await?;
    }
    let object = life.read(made).await?;
    let mut wrong = Vec::new();
    // The autoscaler is deleted and made anew on the way.
    let kept = made.kind.plural == "horizontalpodautoscalers" || {
        object["metadata"]["annotations"][MARK] == "yes" && object["metadata"]["labels"][MARK] == "yes"
    };
    if !kept {
        wrong.push("a stranger's annotation or label is gone".to_owned());
    }
    let containers = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    if !engine.is_null() && !containers.iter().any(|container| container["name"] == "sidecar") {
        wrong.push("a stranger's sidecar is gone".to_owned());
    }
    if !at_rest(&life.pool().await?) {
        wrong.push("the pool is not ready with what a stranger added".to_owned());
    }
    Ok(wrong)
}

/// Every field of the object that the operator set is set to something else by a stranger. It is either set back, or the
/// pool's conditions name the field and the stranger; and all is well when the stranger has set it back.
async fn edited(bed: Bed, made: Made, every: usize) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, &format!("edit-{}", made.kind.plural)).await?;
    let mut verdict = Verdict::default();
    life.act(Step::Create).await?;
    life.settle().await?;
    let (mut refused, made_first) = (0, life.read(&made).await?);
    for path in leaves(&made_first).into_iter().step_by(every) {
        life.settle().await?;
        let Some(before) = life.read(&made).await?.pointer(&path).cloned() else { continue };
        let replace = |value: &Value| json!([{"op": "replace", "path": path, "value": value}]);
        match life.json(&made, &replace(&other(&before))).await {
            Ok(_) => {}
            Err(Failure::Refused { .. }) => {
                refused += 1;
                continue;
            }
            Err(failure) => return Err(failure.into()),
        }
        verdict.cases += 1;
        let field = path.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
        let what = format!("{path} is answered");
        let answered = wait_for(&what, ANSWERED, LOOK, async || {
            if life.read(&made).await.map_err(|trouble| trouble.to_string())?.pointer(&path) == Some(&before) {
                return Ok(());
            }
            let pool = life.pool().await.map_err(|trouble| trouble.to_string())?;
            let conditions = pool["status"]["conditions"].to_string();
            if conditions.contains(&field) && conditions.contains(STRANGER) { Ok(()) } else { Err(conditions) }
        });
        if let Err(late) = answered.await {
            verdict.divergences.push(late.to_string());
        }
        // Whoever set it sets it back, if it was left as it is.
        if life.read(&made).await?.pointer(&path) != Some(&before) {
            life.json(&made, &replace(&before)).await?;
        }
        let what = format!("{path} is set back");
        let healed = wait_for(&what, SETTLED, LOOK, async || {
            let pool = life.pool().await.map_err(|trouble| trouble.to_string())?;
            let blocked = pool["status"]["conditions"].to_string().contains(STRANGER);
            if at_rest(&pool) && !blocked { Ok(()) } else { Err(pool["status"].to_string()) }
        });
        if let Err(late) = healed.await {
            verdict.divergences.push(late.to_string());
            break;
        }
    }
    verdict.notes.push(format!("{}: {refused} edits were refused by the API server", made.rest()));
    life.end().await?;
    Ok(verdict)
}

/// A namespace is deleted when no operator is there: nothing may hold it up.
async fn orphaned(bed: Bed) -> Result<Verdict, Trouble> {
    let life = Life::begin(&bed, "orphaned").await?;
    life.act(Step::Create).await?;
    life.settle().await?;
    life.operator.stop();
    life.namespace.remove().await?;
    let path = format!("/api/v1/namespaces/{}", life.namespace.name);
    let gone = wait_for("the namespace goes", SETTLED, QUIET, async || {
        match bed.server.ask(http::Method::GET, &path, "application/json", &Value::Null).await {
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure.to_string()),
            Ok(found) => Err(found["status"].to_string()),
        }
    });
    let divergences = gone.await.err().map(|late| late.to_string()).into_iter().collect();
    Ok(Verdict { cases: 1, divergences, ..Verdict::default() })
}

impl Life {
    async fn read(&self, made: &Made) -> Result<Value, Trouble> {
        Ok(self.namespace.get(&made.kind.api, &made.rest()).await?.unwrap_or_default())
    }

    async fn change(&self, made: &Made, body: &Value) -> Result<Value, Failure> {
        self.namespace.patch(&made.kind.api, &made.rest(), STRANGER, Form::Merge, body).await
    }

    async fn json(&self, made: &Made, body: &Value) -> Result<Value, Failure> {
        self.namespace.patch(&made.kind.api, &made.rest(), STRANGER, Form::Json, body).await
    }
}

/// Paths of the single values below `spec` that the operator has applied, as JSON pointers.
fn leaves(object: &Value) -> Vec<String> {
    let managed = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let ours = managed.iter().find(|entry| entry["operation"] == "Apply" && entry["manager"] != STRANGER);
    let mut found = Vec::new();
    if let Some(entry) = ours {
        walk(&entry["fieldsV1"]["f:spec"], &object["spec"], "/spec", &mut found);
    }
    found
}

fn walk(fields: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    if live.is_string() || live.is_number() || live.is_boolean() {
        found.push(path.to_owned());
        return;
    }
    for (name, below) in fields.as_object().into_iter().flatten() {
        if let Some(field) = name.strip_prefix("f:") {
            let escaped = field.replace('~', "~0").replace('/', "~1");
            walk(below, &live[field], &format!("{path}/{escaped}"), found);
        } else if let Some(key) = name.strip_prefix("k:") {
            let key: Value = serde_json::from_str(key).unwrap_or_default();
            let fits = |item: &Value| key.as_object().is_some_and(|key| key.iter().all(|(k, v)| item[k] == *v));
            let items = live.as_array().cloned().unwrap_or_default();
            if let Some(index) = items.iter().position(fits) {
                let path = format!("{path}/{index}");
                let keys = key.as_object().into_iter().flat_map(serde_json::Map::keys);
                let keys: Vec<String> = keys.map(|field| format!("{path}/{field}")).collect();
                walk(below, &items[index], &path, found);
                // With another key it would be another item.
                found.retain(|leaf| !keys.contains(leaf));
            }
        }
    }
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(yes) => json!(!yes),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) => json!((number + 1).to_string()),
            Err(_) => json!(format!("{text}x")),
        },
        other => other.clone(),
    }
}
