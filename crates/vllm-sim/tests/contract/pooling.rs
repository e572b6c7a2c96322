//! A model that answers with embeddings, and with scores made of them.

use crate::answers::text;
use crate::engine::pooling;
use crate::http::{Answer, ask};
use crate::shape::shape;

fn post(path: &str, body: &str) -> Answer {
    ask(pooling(), "POST", path, body).unwrap()
}

/// The shape of an answer, with each vector as one number.
fn shape_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut shape = shape(&answer.body);
    while shape.contains("0,0") {
        shape = shape.replace("0,0", "0");
    }
    shape
}

const USAGE: &str = r#""usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0,"prompt_tokens_details":null,"completion_tokens_details":null}"#;

fn list(entries: &[&str]) -> String {
    format!(r#"{{"id":"s","object":"list","created":0,"model":"s","data":[{}],{USAGE}}}"#, entries.join(","))
}

#[test]
fn texts_become_vectors() {
    let entry = r#"{"index":0,"object":"embedding","embedding":[0]}"#;
    for (input, expected) in [
        (r#""hello""#, list(&[entry])),
        (r#"["hello","you"]"#, list(&[entry, entry])),
        ("[5,6,7]", list(&[entry])),
        ("[[5,6],[7]]", list(&[entry, entry])),
    ] {
        let answer = post("/v1/embeddings", &format!(r#"{{"model":"tiny","input":{input}}}"#));
        assert_eq!(shape_of(&answer), expected, "{input}");
        assert!(text(&answer.body, "id").starts_with("embd-"), "{}", answer.body);
    }
    let answer = post("/v1/embeddings", r#"{"input":"hello","encoding_format":"base64"}"#);
    assert_eq!(shape_of(&answer), list(&[r#"{"index":0,"object":"embedding","embedding":"s"}"#]));
    let answer = post("/pooling", r#"{"model":"tiny","input":"x"}"#);
    assert_eq!(shape_of(&answer), list(&[r#"{"index":0,"object":"pooling","data":[0]}"#]));
    assert!(text(&answer.body, "id").starts_with("pooling-"), "{}", answer.body);
}

#[test]
fn texts_are_compared() {
    let entry = r#"{"index":0,"object":"score","score":0}"#;
    for path in ["/score", "/v1/score"] {
        let answer = post(path, r#"{"model":"tiny","text_1":"x","text_2":["a","b"]}"#);
        assert_eq!(shape_of(&answer), list(&[entry, entry]), "{path}");
    }
    assert_eq!(shape_of(&post("/score", r#"{"queries":"x","documents":["a"]}"#)), list(&[entry]));
    let ranked = |entries: &[&str]| {
        let usage = r#""usage":{"prompt_tokens":0,"total_tokens":0}"#;
        format!(r#"{{"id":"s","model":"s",{usage},"results":[{}]}}"#, entries.join(","))
    };
    let entry = r#"{"index":0,"document":{"text":"s","multi_modal":null},"relevance_score":0}"#;
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let answer = post(path, r#"{"model":"tiny","query":"x","documents":["a","b"]}"#);
        assert_eq!(shape_of(&answer), ranked(&[entry, entry]), "{path}");
        assert!(text(&answer.body, "id").starts_with("score-"), "{}", answer.body);
        let answer = post(path, r#"{"model":"tiny","query":"x","documents":["a","b"],"top_n":1}"#);
        assert_eq!(shape_of(&answer), ranked(&[entry]), "{path}");
    }
}

#[test]
fn what_such_a_model_cannot_do_is_refused() {
    let embeddings = "/v1/embeddings";
    for (body, status, kind, message) in [
        (r#"{"model":"nope","input":"x"}"#, 404, "NotFoundError", "The model `nope` does not exist."),
        (r#"{"input":""}"#, 400, "BadRequestError", "The decoder prompt cannot be empty"),
        (r#"{"input":[]}"#, 400, "BadRequestError", "You must pass at least one prompt"),
        (
            r#"{"input":"x","dimensions":4}"#,
            400,
            "BadRequestError",
            "Model 'tiny' does not support Matryoshka embeddings; dimensions must be unset (received dimensions=4).",
        ),
    ] {
        let answer = post(embeddings, body);
        let expected = format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{status}}}}}"#);
        assert_eq!((answer.status, answer.body), (status, expected), "{body}");
    }
    assert_eq!(post(embeddings, r#"{"model":"tiny"}"#).status, 400);
    let chat = r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":1}"#;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/classify"] {
        let answer = post(path, chat);
        assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"detail":"Not Found"}"#), "{path}");
    }
}
