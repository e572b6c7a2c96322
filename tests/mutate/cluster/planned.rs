//! What is planned for a pool that the API server accepts: our validation accepts it too, the API server accepts every object
//! of the plan, and once they are there nothing is left to write.

use std::collections::{BTreeMap, BTreeSet};

use api::InferencePool;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use operator_core::FIELD_MANAGER;
use operator_core::plan::{Change, Child};
use operator_core::pool::{Invalid, Observed, Site, plan, validate};
use serde_json::{Value, json};

use crate::api_server::ApiServer;

/// The objects that the API server has been shown, with what it would have stored: most mutations change one of a pool's.
#[derive(Default)]
pub(crate) struct Shown(BTreeMap<String, Value>);

/// Plans for `stored`, an accepted pool, and tries the plan. The error is what is wrong.
pub(crate) async fn check(server: &ApiServer, shown: &mut Shown, stored: &Value) -> Result<(), String> {
    let mut stored = stored.clone();
    // Each dry run gives another, and the objects of the plan would all differ.
    stored["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    let pool: InferencePool = serde_json::from_value(stored).map_err(|error| format!("cannot be read: {error}"))?;
    let valid = match validate(&pool) {
        Ok(valid) => valid,
        Err(faults) if is_about_version(pool, &faults) => return Ok(()),
        Err(faults) => return Err(format!("accepted, but invalid: {}", joined(&faults))),
    };
    let (now, site) = (Time(Timestamp::UNIX_EPOCH), site());
    let mut seen = Observed::default();
    let first = plan(&now, &site, &seen, &valid);
    for change in first.changes {
        let Change::Apply { child, .. } = change else { return Err(format!("nothing is there, yet {change:?}")) };
        let kind = child.kind();
        let live = show(server, shown, &child).await?;
        seen.children.push(Child::from_json(kind, live).map_err(|error| error.to_string())?);
    }
    let again = plan(&now, &site, &seen, &valid);
    let because: BTreeSet<String> = again.changes.iter().map(|change| format!("{change:?}")).collect();
    if because.is_empty() && again.blocked.is_empty() {
        return Ok(());
    }
    Err(format!("would be written again and again: {because:?} {:?}", again.blocked))
}

/// Whether the faults are that the engine's version does not take its arguments, and say so of fields of the engine. The API
/// server has no table of arguments; such a pool has a condition.
fn is_about_version(mut pool: InferencePool, faults: &[Invalid]) -> bool {
    // Of an engine whose version is not told, no argument is checked.
    pool.spec.engine.image = Some("engine:unknown".to_owned());
    pool.spec.engine.version = None;
    validate(&pool).is_ok() && faults.iter().all(|fault| fault.path.starts_with("spec.engine."))
}

fn joined(faults: &[Invalid]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What the API server would store for a child.
async fn show(server: &ApiServer, shown: &mut Shown, child: &Child) -> Result<Value, String> {
    let object = child.to_json();
    let key = object.to_string();
    if let Some(live) = shown.0.get(&key) {
        return Ok(live.clone());
    }
    let path = path(&object);
    let query = format!("dryRun=All&fieldManager={FIELD_MANAGER}");
    let live = server
        .call("PATCH", &format!("{path}?{query}"), &object)
        .await
        .map_err(|refusal| format!("accepted, but its {} is refused: {}", child.kind().as_str(), refusal.message))?;
    shown.0.insert(key, live.clone());
    Ok(live)
}

/// Where an object of a namespace is found, by its own words.
fn path(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = text("/apiVersion");
    let api = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let kind = text("/kind").to_lowercase();
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    format!("{api}/namespaces/{}/{plural}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

fn site() -> Site {
    Site { namespace: "quartermaster-system".to_owned(), scrapers: vec!["monitoring".to_owned()] }
}
