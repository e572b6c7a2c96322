//! What the charts grant to operator and router, and what their pods may do on a node.

use e2e::rendered;
use serde_json::Value;

/// Every way to install, by the words for helm.
const INSTALLS: [(&str, &str); 6] = [
    ("quartermaster", ""),
    ("quartermaster", "--set credentials[0].namespace=ml,credentials[0].secrets={openai,anthropic}"),
    ("quartermaster", "--set metricsApi.enabled=false"),
    ("quartermaster", "--set watchNamespace=ns,metricsApi.enabled=false"),
    ("quartermaster", "--set watchNamespace=ml,metricsApi.enabled=false"),
    ("quartermaster-crds", "--set namespacedInstall=true"),
];

/// Resources by which a program could become another one, or read what it has no business with.
const NEVER: [&str; 12] = [
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "pods/ephemeralcontainers",
    "pods/log",
    "nodes/proxy",
    "services/proxy",
    "serviceaccounts/token",
    "roles",
    "clusterroles",
    "rolebindings",
    "clusterrolebindings",
];

fn words<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is wrong with a rule of a role.
fn complaint(rule: &Value) -> Option<String> {
    let (groups, resources, verbs) = (words(rule, "apiGroups"), words(rule, "resources"), words(rule, "verbs"));
    if [&groups, &resources, &verbs].iter().any(|list| list.is_empty() || list.contains(&"*")) {
        return Some("a wildcard, or nothing at all".to_owned());
    }
    if let Some(verb) = verbs.iter().find(|verb| ["escalate", "bind", "impersonate"].contains(verb)) {
        return Some(format!("{verb} makes whoever holds it anybody"));
    }
    if let Some(resource) = resources.iter().find(|resource| NEVER.contains(resource)) {
        return Some(format!("nobody needs {resource}"));
    }
    let named = !words(rule, "resourceNames").is_empty();
    let held = resources.iter().find(|resource| ["secrets", "configmaps", "apiservices", "leases"].contains(resource));
    match held {
        Some(resource) if !named => Some(format!("{resource} without names is all of them")),
        Some(resource) if verbs.iter().any(|verb| ["list", "watch", "deletecollection"].contains(verb)) => {
            Some(format!("{resource} can be read one by one only"))
        }
        _ => None,
    }
}

#[test]
fn no_role_grants_more_than_the_programs_need() {
    let mut seen = 0;
    for (chart, install) in INSTALLS {
        for role in rendered(chart, install) {
            if !["Role", "ClusterRole"].iter().any(|kind| role["kind"] == *kind) {
                continue;
            }
            for rule in role["rules"].as_array().unwrap() {
                seen += 1;
                assert_eq!(complaint(rule), None, "{chart} {install}: {}: {rule}", role["metadata"]["name"]);
            }
        }
    }
    assert!(seen > 20, "only {seen} rules were read");
}

#[test]
fn rights_that_are_too_wide_are_noticed() {
    let rule = |groups: &str, resources: &str, verbs: &str, names: &[&str]| serde_json::json!({"apiGroups": [groups], "resources": [resources], "verbs": [verbs], "resourceNames": names});
    for (rule, word) in [
        (rule("*", "pods", "list", &[]), "wildcard"),
        (rule("", "*", "list", &[]), "wildcard"),
        (rule("", "pods", "*", &[]), "wildcard"),
        (rule("", "secrets", "get", &[]), "all of them"),
        (rule("", "secrets", "list", &["x"]), "one by one"),
        (rule("", "pods/exec", "create", &[]), "pods/exec"),
        (rule("", "users", "impersonate", &[]), "impersonate"),
    ] {
        assert!(complaint(&rule).unwrap().contains(word), "{rule}");
    }
    assert_eq!(complaint(&rule("", "secrets", "get", &["x"])), None);
}

/// An install for one namespace touches that one and its own, and nothing that all namespaces share.
#[test]
fn an_install_for_one_namespace_stays_in_it() {
    let install = "--set watchNamespace=ml,metricsApi.enabled=false,networkPolicy.enabled=true";
    let objects = rendered("quartermaster", install);
    assert!(objects.len() > 8, "{objects:?}");
    for object in objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        assert!(["ns", "ml"].contains(&namespace), "{} {}", object["kind"], object["metadata"]);
        let kind = object["kind"].as_str().unwrap();
        assert!(namespace == "ns" || kind.starts_with("Role"), "{kind}: only rights belong to the watched namespace");
    }
}

#[test]
fn our_pods_are_as_harmless_as_pods_can_be() {
    let everything = "--set operator.priorityClassName=high,router.priorityClassName=high";
    let objects = rendered("quartermaster", everything);
    let deployments: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        let facts = [
            (&pod["priorityClassName"], "high".into()),
            (&pod["enableServiceLinks"], false.into()),
            (&pod["securityContext"]["runAsNonRoot"], true.into()),
            (&pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault".into()),
            (&pod["hostNetwork"], Value::Null),
            (&pod["hostPID"], Value::Null),
        ];
        for (found, want) in facts {
            assert_eq!(*found, want, "{pod}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
            for bound in ["requests", "limits"] {
                assert!(container["resources"][bound]["memory"].is_string(), "{container}");
            }
            for probe in ["livenessProbe", "readinessProbe"] {
                assert!(container[probe].is_object(), "{container}");
            }
        }
    }
}
