//! A RoutePolicy: whether it is well-formed, whether the names that it lists are its own, and whether what it names exists.

mod names;

use std::collections::BTreeSet;

use api::conditions::{ACCEPTED, READY, RECONCILING, RESOLVED_REFS, STALLED, condition, reason, remove, set};
use api::{
    AWS_KEYS, Destination, HOSTS_ANNOTATION, Mirror, PoolRef, Provider, ProviderSecretRef, RoutePolicy,
    RoutePolicySpec, RoutePolicyStatus, RouteRule, RuleTargets,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rules::Expression;

pub use names::{Taken, share_a_name, taken};

/// Whether a pool that a policy names can be used by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can.
    Granted,
    /// There is no such pool.
    Missing,
    /// There may be such a pool, but it does not admit the policy's namespace. Whether it exists is not told to those whom it
    /// does not admit.
    Refused,
}

/// What is known of a Secret that a policy names. Its contents are never looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// It is there, and its annotation names these hosts.
    Present(Vec<String>),
    /// There is no such Secret.
    Missing,
    /// It may not be read.
    Denied,
}

impl SecretState {
    /// Of a Secret that is there, whose annotation [`HOSTS_ANNOTATION`] says this.
    #[must_use]
    pub fn with_hosts(annotation: Option<&str>) -> Self {
        let hosts = annotation.unwrap_or_default().split(',').map(|host| host.trim().to_ascii_lowercase());
        Self::Present(hosts.filter(|host| !host.is_empty()).collect())
    }
}

/// The status of a policy, where `access` tells of a pool, by namespace and name, whether the policy may use it, `taken`
/// which of its names others have, and `secret` what is known of a Secret of the policy's namespace.
pub fn status(
    now: &Time,
    policy: &RoutePolicy,
    taken: &Taken,
    access: impl Fn(&str, &str) -> Access,
    secret: impl Fn(&str) -> SecretState,
) -> RoutePolicyStatus {
    let generation = policy.metadata.generation;
    let faults = faults(&policy.spec).map(|faults| (reason::INVALID_SPEC, faults));
    let faults = faults.or_else(|| Some((reason::CONFLICT, taken.message(policy)?)));
    let missing = unresolved(policy, access, secret);
    let mut conditions = policy.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let mut put = |type_: &str, is: bool, reason: &str, message: &str| {
        set(&mut conditions, condition(type_, is, reason, message, generation, now));
    };

    match &faults {
        None => put(ACCEPTED, true, reason::VALID, "the policy is well-formed"),
        Some((reason, faults)) => put(ACCEPTED, false, reason, faults),
    }
    match &missing {
        None => put(RESOLVED_REFS, true, reason::RESOLVED, "everything that the policy names is there for it"),
        Some((reason, message)) => put(RESOLVED_REFS, false, reason, message),
    }
    match (&faults, &missing) {
        (Some((reason, faults)), _) => {
            put(READY, false, reason, faults);
            put(STALLED, true, reason, faults);
            remove(&mut conditions, RECONCILING);
        }
        (None, Some((reason, message))) => {
            put(READY, false, reason, message);
            put(RECONCILING, true, reason, message);
            remove(&mut conditions, STALLED);
        }
        (None, None) => {
            put(READY, true, reason::RESOLVED, in_effect(&policy.spec));
            remove(&mut conditions, RECONCILING);
            remove(&mut conditions, STALLED);
        }
    }
    RoutePolicyStatus { observed_generation: generation, conditions }
}

/// For whom a policy without faults is in effect. Whoever wonders at a 401 finds the way on here.
fn in_effect(spec: &RoutePolicySpec) -> &'static str {
    if spec.access.as_ref().is_some_and(|access| access.anonymous) {
        "the policy is in effect for everybody who reaches the router"
    } else {
        "the policy is in effect for callers who show who they are; to let in others too, set spec.access.anonymous"
    }
}

