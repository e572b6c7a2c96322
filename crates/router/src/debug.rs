//! What operators may see of the routing table: which policy sends where, and what each endpoint carries right now. The
//! table holds no secret, and neither do these pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use router_core::{Endpoint, Moment, Pool, Source, Standing, Table, Target, To};
use serde_json::{Value, json};
use telemetry::admin::Page;

use crate::clock;
use crate::live::Shared;

/// The pages `/debug/config` and `/debug/endpoints`.
#[must_use]
pub fn pages(live: &Shared) -> Vec<Page> {
    let (config_of, endpoints_of) = (Arc::clone(live), Arc::clone(live));
    vec![
        ("/debug/config", Arc::new(move || config(&config_of))),
        ("/debug/endpoints", Arc::new(move || endpoints(&endpoints_of))),
    ]
}

fn config(live: &Shared) -> Vec<u8> {
    let live = live.load();
    let table = &live.table;
    let models: Vec<Value> = table
        .models()
        .into_iter()
        .map(|(model, _)| json!({"model": model, "policy": table.policy_for(model).map(|at| policy_name(table, at))}))
        .collect();
    let patterns: Vec<Value> = table
        .patterns()
        .map(|(pattern, at)| json!({"model": format!("{pattern}*"), "policy": policy_name(table, at)}))
        .collect();
    let target = |policy: usize, place: usize, target: &Target| match &target.to {
        To::Pool { name, at, .. } => {
            let pool = at.map(|at| pool_name(&table.pools()[at]));
            json!({"name": &*target.name, "pool": pool, "missing": at.is_none().then_some(&**name)})
        }
        To::Remote(remote) => {
            let key = match &live.keys[policy][place] {
                Ok(None) => "none needed".to_owned(),
                Ok(Some(_)) => "known".to_owned(),
                Err(fault) => fault.to_string(),
            };
            let now = clock::now();
            json!({
                "name": &*target.name,
                "host": remote.input.authority,
                "model": remote.input.model,
                "key": key,
                "in_flight": remote.endpoint.load.in_flight(),
                "standing": standing(&remote.endpoint, now),
                "not_reached": remote.unreached.why().map(|why| why.to_string()),
                "rests_seconds": remote.rest.left(now).map(|(left, _)| left.as_secs()),
            })
        }
    };
    let policy = |at: usize| {
        let targets = table.policies()[at].targets.iter().enumerate();
        let targets: Vec<Value> = targets.map(|(place, t)| target(at, place, t)).collect();
        json!({"policy": policy_name(table, at), "targets": targets})
    };
    let sources: BTreeSet<Source> =
        table.policies().iter().filter_map(|policy| Some(policy.access.oidc.as_ref()?.source())).collect();
    let issuer = |source: &Source| {
        let known = live.issuers.known(source);
        json!({
            "issuer": source.issuer,
            "jwks_uri": source.jwks,
            "keys": known.map(|known| known.keys.count()),
            "read_seconds_ago": known.map(|known| clock::seconds_since_1970() - known.read),
        })
    };
    let pool = |pool: &Pool| {
        json!({
            "pool": pool_name(pool),
            "served_model": &*pool.served_model,
            "ready": pool.ready.len(),
            "not_ready": pool.not_ready,
        })
    };
    page(&json!({
        "synced": live.synced,
        "mistakes": &*live.mistakes,
        "models": models,
        "patterns": patterns,
        "policies": (0..table.policies().len()).map(policy).collect::<Vec<_>>(),
        "pools": table.pools().iter().map(pool).collect::<Vec<_>>(),
        "issuers": sources.iter().map(issuer).collect::<Vec<_>>(),
    }))
}

