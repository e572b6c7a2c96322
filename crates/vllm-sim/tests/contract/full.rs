//! What needs settings: adapters, sleep, limits of the queue, the count of requests, details of the cache.

use std::io::ErrorKind;
use std::time::Duration;

use crate::answers::{number, text};
use crate::engine::{Full, adapter, wait_until};
use crate::http::{Answer, Connection};
use crate::shape::shape;

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";
const MESSAGES: &str = "/v1/messages";
const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

fn check_refused(answer: &Answer, status: u16, kind: &str, message: &str) {
    let expected = format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{status}}}}}"#);
    assert_eq!((answer.status, answer.body.as_str()), (status, expected.as_str()));
}

#[test]
fn adapters_come_and_go() {
    let full = Full::engine();
    let path = adapter();
    let chat = |model: &str| {
        let body = format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"ignore_eos":true,"max_tokens":2}}"#
        );
        full.post(CHAT, &body)
    };
    let named = |name: &str| format!(r#"{{"lora_name":"{name}","lora_path":"{path}"}}"#);
    // One that a run before this left behind.
    full.post(UNLOAD, &named("support"));
    assert_eq!(chat("support").status, 404);
    let answer = full.post(LOAD, &named("support"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "Success: LoRA adapter 'support' added successfully."));
    assert_eq!(answer.header("content-type"), None);
    let again = "The lora adapter 'support' has already been loaded. If you want to load the adapter in place, set \
                 'load_inplace' to True.";
    check_refused(&full.post(LOAD, &named("support")), 400, "InvalidUserInput", again);
    let in_place = format!(r#"{{"lora_name":"support","lora_path":"{path}","load_inplace":true}}"#);
    assert_eq!(full.post(LOAD, &in_place).status, 200);

    let answer = chat("support");
    assert_eq!((answer.status, text(&answer.body, "model")), (200, "support"), "{}", answer.body);
    for (path, body) in [
        (COMPLETION, r#"{"model":"support","prompt":"x","max_tokens":1}"#),
        (MESSAGES, r#"{"model":"support","messages":[{"role":"user","content":"x"}],"max_tokens":1}"#),
        ("/v1/responses", r#"{"model":"support","input":"x","max_output_tokens":1}"#),
    ] {
        let answer = full.post(path, body);
        assert_eq!((answer.status, text(&answer.body, "model")), (200, "support"), "{path}: {}", answer.body);
    }
    let models = full.get("/v1/models").body;
    assert_eq!(models.matches(r#""parent":"tiny","max_model_len":null,"#).count(), 2, "{models}");
    assert!(models.contains(&format!(r#""root":"{path}""#)), "{models}");
    assert!(models.contains(r#"{"id":"fixed","#) && models.contains(r#"{"id":"support","#), "{models}");

    let answer = full.post(UNLOAD, &named("support"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "Success: LoRA adapter 'support' removed successfully."));
    check_refused(
        &full.post(UNLOAD, &named("support")),
        404,
        "NotFoundError",
        "The lora adapter 'support' cannot be found.",
    );
    let gone = chat("support");
    assert!(gone.status == 404 && gone.body.contains("The model `support` does not exist."), "{}", gone.body);
    assert_eq!(chat("fixed").status, 200);
}

#[test]
fn adapters_that_make_no_sense_are_refused() {
    let full = Full::engine();
    let missing = "Loading lora a failed: No adapter found for /nope";
    check_refused(&full.post(LOAD, r#"{"lora_name":"a","lora_path":"/nope"}"#), 404, "NotFoundError", missing);
    let both = "Both 'lora_name' and 'lora_path' must be provided.";
    check_refused(&full.post(LOAD, r#"{"lora_name":"","lora_path":"/x"}"#), 400, "InvalidUserInput", both);
    let base = "The lora adapter 'tiny' conflicts with a served base model.";
    check_refused(&full.post(LOAD, r#"{"lora_name":"tiny","lora_path":"/x"}"#), 400, "InvalidUserInput", base);
    let needed = "'lora_name' needs to be provided to unload a LoRA adapter.";
    check_refused(&full.post(UNLOAD, r#"{"lora_name":""}"#), 400, "InvalidUserInput", needed);
    for (path, body, param) in
        [(LOAD, "{}", "lora_name"), (UNLOAD, "{}", "lora_name"), (LOAD, r#"{"lora_name":"a"}"#, "lora_path")]
    {
        let answer = full.post(path, body);
        assert_eq!(answer.status, 400, "{path} {body}");
        assert!(answer.body.contains(&format!(r#""type":"Bad Request","param":"body.{param}""#)), "{}", answer.body);
    }
}

#[test]
fn requests_wait_silently_while_it_sleeps() {
    let full = Full::engine();
    let asleep = || full.get("/is_sleeping").body == r#"{"is_sleeping":true}"#;
    assert!(!asleep());
    for level in [0, 1] {
        let answer = full.post(&format!("/sleep?level={level}"), "");
        let slept = format!(r#"{{"status":"sleeping","level":{level}}}"#);
        assert_eq!((answer.status, answer.body), (200, slept), "level {level}");
        assert!(asleep());
        assert_eq!(full.get("/health").status, 200, "health knows nothing of sleep");
        let mut waiting = Connection::open(full.at()).unwrap();
        waiting.be_patient_for(Duration::from_millis(700)).unwrap();
        let body = r#"{"prompt":"x","ignore_eos":true,"max_tokens":1}"#;
        waiting.send("POST", COMPLETION, "application/json", "", body).unwrap();
        assert_eq!(waiting.head().unwrap_err().kind(), ErrorKind::WouldBlock, "level {level}");
        let answer = full.post("/wake_up", "");
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"awake","tags":null}"#));
        assert!(!asleep());
        waiting.be_patient_for(Duration::from_secs(60)).unwrap();
        assert_eq!(waiting.answer().unwrap().status, 200, "level {level}");
    }
    assert_eq!(full.post("/wake_up", "").body, r#"{"status":"awake","tags":null}"#, "waking twice is no error");
}

#[test]
fn an_engine_wakes_by_parts() {
    let full = Full::engine();
    full.post("/sleep?level=1", "");
    assert_eq!(full.post("/wake_up?tags=weights", "").body, r#"{"status":"sleeping","tags":["weights"]}"#);
    assert_eq!(full.get("/is_sleeping").body, r#"{"is_sleeping":true}"#);
    assert_eq!(full.post("/wake_up?tags=kv_cache", "").body, r#"{"status":"awake","tags":["kv_cache"]}"#);
    assert_eq!(full.get("/is_sleeping").body, r#"{"is_sleeping":false}"#);
}

#[test]
fn sleep_that_makes_no_sense_is_refused() {
    let full = Full::engine();
    for (query, message) in [
        (
            "level=9",
            r"{'type': 'less_than_equal', 'loc': 'query.level', 'msg': 'Input should be less than or equal to 2', 'input': '9', 'ctx': {'le': 2}}",
        ),
        (
            "level=x",
            r"{'type': 'int_parsing', 'loc': 'query.level', 'msg': 'Input should be a valid integer, unable to parse string as an integer', 'input': 'x'}",
        ),
        (
            "mode=foo",
            r#"{'type': 'literal_error', 'loc': 'query.mode', 'msg': \"Input should be 'abort', 'wait' or 'keep'\", 'input': 'foo', 'ctx': {'expected': \"'abort', 'wait' or 'keep'\"}}"#,
        ),
    ] {
        let answer = full.post(&format!("/sleep?{query}"), "");
        let expected = format!(r#""message":"1 validation error:\n  {message}","type":"Bad Request""#);
        assert!(answer.status == 400 && answer.body.contains(&expected), "{query}: {}", answer.body);
    }
    assert_eq!(full.get("/is_sleeping").body, r#"{"is_sleeping":false}"#);
}

#[test]
fn a_sleep_that_aborts_ends_what_runs() {
    let full = Full::engine();
    let mut stream = Connection::open(full.at()).unwrap();
    let body = r#"{"prompt":"x","ignore_eos":true,"max_tokens":1900,"stream":true}"#;
    stream.send("POST", COMPLETION, "application/json", "", body).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    stream.chunk().unwrap();
    assert_eq!(full.post("/sleep?level=0&mode=abort", "").status, 200);
    let mut rest = String::new();
    loop {
        let piece = stream.chunk().unwrap();
        if piece.is_empty() {
            break;
        }
        rest += std::str::from_utf8(&piece).unwrap();
    }
    assert!(rest.contains(r#""finish_reason":"abort""#) && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    full.post("/wake_up", "");
}

#[test]
fn more_than_the_queue_takes_is_refused() {
    let full = Full::engine();
    let rejected = || {
        let page = full.get("/metrics").body;
        let line = page.lines().find(|line| {
            line.starts_with("vllm:admission_rejections_total{") && line.contains(r#"reason="max_num_queued_reqs""#)
        });
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let before = rejected();
    let busy = "The engine is currently busy and cannot accept new requests. Please try again later or on a different \
                instance.";
    for stream in ["false", "true"] {
        for (path, more) in [(COMPLETION, r#""prompt":"x""#), (CHAT, r#""messages":[{"role":"user","content":"x"}]"#)] {
            // Each answer counts.
            let body = format!(r#"{{{more},"max_tokens":1,"n":13,"stream":{stream}}}"#);
            check_refused(&full.post(path, &body), 503, "Service Unavailable", busy);
        }
    }
    assert_eq!(rejected() - before, 4.0);
    let answer = full.post(COMPLETION, r#"{"prompt":"x","max_tokens":1,"n":12}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn requests_are_counted_while_they_are_answered() {
    let full = Full::engine();
    let load = || number(&full.get("/load").body, "server_load");
    // The engine hears a moment later than its client that an earlier one is over.
    wait_until("those before are not counted", || load() == 0);
    let mut stream = Connection::open(full.at()).unwrap();
    let body = r#"{"prompt":"x","ignore_eos":true,"max_tokens":1900,"stream":true}"#;
    stream.send("POST", COMPLETION, "application/json", "", body).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    assert_eq!(load(), 1);
    drop(stream);
    wait_until("who left is not counted", || load() == 0);
}

#[test]
fn prompts_that_begin_alike_share_the_cache() {
    let full = Full::engine();
    assert_eq!(full.post("/reset_prefix_cache", "").body, r#"{"success":true}"#);
    let words = "pools and routers ".repeat(60);
    let cached = |body: &str| {
        let answer = full.post(CHAT, body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        (number(&answer.body, "cached_tokens"), number(&answer.body, "created_cache_tokens"))
    };
    let chat = |more: &str, end: &str| {
        format!(r#"{{"messages":[{{"role":"user","content":"{words}{end}"}}],"ignore_eos":true,"max_tokens":1{more}}}"#)
    };
    let first = full.post(CHAT, &chat("", ""));
    let details = r#""prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0,"multimodal_tokens":null}"#;
    assert!(shape(&first.body).contains(details), "{}", first.body);
    let blocks = number(&first.body, "prompt_tokens") / 128 * 128;
    assert!(blocks >= 128, "{}", first.body);
    assert_eq!((number(&first.body, "cached_tokens"), number(&first.body, "created_cache_tokens")), (0, blocks));
    assert_eq!(cached(&chat("", "")), (blocks, 0));
    let (shared, _) = cached(&chat("", " and more"));
    assert!(shared >= 128, "another end, the same beginning: {shared}");
    assert_eq!(cached(&chat(r#","cache_salt":"x""#, "")), (0, blocks), "a salt keeps apart");
    assert_eq!(cached(&chat(r#","model":"fixed""#, "")), (0, blocks), "an adapter keeps apart");
    assert_eq!(full.post("/reset_prefix_cache", "").body, r#"{"success":true}"#);
    assert_eq!(cached(&chat("", "")), (0, blocks));

    let message = format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"{words}"}}],"max_tokens":1}}"#);
    let answer = full.post(MESSAGES, &message).body;
    let (rest, read) = (number(&answer, "input_tokens"), number(&answer, "cache_read_input_tokens"));
    assert!(read >= 128 && rest < 128 + 128, "{answer}");
    assert_eq!(number(&answer, "cache_creation_input_tokens"), 0, "{answer}");
    let streamed = format!(
        r#"{{"prompt":"{words}","ignore_eos":true,"max_tokens":1,"stream":true,"stream_options":{{"include_usage":true}}}}"#
    );
    full.post(COMPLETION, &streamed);
    let answer = full.post(COMPLETION, &streamed);
    let usage = answer.events()[answer.events().len() - 2].to_owned();
    assert!(shape(&usage).contains(r#""prompt_tokens_details":{"cached_tokens":0}"#), "{usage}");
    assert!(number(&usage, "cached_tokens") >= 128, "{usage}");
}
