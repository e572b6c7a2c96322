//! Mirrors that are no pools: what they get, what is told of them, and what they cost clients when they misbehave, which is nothing.

use std::future::pending;
use std::net::SocketAddr;

use router::outbound::Outbound;
use router::settings::Settings;
use router::volume::Volumes;
use router_core::Reach;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;

use crate::alone::alone;
use crate::bed::{Engine, STREAM, Wire, calm, chunk, plain, post, soon, status, until};
use crate::record::records;
use crate::remote::{TOKEN, answer};
use crate::retry::Nobody;
use crate::rules::{Bed, ask, spec};

const FAR: &str = r#"policy="ml/route",pool="far""#;
const COUNTED: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;

/// All requests go to the pool `a`, with a copy to a server that is compatible with OpenAI's.
fn mirrored(mirror: SocketAddr) -> Value {
    let rules = json!([{"name": "all", "use": {"ordered": ["a"]}, "mirror": {"target": "far", "percent": 100}}]);
    let mut spec = spec(&rules);
    let provider = json!({"kind": "OpenAICompatible", "baseUrl": format!("http://{mirror}/v1"), "model": "candidate"});
    let price = json!({"inputPerMillion": "2.00", "outputPerMillion": "10.00"});
    spec["targets"].as_array_mut().unwrap().push(json!({"name": "far", "provider": provider, "price": price}));
    spec
}

fn settings() -> Settings {
    let reach = Reach::new(vec!["127.0.0.1".parse().unwrap()]);
    Settings { outbound: Outbound::new(reach, Vec::new()).unwrap(), ..calm() }
}

async fn bed(spec: &Value) -> Bed {
    let answers = Engine::answering(plain("\"a\"")).await;
    Bed::with(spec, &settings(), vec![("a", answers)], &Volumes::default())
}

async fn counted(bed: &Bed, outcome: &str, count: &str) {
    let figure = format!("mirrors_total{{outcome=\"{outcome}\",{FAR}}}");
    until("the copies are counted", || bed.metric(&figure).as_deref() == Some(count)).await;
}

async fn well(bed: &Bed) {
    let (head, answer) = bed.ask("", &ask("hi")).await;
    assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
}

#[tokio::test]
async fn a_copy_is_put_into_the_mirror_s_shape() {
    let (tell, mut told) = unbounded_channel();
    let mirror = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            while let Some(asked) = wire.next_message().await {
                tell.send(asked).unwrap();
                wire.send(plain(COUNTED)).await;
            }
        }
    })
    .await;
    let bed = bed(&mirrored(mirror.address)).await;
    well(&bed).await;
    let (head, copy) = soon(told.recv()).await.unwrap();
    let copy: Value = serde_json::from_str(&copy).unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert_eq!(copy["model"], "candidate");
    // A pool takes messages as they are; the mirror does not speak them.
    let mut client = Wire::new(soon(TcpStream::connect(bed.address())).await.unwrap());
    let messages = json!({"model": "m", "max_tokens": 5, "system": "Be kind.", "messages": [{"role": "user", "content": "Hello"}]});
    client.send(post("/v1/messages", "", &messages.to_string())).await;
    assert_eq!(client.message().await.1, "\"a\"");
    let (head, copy) = soon(told.recv()).await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    let copy: Value = serde_json::from_str(&copy).unwrap();
    assert_eq!(copy["messages"][0]["role"], "system", "{copy}");
    counted(&bed, "answered", "2").await;
    let tokens = |kind: &str| bed.metric(&format!("mirrored_tokens_total{{kind=\"{kind}\",{FAR}}}"));
    assert_eq!((tokens("prompt").as_deref(), tokens("completion").as_deref()), (Some("14"), Some("6")));
}

#[tokio::test]
async fn a_mirror_that_fails_is_asked_once_for_each_request() {
    for (failure, asked_for) in [("500 Error", 3), ("429 Too Many", 1), ("401 Unauthorized", 3), ("400 Bad", 3)] {
        let (tell, mut told) = unbounded_channel();
        let text = answer(failure, "retry-after: 60\r\n", "{}");
        let mirror = Engine::new(move |_, mut wire: Wire| {
            let (tell, text) = (tell.clone(), text.clone());
            async move {
                while wire.asked().await {
                    tell.send(()).unwrap();
                    wire.send(&text).await;
                }
            }
        })
        .await;
        let bed = bed(&mirrored(mirror.address)).await;
        for number in 1..=3 {
            well(&bed).await;
            counted(&bed, "failed", &number.to_string()).await;
        }
        let mut asked = 0;
        while told.try_recv().is_ok() {
            asked += 1;
        }
        assert_eq!(asked, asked_for, "{failure}: a key that rests is left alone, and nothing is tried again");
    }
    // Nobody is there.
    let nobody = Nobody::new();
    let bed = bed(&mirrored(nobody.address())).await;
    well(&bed).await;
    counted(&bed, "failed", "1").await;
}

