//! What the log says of a request: who asked, what was tried, what was counted, and what it cost.

use std::time::Duration;

use router::metrics::Metrics;
use router::outbound::Outbound;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{Api, Reach, RemoteInput, Table};
use serde_json::{Value, json};
use telemetry::log::{LogFormat, flush, init};
use tokio::net::TcpStream;

use crate::alone::alone;
use crate::bed::{Engine, STREAM, Wire, calm, chunk, plain, post, soon, status};
use crate::remote::{KEY, World, far, keys};

/// The lines of requests that a router of this world writes for these: path, headers, body.
pub(crate) async fn lines(world: World, asked: &[(&str, &str, String)]) {
    init(LogFormat::Json, "info").unwrap();
    let metrics = Metrics::new().unwrap();
    let live = world.live(&Table::default(), &metrics, &keys(KEY)).shared();
    let reach = Reach::new(vec!["127.0.0.1".parse().unwrap()]);
    let settings = Settings { outbound: Outbound::new(reach, Vec::new()).unwrap(), ..calm() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let workers = Workers::start(listen, 1, &settings, &live, &metrics, Duration::from_secs(5)).unwrap();
    for (path, headers, body) in asked {
        let mut client = Wire::new(TcpStream::connect(workers.address()).await.unwrap());
        client.send(post(path, headers, body)).await;
        let head = if body.contains("\"stream\":true") {
            soon(client.read_to("0\r\n\r\n")).await
        } else {
            soon(client.message()).await.0
        };
        assert_eq!(status(&head), 200, "{head}");
    }
    // A worker that ends writes its last lines.
    workers.close();
    tokio::task::spawn_blocking(move || workers.join()).await.unwrap();
    flush();
}

pub(crate) fn records(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.contains("\"message\":\"request\""));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn model(api: Api, engine: &Engine, model: &str) -> RemoteInput {
    RemoteInput { model: Some(model.to_owned()), ..far(api, engine.address) }
}

/// Attempts without what differs from run to run.
pub(crate) fn attempts(record: &Value) -> Value {
    let mut all = record["attempts"].clone();
    for attempt in all.as_array_mut().into_iter().flatten() {
        let attempt = attempt.as_object_mut().unwrap();
        assert!(attempt.remove("ms").is_none_or(|ms| ms.is_f64()));
        attempt.remove("endpoint");
    }
    all
}

#[test]
fn who_asked_and_what_was_tried() {
    let log = alone("record::who_asked_and_what_was_tried", || async {
        let broken = Engine::answering("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}").await;
        let gone = model(Api::OpenAi, &broken, "gpt-4o-mini");
        let mut gone = RemoteInput { port: 1, ..gone };
        gone.authority = "127.0.0.1:1".to_owned();
        let well = Engine::answering(plain("{\"choices\":[{}]}")).await;
        let remotes = vec![gone, model(Api::OpenAi, &broken, "gpt-4o-mini"), model(Api::OpenAi, &well, "gpt-4o-mini")];
        let world = World { pool: true, ..World::of(remotes) };
        let body = json!({
            "model": "m", "user": "ann\"", "prompt_cache_key": "talk-1", "metadata": {"feature": "search"}, "messages": [],
        });
        let (path, plain) = ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#.to_owned());
        lines(world, &[(path, "", body.to_string()), (path, "x-quartermaster-feature: chat\r\n", plain)]).await;
    });
    let Some(log) = log else { return };
    let records = records(&log);
    let [first, second] = &records[..] else { panic!("{log}") };
    let who = |record: &Value| ["user", "session", "feature"].map(|name| record[name].clone());
    assert_eq!(who(first), [json!("ann\""), json!("talk-1"), json!("search")]);
    assert_eq!(who(second), [Value::Null, Value::Null, json!("chat")]);
    let want = json!([
        {"target": "local", "reason": "Cold"},
        {"target": "far-0", "reason": "upstream_unreachable"},
        {"target": "far-1", "status": 500, "reason": "ServerError"},
        {"target": "far-2", "status": 200},
    ]);
    assert_eq!(attempts(first), want, "{first}");
    assert_eq!(
        (&first["target"], &first["policy"], &first["status"]),
        (&json!("far-2"), &json!("ml/route"), &json!(200))
    );
    let ms = |at: usize| first["attempts"][at]["ms"].as_f64();
    assert!(ms(0).is_none() && ms(3).unwrap() <= first["total_ms"].as_f64().unwrap(), "{first}");
}

#[test]
fn what_was_counted_and_what_it_cost() {
    let log = alone("record::what_was_counted_and_what_it_cost", || async {
        // Each answers once, in the order in which it is asked.
        let usage = r#""usage":{"prompt_tokens":100,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":4}}"#;
        let event = |tier: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"Hi\"}}}}],\"service_tier\":\"{tier}\",{usage}}}\n\n"
            )
        };
        let stream = |tier: &str| format!("{STREAM}{}{}0\r\n\r\n", chunk(&event(tier)), chunk("data: [DONE]\n\n"));
        let long = r#"{"choices":[{}],"usage":{"prompt_tokens":300000,"completion_tokens":10}}"#;
        let answers = [
            plain(&format!("{{\"choices\":[{{}}],\"service_tier\":\"default\",{usage}}}")),
            plain(&format!("{{\"choices\":[{{}}],{usage},\"service_tier\":\"priority\"}}")),
            stream("priority"),
            plain(long),
        ];
        let engine = Engine::new(move |_, mut wire| {
            let answers = answers.clone();
            async move {
                for answer in answers {
                    wire.next_message().await;
                    wire.send(answer).await;
                }
            }
        })
        .await;
        let (path, whole) = ("/v1/chat/completions", r#"{"model":"m","messages":[]}"#.to_owned());
        let streamed = r#"{"model":"m","stream":true,"messages":[]}"#.to_owned();
        let world = World::of(vec![model(Api::OpenAi, &engine, "gpt-5.5")]);
        let asked = [(path, "", whole.clone()), (path, "", whole.clone()), (path, "", streamed), (path, "", whole)];
        lines(world, &asked).await;
    });
    let Some(log) = log else { return };
    let records = records(&log);
    let told = |record: &Value| {
        ["prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "tier", "cost_nanodollars"]
            .map(|name| record[name].clone())
    };
    // Dollars per million tokens: 5, 0.5 cached and 30; at priority 12.5, 1.25 and 75; above 272,000 tokens 10, 1 and 45.
    let counted = [json!(100), json!(40), json!(10), json!(4)];
    let want = [
        [&counted[..], &[Value::Null, json!(60 * 5000 + 40 * 500 + 10 * 30_000)]].concat(),
        [&counted[..], &[json!("priority"), json!(60 * 12_500 + 40 * 1250 + 10 * 75_000)]].concat(),
        [&counted[..], &[json!("priority"), json!(60 * 12_500 + 40 * 1250 + 10 * 75_000)]].concat(),
        vec![
            json!(300_000),
            Value::Null,
            json!(10),
            Value::Null,
            Value::Null,
            json!(300_000i64 * 10_000 + 10 * 45_000),
        ],
    ];
    let got: Vec<Vec<Value>> = records.iter().map(|record| told(record).to_vec()).collect();
    assert_eq!(got, want, "{log}");
}

#[test]
fn a_cache_that_is_written_costs_what_its_time_costs() {
    let log = alone("record::a_cache_that_is_written_costs_what_its_time_costs", || async {
        let answer = r#"{"content":[],"usage":{"input_tokens":100,"cache_creation_input_tokens":30,"cache_read_input_tokens":40,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":10,"service_tier":"standard"}}"#;
        let engine = Engine::answering(plain(answer)).await;
        let world = World::of(vec![model(Api::Anthropic, &engine, "claude-haiku-4-5")]);
        let body = r#"{"model":"m","max_tokens":5,"messages":[]}"#;
        lines(world, &[("/v1/messages", "", body.to_owned())]).await;
    });
    let Some(log) = log else { return };
    let record = &records(&log)[0];
    // Dollars per million tokens: 1, 0.1 cached, 1.25 and 2 written, 5.
    let cost = 100 * 1000 + 40 * 100 + 10 * 1250 + 20 * 2000 + 10 * 5000;
    let told = ["prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "cost_nanodollars"];
    assert_eq!(told.map(|name| record[name].clone()), [170, 40, 30, 10, cost].map(Value::from), "{record}");
}

#[test]
fn what_openai_writes_to_its_cache_costs_more() {
    let log = alone("record::what_openai_writes_to_its_cache_costs_more", || async {
        let chat = r#"{"choices":[{}],"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":60}}}"#;
        let response = r#"{"object":"response","status":"completed","output":[],"service_tier":"flex","usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":60},"output_tokens":10,"total_tokens":110}}"#;
        let engine = Engine::new(move |_, mut wire| async move {
            for answer in [chat, response] {
                wire.next_message().await;
                wire.send(plain(answer)).await;
            }
        })
        .await;
        let world = World::of(vec![model(Api::OpenAi, &engine, "gpt-5.6")]);
        let chat = r#"{"model":"m","messages":[]}"#.to_owned();
        let response = r#"{"model":"m","input":"Hi"}"#.to_owned();
        lines(world, &[("/v1/chat/completions", "", chat), ("/v1/responses", "", response)]).await;
    });
    let Some(log) = log else { return };
    let told = ["prompt_tokens", "cached_tokens", "cache_write_tokens", "tier", "cost_nanodollars"];
    let got: Vec<_> = records(&log).iter().map(|record| told.map(|name| record[name].clone())).collect();
    // Dollars per million tokens: 4, 0.4 cached, 5 written and 20; half of that at flex.
    let cost = 10 * 4000 + 30 * 400 + 60 * 5000 + 10 * 20_000;
    let counted = |tier: Value, cost: i32| [json!(100), json!(30), json!(60), tier, json!(cost)];
    assert_eq!(got, [counted(Value::Null, cost), counted(json!("flex"), cost / 2)], "{log}");
}
