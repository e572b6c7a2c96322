//! The provider's key: replaced under load, wrong, used too often; what it costs, and where it never shows.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use e2e::{
    Asker, Ending, Namespace, PATIENCE, Reply, SYSTEM, Told, kubectl, page, post_page, processes, routed, skip,
    wait_for, watched_load,
};
use serde_json::Value;

use super::bed::{Bed, policy, provider};

/// Within this time a new key is in use.
const ROTATED: Duration = Duration::from_secs(60);
/// Requests with the new key after which none with the old one can be under way: more than there are clients.
const SETTLED: u64 = 60;
/// Nothing that a provider refuses may show these, nor their ends.
const KEYS: [&str; 2] = ["sk-proof-first-7c1e94d2a6f04b58", "sk-proof-second-03d9b7e85f2c41aa"];
/// Nano-dollars of a token of prompts and of answers, by the prices of the bed: $0.15 and $0.60 a million.
const PRICES: (u64, u64) = (150, 600);

/// A policy for the provider alone, which asks it once for each request and never leaves it alone.
fn alone(name: &str, kind: &str) -> String {
    let rest =
        format!("targets: [{}], retries: {{attempts: 0}}, breaker: {{consecutiveFailures: 100}}", provider(name, kind));
    policy(name, &rest)
}

#[test]
fn a_key_is_replaced_without_a_gap_billed_once_and_shown_nowhere() {
    if !routed() {
        return skip("a provider's bill: its address is not routed here");
    }
    let bed = Bed::new("provider-keys", KEYS[0]);
    post_page(&bed.page("/sim/keys"), &KEYS.join("\n")).unwrap();
    bed.ns.must_apply(&alone("gpt", "OpenAI"));
    bed.ns.must_apply(&alone("claude", "Anthropic"));
    bed.ns.must_apply(&policy(
        "guarded",
        &format!(
            "targets: [{}, {{name: local, pool: {{name: local}}}}], rules: [{{name: all, use: {{ordered: [sold, local]}}}}]",
            provider("sold", "OpenAI")
        ),
    ));
    for model in ["gpt", "claude", "guarded"] {
        bed.in_effect(model);
        answers(&bed, model);
    }
    replaced_under_load(&bed);
    billed_once(&bed);
    let mut seen = refused(&bed);
    seen.extend(used_too_often(&bed));
    shown_nowhere(&bed, &seen);
}