#[tokio::test]
async fn a_mirror_that_hangs_has_so_many_copies_and_no_more() {
    let silent = Engine::new(|_, mut wire: Wire| async move {
        wire.next_message().await;
        pending::<()>().await;
    })
    .await;
    let bed = bed(&mirrored(silent.address)).await;
    for _ in 0..70 {
        well(&bed).await;
    }
    counted(&bed, "dropped", "6").await;
    let in_flight = format!("target_in_flight{{{FAR}}}");
    until("all are under way", || bed.metric(&in_flight).as_deref() == Some("64")).await;
}

/// One that sends tokens for ever, as fast as they are taken.
#[tokio::test]
async fn a_mirror_that_never_ends_is_ended() {
    let (tell, mut told) = unbounded_channel();
    let endless = Engine::new(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            wire.next_message().await;
            wire.send(STREAM).await;
            let token = chunk(TOKEN);
            while wire.stream.write_all(token.as_bytes()).await.is_ok() {}
            tell.send(()).unwrap();
        }
    })
    .await;
    let mut spec = mirrored(endless.address);
    spec["timeouts"] = json!({"total": "1s"});
    let stream = json!({"model": "m", "stream": true, "messages": []}).to_string();
    let bed = bed(&spec).await;
    for _ in 0..3 {
        let (head, answer) = bed.ask("", &stream).await;
        assert_eq!((status(&head), answer.as_str()), (200, "\"a\""));
    }
    for _ in 0..3 {
        soon(told.recv()).await.unwrap();
    }
    counted(&bed, "late", "3").await;
    until("nothing is under way", || bed.metric(&format!("target_in_flight{{{FAR}}}")).as_deref() == Some("0")).await;
}

#[test]
fn the_log_has_a_line_for_each_copy() {
    let log = alone("mirror_far::the_log_has_a_line_for_each_copy", || async {
        telemetry::log::init(telemetry::log::LogFormat::Json, "info").unwrap();
        let mirror = Engine::answering(plain(COUNTED)).await;
        let failing = Engine::answering(answer("500 Error", "", "{}")).await;
        for engine in [&mirror, &failing] {
            let bed = bed(&mirrored(engine.address)).await;
            let (head, _) = bed.ask("x-request-id: twice\r\nx-quartermaster-feature: chat\r\n", &ask("hi")).await;
            assert_eq!(status(&head), 200);
            let outcome = if engine.address == mirror.address { "answered" } else { "failed" };
            counted(&bed, outcome, "1").await;
            // A worker that ends writes its last lines.
            bed.ended().await;
        }
        telemetry::log::flush();
    });
    let Some(log) = log else { return };
    let records = records(&log);
    let of = |mirror: bool| records.iter().filter(move |record| record["mirror"].is_boolean() == mirror);
    let told = |record: &Value| {
        ["request_id", "feature", "rule", "target", "status", "prompt_tokens", "completion_tokens", "cost_nanodollars"]
            .map(|name| record[name].clone())
    };
    let common =
        |target: &str, status: u16| vec![json!("twice"), json!("chat"), json!("all"), json!(target), json!(status)];
    // Two and ten dollars per million tokens.
    let cost = vec![json!(7), json!(3), json!(7 * 2000 + 3 * 10_000)];
    let copies: Vec<_> = of(true).map(|record| told(record).to_vec()).collect();
    let failed = [common("far", 500), vec![Value::Null; 3]].concat();
    assert_eq!(copies, [[common("far", 200), cost].concat(), failed], "{log}");
    let own: Vec<_> = of(false).map(|record| (record["target"].clone(), record["status"].clone())).collect();
    assert_eq!(own, [(json!("a"), json!(200)), (json!("a"), json!(200))], "{log}");
}
