//! Who may call: pods by the tokens that the cluster makes for them, and others by API keys.

use e2e::{Chat, Namespace, PATIENCE, SYSTEM, unscaled, wait_for};
use serde_json::Value;

/// A policy for one model, at the namespace's pool `guarded`.
fn policy(ns: &Namespace, name: &str, access: &str) {
    ns.must_apply(&format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\n\
         spec: {{models: [{name}], targets: [{{name: local, pool: {{name: guarded}}}}]{access}}}\n"
    ));
}

/// A token of the namespace's ServiceAccount `web`, as kubelet would give one to its pods.
fn token(ns: &Namespace, words: &str) -> String {
    ns.kubectl(&format!("create token web --duration=10m {words}")).trim().to_owned()
}

fn expect(chat: &Chat, model: &str, credential: Option<&str>, status: u16) {
    wait_for(&format!("{model} is answered with {status}"), PATIENCE, || match chat.ask_as(model, credential)? {
        reply if reply.status == status => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
}

/// The models of the scenario with ServiceAccounts that a caller sees. Those of others can come and go beside it.
fn listed(chat: &Chat, credential: Option<&str>) -> Vec<String> {
    let reply = chat.get_as("/v1/models", credential).unwrap();
    let all = reply.body["data"].as_array().cloned().unwrap_or_default();
    let id = |model: &Value| model["id"].as_str().unwrap_or_default().to_owned();
    all.iter().map(id).filter(|id| id.starts_with("access-")).collect()
}

const AUDIENCE: &str = "--audience=quartermaster";

#[test]
fn a_pod_calls_with_the_token_of_its_service_account() {
    let (ns, other) = (Namespace::new("access"), Namespace::new("access-other"));
    ns.pool("guarded", "access-everybody", unscaled);
    policy(&ns, "access-own", "");
    policy(&ns, "access-listed", &format!(", access: {{allow: ['sa:{}:web']}}", other.name));
    ns.wait_replicas("guarded", 1);
    for namespace in [&ns, &other] {
        namespace.kubectl("create serviceaccount web");
    }
    let chat = Chat::new();
    expect(&chat, "access-everybody", None, 200);
    expect(&chat, "access-own", None, 401);
    expect(&chat, "access-listed", None, 401);

    let (own, guest) = (token(&ns, AUDIENCE), token(&other, AUDIENCE));
    expect(&chat, "access-own", Some(&own), 200);
    expect(&chat, "access-own", Some(&guest), 403);
    expect(&chat, "access-listed", Some(&guest), 200);
    expect(&chat, "access-listed", Some(&own), 403);
    // What every pod has for the API server, and what is forged, is no proof here.
    expect(&chat, "access-own", Some(&token(&ns, "")), 401);
    let (front, _) = own.rsplit_once('.').unwrap();
    expect(&chat, "access-own", Some(&format!("{front}.{}", "A".repeat(342))), 401);

    assert_eq!(listed(&chat, Some(&own)), ["access-everybody", "access-own"]);
    assert_eq!(listed(&chat, Some(&guest)), ["access-everybody", "access-listed"]);
    assert_eq!(listed(&chat, None), ["access-everybody"]);

    // A token that was not used before its account was deleted.
    let late = token(&ns, AUDIENCE);
    ns.kubectl("delete serviceaccount web");
    expect(&chat, "access-own", Some(&late), 401);
}

/// Of the key below: `printf %s SECRET | openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT`.
const KEPT: &str =
    "v1:00112233445566778899aabbccddeeff:c6d1aef2613d2098736aa2c1d9564dec6a5c1f70b8e2725d6141c8733b65b218";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_key_opens_the_policies_of_its_namespace() {
    let ns = Namespace::new("callers-keys");
    ns.pool("guarded", "keys-everybody", unscaled);
    policy(&ns, "keys-closed", ", access: {allow: [team-a]}");
    ns.wait_replicas("guarded", 1);
    let chat = Chat::new();
    let (right, wrong) = (format!("qm_team-a_{SECRET}"), format!("qm_team-b_{SECRET}"));
    // What the chart's value `credentials` makes.
    ns.kubectl("create role keys --verb=get --resource=secrets --resource-name=quartermaster-api-keys");
    ns.kubectl(&format!("create rolebinding keys --role=keys --serviceaccount={SYSTEM}:quartermaster-router"));
    ns.kubectl(&format!("create secret generic quartermaster-api-keys --from-literal=team-a={KEPT}"));
    expect(&chat, "keys-closed", Some(&right), 200);
    expect(&chat, "keys-closed", Some(&wrong), 401);
    expect(&chat, "keys-closed", None, 401);
    ns.kubectl("delete secret quartermaster-api-keys");
    expect(&chat, "keys-closed", Some(&right), 401);
}
