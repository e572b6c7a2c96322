//! Tools that apply the same manifest again and again, as Flux and Argo CD do: beside the autoscaler, and when they ask how
//! an object is.

use std::process::{Command, Stdio};

use e2e::{Chat, Kubectl, Namespace, PATIENCE, helm, manifest, must_helm, try_kubectl, under_load, unscaled, wait_for};
use serde_json::{Value, json};

/// Clients that keep one request each in flight: three times what one replica of the sample should carry.
const CLIENTS: usize = 24;

/// How Flux applies, and Argo CD with server-side apply.
const FORCED: &str = "--server-side --force-conflicts --field-manager=kustomize-controller";
/// How Argo CD applies else: it remembers its manifest in an annotation.
const REMEMBERED: &str = "--server-side=false";

fn apply(ns: &Namespace, how: &str, text: &str) -> Kubectl {
    try_kubectl(&format!("apply {how} --namespace {} --filename -", ns.name), text)
}

fn sample(name: &str) -> String {
    manifest("manifests/samples/pool-sim.yaml").replace("name: tiny", &format!("name: {name}"))
}

fn replicas_of(ns: &Namespace, pool: &str) -> i64 {
    ns.look(pool).unwrap()["spec"]["replicas"].as_i64().unwrap()
}

#[test]
fn a_manifest_without_replicas_takes_none_from_the_autoscaler() {
    for (how, name) in [(FORCED, "flux"), (REMEMBERED, "argo")] {
        let ns = Namespace::new(&format!("gitops-{name}"));
        let pool = sample(name);
        apply(&ns, how, &pool).unwrap();
        ns.must_apply(&format!(
            "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
             spec: {{models: [{name}-model], targets: [{{name: local, pool: {{name: {name}}}}}],
             access: {{anonymous: true}}}}\n"
        ));
        ns.wait_replicas(name, 1);
        let chat = Chat::new();
        let model = format!("{name}-model");
        wait_for("the router knows the model", PATIENCE, || chat.stream(&model, 2).map(|_| ()));

        let mut most = 1;
        under_load(&chat, &model, CLIENTS, || {
            wait_for("the pool grows to three replicas", PATIENCE, || {
                let said = apply(&ns, how, &pool).unwrap();
                let now = replicas_of(&ns, name);
                assert!(now >= most, "{how}: the manifest took the pool from {most} to {now}: {said}");
                most = now;
                let ready = ns.look(name)?["status"]["readyReplicas"].as_i64();
                if ready == Some(3) { Ok(()) } else { Err(format!("{now} wanted, {ready:?} ready")) }
            });
        });
        ns.wait_replicas(name, 1);
    }
}

#[test]
fn a_manifest_with_replicas_undoes_the_autoscaler_which_does_its_work_again() {
    let ns = Namespace::new("gitops-both");
    let pool = sample("both").replace("minReplicas: 1", "minReplicas: 2");
    let both = pool.replace("\nspec:\n", "\nspec:\n  replicas: 1\n");
    apply(&ns, FORCED, &both).unwrap();
    ns.wait_replicas("both", 2);

    let refused = apply(&ns, "--server-side --field-manager=kustomize-controller", &both).unwrap_err();
    assert!(refused.contains(".spec.replicas") && refused.contains("kube-controller-manager"), "{refused}");
    let before = ns.look("both").unwrap()["metadata"]["generation"].as_i64().unwrap();
    apply(&ns, FORCED, &both).unwrap();
    wait_for("the autoscaler has raised the pool again", PATIENCE, || {
        let seen = ns.look("both")?;
        let twice = seen["metadata"]["generation"].as_i64() >= Some(before + 2);
        if twice && seen["spec"]["replicas"] == 2 { Ok(()) } else { Err(seen["spec"].to_string()) }
    });
    ns.wait_replicas("both", 2);
    apply(&ns, FORCED, &pool).unwrap();
    assert_eq!(replicas_of(&ns, "both"), 2, "leaving the field out afterwards costs nothing");
}

/// docs/gitops.md tells people to do it this way.
#[test]
fn handing_replicas_over_to_the_autoscaler_costs_none() {
    let ns = Namespace::new("gitops-handover");
    for (how, name) in [(FORCED, "owned"), (REMEMBERED, "remembered")] {
        let scaled = sample(name);
        let fixed = unscaled(&scaled).replace("\nspec:\n", "\nspec:\n  replicas: 2\n");
        apply(&ns, how, &fixed).unwrap();
        if how == FORCED {
            let only = json!({
                "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
                "metadata": {"name": name}, "spec": {"replicas": 2},
            });
            apply(&ns, "--server-side --field-manager=handover", &only.to_string()).unwrap();
        } else {
            let words = format!("apply set-last-applied --namespace {} --filename -", ns.name);
            try_kubectl(&words, &scaled).unwrap();
        }
        let before = ns.look(name).unwrap()["metadata"]["generation"].as_i64().unwrap();
        apply(&ns, how, &scaled).unwrap();
        let after = ns.look(name).unwrap();
        assert_eq!(after["spec"]["replicas"], 2, "{how}: {after}");
        assert_eq!(after["metadata"]["generation"].as_i64(), Some(before + 1), "{how}: it was never another number");
    }
}

