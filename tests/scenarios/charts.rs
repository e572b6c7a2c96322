//! The charts are well-formed, refuse wrong values, and give what manifests/install holds.

use e2e::{helm, read};

#[test]
fn the_charts_are_well_formed() {
    for chart in ["quartermaster", "quartermaster-crds"] {
        helm(&format!("lint --strict charts/{chart}")).unwrap();
    }
}

#[test]
fn the_kustomize_install_equals_the_charts() {
    for (chart, file) in [("quartermaster-crds", "crds"), ("quartermaster", "quartermaster")] {
        let rendered = helm(&format!("template {chart} charts/{chart} --namespace quartermaster-system")).unwrap();
        let kept = read(&format!("manifests/install/{file}.yaml"));
        assert!(rendered == kept, "manifests/install/{file}.yaml is stale: run `make generate` with helm at hand");
    }
    let built = e2e::kubectl(concat!("kustomize ", env!("CARGO_MANIFEST_DIR"), "/../manifests/install"));
    assert!(built.contains("kind: CustomResourceDefinition") && built.contains("name: quartermaster-router"));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let cases = [
        ("router.replicas=many", "replicas"),
        ("router.replica=3", "replica"),
        ("warnings.enable=true", "enable"),
        ("operator.priorityClassName=High!", "priorityClassName"),
        ("monitoring.podMonitors.interval=often", "interval"),
        ("watchNamespace=Ml", "watchNamespace"),
        ("watchNamespace=ml", "metricsApi.enabled must be false"),
        ("watchNamespace=ml,metricsApi.enabled=false,operator.extraArgs={--namespace=x}", "must not set --namespace"),
        ("image.tag=latest", "image.tag must name a version"),
        ("router.extraArgs={--listen=0.0.0.0:1}", "router.extraArgs must not set --listen"),
    ];
    for (value, word) in cases {
        let error = helm(&format!("template q charts/quartermaster --set {value}")).expect_err(value);
        assert!(error.contains(word), "{value}: {error}");
    }
}

#[test]
fn keeping_the_kinds_is_the_default_and_a_choice() {
    for (words, kept) in [("", true), ("--set keep=false", false)] {
        let kinds: Vec<_> = e2e::rendered("quartermaster-crds", words)
            .into_iter()
            .filter(|object| object["kind"] == "CustomResourceDefinition")
            .collect();
        assert_eq!(kinds.len(), 2, "{words}");
        for kind in kinds {
            let policy = &kind["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(policy == "keep", kept, "{words}: {}", kind["metadata"]);
        }
    }
}

/// The kinds of the Prometheus operator are not in the cluster of the scenarios, so these objects are only looked at.
#[test]
fn monitoring_is_a_choice_and_covers_every_program() {
    let of_monitoring = |words: &str| -> Vec<serde_json::Value> {
        let objects = e2e::rendered("quartermaster", words).into_iter();
        objects.filter(|object| object["apiVersion"] == "monitoring.coreos.com/v1").collect()
    };
    assert_eq!(of_monitoring(""), Vec::<serde_json::Value>::new(), "off by default");

    let labels = "monitoring.podMonitors.labels.release=p,monitoring.prometheusRule.labels.release=p";
    let on = format!("--set monitoring.podMonitors.enabled=true,monitoring.prometheusRule.enabled=true,{labels}");
    let made = of_monitoring(&on);
    let names: Vec<_> =
        made.iter().map(|o| format!("{} {}", o["kind"], o["metadata"]["name"]).replace('"', "")).collect();
    let want =
        ["quartermaster-operator", "quartermaster-router", "quartermaster-engines"].map(|n| format!("PodMonitor {n}"));
    for name in want.iter().map(String::as_str).chain(["PrometheusRule quartermaster"]) {
        assert!(names.iter().any(|made| made == name), "{name} is missing in {names:?}");
    }
    assert_eq!(names.len(), 4, "{names:?}");
    for object in &made {
        assert_eq!(object["metadata"]["labels"]["release"], "p", "{object}");
    }
    let rule = made.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let alerts: serde_json::Value = serde_saphyr::from_str(&read("charts/quartermaster/files/alerts.yaml")).unwrap();
    assert_eq!(rule["spec"], alerts, "the rule holds the alerts as they are tested");

    let told = helm(&format!("template q charts/quartermaster {on} --set monitoring.namespaces={{one,two}}")).unwrap();
    assert!(told.contains("--scrapers=one,two"), "the operator lets Prometheus reach the engines");

    let engines = |words: &str| -> serde_json::Value {
        let found = of_monitoring(words).into_iter().find(|o| o["metadata"]["name"] == "quartermaster-engines");
        found.unwrap()["spec"]["namespaceSelector"].clone()
    };
    assert_eq!(engines(&on), serde_json::json!({"any": true}));
    let one = engines(&format!("{on},watchNamespace=ml,metricsApi.enabled=false"));
    assert_eq!(one, serde_json::json!({"matchNames": ["ml"]}));
}