/// Whether the policy was told that others have names of its. What one of them loses may now be its own.
#[must_use]
pub fn was_told_of_a_conflict(policy: &RoutePolicy) -> bool {
    let told = policy.status.iter().flat_map(|status| &status.conditions);
    told.into_iter().any(|c| c.type_ == ACCEPTED && c.reason == reason::CONFLICT)
}

/// The pools that the policy sends requests to, or asks how hard they are, by namespace and name, each once, in order.
#[must_use]
pub fn pools(policy: &RoutePolicy) -> Vec<(String, String)> {
    let own = policy.metadata.namespace.as_deref().unwrap_or_default();
    let pool = |pool: &PoolRef| (pool.namespace_in(own).to_owned(), pool.name.clone());
    let classifier = policy.spec.complexity.iter().map(|complexity| &complexity.pool);
    let targets = policy.spec.targets.iter().filter_map(|target| target.pool.as_ref());
    let all: BTreeSet<_> = targets.chain(classifier).map(pool).collect();
    all.into_iter().collect()
}

/// The names of the Secrets of its namespace that the policy names, each once, in order.
#[must_use]
pub fn secrets(policy: &RoutePolicy) -> Vec<String> {
    let providers = policy.spec.targets.iter().filter_map(|target| target.provider.as_ref());
    let all: BTreeSet<_> =
        providers.filter_map(|p| p.credentials_secret_ref.as_ref()).map(|r| r.name.clone()).collect();
    all.into_iter().collect()
}

/// What the CRD's rules refuse too, but may have been stored before they did.
fn faults(spec: &RoutePolicySpec) -> Option<String> {
    let mut found = Vec::new();
    if spec.models.is_empty() {
        found.push("spec.models must list at least one name".to_owned());
    }
    for (i, model) in spec.models.iter().enumerate() {
        if model.find('*').is_some_and(|at| at + 1 != model.len()) {
            found.push(format!("spec.models[{i}] may hold '*' only as its last character"));
        }
    }
    if spec.targets.is_empty() {
        found.push("spec.targets must list at least one target".to_owned());
    }
    for (i, target) in spec.targets.iter().enumerate() {
        if spec.targets[..i].iter().any(|earlier| earlier.name == target.name) {
            found.push(format!("spec.targets[{i}].name {:?} is taken by an earlier target", target.name));
        }
        match target.destination() {
            None => found.push(format!("spec.targets[{i}] needs exactly one of pool, provider and service")),
            Some(Destination::Provider(provider)) => {
                if let Err(why) = provider.base() {
                    found.push(format!("spec.targets[{i}].provider.baseUrl {why}"));
                }
            }
            Some(Destination::Pool(_) | Destination::Service(_)) => {}
        }
    }
    found.extend(spec.rules.iter().enumerate().flat_map(|(i, rule)| rule_faults(spec, i, rule)));
    (!found.is_empty()).then(|| found.join("; "))
}

/// What is wrong with a rule. Routers go by the policy as it was before until it is put right.
fn rule_faults(spec: &RoutePolicySpec, i: usize, rule: &RouteRule) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(Err(why)) = rule.when.as_deref().map(Expression::compile) {
        found.push(format!("spec.rules[{i}].when: {why}"));
    }
    let RuleTargets { ordered, weighted, cheapest } = &rule.targets;
    let ways = usize::from(ordered.is_some()) + usize::from(weighted.is_some()) + usize::from(cheapest.is_some());
    let shares = weighted.as_ref().is_none_or(|shares| shares.iter().any(|share| share.weight > 0));
    if ways != 1 || !shares || rule.names().is_empty() {
        found.push(format!(
            "spec.rules[{i}].use needs exactly one of ordered, weighted and cheapest, with a target that gets requests"
        ));
    }
    let unknown = |name: &&str| !spec.targets.iter().any(|target| target.name == *name);
    found.extend(
        rule.names()
            .into_iter()
            .filter(unknown)
            .map(|name| format!("spec.rules[{i}].use names {name:?}, but spec.targets has no such target")),
    );
    if let Some(Mirror { target, .. }) = &rule.mirror {
        if unknown(&target.as_str()) {
            found.push(format!("spec.rules[{i}].mirror.target names {target:?}, but spec.targets has no such target"));
        }
        if rule.names().contains(&target.as_str()) {
            found.push(format!(
                "spec.rules[{i}].mirror.target {target:?} is one of the rule's own targets; name another one"
            ));
        }
    }
    found
}