/// What Flux and Argo CD say of every object of a kind here: name, and the two words.
fn verdicts(ns: &Namespace, kind: &str) -> Result<Vec<(String, String, String)>, String> {
    let objects: Value = ns.get(&format!("{kind}.quartermaster.dev"))?;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut child = Command::new(format!("{root}/target/verdict"))
        .args(["--health-check", &format!("{root}/manifests/argocd/health.lua")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("target/verdict: {error}"))?;
    serde_json::to_writer(child.stdin.take().unwrap(), &objects).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let line = |line: &str| {
        let mut words = line.split('\t').skip(1).map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        (next(), next(), next())
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(line).collect())
}

fn wait_verdict(ns: &Namespace, kind: &str, name: &str, flux: &str, argo: &str) {
    wait_for(&format!("{name} is {flux} and {argo}"), PATIENCE, || {
        let all = verdicts(ns, kind)?;
        let want = (format!("{}/{name}", ns.name), flux.to_owned(), argo.to_owned());
        if all.contains(&want) { Ok(()) } else { Err(format!("{all:?}")) }
    });
}

#[test]
fn flux_and_argo_follow_a_pool_from_its_first_to_its_last_moment() {
    if !std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/verdict")).exists() {
        e2e::skip("what Flux and Argo CD say of live pools: run `cargo xtask test --only gitops` once before");
        return;
    }
    let ns = Namespace::new("gitops-verdict");
    let pool = unscaled(&sample("watched"));
    ns.must_apply(&pool);
    let first = verdicts(&ns, "inferencepools").unwrap();
    assert_eq!((first[0].1.as_str(), first[0].2.as_str()), ("InProgress", "Progressing"), "at the first look");
    wait_verdict(&ns, "inferencepools", "watched", "Current", "Healthy");
    ns.kubectl("scale inferencepools.quartermaster.dev/watched --replicas=0");
    ns.wait_replicas("watched", 0);
    wait_verdict(&ns, "inferencepools", "watched", "Current", "Healthy");

    // A quota that leaves no room for a pod.
    ns.kubectl("create quota none --hard=pods=0");
    ns.kubectl("scale inferencepools.quartermaster.dev/watched --replicas=1");
    wait_verdict(&ns, "inferencepools", "watched", "Failed", "Degraded");
    ns.kubectl("delete quota none");
    wait_verdict(&ns, "inferencepools", "watched", "Current", "Healthy");

    ns.must_apply(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: watched}\n\
         spec: {models: [verdict-model], targets: [{name: local, pool: {name: not-yet}}]}\n",
    );
    wait_verdict(&ns, "routepolicies", "watched", "InProgress", "Progressing");
    ns.must_apply(&pool.replace("name: watched", "name: not-yet"));
    wait_verdict(&ns, "routepolicies", "watched", "Current", "Healthy");

    // Something that has to be done before it goes keeps it in sight.
    let hold = "patch inferencepools.quartermaster.dev/watched --type=merge --patch";
    ns.kubectl(&format!("{hold} {{\"metadata\":{{\"finalizers\":[\"e2e.quartermaster.dev/hold\"]}}}}"));
    ns.kubectl("delete inferencepools.quartermaster.dev/watched --wait=false");
    wait_verdict(&ns, "inferencepools", "watched", "Terminating", "Progressing");
    ns.kubectl(&format!("{hold} {{\"metadata\":{{\"finalizers\":null}}}}"));
}

/// A chart that holds `text`, for helm to install.
fn chart(name: &str, text: &str) -> String {
    let folder = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(format!("{folder}/templates")).unwrap();
    std::fs::write(format!("{folder}/Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n")).unwrap();
    std::fs::write(format!("{folder}/templates/pool.yaml"), text).unwrap();
    folder
}

#[test]
fn helm_waits_for_a_pool_and_not_for_one_that_is_stuck() {
    let ns = Namespace::new("gitops-helm");
    let version = must_helm("version --short");
    if !version.starts_with("v4.") {
        e2e::skip(&format!("how helm waits for a pool: it takes Helm 4, and this is {}", version.trim()));
        return;
    }
    let install = |pool: &str| {
        let folder = chart(pool, &unscaled(&sample(pool)));
        helm(&format!("install {pool} {folder} --namespace {} --wait --timeout {}s", ns.name, PATIENCE.as_secs()))
    };
    install("waited").unwrap();
    assert_eq!(ns.look("waited").unwrap()["status"]["readyReplicas"], 1, "it waited until the pool was ready");

    ns.kubectl("create quota none --hard=pods=0");
    let error = install("stuck").unwrap_err();
    assert!(error.contains("status: Failed") && error.contains("exceeded quota"), "{error}");
}
