//! The command as people call it: what it says, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api_server;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::api_server::ApiServer;

const HELLO: &str =
    r#"{"model":"assistant","max_tokens":100,"messages":[{"role":"user","content":"Hello, who are you?"}]}"#;
const HARD: &str = r#"{"model":"gpt-4o-2","messages":[{"role":"user","content":"Design a distributed lock service and prove that it is correct under partitions. Why does it not deadlock?"}]}"#;

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(path)
}

struct Ended {
    code: Option<i32>,
    said: String,
    errors: String,
}

/// Calls it with this request as its standard input.
fn explain(request: &str, more: &[&str], kubeconfig: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quartermaster"));
    command.args(["explain", "-f", "-"]).args(more).env("KUBECONFIG", kubeconfig);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that was called wrongly does not read it.
    let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), said: text(output.stdout), errors: text(output.stderr) }
}

fn by_files(request: &str, more: &[&str]) -> Ended {
    let policies = here("policies.yaml");
    let all: Vec<&str> = ["--policy", policies.to_str().unwrap()].iter().chain(more).copied().collect();
    explain(request, &all, "/nowhere")
}

/// Compares with the file of this name; with `GOLDEN=write` makes it.
fn golden(name: &str, said: &str) {
    let path = here("golden").join(name);
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&path, said).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(said, want, "{name}; GOLDEN=write makes it anew");
}

#[test]
fn what_people_read() {
    for (name, request, more) in [
        ("cheapest.txt", HELLO, &[][..]),
        ("hard.txt", HARD, &["--surface", "messages"]),
        ("batch.txt", HELLO, &["-H", "X-Batch: true"]),
        ("canary.txt", HELLO, &["--region", "eu"]),
        ("named.txt", HELLO, &["-H", "x-quartermaster-target: laptop"]),
    ] {
        let ended = by_files(request, more);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{name}");
        golden(name, &ended.said);
    }
}

