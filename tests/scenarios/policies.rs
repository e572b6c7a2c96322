//! A policy that is not in effect as it is written says so itself, and says why; what was served before goes on.

use e2e::{Chat, Kubectl, Namespace, PATIENCE, SYSTEM, kubectl, page, read, routed, try_kubectl, unscaled, wait_for};
use serde_json::{Value, json};

fn policy(name: &str, models: &str, pool: &str) -> String {
    format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
         spec: {{models: {models}, targets: [{{name: local, pool: {{name: {pool}}}}}], access: {{anonymous: true}}}}\n"
    )
}

/// Waits until the policy's condition has this state and reason, as `False:Conflict`, and gives its message.
fn told(ns: &Namespace, policy: &str, kind: &str, want: &str) -> String {
    wait_for(&format!("{policy} is {kind}={want}"), PATIENCE, || {
        let object = ns.get(&format!("routepolicies.quartermaster.dev/{policy}"))?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        if format!("{}:{}", text("status"), text("reason")) == want {
            Ok(text("message"))
        } else {
            Err(object.to_string())
        }
    })
}

fn served(chat: &Chat, model: &str) {
    wait_for(&format!("{model} is answered"), PATIENCE, || match chat.ask(model, 2)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
}

#[test]
fn who_loses_a_name_is_told_and_gets_it_when_it_is_free() {
    // Times of creation are whole seconds: `second` also comes before `third` where both have the same.
    let (ns, other) = (Namespace::new("names"), Namespace::new("earlier-names"));
    ns.pool("first", "names-shared", unscaled);
    ns.wait_replicas("first", 1);
    told(&ns, "first", "Accepted", "True:Valid");
    other.must_apply(&policy("second", "[names-own, names-shared]", "missing"));
    let message = told(&other, "second", "Accepted", "False:Conflict");
    let want = "spec.models[1] \"names-shared\" is answered by RoutePolicy \"first\" of namespace \"e2e-names\", which came \
                first; list each name in one policy only; the other names are in effect";
    assert_eq!(message, want);
    assert_eq!(told(&other, "second", "Stalled", "True:Conflict"), want);
    let message = told(&other, "second", "ResolvedRefs", "False:PoolNotFound");
    assert!(message.starts_with("spec.targets[0].pool.name: there is no InferencePool \"missing\""), "{message}");
    let chat = Chat::new();
    served(&chat, "names-shared");

    ns.must_apply(&policy("third", "[names-shared, names-third]", "first"));
    assert!(told(&ns, "third", "Accepted", "False:Conflict").contains("RoutePolicy \"first\", which"));
    // Whoever is next has it.
    ns.kubectl("delete routepolicies.quartermaster.dev first");
    told(&other, "second", "Accepted", "True:Valid");
    told(&ns, "third", "Accepted", "False:Conflict");
    served(&chat, "names-third");
    other.must_apply(&policy("second", "[names-own]", "missing"));
    told(&ns, "third", "Accepted", "True:Valid");
    told(&ns, "third", "Ready", "True:Resolved");
    served(&chat, "names-shared");
}

/// The definition of policies without its schema, until it is dropped.
struct RulesTakenAway;

impl RulesTakenAway {
    fn new() -> Self {
        let loose = json!([{
            "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
            "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
        }]);
        kubectl(&format!("patch crd routepolicies.quartermaster.dev --type=json --patch={loose}"));
        Self
    }
}

impl Drop for RulesTakenAway {
    fn drop(&mut self) {
        let apply = "apply --server-side --force-conflicts --filename -";
        if let Err(error) = try_kubectl(apply, &read("crds/routepolicies.yaml")) {
            // Panicking here could end the whole run; the next scenario fails and this says why.
            eprintln!("the definition of policies was not restored: {error}");
        }
    }
}

/// Routers serve by its last state, and name it in their metrics and logs; the operator names it in its conditions.
#[test]
fn a_policy_that_cannot_be_read_serves_on_and_is_named_everywhere() {
    let ns = Namespace::new("broken-policy");
    ns.pool("steady", "steady-model", unscaled);
    ns.wait_replicas("steady", 1);
    let chat = Chat::new();
    served(&chat, "steady-model");
    {
        let _rules = RulesTakenAway::new();
        wait_for("what has no meaning is stored", PATIENCE, || models(&ns, &json!("steady-model")));
        let message = told(&ns, "steady", "Accepted", "False:InvalidSpec");
        assert!(message.starts_with("spec.models cannot be read: invalid type: string"), "{message}");
        assert!(message.contains("kubectl edit") && message.contains("the last state"), "{message}");
        assert_eq!(told(&ns, "steady", "Stalled", "True:InvalidSpec"), message);
    }
    for router in routers() {
        let name = router["metadata"]["name"].as_str().unwrap().to_owned();
        wait_for(&format!("{name} logs it"), PATIENCE, || {
            let log = kubectl(&format!("logs {name} --namespace {SYSTEM} --since=3m"));
            let line = |line: &str| line.contains("object cannot be read") && line.contains(&ns.name);
            if log.lines().any(line) { Ok(()) } else { Err("no line".to_owned()) }
        });
        if routed() {
            named(&router, &ns, true);
        }
    }
    served(&chat, "steady-model");
    models(&ns, &json!(["steady-model", "steady-more"])).unwrap();
    served(&chat, "steady-more");
    told(&ns, "steady", "Accepted", "True:Valid");
    told(&ns, "steady", "Ready", "True:Resolved");
    if routed() {
        routers().iter().for_each(|router| named(router, &ns, false));
    }
}

/// Writes the names of the policy `steady`. A server-side apply would stumble over what has no meaning.
fn models(ns: &Namespace, models: &Value) -> Kubectl {
    let patch = json!({"spec": {"models": models}});
    let words = format!("patch routepolicies.quartermaster.dev steady --namespace {} --type=merge", ns.name);
    try_kubectl(&format!("{words} --patch={patch}"), "")
}

fn routers() -> Vec<Value> {
    let words = format!("get pods --namespace {SYSTEM} --selector app.kubernetes.io/component=router --output json");
    let pods: Value = serde_json::from_str(&kubectl(&words)).unwrap();
    let all = pods["items"].as_array().cloned().unwrap_or_default();
    let stay: Vec<Value> = all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    assert!(!stay.is_empty(), "there are routers");
    stay
}

/// Waits until a router's metrics name the policy, or no longer do.
fn named(router: &Value, ns: &Namespace, want: bool) {
    let line = format!(
        "quartermaster_router_broken_object{{kind=\"RoutePolicy\",name=\"steady\",namespace=\"{}\"}} 1",
        ns.name
    );
    let admin = router["status"]["podIP"].as_str().unwrap();
    wait_for(&format!("metrics name it: {want}"), PATIENCE, || {
        let page = page(&format!("http://{admin}:9090/metrics"))?;
        if page.lines().any(|l| l == line) == want { Ok(()) } else { Err(format!("no such line: {line}")) }
    });
}
