//! A namespace with a pool, a provider, and a router of its own that may use the provider's key.

use std::fmt::Write as _;

use e2e::{Chat, Namespace, PATIENCE, image_values, manifest, must_helm, page, unscaled, wait_for};
use serde_json::{Value, json};

/// Where the provider is, as policies name it.
fn host(ns: &Namespace) -> String {
    format!("provider.{}.svc", ns.name)
}

/// A target of this name: the provider's API of this kind. `HOST` stands for where it is. At a host of one's own no price is
/// known but the one that is said.
pub(super) fn provider(name: &str, kind: &str) -> String {
    let (model, path) = match kind {
        "Anthropic" => ("claude-haiku-4-5", ""),
        _ => ("gpt-4o-mini", "/v1"),
    };
    format!(
        "{{name: {name}, provider: {{kind: {kind}, model: {model}, baseUrl: \"http://HOST:8090{path}\", \
         credentialsSecretRef: {{name: provider, key: api-key}}}}, price: {{inputPerMillion: \"0.15\", \
         outputPerMillion: \"0.6\"}}}}"
    )
}

/// A policy that answers to its own name, with the rest of its spec.
pub(super) fn policy(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
         spec: {{models: [{name}], access: {{anonymous: true}}, {rest}}}\n"
    )
}

pub(super) struct Bed {
    pub(super) ns: Within,
    pub(super) chat: Chat,
    /// Base URL of the provider, from this machine.
    provider: String,
}

/// The namespace, which knows where the provider is.
pub(super) struct Within(Namespace);

impl std::ops::Deref for Within {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.0
    }
}

impl Within {
    /// As that of the namespace, with `HOST` replaced.
    pub(super) fn must_apply(&self, text: &str) {
        self.0.must_apply(&text.replace("HOST", &host(&self.0)));
    }
}

impl Bed {
    /// Makes everything, with this as the provider's key, and waits until it runs.
    pub(super) fn new(purpose: &str, key: &str) -> Self {
        let ns = Within(Namespace::new(purpose));
        ns.must_apply(&manifest("tests/scenarios/provider-sim.yaml"));
        let bed_key = secret(&ns, key);
        ns.must_apply(&bed_key);
        install(&ns, &[&host(&ns)], "");
        ns.pool("local", &format!("{purpose}-local"), |sample| {
            unscaled(sample)
                .replace("maxNumSeqs: 8", "maxNumSeqs: 32")
                .replace("value: \"20\"", "value: \"60\"")
                .replace("timeout: 30s", "timeout: 5s")
        });
        ns.kubectl("scale inferencepools.quartermaster.dev/local --replicas=2");
        ns.kubectl("rollout status deployment/provider --timeout=90s");
        ns.kubectl("rollout status deployment/quartermaster-router --timeout=120s");
        ns.wait_replicas("local", 2);
        let service = ns.get("service provider").unwrap();
        let provider = format!("http://{}:8090", service["spec"]["clusterIP"].as_str().unwrap());
        wait_for("the provider answers", PATIENCE, || page(&format!("{provider}/sim/bill")));
        let chat = Chat::within(&ns.name);
        Self { ns, chat, provider }
    }

    /// Replaces the provider's key in the Secret.
    pub(super) fn set_key(&self, key: &str) {
        self.ns.must_apply(&secret(&self.ns, key));
    }

    /// Waits until the policy says that everything is there for it.
    pub(super) fn in_effect(&self, policy: &str) {
        wait_for(&format!("{policy} is in effect"), PATIENCE, || {
            let object = self.ns.get(&format!("routepolicies.quartermaster.dev/{policy}"))?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready { Ok(()) } else { Err(object["status"].to_string()) }
        });
    }

    /// Names of the pods with this label.
    pub(super) fn pods(&self, selector: &str) -> Vec<String> {
        let names =
            self.ns.kubectl(&format!("get pods --selector {selector} --output jsonpath={{.items[*].metadata.name}}"));
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// A page of the provider's own.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.provider)
    }

    pub(super) fn bill_page(&self) -> String {
        self.page("/sim/bill")
    }

    /// What the provider has sold.
    pub(super) fn bill(&self) -> Value {
        serde_json::from_str(&page(&self.bill_page()).unwrap()).unwrap()
    }

    /// The lines of the router's log about requests that this target answered.
    pub(super) fn lines_of(&self, targets: &[&str]) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let by = |line: &Value| {
            line["message"] == "request"
                && line["status"] == 200
                && targets.iter().any(|target| line["target"] == *target)
        };
        lines.filter(by).collect()
    }

    /// Everything that the router has logged.
    pub(super) fn log(&self) -> String {
        self.ns.kubectl("logs deployment/quartermaster-router --tail=-1")
    }

    /// Address of the pod of the router.
    pub(super) fn router_address(&self) -> String {
        router_address(&self.ns)
    }
}

/// Address of the pod of the namespace's router.
pub(super) fn router_address(ns: &Namespace) -> String {
    let selector = "app.kubernetes.io/component=router";
    ns.kubectl(&format!("get pods --selector {selector} --output jsonpath={{.items[0].status.podIP}}"))
}

/// The Secret with the provider's key, bound to the provider's host.
fn secret(ns: &Namespace, key: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "provider", "annotations": {"quartermaster.dev/hosts": host(ns)}},
        "stringData": {"api-key": key},
    });
    secret.to_string()
}

/// Installs one router for the namespace, as the chart makes it with what an administrator has to set for such a provider: where it
/// may be, and `more` values. The cluster's operator looks after the namespace, so it is the one that is let at the Secret.
pub(super) fn install(ns: &Namespace, allowed: &[&str], more: &str) {
    let parts = ["router/serviceaccount", "router/rbac", "router/deployment", "router/service", "credentials"];
    let show = parts.iter().fold(String::new(), |mut words, part| {
        // Writing into memory cannot fail.
        let _ = write!(words, " --show-only templates/{part}.yaml");
        words
    });
    let rendered = must_helm(&format!(
        "template own charts/quartermaster --namespace {ns}{show} --set {images},watchNamespace={ns},\
         metricsApi.enabled=false,router.replicas=1,router.drain.delaySeconds=1,router.allowTargets={{{allowed}}},\
         router.extraArgs={{--debug-listen=0.0.0.0:9091}},\
         credentials[0].namespace={ns},credentials[0].secrets={{provider}}{more}",
        ns = ns.name,
        allowed = allowed.join(","),
        images = image_values()
    ));
    let here = format!("name: quartermaster-operator\n    namespace: {}", ns.name);
    assert!(rendered.contains(&here), "the operator is let at the Secret: {rendered}");
    let there = format!("name: quartermaster-operator\n    namespace: {}", e2e::SYSTEM);
    ns.must_apply(&rendered.replace(&here, &there));
}
