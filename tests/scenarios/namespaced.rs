//! The administrator of a namespace installs the operator for that namespace, without a right beyond it.

use std::io::Write;

use e2e::{Chat, Namespace, PATIENCE, SYSTEM, helm, image_values, kubectl, try_kubectl, unscaled, wait_for};
use serde_json::{Value, json};

/// The operator for all namespaces is stopped until this is dropped, so that what is seen is the work of the other one.
struct Alone {
    replicas: String,
}

impl Alone {
    fn new() -> Self {
        let count = "get deployment/quartermaster-operator --output jsonpath={.spec.replicas}";
        let replicas = kubectl(&format!("{count} --namespace {SYSTEM}"));
        kubectl(&format!("scale deployment/quartermaster-operator --replicas=0 --namespace {SYSTEM}"));
        kubectl(&format!(
            "wait --for=delete pod --selector app.kubernetes.io/component=operator --timeout=90s --namespace {SYSTEM}"
        ));
        Self { replicas }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        for words in [
            format!("scale deployment/quartermaster-operator --replicas={} --namespace {SYSTEM}", self.replicas),
            format!("rollout status deployment/quartermaster-operator --timeout=120s --namespace {SYSTEM}"),
            // Namespaces cannot be deleted while this API does not answer.
            "wait --for=condition=Available --timeout=60s apiservice/v1beta2.custom.metrics.k8s.io".to_owned(),
        ] {
            if let Err(error) = try_kubectl(&words, "") {
                // Panicking here could end the whole run; the next scenario fails and this says why.
                eprintln!("the operator for all namespaces was not started again: {error}");
            }
        }
    }
}

/// The kinds' chart with the option for namespaced installs, until it is dropped.
struct Delegated;

impl Delegated {
    fn new() -> Self {
        let chart = "upgrade quartermaster-crds charts/quartermaster-crds";
        helm(&format!("{chart} --namespace {SYSTEM} --set namespacedInstall=true")).unwrap();
        Self
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let chart = "upgrade quartermaster-crds charts/quartermaster-crds";
        if let Err(error) = helm(&format!("{chart} --namespace {SYSTEM} --reset-values")) {
            eprintln!("the chart of the kinds was not set back: {error}");
        }
    }
}

/// A kubeconfig of a service account that is the administrator of the namespace, and nothing else.
fn administrator(ns: &Namespace) -> String {
    ns.kubectl("create serviceaccount installer");
    ns.kubectl(&format!("create rolebinding installer --clusterrole=admin --serviceaccount={}:installer", ns.name));
    let token = ns.kubectl("create token installer");
    let config = kubectl("config view --minify --raw --output json");
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = std::env::temp_dir().join(format!("quartermaster-{}-{}", ns.name, std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(config.to_string().as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_administrator_of_a_namespace_installs_the_operator_there() {
    let (ns, other) = (Namespace::new("own"), Namespace::new("foreign"));
    let _delegated = Delegated::new();
    let kubeconfig = administrator(&ns);
    let may = |words: &str| {
        let asked = try_kubectl(&format!("--kubeconfig {kubeconfig} auth can-i {words}"), "");
        asked.is_ok_and(|word| word.trim() == "yes")
    };
    let delegated = format!("patch inferencepools.quartermaster.dev --subresource=status --namespace {}", ns.name);
    wait_for("the option reaches the cluster's role admin", PATIENCE, || {
        may(&delegated).then_some(()).ok_or_else(|| "not yet".to_owned())
    });
    assert!(!may("create clusterroles.rbac.authorization.k8s.io"), "the installer has no rights in the cluster");
    assert!(!may(&format!("list pods --namespace {}", other.name)), "nor in another namespace");

    let install = |values: &str| {
        helm(&format!(
            "--kubeconfig {kubeconfig} upgrade --install own charts/quartermaster --namespace {} --wait --timeout 3m \
             --set {},{values}",
            ns.name,
            image_values()
        ))
    };
    let error = install("watchNamespace=e2e-own").unwrap_err();
    assert!(error.contains("metricsApi.enabled must be false"), "{error}");

    let _alone = Alone::new();
    install("watchNamespace=e2e-own,metricsApi.enabled=false,router.replicas=1").unwrap();
    for namespace in [&ns, &other] {
        namespace.pool("local", "own-model", unscaled);
    }
    ns.wait_replicas("local", 1);
    let chat = Chat::within(&ns.name);
    wait_for("the namespace's router serves its pool", PATIENCE, || match chat.ask("own-model", 4)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
    ns.kubectl("scale inferencepools.quartermaster.dev/local --replicas=2");
    ns.wait_replicas("local", 2);

    let seen = other.look("local").unwrap();
    let reason = &seen["status"]["conditions"][0]["reason"];
    assert_eq!(reason, "Pending", "a pool elsewhere is nobody's business, so it stays as it was born: {seen}");
    let kinds = "deployments,services,serviceaccounts,networkpolicies,poddisruptionbudgets,pods";
    let made = other.get(&format!("{kinds} --selector quartermaster.dev/pool")).unwrap();
    assert_eq!(made["items"], json!([]), "{made}");
    std::fs::remove_file(&kubeconfig).unwrap();
}
