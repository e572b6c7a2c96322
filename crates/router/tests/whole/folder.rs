//! The program without a cluster: it serves what the files of a folder say, follows their changes, and tells what is wrong
//! with them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::bed::{Engine, plain, post, status};
use crate::process::{Router, folder};
use crate::volume::away_from_midnight;

const ASK: &str = r#"{"model":"m","user":"ann","messages":[]}"#;
/// What is kept of the key whose secret is [`SECRET`]; tests/whole/keys.rs says how it was made.
const KEPT: &str =
    "v1:00112233445566778899aabbccddeeff:c6d1aef2613d2098736aa2c1d9564dec6a5c1f70b8e2725d6141c8733b65b218";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A policy that sends the model `m` to this pool; `{anonymous: true}` or whatever else stands for its access.
fn policy(pool: &str, access: &str) -> String {
    format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: chat}}\nspec:\n  models: [m]\n  \
         access: {access}\n  targets:\n  - name: local\n    pool: {{name: {pool}}}\n"
    )
}

const ANYBODY: &str = "{anonymous: true}";

/// A pool and the address of its one replica.
fn pool(name: &str, engine: SocketAddr) -> String {
    format!(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: InferencePool\nmetadata: {{name: {name}}}\nspec:\n  model: {{source: \
         hf://a/b}}\n  engine: {{image: 'vllm/vllm-openai:v0.32.0'}}\n---\napiVersion: discovery.k8s.io/v1\nkind: \
         EndpointSlice\nmetadata: {{name: {name}, labels: {{quartermaster.dev/pool: {name}}}}}\naddressType: IPv4\nports: \
         [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        engine.port(),
        engine.ip()
    )
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quartermaster-router"));
    // Nothing of a cluster is looked for.
    command.env("KUBECONFIG", "/nowhere").arg("--allow-targets=127.0.0.1").arg("--config").arg(folder);
    command
}

async fn ask(router: &Router, headers: &str) -> (u16, String) {
    let mut client = router.client().await;
    client.send(post("/v1/chat/completions", headers, ASK)).await;
    let (head, body) = client.message().await;
    (status(&head), body)
}

/// Asks until this is answered.
async fn answers(router: &Router, headers: &str, want: (u16, &str)) {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let (status, body) = ask(router, headers).await;
        if status == want.0 && body.contains(want.1) {
            return;
        }
        assert!(Instant::now() < give_up, "{status} {body}, never {want:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn broken(router: &Router, count: f64) {
    let give_up = Instant::now() + Duration::from_secs(60);
    let line = r#"quartermaster_router_broken_objects{kind="RoutePolicy"}"#;
    while (router.figure(line).await - count).abs() > 0.1 {
        assert!(Instant::now() < give_up, "never {count} broken policies");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the mistakes that are told hold this.
async fn mistakes(router: &Router, want: &str) {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let told = router.debug("/debug/config").await["mistakes"].to_string();
        if told.contains(want) {
            return;
        }
        assert!(Instant::now() < give_up, "never {want}: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn engines() -> [Engine; 2] {
    [Engine::answering(plain("\"one\"")).await, Engine::answering(plain("\"two\"")).await]
}

#[tokio::test]
async fn a_folder_is_served_and_followed_through_changes_mistakes_and_deletion() {
    let [one, two] = engines().await;
    let path = folder("folder");
    let file = path.join("policy.yaml");
    std::fs::write(path.join("pools.yml"), pool("one", one.address) + "---\n" + &pool("two", two.address)).unwrap();
    std::fs::write(&file, policy("one", ANYBODY)).unwrap();
    let router = Router::run(path.clone(), command(&path)).await;
    assert_eq!(ask(&router, "").await, (200, "\"one\"".to_owned()));
    assert_eq!(router.debug("/debug/config").await["mistakes"], Value::Array(Vec::new()));

    // In place, as a shell does.
    std::fs::write(&file, policy("two", ANYBODY)).unwrap();
    answers(&router, "", (200, "two")).await;
    // By another name first, as editors do.
    let new = path.join(".policy.yaml.swp");
    std::fs::write(&new, policy("one", ANYBODY)).unwrap();
    std::fs::rename(&new, &file).unwrap();
    answers(&router, "", (200, "one")).await;

    // A mistake leaves the policy as it was, and is told.
    std::fs::write(&file, policy("two", ANYBODY).replace("pool:", "pol:")).unwrap();
    broken(&router, 1.0).await;
    assert_eq!(ask(&router, "").await, (200, "\"one\"".to_owned()));
    let want = "policy.yaml:9: RoutePolicy default/chat: spec.targets[0].pol: unknown field; there are name, pool, ";
    assert!(router.log().contains(want), "{}", router.log());
    let told = router.debug("/debug/config").await["mistakes"].to_string();
    assert!(told.contains(want), "{told}");
    let named = r#"quartermaster_router_broken_object{kind="RoutePolicy",name="chat",namespace="default"}"#;
    assert!(router.figure(named).await > 0.5);
    // So does a file that is no YAML at all.
    std::fs::write(&file, "models: [").unwrap();
    mistakes(&router, "neither YAML nor JSON").await;
    assert_eq!(ask(&router, "").await, (200, "\"one\"".to_owned()));
    std::fs::write(&file, policy("two", ANYBODY)).unwrap();
    answers(&router, "", (200, "two")).await;
    broken(&router, 0.0).await;

    // Without the folder the last state stays, and that is told; a SIGHUP ends nothing.
    let moved = path.with_extension("moved");
    std::fs::rename(&path, &moved).unwrap();
    mistakes(&router, "cannot be read: ").await;
    router.signal("-HUP");
    assert_eq!(ask(&router, "").await, (200, "\"two\"".to_owned()));
    std::fs::rename(&moved, &path).unwrap();
    mistakes(&router, "[]").await;
    router.signal("-HUP");
    let give_up = Instant::now() + Duration::from_secs(60);
    while !router.log().contains("SIGHUP: the configuration is as it was") {
        assert!(Instant::now() < give_up, "{}", router.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    std::fs::remove_file(&file).unwrap();
    answers(&router, "", (404, "model_not_found")).await;
    // Nothing was served from a file that was seen half written.
    assert!(!router.log().contains("panicked"), "{}", router.log());
}

/// A mounted ConfigMap: its files are links into a folder that is itself a link, and that one is swapped.
#[cfg(unix)]
#[tokio::test]
async fn the_links_of_a_config_map_are_followed_when_they_are_swapped() {
    use std::os::unix::fs::symlink;
    let [one, two] = engines().await;
    let path = folder("links");
    for (name, engine) in [("one", &one), ("two", &two)] {
        let version = path.join(format!("..{name}"));
        std::fs::create_dir_all(&version).unwrap();
        std::fs::write(version.join("all.yaml"), policy(name, ANYBODY) + "---\n" + &pool(name, engine.address))
            .unwrap();
    }
    symlink("..one", path.join("..data")).unwrap();
    symlink("..data/all.yaml", path.join("all.yaml")).unwrap();
    let router = Router::run(path.clone(), command(&path)).await;
    assert_eq!(ask(&router, "").await.1, "\"one\"");
    symlink("..two", path.join("..data_tmp")).unwrap();
    std::fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    answers(&router, "", (200, "two")).await;
}

#[tokio::test]
async fn keys_come_from_the_folder_and_are_rotated_in_it() {
    // Answers with the key that it was asked with.
    let provider = Engine::new(|_, mut wire| async move {
        while let Some((head, _)) = wire.next_message().await {
            let key = crate::bed::header(&head, "authorization").unwrap_or("none").replace("Bearer ", "");
            wire.send(plain(&format!("\"{key}\""))).await;
        }
    })
    .await;
    let path = folder("keys");
    let keys = path.join("secrets");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join("provider"), "sk-first\n").unwrap();
    let target = format!(
        "provider: {{kind: OpenAICompatible, model: far, baseUrl: 'http://{}/v1', credentialsSecretRef: {{name: far, key: k}}}}",
        provider.address
    );
    std::fs::write(path.join("policy.yaml"), policy("p", "{}").replace("pool: {name: p}", &target)).unwrap();
    let secret = |entry: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {entry}\n");
    let far = secret("far")
        + "  annotations: {quartermaster.dev/hosts: 127.0.0.1, quartermaster.dev/from: 'k=file:secrets/provider'}\n";
    let callers = secret("quartermaster-api-keys") + &format!("stringData: {{team-a: '{KEPT}'}}\n");
    std::fs::write(path.join("keys.yaml"), format!("{far}---\n{callers}")).unwrap();
    let router = Router::run(path.clone(), command(&path)).await;
    assert_eq!(ask(&router, "").await.0, 401);
    let key = format!("authorization: Bearer qm_team-a_{SECRET}\r\n");
    answers(&router, &key, (200, "sk-first")).await;
    std::fs::write(keys.join("provider"), "sk-second\n").unwrap();
    answers(&router, &key, (200, "sk-second")).await;
    // A caller's key that is taken away opens nothing any more.
    std::fs::write(path.join("keys.yaml"), far).unwrap();
    answers(&router, &key, (401, "invalid_api_key")).await;
    assert!(!router.log().contains("sk-"), "{}", router.log());
    let line = router.log().lines().find(|line| line.contains("\"caller\":\"team-a\"")).map(str::to_owned);
    let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
    assert_eq!((&line["user"], &line["target"]), (&"ann".into(), &"local".into()), "{line}");
}

/// One router alone, which nobody tells what it had counted: the file does.
#[tokio::test]
async fn what_policies_had_today_outlives_a_restart() {
    away_from_midnight().await;
    let [one, two] = engines().await;
    let (path, kept) = (folder("volume"), folder("volume-kept"));
    let rule = "  - name: far\n    pool: {name: two}\n  rules:\n  - {name: few, when: 'request.requestsToday < 2', use: {ordered: [local]}}\n  - {name: many, use: {ordered: [far]}}\n";
    std::fs::write(path.join("policy.yaml"), policy("one", ANYBODY) + rule).unwrap();
    std::fs::write(path.join("pools.yml"), pool("one", one.address) + "---\n" + &pool("two", two.address)).unwrap();
    let run = async || {
        let mut command = command(&path);
        command.arg("--cache-dir").arg(&kept).args(["--drain-delay=0s", "--drain-timeout=1s"]);
        Router::run(path.clone(), command).await
    };
    let mut router = run().await;
    assert_eq!(ask(&router, "").await.1, "\"one\"");
    assert_eq!(ask(&router, "").await.1, "\"one\"");
    assert_eq!(ask(&router, "").await.1, "\"two\"");
    router.signal("-TERM");
    assert!(router.ended().await.0.success());
    let again = run().await;
    assert_eq!(ask(&again, "").await.1, "\"two\"", "{}", again.log());
    std::fs::remove_dir_all(&kept).unwrap();
}

/// How the program ends, and what it says.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_folder_without_a_policy_that_can_be_used_is_refused_with_all_its_mistakes() {
    let path = folder("refused");
    let run = |more: &[&str]| {
        let mut command = command(&path);
        command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--debug-listen=127.0.0.1:0"]).args(more);
        ended(command)
    };
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.contains("it holds no RoutePolicy"), "{code:?} {said}");
    let bad = policy("p", ANYBODY).replace("[m]", "[]").replace("pool:", "pol:");
    std::fs::write(path.join("a.yaml"), &bad).unwrap();
    std::fs::write(path.join("b.yaml"), policy("p", ANYBODY).replace("chat", "other").replace("[m]", "7")).unwrap();
    std::fs::write(path.join("c.yaml"), "kind: [").unwrap();
    for more in [&[][..], &["--check"]] {
        let (code, said) = run(more);
        for want in [
            "a.yaml:9: ",
            "b.yaml:5: RoutePolicy default/other: spec.models: ",
            "c.yaml:1: it is neither YAML nor JSON",
        ] {
            assert!(code == Some(1) && said.contains(want), "{code:?} {said}, not {want}");
        }
    }
    for name in ["b.yaml", "c.yaml"] {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    std::fs::write(path.join("a.yaml"), policy("p", ANYBODY)).unwrap();
    let (code, said) = run(&["--check"]);
    assert!(
        code == Some(0)
            && said.contains("policies: 1, pools: 0")
            && said.contains("there is no InferencePool default/p"),
        "{code:?} {said}"
    );
    let gone = ended(command(Path::new("/nowhere/at/all")));
    assert!(gone.0 == Some(1) && gone.1.contains("/nowhere/at/all"), "{gone:?}");
    std::fs::remove_dir_all(path).unwrap();
}
