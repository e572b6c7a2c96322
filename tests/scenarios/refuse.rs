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

/// The rest of a policy's spec, and what the refusal says: where it is wrong, and what to do.
const WRONG_POLICIES: &[(&str, &str)] = &[
    ("models: [\"a*b\"], targets: [{name: x, pool: {name: p}}]", "only as the last character"),
    ("models: [], targets: [{name: x, pool: {name: p}}]", "spec.models"),
    ("models: [a], targets: [{name: x, pool: {name: p}}, {name: x, pool: {name: q}}]", "same name; give each its own"),
    ("models: [a], targets: []", "spec.targets"),
    ("models: [a], targets: [{name: X, pool: {name: p}}]", "spec.targets[0].name"),
    ("models: [a], targets: [{name: x}]", "exactly one of pool, provider and service; set one"),
    ("models: [a], targets: [{name: x, pool: {name: p}, service: {name: s, port: 1}}]", "and remove the others"),
    // Services.
    ("models: [a], targets: [{name: x, service: {name: s}}]", "spec.targets[0].service.port: Required value"),
    ("models: [a], targets: [{name: x, service: {name: s, port: 65536}}]", "spec.targets[0].service.port"),
    ("models: [a], targets: [{name: x, service: {name: s.other, port: 1}}]", "spec.targets[0].service.name"),
    // Providers.
    ("models: [a], targets: [{name: x, provider: {kind: Mistral, model: m}}]", "spec.targets[0].provider.kind"),
    ("models: [a], targets: [{name: x, provider: {kind: OpenAI}}]", "spec.targets[0].provider.model: Required value"),
    (
        "models: [a], targets: [{name: x, provider: {kind: OpenAI, model: m}}]",
        "provider.credentialsSecretRef is needed for Anthropic, Bedrock and OpenAI: name a Secret",
    ),
    (
        "models: [a], targets: [{name: x, provider: {kind: OpenAICompatible, model: m}}]",
        "provider.baseUrl is needed for OpenAICompatible: set it to the URL",
    ),
    (
        "models: [a], targets: [{name: x, provider: {kind: Bedrock, model: m, credentialsSecretRef: {name: s}}}]",
        "provider.region is needed for Bedrock, for example eu-central-1",
    ),
    (
        "models: [a], targets: [{name: x, provider: {kind: OpenAI, model: m, credentialsSecretRef: {name: s}}}]",
        "provider.credentialsSecretRef.key is needed: set it to the key of the Secret",
    ),
    ("models: [a], targets: [{name: x, provider: {KEYED, baseUrl: ftp://host}}]", "must be http:// or https://"),
    ("models: [a], targets: [{name: x, provider: {KEYED, baseUrl: \"https://user@host/v1\"}}]", "no user, query"),
    ("models: [a], targets: [{name: x, provider: {KEYED, baseUrl: \"https://host/v1?a=b\"}}]", "no user, query"),
    ("models: [a], targets: [{name: x, provider: {KEYED, baseUrl: https://host/../v1}}]", "must not hold '.' or '..'"),
    ("models: [a], targets: [{name: x, provider: {KEYED, apiVersion: v1}}]", "apiVersion is for Azure only"),
    (
        "models: [a], targets: [{name: x, provider: {kind: Anthropic, model: m, project: p, \
         credentialsSecretRef: {name: s, key: k}}}]",
        "organization and project are for the kind OpenAI only; remove them",
    ),
    (
        "models: [a], targets: [{name: x, provider: {kind: Bedrock, model: m, region: Europe, credentialsSecretRef: {name: s}}}]",
        "spec.targets[0].provider.region",
    ),
    (
        "models: [a], targets: [{name: x, provider: {KEYED, region: eu-central-1}}]",
        "no use for other kinds; set it or remove",
    ),
    (
        "models: [a], targets: [{name: x, provider: {kind: OpenAI, model: m, credentialsSecretRef: {name: s}}}]",
        "provider.credentialsSecretRef.key is needed: set it to the key of the Secret",
    ),
    ("models: [a], targets: [{name: x, pool: {name: p}, price: {inputPerMillion: \"1\"}}]", "outputPerMillion"),
    (
        "models: [a], targets: [{name: x, pool: {name: p}, price: {inputPerMillion: \"1,5\", outputPerMillion: \"2\"}}]",
        "spec.targets[0].price.inputPerMillion",
    ),
    (
        "models: [a], targets: [{name: x, pool: {name: p}, price: {inputPerMillion: \"9999999999\", outputPerMillion: \"2\"}}]",
        "spec.targets[0].price.inputPerMillion",
    ),
    // Rules.
    ("POOL, rules: [{name: r, use: {}}]", "exactly one of use.ordered, use.weighted and use.cheapest"),
    ("POOL, rules: [{name: r, use: {ordered: [x], cheapest: [x]}}]", "set one and remove the others"),
    ("POOL, rules: [{name: r, use: {weighted: [{target: x, weight: 0}]}}]", "needs a weight above 0; raise one"),
    (
        "POOL, rules: [{name: r, use: {ordered: [x]}}, {name: r, use: {ordered: [x]}}]",
        ".spec.rules: duplicate entries for key [name=\"r\"]",
    ),
    ("POOL, rules: [{name: r, when: \"\", use: {ordered: [x]}}]", "spec.rules[0].when"),
    ("POOL, fallbackOn: [Timeout, Timeout]", "spec.fallbackOn holds a reason twice; remove one"),
    ("POOL, timeouts: {firstToken: 60s, total: 30s}", "firstToken must not exceed spec.timeouts.total; raise total"),
    ("POOL, timeouts: {total: 745h}", "spec.timeouts.total: Invalid value: \"745h\": must be at most 744h"),
    ("POOL, breaker: {ejection: 0s}", "spec.breaker.ejection must be at least 1s"),
    ("POOL, sessionAffinity: {header: Host}", "spec.sessionAffinity.header must be one whose value is the same"),
    // Callers.
    ("POOL, access: {anonymous: true, allow: [team-a]}", "spec.access.anonymous lets everybody in; remove one"),
    ("POOL, access: {allow: [\"oidc:me\"]}", "oidc:NAME, but spec.access.oidc names none; add it"),
    ("POOL, access: {allow: [\"sa:a:b:c\"]}", "a ServiceAccount as sa:NAME or sa:NAMESPACE:NAME"),
    (
        "POOL, access: {oidc: {issuer: example.com, audiences: [a]}}",
        "spec.access.oidc.issuer must be http:// or https://",
    ),
    ("POOL, access: {allow: [\"*-team\"]}", "spec.access.allow may hold '*' only as the last character"),
    (
        "POOL, rules: [{name: r, use: {ordered: [x, gone]}}]",
        "spec.rules[].use.ordered names a target that spec.targets does not have",
    ),
    ("POOL, rules: [{name: r, use: {cheapest: [gone]}}]", "spec.rules[].use.cheapest names a target"),
    (
        "POOL, rules: [{name: r, use: {weighted: [{target: gone, weight: 1}]}}]",
        "spec.rules[].use.weighted names a target",
    ),
    (
        "POOL, rules: [{name: r, use: {ordered: [x]}, mirror: {target: gone, percent: 5}}]",
        "spec.rules[].mirror.target names a target",
    ),
    (
        "POOL, rules: [{name: r, use: {ordered: [x]}, mirror: {target: x, percent: 5}}]",
        "spec.rules[].mirror.target is one of the rule's own targets",
    ),
];

