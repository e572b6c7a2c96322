//! Each right of the operator is taken away in turn, and given back (OP-17). The rights are those of the install.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fault::apifault::Verb;
use fault::bed::{Bed, Namespace, Operator, PERSON, Trouble, read};
use fault::dump::{Dump, differences};
use fault::wait_for;
use http::Method;
use serde_json::{Value, json};

use crate::life::{LOOK, Life, QUIET, SETTLED, Step, condition};
use crate::runner::{Runner, Verdict};

pub(crate) const CLASS: &str = "rbac";

/// The operator's service account and, by the chart, its roles.
const OPERATOR: &str = "quartermaster-operator";
const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";
/// Until it is told what is forbidden.
const TOLD: Duration = Duration::from_secs(30);
/// Calls per second on average while a right is missing, and what an operator may ask besides when it starts.
const MOST_CALLS: u128 = 10;
const START: u128 = 40;
/// What the operator is made to do: it makes, changes and deletes.
const STEPS: [Step; 4] = [Step::Create, Step::ScaleUp, Step::Unscale, Step::MakePolicy];

/// One thing that one may do: group, resource with subresource, verb.
type Right = (String, String, String);

pub(crate) async fn prove(bed: &Bed, runner: &mut Runner) -> Result<(), Trouble> {
    let rules = rules()?;
    let (want, used) = with_all_rights(bed, &rules).await?;
    let granted: BTreeSet<Right> = rules.iter().flat_map(rights).collect();
    let unused = granted.difference(&used).map(|(group, resource, verb)| format!("{verb} {resource}.{group}"));
    let note =
        format!("not needed for the life of a pool, so not taken away: {}", unused.collect::<Vec<_>>().join(", "));
    let (mut cases, every) = (Vec::new(), if runner.full() { 1 } else { 3 });
    for (number, right) in granted.intersection(&used).enumerate().step_by(every) {
        let name = format!("{} {}", right.2, right.1);
        cases.push((name, without(bed.clone(), rules.clone(), right.clone(), format!("rbac-{number}"), &want)));
    }
    runner.note(CLASS, note);
    runner.run(CLASS, cases).await;
    Ok(())
}

/// The rules that the install binds to the operator's service account.
fn rules() -> Result<Vec<Value>, Trouble> {
    let text = read("manifests/install/quartermaster.yaml")?;
    let mut all = Vec::new();
    for document in text.split("\n---") {
        let object: Value = serde_saphyr::from_str(document)?;
        let role = matches!(object["kind"].as_str(), Some("ClusterRole" | "Role"));
        if role && object["metadata"]["name"] == OPERATOR {
            all.extend(object["rules"].as_array().cloned().unwrap_or_default());
        }
    }
    Ok(all)
}

fn rights(rule: &Value) -> Vec<Right> {
    let texts = |name: &str| -> Vec<String> {
        let list = rule[name].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let (groups, resources, verbs) = (texts("apiGroups"), texts("resources"), texts("verbs"));
    let pairs = groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)));
    pairs.flat_map(|(group, resource)| verbs.iter().map(|v| (group.clone(), resource.clone(), v.clone()))).collect()
}

/// The same rules without one right.
fn lacking(rules: &[Value], right: &Right) -> Vec<Value> {
    let all = rules.iter().flat_map(|rule| {
        let names = rule["resourceNames"].clone();
        rights(rule).into_iter().filter(|other| other != right).map(move |(group, resource, verb)| {
            let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
            if !names.is_null() {
                rule["resourceNames"] = names.clone();
            }
            rule
        })
    });
    all.collect()
}

/// An operator with these rights and no others.
async fn begin(bed: &Bed, name: &str, rules: &[Value]) -> Result<Life, Trouble> {
    let namespace = bed.namespace(&format!("fault-{name}")).await?;
    grant(&namespace, rules).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": OPERATOR}});
    namespace.create("api/v1", "serviceaccounts", &account).await?;
    let role = &namespace.name;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": role}],
    });
    cluster_wide(&namespace, "clusterrolebindings", &binding).await?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600},
    });
    let token = namespace.create("api/v1", &format!("serviceaccounts/{OPERATOR}/token"), &request).await?;
    let token = token["status"]["token"].as_str().unwrap_or_default().to_owned();
    let operator = Operator::start(bed, &namespace.name, Some(&token)).await?;
    Ok(Life { bed: bed.clone(), namespace, operator })
}

