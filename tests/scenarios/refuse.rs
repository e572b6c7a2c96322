//! A wrong spec is refused at apply, with a sentence that names the field and the fix; and one that cannot be read, because
//! it is older than a rule, stops nothing.

use e2e::{Namespace, kubectl, manifest, read, try_kubectl};
use serde_json::json;

fn pool(change: impl Fn(String) -> String) -> String {
    change(manifest("manifests/samples/pool-sim.yaml"))
}

#[test]
fn wrong_pools_are_refused_with_the_fix() {
    let ns = Namespace::new("refuse");
    let cases: [(&str, &str, &str); 11] = [
        ("source: file:///models/tiny", "source: tiny", "spec.model.source must be hf://organisation/name"),
        ("vllm-sim:dev", "vllm-sim:latest", "spec.engine.image needs a fixed tag or digest"),
        ("vllm-sim:dev", "vllm-sim", "spec.engine.image needs a fixed tag or digest"),
        ("VLLM_SIM_START_DELAY", "VLLM_API_KEY", "spec.engine.env must not set VLLM_API_KEY"),
        ("source: file", "servedNames: [-x]\n    source: file", "spec.model.servedNames must not start with '-'"),
        ("minReplicas: 1", "minReplicas: 9", "spec.scaling.minReplicas must not exceed spec.scaling.maxReplicas"),
        ("maxNumSeqs: 8", "maxNumSeqs: 8\n    extraArgs: [--port=1]", "spec.engine.extraArgs holds an argument that"),
        ("maxNumSeqs: 8", "maxNumSeqs: 8\n    extraArgs: [--enable_lora]", "must spell flags with '-'"),
        ("maxNumSeqs: 8", "maxNumSeqs: 0", "spec.engine.maxNumSeqs"),
        ("name: tiny", "name: 4tiny", "metadata.name must start with a letter"),
        ("maxNumSeqs: 8", "maxNumSeqs: 8\n    maxNumSequences: 8", "maxNumSequences"),
    ];
    for (from, to, message) in cases {
        let text = pool(|sample| {
            assert!(sample.contains(from), "the sample has no {from:?}");
            sample.replacen(from, to, 1)
        });
        let error = ns.apply(&text).expect_err(to);
        assert!(error.contains(message), "{to}: {error}");
    }
    assert_eq!(ns.get("inferencepools.quartermaster.dev").unwrap()["items"], json!([]), "nothing was changed");
}

#[test]
fn wrong_policies_are_refused_with_the_fix() {
    let ns = Namespace::new("refuse-policy");
    let cases = [
        ("models: [\"a*b\"], targets: [{name: x, pool: {name: p}}]", "only as the last character"),
        ("models: [], targets: [{name: x, pool: {name: p}}]", "spec.models"),
        ("models: [a], targets: [{name: x, pool: {name: p}}, {name: x, pool: {name: q}}]", "same name"),
        ("models: [a], targets: []", "spec.targets"),
    ];
    for (spec, message) in cases {
        let text = format!(
            "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: wrong}}\nspec: {{{spec}}}\n"
        );
        let error = ns.apply(&text).expect_err(spec);
        assert!(error.contains(message), "{spec}: {error}");
    }
}

/// Objects that our types cannot read exist when a rule is newer than they are. Here the rules are taken away for a moment
/// to store one. The pool beside it must be served as if nothing were there.
#[test]
fn an_unreadable_pool_stops_nothing() {
    let ns = Namespace::new("unreadable");
    {
        let _rules = RulesTakenAway::new();
        let garbage = "apiVersion: quartermaster.dev/v1alpha1\nkind: InferencePool\nmetadata: {name: garbage}\n\
                       spec: {model: 7, engine: [], replicas: 2}\n";
        e2e::wait_for("the garbage is stored", e2e::PATIENCE, || ns.apply(garbage));
    }

    // Where the status may not be written for the sake of the spec, the event is all there is.
    e2e::wait_for("a person is told what is wrong with it", e2e::PATIENCE, || {
        let events = ns.get("events --field-selector involvedObject.name=garbage,reason=InvalidSpec")?;
        let told = |event: &serde_json::Value| {
            event["message"].as_str().is_some_and(|m| m.contains("spec.model cannot be read"))
        };
        events["items"]
            .as_array()
            .is_some_and(|all| all.iter().any(told))
            .then_some(())
            .ok_or_else(|| events.to_string())
    });
    ns.pool("healthy", "unreadable-model", str::to_owned);
    ns.wait_replicas("healthy", 1);
    let chat = e2e::Chat::new();
    e2e::wait_for("the router serves the pool beside it", e2e::PATIENCE, || match chat.ask("unreadable-model", 2)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
    try_kubectl(&format!("delete inferencepools.quartermaster.dev garbage --namespace {}", ns.name), "").unwrap();
}

/// The definition of pools without its schema, until it is dropped.
struct RulesTakenAway;

impl RulesTakenAway {
    fn new() -> Self {
        let loose = json!([{
            "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
            "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
        }]);
        kubectl(&format!("patch crd inferencepools.quartermaster.dev --type=json --patch={loose}"));
        Self
    }
}

impl Drop for RulesTakenAway {
    fn drop(&mut self) {
        let apply = "apply --server-side --force-conflicts --filename -";
        if let Err(error) = try_kubectl(apply, &read("crds/inferencepools.yaml")) {
            // Panicking here could end the whole run; the next scenario fails and this says why.
            eprintln!("the definition of pools was not restored: {error}");
        }
    }
}
