//! Callers with tokens of an issuer that is real: the cluster's API server, which signs what pods show elsewhere.

use e2e::{Chat, Namespace, PATIENCE, kubectl, manifest, try_kubectl, wait_for};
use serde_json::{Value, json};

use super::bed::install;

/// Lets everybody read the issuer's description and keys, as the cluster's administrator has to for issuers that others trust in.
struct Published(String);

impl Published {
    fn new(ns: &Namespace) -> Self {
        let name = format!("{}-issuer", ns.name);
        kubectl(&format!("delete clusterrolebinding {name} --ignore-not-found"));
        let role = "system:service-account-issuer-discovery";
        kubectl(&format!("create clusterrolebinding {name} --clusterrole={role} --group=system:unauthenticated"));
        Self(name)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // The next run removes what stays.
        let _ = try_kubectl(&format!("delete clusterrolebinding {} --ignore-not-found", self.0), "");
    }
}

fn policy(ns: &Namespace, name: &str, access: &str) {
    ns.must_apply(&format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
         spec: {{models: [{name}], targets: [{{name: gpt, provider: {{kind: OpenAI, model: gpt-4o-mini, \
         baseUrl: 'http://provider.{}.svc:8090/v1', credentialsSecretRef: {{name: provider, key: api-key}}}}}}], \
         access: {{{access}}}}}\n",
        ns.name
    ));
}

fn expect(chat: &Chat, model: &str, token: &str, status: u16) {
    wait_for(&format!("{model} is answered with {status}"), PATIENCE, || match chat.ask_as(model, Some(token))? {
        reply if reply.status == status => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
}

#[test]
fn a_token_of_a_real_issuer_opens_what_the_policy_says() {
    let ns = Namespace::new("issuer");
    let described: Value = serde_json::from_str(&kubectl("get --raw /.well-known/openid-configuration")).unwrap();
    let issuer = described["issuer"].as_str().unwrap();
    // The API server names its keys by its own address.
    let keys = described["jwks_uri"].as_str().unwrap();
    let host = |url: &str| url.trim_start_matches("https://").split(['/', ':']).next().unwrap().to_owned();
    let (provider, found, listed) = (format!("provider.{}.svc", ns.name), host(issuer), host(keys));
    ns.must_apply(&manifest("tests/scenarios/provider-sim.yaml"));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"api-key": "KEY"},
        "metadata": {"name": "provider", "annotations": {"quartermaster.dev/hosts": provider}},
    });
    ns.must_apply(&secret.to_string());
    let allowed = [&provider, &found, &listed, "kubernetes.default.svc"];
    install(&ns, &allowed, ",router.providerCa.configMapName=kube-root-ca.crt");
    let audience = "audiences: [jobs]";
    policy(&ns, "issuer-found", &format!("oidc: {{issuer: '{issuer}', {audience}}}"));
    let keys = "jwksUri: 'https://kubernetes.default.svc/openid/v1/jwks'";
    let web = format!("allow: ['oidc:system:serviceaccount:{}:web']", ns.name);
    policy(&ns, "issuer-listed", &format!("oidc: {{issuer: '{issuer}', {audience}, {keys}}}, {web}"));
    for account in ["web", "batch"] {
        ns.kubectl(&format!("create serviceaccount {account}"));
    }
    ns.kubectl("rollout status deployment/provider --timeout=90s");
    ns.kubectl("rollout status deployment/quartermaster-router --timeout=120s");
    let token = |account: &str, audience: &str| {
        ns.kubectl(&format!("create token {account} --duration=10m --audience={audience}")).trim().to_owned()
    };
    let (own, guest, elsewhere) = (token("web", "jobs"), token("batch", "jobs"), token("web", "others"));

    // The API server shows its keys to nobody whom it does not know, until its administrator says so.
    let chat = Chat::within(&ns.name);
    expect(&chat, "issuer-listed", &own, 503);
    let published = Published::new(&ns);
    expect(&chat, "issuer-listed", &own, 200);
    expect(&chat, "issuer-found", &own, 200);
    expect(&chat, "issuer-listed", &guest, 403);
    expect(&chat, "issuer-found", &guest, 200);
    expect(&chat, "issuer-found", &elsewhere, 401);
    let (front, signature) = own.rsplit_once('.').unwrap();
    expect(&chat, "issuer-found", &format!("{front}.{}", "A".repeat(signature.len())), 401);
    drop(published);
    let log = ns.kubectl("logs deployment/quartermaster-router --tail=-1");
    assert!(log.contains("403 Forbidden") && log.contains("keys of an issuer of tokens were not read"), "{log}");
    for token in [own, guest, elsewhere] {
        let secret = token.rsplit_once('.').unwrap().1;
        assert!(!log.contains(secret), "a token is in the log");
    }
    assert!(log.contains(&format!("oidc:system:serviceaccount:{}:web", ns.name)), "the caller is in the log: {log}");
}
