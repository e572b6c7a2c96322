//! A pool answers through the router, plain and streamed, and mistakes of a caller get a clear answer.

use std::time::Duration;

use e2e::{Chat, Namespace, PATIENCE, unscaled, wait_for};
use serde_json::{Value, json};

#[test]
fn a_pool_answers_through_the_router() {
    let ns = Namespace::new("serve");
    ns.pool("server", "serve-model", unscaled);
    ns.wait_replicas("server", 1);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || match chat.ask("serve-model", 4)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });

    plain(&chat);
    streamed(&chat);
    completions(&chat);
    models(&chat);
    mistakes(&chat);
    columns(&ns);
    nobody_home(&ns, &chat);
}

fn plain(chat: &Chat) {
    let reply = chat.ask("serve-model", 5).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["object"], "chat.completion");
    assert_eq!(reply.body["usage"]["completion_tokens"], 5);
    assert!(!reply.body["choices"][0]["message"]["content"].as_str().unwrap_or_default().is_empty());
}

/// The sample's engine makes 20 tokens a second, so 20 tokens take about a second: an answer that was held back anywhere
/// would come in one piece at its end.
fn streamed(chat: &Chat) {
    let streamed = chat.stream("serve-model", 20).unwrap();
    assert!(streamed.done, "{streamed:?}");
    let tokens: Vec<&Value> = streamed
        .events
        .iter()
        .filter(|e| e["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()))
        .collect();
    assert_eq!(tokens.len(), 20);
    let (first, last) = (streamed.at[0], streamed.at[streamed.at.len() - 1]);
    assert!(last.saturating_sub(first) > Duration::from_millis(500), "it did not stream: {:?}", streamed.at);
}

fn completions(chat: &Chat) {
    let body = json!({"model": "serve-model", "prompt": "Once", "max_tokens": 3});
    let reply = chat.post("/v1/completions", body.to_string().as_bytes()).unwrap();
    assert_eq!((reply.status, &reply.body["object"]), (200, &json!("text_completion")));
}

fn models(chat: &Chat) {
    let reply = chat.get("/v1/models").unwrap();
    let names: Vec<&str> = reply.body["data"].as_array().unwrap().iter().filter_map(|m| m["id"].as_str()).collect();
    assert!(names.contains(&"serve-model"), "{names:?}");
}

fn mistakes(chat: &Chat) {
    let path = "/v1/chat/completions";
    let huge = vec![b' '; 17 << 20];
    let cases: [(&str, &[u8], u16, &str); 5] = [
        (path, b"{\"model\": oops}", 400, "JSON"),
        (path, b"{\"messages\": []}", 400, "model"),
        (path, b"{\"model\": \"nobody-serves-this\", \"messages\": []}", 404, "nobody-serves-this"),
        ("/v1/nothing", b"{}", 404, "/v1/nothing"),
        (path, &huge, 413, "large"),
    ];
    for (path, body, status, word) in cases {
        let reply = chat.post(path, body).unwrap();
        let message = reply.body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(message.contains(word), "{path}: {message:?} does not say {word:?}");
        assert!(reply.body["error"]["type"].is_string(), "{reply:?}");
    }
    let wrong_method = chat.get(path).unwrap();
    assert_eq!((wrong_method.status, wrong_method.allow.as_deref()), (405, Some("POST, OPTIONS")));
    assert_eq!(chat.ask("serve-model", 2).unwrap().status, 200, "others are not affected");
}

fn columns(ns: &Namespace) {
    let table = ns.kubectl("get inferencepools.quartermaster.dev");
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(head, ["NAME", "MODEL", "READY", "DESIRED", "IN-FLIGHT", "STATUS", "AGE"]);
}

fn nobody_home(ns: &Namespace, chat: &Chat) {
    ns.kubectl("scale inferencepools.quartermaster.dev/server --replicas=0");
    ns.wait_replicas("server", 0);
    let reply = wait_for("the router sees the empty pool", PATIENCE, || match chat.ask("serve-model", 2)? {
        reply if reply.status == 503 => Ok(reply),
        reply => Err(format!("{reply:?}")),
    });
    let message = reply.body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("server"), "it names the pool: {message}");
    assert!(reply.retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
}