/// The reason and the message about what the policy names and cannot use, if there is any.
fn unresolved(
    policy: &RoutePolicy,
    access: impl Fn(&str, &str) -> Access,
    secret: impl Fn(&str) -> SecretState,
) -> Option<(&'static str, String)> {
    let own = policy.metadata.namespace.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for (i, target) in policy.spec.targets.iter().enumerate() {
        found.extend(match target.destination() {
            Some(Destination::Pool(pool)) => pool_fault(&format!("spec.targets[{i}]"), pool, own, &access),
            Some(Destination::Provider(provider)) => provider
                .credentials_secret_ref
                .as_ref()
                .and_then(|r| secret_fault(i, provider, r, policy, &secret(&r.name))),
            Some(Destination::Service(_)) | None => None,
        });
    }
    if let Some(complexity) = &policy.spec.complexity {
        found.extend(pool_fault("spec.complexity", &complexity.pool, own, &access));
    }
    // Of several reasons the last stands for all, as the messages tell them apart.
    let reason = found.last()?.0;
    let messages: Vec<String> = found.into_iter().map(|(_, message)| message).collect();
    Some((reason, messages.join("; ")))
}

fn pool_fault(
    field: &str,
    pool: &PoolRef,
    own: &str,
    access: impl Fn(&str, &str) -> Access,
) -> Option<(&'static str, String)> {
    let (namespace, name) = (pool.namespace_in(own), &pool.name);
    let place = if namespace == own { "this namespace".to_owned() } else { format!("namespace {namespace:?}") };
    match access(namespace, name) {
        Access::Granted => None,
        Access::Missing => {
            Some((reason::POOL_NOT_FOUND, format!("{field}.pool.name: there is no InferencePool {name:?} in {place}")))
        }
        Access::Refused => Some((
            reason::POOL_NOT_EXPOSED,
            format!("{field}.pool: {place} has no InferencePool {name:?} whose spec.exposure admits this one"),
        )),
    }
}

fn secret_fault(
    i: usize,
    provider: &Provider,
    named: &ProviderSecretRef,
    policy: &RoutePolicy,
    state: &SecretState,
) -> Option<(&'static str, String)> {
    let ProviderSecretRef { name, key } = named;
    let own = policy.metadata.namespace.as_deref().unwrap_or_default();
    let field = format!("spec.targets[{i}].provider.credentialsSecretRef");
    match state {
        SecretState::Missing => {
            let [id, secret, _] = AWS_KEYS;
            let literals = key.as_ref().map_or_else(
                || format!("--from-literal={id}=ID --from-literal={secret}=SECRET"),
                |key| format!("--from-literal={key}=KEY"),
            );
            let message = format!(
                "{field}: there is no Secret {name:?} in this namespace; make it: kubectl --namespace {own} create secret \
                 generic {name} {literals}"
            );
            Some((reason::SECRET_NOT_FOUND, message))
        }
        SecretState::Denied => Some((
            reason::SECRET_NOT_READABLE,
            format!(
                "{field}: the Secret {name:?} may not be read; add {{namespace: {own}, secrets: [{name}]}} to the value \
                 credentials of the chart"
            ),
        )),
        SecretState::Present(hosts) => {
            let host = own_host(provider).filter(|host| !hosts.contains(host))?;
            // One command for all targets, as the annotation holds all hosts.
            let wanted = policy.spec.targets.iter().filter_map(|target| match target.destination()? {
                Destination::Provider(other) => Some(other),
                Destination::Pool(_) | Destination::Service(_) => None,
            });
            let wanted = wanted.filter(|other| other.credentials_secret_ref.as_ref().is_some_and(|r| r.name == *name));
            let all: BTreeSet<String> = hosts.iter().cloned().chain(wanted.filter_map(own_host)).collect();
            let all = all.into_iter().collect::<Vec<_>>().join(",");
            let over = if hosts.is_empty() { "" } else { "--overwrite " };
            let message = format!(
                "{field}: the Secret {name:?} is not meant for {host}; if it is, say so: kubectl --namespace {own} \
                 annotate {over}secret {name} {HOSTS_ANNOTATION}={all}"
            );
            Some((reason::SECRET_NOT_FOR_HOST, message))
        }
    }
}