/// Waits until the provider answers this policy.
fn answers(bed: &Bed, model: &str) {
    wait_for(&format!("{model} is answered"), PATIENCE, || match bed.chat.ask(model, 2)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
}

/// Requests that were sold to the key.
fn sold(bed: &Bed, key: &str) -> u64 {
    sum(&bed.bill(), "requests", |line| line["key"] == key)
}

fn sum(bill: &Value, field: &str, of: impl Fn(&Value) -> bool) -> u64 {
    let lines = bill["lines"].as_array().unwrap().iter().filter(|line| of(line));
    lines.filter_map(|line| line[field].as_u64()).sum()
}

/// The Secret changes while twelve clients ask: none notices, the new key is in use within a minute, and then the old one is
/// not used again.
fn replaced_under_load(bed: &Bed) {
    let ask = |model| [Asker { model, stream: true }, Asker { model, stream: false }, Asker { model, stream: true }];
    let askers = [ask("gpt"), ask("gpt"), ask("claude"), ask("claude")].concat();
    let mut last = 0;
    let told = watched_load(&bed.chat, &askers, |_| {
        let at_least = |key: &str, count: u64| match sold(bed, key) {
            sold if sold >= count => Ok(sold),
            sold => Err(format!("{sold} requests")),
        };
        wait_for("the first key is in use", PATIENCE, || at_least(KEYS[0], 20));
        assert_eq!(sold(bed, KEYS[1]), 0);
        bed.set_key(KEYS[1]);
        let changed = Instant::now();
        wait_for("the new key is in use", ROTATED, || at_least(KEYS[1], 1));
        println!("the new key was in use {:?} after the Secret had changed", changed.elapsed());
        wait_for("what began with the first key is over", PATIENCE, || at_least(KEYS[1], SETTLED));
        last = sold(bed, KEYS[0]);
        wait_for("the new key stays in use", PATIENCE, || at_least(KEYS[1], 2 * SETTLED));
    });
    let failed: Vec<&Told> = told.iter().filter(|told| told.ending != Ending::Answered).collect();
    assert!(failed.is_empty(), "{} of {} failed, the first: {:?}", failed.len(), told.len(), failed[0]);
    assert_eq!(sold(bed, KEYS[0]), last, "nothing more was sold to the first key");
}

/// The provider's bill and the router's log tell of the same requests, tokens and dollars.
fn billed_once(bed: &Bed) {
    for (model, targets) in [("gpt-4o-mini", &["gpt", "sold"][..]), ("claude-haiku-4-5", &["claude"])] {
        let bill = bed.bill();
        let of = |line: &Value| line["model"] == model;
        let total = |fields: &[&str]| fields.iter().map(|field| sum(&bill, field, of)).sum::<u64>();
        let input = total(&["input_tokens", "cached_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"]);
        let billed = (total(&["requests"]), input, total(&["output_tokens"]));
        assert_eq!(total(&["cancelled"]), 0);
        let logged = wait_for(&format!("the log tells what {model} was sold: {billed:?}"), PATIENCE, || {
            let lines = bed.lines_of(targets);
            let sum = |field: &str| lines.iter().filter_map(|line| line[field].as_u64()).sum::<u64>();
            let logged = (lines.len() as u64, sum("prompt_tokens"), sum("completion_tokens"));
            if logged == billed { Ok((logged, sum("cost_nanodollars"))) } else { Err(format!("{logged:?}")) }
        });
        assert_eq!(logged.1, input * PRICES.0 + billed.2 * PRICES.1, "in nano-dollars");
        println!("{model}: {} requests, {} tokens in, {} out, {} nano-dollars", billed.0, billed.1, billed.2, logged.1);
    }
}

fn ask(bed: &Bed, model: &str) -> Reply {
    bed.chat.ask(model, 4).unwrap()
}

/// The provider takes neither key any more. Its words, which show the end of a key, go to nobody.
fn refused(bed: &Bed) -> Vec<String> {
    post_page(&bed.page("/sim/keys"), "somebody-else").unwrap();
    let mut seen = Vec::new();
    for model in ["gpt", "claude"] {
        let reply = ask(bed, model);
        assert_eq!((reply.status, &reply.body["error"]["code"]), (502, &"upstream_credentials_refused".into()));
        let streamed = bed.chat.stream(model, 4).unwrap_err();
        assert!(streamed.contains("502"), "{streamed}");
        seen.extend([format!("{reply:?}"), streamed]);
    }
    let reply = ask(bed, "guarded");
    assert_eq!((reply.status, reply.target.as_deref()), (200, Some("local")), "{reply:?}");
    post_page(&bed.page("/sim/keys"), KEYS[1]).unwrap();
    answers(bed, "gpt");
    seen
}

/// The provider says that the key is used too often: the pool answers where there is one, and elsewhere the client is told for
/// how long; then nobody asks until that is over. That the money is gone is told in other words.
fn used_too_often(bed: &Bed) -> Vec<String> {
    let rest = Duration::from_secs(8);
    post_page(&bed.page("/sim/faults"), &format!("status=429,cause=pace,retry-after={}", rest.as_secs())).unwrap();
    let limited = ask(bed, "gpt");
    let told = Instant::now();
    let seconds = limited.retry_after.as_deref().and_then(|text| text.parse::<u64>().ok());
    assert!(limited.status == 429 && seconds.is_some_and(|seconds| (7..=8).contains(&seconds)), "{limited:?}");
    let struck = || {
        let faults: Value = serde_json::from_str(&page(&bed.page("/sim/faults")).unwrap()).unwrap();
        faults["faults"][0]["struck"].as_u64().unwrap()
    };
    assert_eq!(struck(), 1);
    let reply = ask(bed, "guarded");
    assert_eq!((reply.status, reply.target.as_deref()), (200, Some("local")), "{reply:?}");
    // The other policies name the same key at the same host.
    let again = ask(bed, "gpt");
    assert!(again.status == 429 && again.retry_after.is_some(), "{again:?}");
    assert_eq!(struck(), 1, "nobody asks while the key rests");

    post_page(&bed.page("/sim/faults"), "").unwrap();
    answers(bed, "gpt");
    let after = told.elapsed();
    assert!(after + Duration::from_secs(1) >= rest, "the key was used again after {after:?} of {rest:?}");
    println!("the key rested for {after:?}, as the provider had said");

    post_page(&bed.page("/sim/faults"), "status=429,cause=quota").unwrap();
    let spent = ask(bed, "gpt");
    assert_eq!((spent.status, &spent.body["error"]["code"]), (429, &"insufficient_quota".into()), "{spent:?}");
    let reply = ask(bed, "guarded");
    assert_eq!((reply.status, reply.target.as_deref()), (200, Some("local")), "{reply:?}");
    vec![format!("{limited:?} {again:?} {spent:?}")]
}

/// No page, log, status, event or answer holds a key, or the half of one, plain or as Secrets have it.
fn shown_nowhere(bed: &Bed, seen: &[String]) {
    let ns: &Namespace = &bed.ns;
    let at = bed.router_address();
    let mut places: Vec<(String, String)> = seen.iter().map(|text| ("an answer".to_owned(), text.clone())).collect();
    for path in [":9090/metrics", ":9090/readyz", ":9091/debug/config", ":9091/debug/endpoints"] {
        places.push((path.to_owned(), page(&format!("http://{at}{path}")).unwrap()));
    }
    places.push(("the router's log".to_owned(), bed.log()));
    for operator in names(SYSTEM, "app.kubernetes.io/component=operator") {
        places.push((
            format!("the log of {operator}"),
            kubectl(&format!("logs {operator} --namespace {SYSTEM} --tail=-1")),
        ));
    }
    for kind in ["routepolicies.quartermaster.dev", "inferencepools.quartermaster.dev", "events", "pods", "configmaps"]
    {
        places.push((kind.to_owned(), ns.kubectl(&format!("get {kind} --output yaml"))));
    }
    let router = names(&ns.name, "app.kubernetes.io/component=router").pop().unwrap();
    let process = processes(&router).pop().unwrap();
    for file in ["environ", "cmdline", "root/var/cache/quartermaster/table.json"] {
        let bytes = std::fs::read(format!("/proc/{process}/{file}")).unwrap();
        places.push((file.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let mut length = 0;
    for (place, text) in &places {
        assert!(!text.is_empty() || place == "configmaps", "{place} is empty");
        length += text.len();
        for key in KEYS {
            let tail = &key[key.len() / 2..];
            for secret in [key.to_owned(), tail.to_owned(), BASE64.encode(key)] {
                assert!(!text.contains(&secret), "{place} shows {secret}");
            }
        }
    }
    println!("no key in {} places, {length} bytes", places.len());
}

fn names(namespace: &str, selector: &str) -> Vec<String> {
    let words =
        format!("get pods --namespace {namespace} --selector {selector} --output jsonpath={{.items[*].metadata.name}}");
    kubectl(&words).split_whitespace().map(str::to_owned).collect()
}