async fn grant(namespace: &Namespace, rules: &[Value]) -> Result<(), Trouble> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": namespace.name}, "rules": rules,
    });
    cluster_wide(namespace, "clusterroles", &role).await
}

async fn cluster_wide(namespace: &Namespace, plural: &str, object: &Value) -> Result<(), Trouble> {
    let path = format!("/{RBAC}/{plural}/{}?fieldManager={PERSON}&force=true", namespace.name);
    namespace.server.ask(Method::PATCH, &path, "application/apply-patch+yaml", object).await?;
    Ok(())
}

/// Ends the life, and takes its role away.
async fn end(life: Life) -> Result<(), Trouble> {
    for plural in ["clusterrolebindings", "clusterroles"] {
        let path = format!("/{RBAC}/{plural}/{}", life.namespace.name);
        life.bed.server.ask(Method::DELETE, &path, "application/json", &Value::Null).await?;
    }
    life.end().await
}

/// What is left behind when nothing is forbidden, and which rights were used on the way.
async fn with_all_rights(bed: &Bed, rules: &[Value]) -> Result<(Dump, BTreeSet<Right>), Trouble> {
    let life = begin(bed, "rbac-all", rules).await?;
    let mut dump = Dump::new();
    for step in STEPS {
        life.act(step).await?;
        dump = life.after(0).await?.dump;
    }
    let calls = life.operator.proxy.calls(0);
    if let Some(call) = calls.iter().find(|call| call.code == Some(403)) {
        return Err(Trouble::Other(format!("the install does not allow the operator to {}", call.ask.text())));
    }
    let mut used = BTreeSet::new();
    for call in calls.iter().filter(|call| !call.ask.resource.is_empty()) {
        let mut right =
            |verb: Verb| used.insert((call.ask.group.clone(), call.ask.full_resource(), verb.as_str().to_owned()));
        right(call.ask.verb);
        // A server-side apply that makes an object needs the right to create, too.
        if call.created() {
            right(Verb::Create);
        }
    }
    end(life).await?;
    Ok((dump, used))
}

async fn without(bed: Bed, rules: Vec<Value>, right: Right, name: String, want: &Dump) -> Result<Verdict, Trouble> {
    let (_, resource, verb) = &right;
    let life = begin(&bed, &name, &lacking(&rules, &right)).await?;
    let (mut verdict, began) = (Verdict { cases: 1, ..Verdict::default() }, Instant::now());
    for step in STEPS {
        life.act(step).await?;
        // The operator cannot finish; it gets the time to begin.
        tokio::time::sleep(QUIET).await;
    }
    let sentence = format!("cannot {verb} resource \"{resource}\"");
    let told = wait_for(&sentence, TOLD, LOOK, async || {
        let pool = life.pool().await.map_err(|trouble| trouble.to_string())?;
        let ready = condition(&pool, "Ready")["message"].as_str().unwrap_or_default().to_owned();
        let log = life.operator.log().replace("\\\"", "\"");
        let missed = life.operator.proxy.calls(0).iter().any(|call| call.code == Some(403));
        // A right that no call needed this time, such as that to count a repeated event, is not missed.
        if !missed || log.contains(&sentence) || ready.contains(&sentence) { Ok(()) } else { Err(ready) }
    });
    if let Err(late) = told.await {
        verdict.divergences.push(format!("nothing names it: {late}"));
    }
    let (calls, took) = (life.operator.proxy.mark() as u128, began.elapsed());
    if calls > START + MOST_CALLS * took.as_millis() / 1000 {
        verdict.divergences.push(format!("{calls} calls in {took:?}"));
    }
    grant(&life.namespace, &rules).await?;
    let restored = Instant::now();
    let differs = wait_for("all is as with all rights", SETTLED, LOOK, async || {
        life.settle().await.map_err(|late| late.to_string())?;
        let have = life.dump().await.map_err(|trouble| trouble.to_string())?;
        // The steps that were made meanwhile are followed at once, so the objects had fewer changes.
        let mut differs = differences(want, &have);
        differs.retain(|line| !line.contains(".generation: "));
        let differs = differs.join("; ");
        if differs.is_empty() { Ok(()) } else { Err(differs) }
    });
    match differs.await {
        Ok(()) => verdict.recovered.push(restored.elapsed()),
        Err(late) => verdict.divergences.push(late.to_string()),
    }
    if life.operator.ends() > 0 {
        verdict.divergences.push(format!("the operator ended by itself {} times", life.operator.ends()));
    }
    end(life).await?;
    Ok(verdict)
}