#[test]
fn wrong_policies_are_refused_with_the_fix() {
    let ns = Namespace::new("refuse-policy");
    let apply = |spec: &str| {
        let spec = spec.replace("POOL", "models: [a], targets: [{name: x, pool: {name: p}}]");
        let spec = spec.replace("KEYED", "kind: OpenAI, model: m, credentialsSecretRef: {name: s, key: k}");
        ns.apply(&format!(
            "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: wrong}}\nspec: {{{spec}}}\n"
        ))
    };
    for &(spec, message) in WRONG_POLICIES {
        let error = apply(spec).expect_err(spec);
        assert!(error.contains(message), "{spec}: {error}");
        assert!(error.contains("spec."), "{spec}: no field is named: {error}");
    }
    assert_eq!(ns.get("routepolicies.quartermaster.dev").unwrap()["items"], json!([]), "nothing was stored");
}

/// What the API server cannot judge is a condition that names the field, and routers go on as before.
#[test]
fn rules_that_cannot_be_used_are_told_with_their_place() {
    let ns = Namespace::new("refuse-rules");
    let cases = [
        (
            "when: \"request.modl == 'x'\", use: {ordered: [x]}",
            "spec.rules[0].when: line 1, column 8: request has no field",
        ),
        ("when: request.model, use: {ordered: [x]}", "spec.rules[0].when: line 1"),
        ("when: \"request.complexity == 'hard'\", use: {ordered: [x]}", "spec.rules[0].when: line 1"),
    ];
    for (rule, message) in cases {
        ns.must_apply(&format!(
            "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: rule}}\n\
             spec: {{models: [refuse-rules], targets: [{{name: x, pool: {{name: p}}}}], rules: [{{name: r, {rule}}}]}}\n"
        ));
        e2e::wait_for(&format!("{rule}: {message}"), e2e::PATIENCE, || {
            let object = ns.get("routepolicies.quartermaster.dev/rule")?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let told = conditions.iter().find(|c| c["type"] == "Accepted").and_then(|c| c["message"].as_str());
            told.is_some_and(|told| told.contains(message)).then_some(()).ok_or_else(|| object["status"].to_string())
        });
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
