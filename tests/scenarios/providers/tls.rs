//! A provider over TLS with a certificate of the company's own authority.

use std::time::Duration;

use e2e::{Authority, Chat, Namespace, PATIENCE, Reply, manifest, page, routed, wait_for};
use serde_json::{Value, json};

use super::bed::{install, policy, router_address};

/// A node brings a changed ConfigMap to a pod within two minutes, and the router looks at it every five seconds.
const BROUGHT: Duration = Duration::from_secs(180);

/// A target of this name and host.
fn target(name: &str, host: &str) -> String {
    format!(
        "{{name: {name}, provider: {{kind: OpenAI, model: gpt-4o-mini, baseUrl: \"https://{host}:8090/v1\", \
         credentialsSecretRef: {{name: provider, key: api-key}}}}}}"
    )
}

/// The provider, with the certificate of the Secret `provider-tls`, and a second name that the certificate does not have.
fn provider() -> String {
    let tls = ", --tls-cert-file=/tls/tls.crt, --tls-key-file=/tls/tls.key]";
    let volume = "      volumes: [{name: tls, secret: {secretName: provider-tls, defaultMode: 0444}}]\n";
    let other = "---\napiVersion: v1\nkind: Service\nmetadata: {name: other}\n\
                 spec: {selector: {app: provider}, ports: [{name: http, port: 8090, targetPort: http}]}\n";
    let sim = manifest("tests/scenarios/provider-sim.yaml")
        .replace("--key=NEXT]", &format!("--key=NEXT{tls}"))
        .replace("port: http}\n            periodSeconds", "port: http, scheme: HTTPS}\n            periodSeconds")
        .replace("          ports:\n", "          volumeMounts: [{name: tls, mountPath: /tls}]\n          ports:\n")
        .replace("      containers:\n", &format!("{volume}      containers:\n"));
    sim + other
}

fn authorities(ns: &Namespace, pem: &str) {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}, "data": {"ca.crt": pem}});
    ns.must_apply(&map.to_string());
}

/// Waits until the model is answered so.
fn answered(chat: &Chat, model: &str, limit: Duration, so: impl Fn(&Reply) -> bool) -> Reply {
    wait_for(&format!("{model} is answered as it should be"), limit, || match chat.ask(model, 2)? {
        reply if so(&reply) => Ok(reply),
        reply => Err(format!("{reply:?}")),
    })
}

/// Refused with 502 for this reason, which the client is told.
fn for_tls<'a>(words: &'a str) -> impl Fn(&Reply) -> bool + 'a {
    move |reply| {
        let error = &reply.body["error"];
        let told = error["message"].as_str().unwrap_or_default();
        reply.status == 502 && error["code"] == "upstream_tls" && told.contains(words)
    }
}

#[test]
fn a_provider_of_a_private_authority_is_used_once_that_is_trusted_and_only_by_its_name() {
    let ns = Namespace::new("provider-tls");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let [right, other] = ["provider", "other"].map(|name| format!("{name}.{}.svc", ns.name));
    ns.must_apply(&ours.secret("provider-tls", &right).0);
    ns.must_apply(&provider());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"api-key": "KEY"},
        "metadata": {"name": "provider", "annotations": {"quartermaster.dev/hosts": format!("{right},{other}")}},
    });
    ns.must_apply(&secret.to_string());
    authorities(&ns, &theirs.pem());
    install(&ns, &[&right, &other], ",router.providerCa.configMapName=authorities");
    // Nobody is left alone, so that each request says why it failed.
    let patient = "breaker: {consecutiveFailures: 100}";
    ns.must_apply(&policy("tls-right", &format!("targets: [{}], {patient}", target("right", &right))));
    ns.must_apply(&policy("tls-other", &format!("targets: [{}], {patient}", target("other", &other))));
    let both = format!("{}, {}", target("other", &other), target("right", &right));
    let rule = "rules: [{name: all, use: {ordered: [other, right]}}]";
    ns.must_apply(&policy("tls-both", &format!("targets: [{both}], {patient}, {rule}")));
    ns.kubectl("rollout status deployment/provider --timeout=90s");
    ns.kubectl("rollout status deployment/quartermaster-router --timeout=120s");

    let chat = Chat::within(&ns.name);
    answered(&chat, "tls-right", PATIENCE, for_tls("its certificate is by nobody whom this router trusts"));
    let log = || ns.kubectl("logs deployment/quartermaster-router --tail=-1");
    assert!(
        log().lines().any(|line| line.contains("target not reached") && line.contains("invalid peer certificate")),
        "{}",
        log()
    );

    // The administrator adds the authority. No router is started anew.
    authorities(&ns, &(theirs.pem() + &ours.pem()));
    // A node looks at a pod's volumes when the pod changes, and else about once a minute.
    ns.kubectl("annotate pods --selector app.kubernetes.io/component=router quartermaster.dev/looked-at=now");
    answered(&chat, "tls-right", BROUGHT, |reply| reply.status == 200);
    answered(&chat, "tls-other", PATIENCE, for_tls("its certificate is for another host"));
    let reply = answered(&chat, "tls-both", PATIENCE, |reply| reply.status == 200);
    assert_eq!(reply.target.as_deref(), Some("right"), "the next target answers");
    told(&log(), &ns);
}

/// What operators are told: in the lines of requests, and, where pods can be reached from here, by metrics and the debug page.
fn told(log: &str, ns: &Namespace) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let fell_back = lines.iter().find(|line| line["target"] == "right" && line["attempts"].is_array());
    let reason = fell_back.map(|line| &line["attempts"][0]["reason"]);
    assert_eq!(reason, Some(&json!("upstream_tls")), "{log}");
    assert_eq!(lines.iter().filter(|line| line["message"] == "serving").count(), 1, "the router was started once");
    if !routed() {
        return;
    }
    let router = router_address(ns);
    let metrics = page(&format!("http://{router}:9090/metrics")).unwrap();
    for (policy, target, reason) in
        [("tls-right", "right", "certificate_untrusted"), ("tls-other", "other", "certificate_other_host")]
    {
        let labels = format!("{{policy=\"{}/{policy}\",pool=\"{target}\",reason=\"{reason}\"}}", ns.name);
        assert!(metrics.contains(&format!("quartermaster_router_unreached_total{labels}")), "{labels}: {metrics}");
    }
    let config: Value = serde_json::from_str(&page(&format!("http://{router}:9091/debug/config")).unwrap()).unwrap();
    let targets =
        config["policies"].as_array().unwrap().iter().flat_map(|policy| policy["targets"].as_array().unwrap());
    let not_reached: Vec<_> = targets.map(|target| (&target["name"], &target["not_reached"])).collect();
    let other = (&json!("other"), &json!("its certificate is for another host"));
    assert!(not_reached.contains(&other) && not_reached.contains(&(&json!("right"), &Value::Null)), "{not_reached:?}");
}