fn endpoints(live: &Shared) -> Vec<u8> {
    let (live, now) = (live.load(), clock::now());
    let of = |pool: &Pool, endpoint: &Arc<Endpoint>| {
        json!({
            "endpoint": &*endpoint.authority,
            "pool": pool_name(pool),
            "ready": true,
            "in_flight": endpoint.load.in_flight(),
            "in_flight_tokens": endpoint.load.tokens(),
            "standing": standing(endpoint, now),
        })
    };
    let all = live.table.pools().iter().flat_map(|pool| pool.ready.iter().map(move |endpoint| of(pool, endpoint)));
    page(&json!({"endpoints": all.collect::<Vec<_>>()}))
}

fn standing(endpoint: &Endpoint, now: Moment) -> &'static str {
    match endpoint.health.standing(now) {
        Standing::Serving => "serving",
        Standing::Ejected(_) => "ejected",
        Standing::Due => "due for a trial",
        Standing::OnTrial(_) => "on trial",
    }
}

fn policy_name(table: &Table, at: usize) -> String {
    let policy = &table.policies()[at];
    format!("{}/{}", policy.namespace, policy.name)
}

fn pool_name(pool: &Pool) -> String {
    format!("{}/{}", pool.namespace, pool.name)
}

/// For people, so it is set out on several lines.
fn page(value: &Value) -> Vec<u8> {
    // Such a value always serializes, so the fallback is never seen.
    let mut page = serde_json::to_vec_pretty(value).unwrap_or_default();
    page.push(b'\n');
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Live;
    use crate::metrics::Metrics;
    use router_core::{Access, EndpointInput, Oidc, PolicyInput, PoolInput, Resilience, TargetInput};

    #[test]
    fn the_pages_tell_the_table() {
        let text = str::to_owned;
        let audiences = vec![text("quartermaster")];
        let oidc = Oidc { issuer: text("https://login.example.com"), audiences, jwks: None, claim: text("sub") };
        let policy = PolicyInput {
            namespace: text("ml"),
            name: text("route"),
            created: 5,
            models: vec![text("m"), text("x-*")],
            targets: vec![TargetInput::new("local", "ml", "p"), TargetInput::new("other", "ml", "gone")],
            session_header: None,
            access: Access { oidc: Some(oidc), ..Access::anyone() },
            resilience: Resilience::default(),
            rules: Vec::new(),
            allows_target_header: false,
            classifier: None,
        };
        let pool = PoolInput { namespace: text("ml"), name: text("p"), served_model: text("inner") };
        let endpoint = |address: &str, ready| EndpointInput {
            namespace: text("ml"),
            pool: text("p"),
            address: address.parse().unwrap(),
            ready,
        };
        let endpoints_in = vec![endpoint("10.0.0.1:8000", true), endpoint("10.0.0.2:8000", false)];
        let table = Table::build(vec![policy], vec![pool], endpoints_in, &Table::default(), Moment(0));
        let live = Live::new(table, &Metrics::new().unwrap()).shared();
        let read = |page: Vec<u8>| serde_json::from_slice::<Value>(&page).unwrap();
        let want = json!({
            "synced": true,
            "mistakes": [],
            "models": [{"model": "m", "policy": "ml/route"}],
            "patterns": [{"model": "x-*", "policy": "ml/route"}],
            "policies": [{"policy": "ml/route", "targets": [
                {"name": "local", "pool": "ml/p", "missing": null},
                {"name": "other", "pool": null, "missing": "gone"},
            ]}],
            "pools": [{"pool": "ml/p", "served_model": "inner", "ready": 1, "not_ready": 1}],
            "issuers": [
                {"issuer": "https://login.example.com", "jwks_uri": null, "keys": null, "read_seconds_ago": null},
            ],
        });
        assert_eq!(read(config(&live)), want);
        let endpoints = read(endpoints(&live));
        let first = &endpoints["endpoints"][0];
        let told = (&first["endpoint"], &first["pool"], &first["ready"], &first["in_flight"]);
        assert_eq!(told, (&json!("10.0.0.1:8000"), &json!("ml/p"), &json!(true), &json!(0)));
        assert_eq!(first["standing"], "serving");
        assert_eq!(endpoints["endpoints"].as_array().unwrap().len(), 1);
    }
}