/// The host that a Secret has to name. The provider's own needs no word of it; a URL that cannot be read is told elsewhere.
fn own_host(provider: &Provider) -> Option<String> {
    provider.base_url.as_ref()?;
    Some(provider.base().ok()?.host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    const POOLS: [&str; 2] = ["llama", "qwen"];

    /// The status of a policy beside one that has the name `taken` since the beginning of time.
    fn look(
        now: &Time,
        policy: &RoutePolicy,
        access: impl Fn(&str, &str) -> Access,
        secret: impl Fn(&str) -> SecretState,
    ) -> RoutePolicyStatus {
        let first: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "before", "namespace": "ml", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"models": ["taken"], "targets": []},
        }))
        .unwrap();
        status(now, policy, &taken(policy, [&first]), access, secret)
    }

    fn check(spec: &Value, want: &[(&str, &str, &str)], message_holds: &str) {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {
                "name": "chat", "namespace": "ml", "generation": 3, "creationTimestamp": "1970-01-02T00:00:00Z",
            },
            "spec": spec,
        }))
        .unwrap();
        let now = Time(Timestamp::UNIX_EPOCH);
        let access = |namespace: &str, name: &str| match (namespace, POOLS.contains(&name)) {
            ("ml", true) => Access::Granted,
            ("ml", false) => Access::Missing,
            _ => Access::Refused,
        };
        let secret = |name: &str| match name {
            "openai" => SecretState::with_hosts(Some("Gateway.example.com, other.example")),
            "secret" => SecretState::Denied,
            _ => SecretState::Missing,
        };
        let status = look(&now, &policy, access, secret);
        let got: Vec<_> =
            status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        assert_eq!(got, want, "{spec}");
        let ready = status.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert!(ready.message.contains(message_holds), "{status:?}");
        assert_eq!(status.observed_generation, Some(3));

        let mut again = policy;
        again.status = Some(status.clone());
        let later = Time(Timestamp::from_second(9).unwrap());
        assert_eq!(look(&later, &again, access, secret), status, "a second look changes nothing");
        assert_eq!(was_told_of_a_conflict(&again), want[0].2 == "Conflict");
    }

    #[test]
    fn says_what_is_wrong() {
        let to = |name: &str, pool: &str| json!({"name": name, "pool": {"name": pool}});
        check(
            &json!({"models": ["chat", "gpt-4o*"], "targets": [to("a", "llama"), to("b", "qwen")]}),
            &[("Accepted", "True", "Valid"), ("ResolvedRefs", "True", "Resolved"), ("Ready", "True", "Resolved")],
            "in effect",
        );
        check(
            &json!({"models": ["chat"], "targets": [to("a", "llama"), to("b", "gone")]}),
            &[
                ("Accepted", "True", "Valid"),
                ("ResolvedRefs", "False", "PoolNotFound"),
                ("Ready", "False", "PoolNotFound"),
                ("Reconciling", "True", "PoolNotFound"),
            ],
            "spec.targets[1].pool.name: there is no InferencePool \"gone\" in this namespace",
        );
        check(
            &json!({"models": ["a*b"], "targets": [to("a", "llama"), to("a", "qwen")]}),
            &[
                ("Accepted", "False", "InvalidSpec"),
                ("ResolvedRefs", "True", "Resolved"),
                ("Ready", "False", "InvalidSpec"),
                ("Stalled", "True", "InvalidSpec"),
            ],
            "spec.models[0] may hold '*' only as its last character; spec.targets[1].name \"a\" is taken",
        );
        let conflict = |resolved: (&'static str, &'static str)| {
            [
                ("Accepted", "False", "Conflict"),
                ("ResolvedRefs", resolved.0, resolved.1),
                ("Ready", "False", "Conflict"),
                ("Stalled", "True", "Conflict"),
            ]
        };
        check(
            &json!({"models": ["chat", "taken"], "targets": [to("a", "llama")]}),
            &conflict(("True", "Resolved")),
            "spec.models[1] \"taken\" is answered by RoutePolicy \"before\", which came first",
        );
        check(
            &json!({"models": ["taken"], "targets": [to("a", "gone")]}),
            &conflict(("False", "PoolNotFound")),
            "no request comes to this policy",
        );
    }

    #[test]
    fn other_namespaces_need_an_invitation() {
        let target = json!({"name": "a", "pool": {"name": "shared", "namespace": "platform"}});
        check(
            &json!({"models": ["chat"], "targets": [target]}),
            &[
                ("Accepted", "True", "Valid"),
                ("ResolvedRefs", "False", "PoolNotExposed"),
                ("Ready", "False", "PoolNotExposed"),
                ("Reconciling", "True", "PoolNotExposed"),
            ],
            "namespace \"platform\" has no InferencePool \"shared\" whose spec.exposure admits",
        );
    }

    #[test]
    fn providers_need_a_secret_for_their_host() {
        let target = |url: Option<&str>, secret: &str| {
            let mut provider =
                json!({"kind": "OpenAI", "model": "m", "credentialsSecretRef": {"name": secret, "key": "api-key"}});
            if let Some(url) = url {
                provider["baseUrl"] = url.into();
            }
            json!({"models": ["m"], "targets": [{"name": "a", "provider": provider}]})
        };
        let good = [("Accepted", "True", "Valid"), ("ResolvedRefs", "True", "Resolved"), ("Ready", "True", "Resolved")];
        check(&target(None, "openai"), &good, "in effect");
        check(&target(Some("https://gateway.example.com/v1"), "openai"), &good, "in effect");
        let cases = [
            (None, "gone", "SecretNotFound", "--namespace ml create secret generic gone --from-literal=api-key=KEY"),
            (None, "secret", "SecretNotReadable", "add {namespace: ml, secrets: [secret]} to the value credentials"),
            (
                Some("https://evil.example"),
                "openai",
                "SecretNotForHost",
                "annotate --overwrite secret openai quartermaster.dev/hosts=evil.example,gateway.example.com,other.example",
            ),
        ];
        for (url, secret, reason, message) in cases {
            let want = [
                ("Accepted", "True", "Valid"),
                ("ResolvedRefs", "False", reason),
                ("Ready", "False", reason),
                ("Reconciling", "True", reason),
            ];
            check(&target(url, secret), &want, message);
        }
        // Bedrock takes an access key where no key of the Secret is named.
        let bedrock = json!({"models": ["m"], "targets": [{"name": "a", "provider": {
            "kind": "Bedrock", "model": "m", "region": "eu-central-1", "credentialsSecretRef": {"name": "gone"},
        }}]});
        let want = [
            ("Accepted", "True", "Valid"),
            ("ResolvedRefs", "False", "SecretNotFound"),
            ("Ready", "False", "SecretNotFound"),
            ("Reconciling", "True", "SecretNotFound"),
        ];
        check(&bedrock, &want, "gone --from-literal=AWS_ACCESS_KEY_ID=ID --from-literal=AWS_SECRET_ACCESS_KEY=SECRET");
        let faults = [
            ("Accepted", "False", "InvalidSpec"),
            ("ResolvedRefs", "True", "Resolved"),
            ("Ready", "False", "InvalidSpec"),
            ("Stalled", "True", "InvalidSpec"),
        ];
        let both = json!({"models": ["m"], "targets": [
            {"name": "a", "pool": {"name": "llama"}, "service": {"name": "s", "port": 1}}, {"name": "b"},
            {"name": "c", "provider": {"kind": "OpenAICompatible", "model": "m", "baseUrl": "http://user@x"}},
            {"name": "d", "provider": {"kind": "Bedrock", "model": "m"}},
        ]});
        for message in [
            "spec.targets[0] needs exactly one of pool, provider and service",
            "spec.targets[1] needs exactly one",
            "spec.targets[2].provider.baseUrl must not name a user",
            "spec.targets[3].provider.baseUrl cannot be told without spec.targets[].provider.region: set it",
        ] {
            check(&both, &faults, message);
        }
    }

    #[test]
    fn a_classifier_is_a_pool_like_any_other() {
        let with = |pool: Value| {
            let local = json!({"name": "local", "pool": {"name": "llama"}});
            json!({"models": ["m"], "targets": [local], "complexity": {"pool": pool}})
        };
        let gone = json!({"name": "gone"});
        let want = [
            ("Accepted", "True", "Valid"),
            ("ResolvedRefs", "False", "PoolNotFound"),
            ("Ready", "False", "PoolNotFound"),
            ("Reconciling", "True", "PoolNotFound"),
        ];
        check(&with(gone), &want, "spec.complexity.pool.name: there is no InferencePool \"gone\" in this namespace");
        let object = json!({
            "metadata": {"name": "r", "namespace": "apps"},
            "spec": with(json!({"name": "small", "namespace": "ml"})),
        });
        let used = pools(&serde_json::from_value(object).unwrap());
        assert_eq!(used, [("apps", "llama"), ("ml", "small")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn bad_rules_are_told_with_their_place() {
        let with = |rules: Value| {
            let local = json!({"name": "local", "pool": {"name": "llama"}});
            json!({"models": ["m"], "targets": [local], "rules": rules})
        };
        let good = json!([{"name": "a", "when": "request.stream", "use": {"ordered": ["local"]}}]);
        check(
            &with(good),
            &[("Accepted", "True", "Valid"), ("ResolvedRefs", "True", "Resolved"), ("Ready", "True", "Resolved")],
            "in effect",
        );
        let bad = [
            (
                json!([{"name": "a", "when": "request.modl == 'x'", "use": {"ordered": ["local"]}}]),
                "spec.rules[0].when: line 1, column 8: request has no field \"modl\"; it has model",
            ),
            (
                json!([{"name": "a", "use": {"cheapest": ["gone"]}}]),
                "spec.rules[0].use names \"gone\", but spec.targets has no",
            ),
            (json!([{"name": "a", "use": {}}]), "spec.rules[0].use needs exactly one of ordered"),
            (
                json!([{"name": "a", "use": {"ordered": ["local"]}, "mirror": {"target": "gone", "percent": 5}}]),
                "spec.rules[0].mirror.target names \"gone\", but spec.targets has no",
            ),
            (
                json!([{"name": "a", "use": {"ordered": ["local"]}, "mirror": {"target": "local", "percent": 5}}]),
                "spec.rules[0].mirror.target \"local\" is one of the rule's own targets",
            ),
            (
                json!([{"name": "a", "use": {"weighted": [{"target": "local", "weight": 0}]}}]),
                "spec.rules[0].use needs exactly",
            ),
        ];
        for (rules, message) in bad {
            let want = [
                ("Accepted", "False", "InvalidSpec"),
                ("ResolvedRefs", "True", "Resolved"),
                ("Ready", "False", "InvalidSpec"),
                ("Stalled", "True", "InvalidSpec"),
            ];
            check(&with(rules), &want, message);
        }
    }

    #[test]
    fn names_its_pools() {
        let policy: RoutePolicy = serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": "chat", "namespace": "ml"},
            "spec": {"models": ["m"], "targets": [
                {"name": "a", "pool": {"name": "llama"}},
                {"name": "b", "pool": {"name": "llama", "namespace": "ml"}},
                {"name": "c", "pool": {"name": "big", "namespace": "gpu"}},
                {"name": "d", "provider": {"kind": "OpenAI", "model": "m", "credentialsSecretRef": {"name": "s", "key": "k"}}},
            ]},
        }))
        .unwrap();
        let want = [("gpu", "big"), ("ml", "llama")].map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        assert_eq!(pools(&policy), want);
        assert_eq!(secrets(&policy), ["s"]);
    }
}
