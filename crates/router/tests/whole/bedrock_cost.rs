//! What answers of Bedrock cost: by the tier and the latency that they tell, whichever way they were asked.

use std::sync::Arc;
use std::time::Duration;

use ledger::prices::{Provider, Tier, Tokens, find};
use router::metrics::Metrics;
use router::outbound::Outbound;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{Api, Aws, Reach, RemoteInput, Table};
use serde_json::{Value, json};
use telemetry::log::{LogFormat, flush, init};

use crate::alone::alone;
use crate::bed::{Engine, calm};
use crate::bedrock::{CLAUDE, SECRET, Sim, bedrock, call, keys};
use crate::record::{self, records};
use crate::remote::{World, answer, far};

const PRO: &str = "amazon.nova-pro-v1:0";

/// The lines of requests (path, headers, body) to a target that is called as AWS calls it, as the table has prices only for that.
async fn lines(model: &str, asked: &[(&str, &str, Value)]) {
    init(LogFormat::Json, "info").unwrap();
    let sim = Sim::start().await;
    let host = "bedrock-runtime.eu-central-1.amazonaws.com".to_owned();
    let world = World::of(vec![RemoteInput { authority: host.clone(), host, ..bedrock(sim.at, model, true) }]);
    let metrics = Metrics::new().unwrap();
    let live = world.live(&Table::default(), &metrics, &keys(SECRET)).shared();
    let (reach, at) = (Reach::new(vec!["127.0.0.1".parse().unwrap()]), sim.at);
    let outbound = Outbound::new(reach, Vec::new()).unwrap();
    let outbound = outbound.resolved_by(Arc::new(move |_, _| Box::pin(async move { Ok(vec![at]) })));
    let settings = Settings { outbound, ..calm() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let workers = Workers::start(listen, 1, &settings, &live, &metrics, Duration::from_secs(5)).unwrap();
    for (path, headers, body) in asked {
        let got = call(workers.address(), "POST", path, headers, &body.to_string()).await;
        assert_eq!(got.status, 200, "{path} {}", got.text());
    }
    // A worker that ends writes its last lines.
    workers.close();
    tokio::task::spawn_blocking(move || workers.join()).await.unwrap();
    flush();
}

/// Of each record: the tier that it tells, and whether it costs what the table has at this tier (`None`: nothing is told).
fn judged(model: &str, log: &str, want: &[(Option<&str>, Option<Tier>)]) {
    let records = records(log);
    assert_eq!(records.len(), want.len(), "{log}");
    let price = find(Provider::Bedrock, Some("eu-central-1"), model).unwrap();
    for (record, (told, tier)) in records.iter().zip(want) {
        let count = |name: &str| record[name].as_u64().unwrap();
        assert!(count("completion_tokens") > 0 && count("cached_tokens") == 0, "{record}");
        let tokens = Tokens { input: count("prompt_tokens"), output: count("completion_tokens"), ..Tokens::default() };
        let cost = tier.map(|tier| price.cost(tier, &tokens).unwrap().as_nanos());
        assert_eq!((record["tier"].as_str(), record["cost_nanodollars"].as_i64()), (*told, cost), "{record}");
    }
}

#[test]
fn converse_costs_what_its_tier_costs() {
    let log = alone("bedrock_cost::converse_costs_what_its_tier_costs", || async {
        let chat = |more: Value| {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ("/v1/chat/completions", "", body)
        };
        let own = |path: &'static str, more: Value| {
            let mut body = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (path, "", body)
        };
        let (whole, streamed) = ("/model/m/converse", "/model/m/converse-stream");
        let asked = [
            chat(json!({})),
            chat(json!({"service_tier": "priority"})),
            chat(json!({"service_tier": "flex", "stream": true})),
            own(whole, json!({"serviceTier": {"type": "flex"}})),
            own(streamed, json!({"serviceTier": {"type": "priority"}})),
            own(whole, json!({"serviceTier": {"type": "reserved"}})),
            own(streamed, json!({"performanceConfig": {"latency": "optimized"}})),
            own(whole, json!({"performanceConfig": {"latency": "standard"}})),
        ];
        lines(PRO, &asked).await;
    });
    let Some(log) = log else { return };
    let want = [
        (None, Some(Tier::Standard)),
        (Some("priority"), Some(Tier::Priority)),
        (Some("flex"), Some(Tier::Flex)),
        (Some("flex"), Some(Tier::Flex)),
        (Some("priority"), Some(Tier::Priority)),
        (None, Some(Tier::Standard)),
        // The table has no price for it.
        (Some("optimized"), None),
        (None, Some(Tier::Standard)),
    ];
    judged(PRO, &log, &want);
}

/// InvokeModel tells it by a header.
#[test]
fn invoke_costs_what_its_headers_say() {
    let log = alone("bedrock_cost::invoke_costs_what_its_headers_say", || async {
        let body = json!({"anthropic_version": "x", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
        let message = json!({"model": "m", "max_tokens": 50, "service_tier": "auto", "messages": body["messages"]});
        let flex = "x-amzn-bedrock-service-tier: flex\r\n";
        let fast = "x-amzn-bedrock-performanceconfig-latency: optimized\r\n";
        let asked = [
            ("/model/m/invoke", flex, body.clone()),
            ("/model/m/invoke-with-response-stream", flex, body.clone()),
            ("/model/m/invoke", fast, body),
            ("/v1/messages", "", message),
        ];
        lines(CLAUDE, &asked).await;
    });
    let Some(log) = log else { return };
    let want = [
        // A model without this tier costs as usual.
        (Some("flex"), Some(Tier::Standard)),
        (Some("flex"), Some(Tier::Standard)),
        (Some("optimized"), None),
        (None, Some(Tier::Standard)),
    ];
    judged(CLAUDE, &log, &want);
}

/// What Meta's and others' models answer to InvokeModel has no usage in it.
#[test]
fn tokens_are_counted_by_headers_where_nothing_else_tells_them() {
    let log = alone("bedrock_cost::tokens_are_counted_by_headers_where_nothing_else_tells_them", || async {
        let headers = "x-amzn-bedrock-input-token-count: 7\r\nx-amzn-bedrock-output-token-count: 3\r\n";
        let engine = Engine::answering(answer("200 OK", headers, r#"{"generation":"Hi","stop_reason":"stop"}"#)).await;
        let aws = Some(Aws { region: "eu-central-1".to_owned(), signs: false });
        let world = World::of(vec![RemoteInput { path: String::new(), aws, ..far(Api::Bedrock, engine.address) }]);
        record::lines(world, &[("/model/m/invoke", "", r#"{"prompt":"Hi"}"#.to_owned())]).await;
    });
    let Some(log) = log else { return };
    let record = &records(&log)[0];
    assert_eq!((&record["prompt_tokens"], &record["completion_tokens"]), (&json!(7), &json!(3)), "{record}");
}