/// Requests of Bedrock's own surfaces name the model in their path, and are told by their bodies.
#[test]
fn requests_for_bedrock_are_explained() {
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"Hello, who are you?"}]}],"inferenceConfig":{"maxTokens":100},"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}]}}"#;
    let ended = by_files(converse, &["--model", "claude"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.said);
    golden("converse.txt", &ended.said);
    let invoke = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":100,"messages":[{"role":"user","content":"Hello, who are you?"}]}"#;
    let ended = by_files(invoke, &["--model", "claude"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.said);
    golden("invoke.txt", &ended.said);
    // Nobody but Bedrock answers them.
    let ended = by_files(converse, &["--model", "assistant", "-H", "x-quartermaster-target: gpt"]);
    assert!(ended.code == Some(3) && ended.said.contains("passed over: it cannot answer converse"), "{}", ended.said);
    for (request, more, want) in [
        (converse, &[][..], "a request at converse names its model in the path: say it by --model"),
        (HELLO, &["--model", "claude"], "--model: a request at chat_completions names its model in its body"),
    ] {
        let ended = by_files(request, more);
        assert!(ended.code == Some(1) && ended.errors.contains(want), "{}", ended.errors);
    }
}

#[test]
fn what_programs_read() {
    let ended = by_files(HELLO, &["--output", "json"]);
    let said: Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!(
        (&said["policy"], &said["rule"], &said["target"]),
        (&"ml/assistant".into(), &"default".into(), &"laptop".into())
    );
    golden("cheapest.json", &ended.said);
}

#[test]
fn what_no_target_can_do_is_told_with_the_field_and_a_status_of_its_own() {
    // None of the rule's targets can continue a bare text with several answers in this way.
    let request = r#"{"model":"assistant","n":3,"messages":[{"role":"user","content":"hello"}]}"#;
    let ended = by_files(request, &["-H", "x-quartermaster-target: haiku"]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.said, ended.errors);
    assert!(
        ended.said.contains("passed over: it cannot take this request: n") && ended.said.contains("nobody"),
        "{}",
        ended.said
    );
    let ended = by_files(
        r#"{"model":"assistant","query":"a","documents":["b"]}"#,
        &["--surface", "rerank", "-H", "x-quartermaster-target: gpt"],
    );
    assert!(ended.code == Some(3) && ended.said.contains("it cannot answer rerank"), "{}", ended.said);
}

#[test]
fn a_caller_that_is_not_let_in_is_told_so() {
    let policies = std::fs::read_to_string(here("policies.yaml")).unwrap();
    let closed = std::env::temp_dir().join(format!("explain-closed-{}.yaml", std::process::id()));
    std::fs::write(&closed, policies.replace("{anonymous: true}", "{allow: [team-a, batch-*]}")).unwrap();
    let policy = closed.to_str().unwrap();
    for (caller, code, want) in [
        ("team-a", 0, "access      only team-a, batch-*\n"),
        ("batch-7", 0, "access      only team-a, batch-*\n"),
        ("team-b", 3, "access      only team-a, batch-*; team-b is not let in\n"),
    ] {
        let ended = explain(HELLO, &["--policy", policy, "--caller", caller], "/nowhere");
        assert!(ended.code == Some(code) && ended.said.contains(want), "{}{}", ended.said, ended.errors);
    }
    std::fs::remove_file(&closed).unwrap();
}

#[test]
fn errors_name_the_field_and_the_fix() {
    let bad = std::env::temp_dir().join(format!("explain-bad-{}.yaml", std::process::id()));
    let good = std::fs::read_to_string(here("policies.yaml")).unwrap();
    let policy = bad.to_str().unwrap();
    for (wrong, want) in [
        (
            good.replace("pool: {name", "pol: {name"),
            ":10: RoutePolicy assistant: spec.targets[0].pol: unknown field; there are",
        ),
        (
            good.replace("RoutePolicy", "RoutePolcy"),
            ":3: kind: there is no kind RoutePolcy in quartermaster.dev/v1alpha1",
        ),
        (good.replace("spec:", "spec: ["), "it is neither YAML nor JSON"),
        ("kind: Pod\n".to_owned(), "holds no RoutePolicy"),
    ] {
        std::fs::write(&bad, wrong).unwrap();
        let ended = explain(HELLO, &["--policy", policy], "/nowhere");
        assert!(
            ended.code == Some(1) && ended.errors.contains(want) && ended.said.is_empty(),
            "{}, not {want}",
            ended.errors
        );
    }
    std::fs::remove_file(&bad).unwrap();
    for (request, more, code, want) in [
        ("{", &[][..], 1, "the request cannot be read: the text ends too early at byte 1"),
        ("{}", &[], 1, "no field model"),
        (r#"{"model":"other"}"#, &[], 1, "\"other\" is listed by no policy; listed are assistant, claude, gpt-4o*"),
        (HELLO, &["-H", "nonsense"], 1, "--header \"nonsense\" is not NAME: VALUE"),
        (HELLO, &["-H", "x-quartermaster-target: gone"], 1, "it has local, haiku, gpt, laptop"),
        (HELLO, &["--surface", "chat"], 1, "--surface chat: there is no such surface; there are chat_completions"),
        (HELLO, &["--hour", "24"], 2, "--hour"),
        (HELLO, &["--context", "x"], 2, "--context"),
    ] {
        let ended = by_files(request, more);
        assert!(
            ended.code == Some(code) && ended.errors.contains(want),
            "{:?} {}, not {want}",
            ended.code,
            ended.errors
        );
    }
    let nowhere = explain(HELLO, &[], "/nowhere/at/all");
    assert!(nowhere.code == Some(1) && nowhere.errors.contains("--policy"), "{}", nowhere.errors);
}

#[test]
fn a_cluster_is_asked_for_what_decides_and_for_no_secret() {
    let server = ApiServer::new(&here("policies.yaml"));
    let kubeconfig = server.kubeconfig("explain");
    let ended = explain(HELLO, &["-H", "X-Batch: true"], &kubeconfig);
    assert_eq!(ended.code, Some(3), "{}{}", ended.said, ended.errors);
    assert!(ended.said.contains("passed over: none of its 1 replicas is ready"), "{}", ended.said);
    server.ready();
    let ended = explain(HELLO, &["-H", "X-Batch: true"], &kubeconfig);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.said);
    golden("cluster.txt", &ended.said);
    // Somebody with few rights is told what is not known.
    server.refuse("endpointslices");
    let ended = explain(HELLO, &["-H", "X-Batch: true", "-n", "ml"], &kubeconfig);
    assert!(
        ended.code == Some(0) && ended.said.contains("note        which pools have ready replicas is not known"),
        "{}",
        ended.said
    );
    server.refuse("routepolicies");
    let ended = explain(HELLO, &[], &kubeconfig);
    assert!(
        ended.code == Some(1) && ended.errors.contains("RoutePolicies cannot be listed at http://127.0.0.1"),
        "{}",
        ended.errors
    );
    let asked = server.asked();
    assert!(
        asked.iter().all(|path| !path.contains("secrets")) && asked.iter().any(|path| path.contains("/namespaces/ml/")),
        "{asked:?}"
    );
}
