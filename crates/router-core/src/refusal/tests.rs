use super::*;
use wire::openai::ScanProblem;

fn every_refusal() -> Vec<Refusal> {
    let pool = || Upstream::Pool("ml/llama".to_owned());
    let target = || Upstream::Target("gpt".to_owned());
    vec![
        Refusal::BadHead(RequestError::BothLengths),
        Refusal::BadHead(RequestError::BadVersion),
        Refusal::Overloaded(Overload::Requests),
        Refusal::Overloaded(Overload::Bodies),
        Refusal::Overloaded(Overload::Work),
        Refusal::Malformed(ScanError { at: 7, problem: ScanProblem::NoComma }),
        Refusal::Malformed(ScanError { at: 7, problem: ScanProblem::Repeated("model") }),
        Refusal::BadForm(FormError::NoStart),
        Refusal::BadForm(FormError::Repeated("model")),
        Refusal::MissingModel,
        Refusal::unknown_model("gpt"),
        Refusal::WrongTarget { targets: None },
        Refusal::WrongTarget { targets: Some("local, gpt".to_owned()) },
        Refusal::unknown_path("/x"),
        Refusal::not_routed("/x", "So it is"),
        Refusal::WrongMethod { allow: "POST" },
        Refusal::EncodedBody,
        Refusal::TooLarge { limit: 16 },
        Refusal::SlowBody { seconds: 30 },
        Refusal::CrawlingBody { least: 1024 },
        Refusal::BrokenBody,
        Refusal::Starting,
        Refusal::no_replica("m", vec![("a".to_owned(), Idle::Missing)]),
        Refusal::Unreachable { upstream: pool() },
        Refusal::UpstreamBroke { upstream: pool() },
        Refusal::UpstreamFailed { upstream: pool() },
        Refusal::UpstreamMalformed { upstream: pool(), why: HeadError::BothLengths },
        Refusal::UpstreamCut { upstream: pool(), why: BodyError::Cut },
        Refusal::UpstreamSilent { upstream: pool(), seconds: 60 },
        Refusal::UpstreamEndless { upstream: pool(), seconds: 900 },
        Refusal::Unreachable { upstream: target() },
        Refusal::Undialed { upstream: target(), why: NoDial::Name },
        Refusal::Undialed { upstream: target(), why: NoDial::Tls(BadTls::Expired) },
        Refusal::Forbidden { upstream: target(), why: "a loopback address" },
        Refusal::Credentials { upstream: target(), refused: false },
        Refusal::Credentials { upstream: target(), refused: true },
        Refusal::Unfit { upstream: target(), field: None, what: "count tokens".to_owned() },
        Refusal::UpstreamLimited { upstream: target(), seconds: 7, money: false },
        Refusal::UpstreamLimited { upstream: target(), seconds: 300, money: true },
        Refusal::UpstreamOverloaded { upstream: target() },
        Refusal::UpstreamResting { upstream: target(), seconds: 3 },
        Refusal::UpstreamRedirects { upstream: target() },
        Refusal::UpstreamStrange { upstream: target(), why: "it is no JSON".to_owned() },
    ]
}

#[test]
fn maps_to_http() {
    let table: Vec<String> = every_refusal()
        .iter()
        .map(|r| {
            let (after, allow) = (r.retry_after().unwrap_or(0), r.allow().unwrap_or("-"));
            format!("{} {} {} {after} {allow} {}", r.status().as_u16(), r.kind(), r.code(), r.further_tries())
        })
        .collect();
    let want = "400 invalid_request_error both_lengths 0 - 0
505 invalid_request_error bad_version 0 - 0
503 server_error too_many_requests_in_flight 1 - 0
503 server_error too_many_body_bytes 1 - 0
503 server_error router_overloaded 1 - 0
400 invalid_request_error invalid_json 0 - 0
400 invalid_request_error invalid_value 0 - 0
400 invalid_request_error invalid_form 0 - 0
400 invalid_request_error invalid_value 0 - 0
400 invalid_request_error missing_model 0 - 0
404 invalid_request_error model_not_found 0 - 0
400 invalid_request_error wrong_target 0 - 0
400 invalid_request_error wrong_target 0 - 0
404 invalid_request_error unknown_path 0 - 0
404 invalid_request_error not_routed 0 - 0
405 invalid_request_error method_not_allowed 0 POST 0
415 invalid_request_error encoded_body 0 - 0
413 invalid_request_error body_too_large 0 - 0
408 invalid_request_error body_timeout 0 - 0
408 invalid_request_error body_too_slow 0 - 0
400 invalid_request_error broken_body 0 - 0
503 server_error router_starting 1 - 0
503 server_error no_replica_ready 5 - 0
502 server_error upstream_unreachable 0 - 2
502 server_error upstream_broke 0 - 2
502 server_error upstream_failed 0 - 1
502 server_error upstream_malformed 0 - 0
502 server_error upstream_cut 0 - 0
504 server_error upstream_timeout 0 - 0
504 server_error upstream_total_timeout 0 - 0
502 server_error upstream_unreachable 0 - 2
502 server_error upstream_unreachable 0 - 0
502 server_error upstream_tls 0 - 0
502 server_error upstream_forbidden 0 - 0
502 server_error upstream_credentials_missing 0 - 0
502 server_error upstream_credentials_refused 0 - 0
400 invalid_request_error unsupported_by_target 0 - 0
429 rate_limit_error rate_limit_exceeded 7 - 0
429 insufficient_quota insufficient_quota 300 - 0
529 server_error upstream_overloaded 1 - 0
503 server_error upstream_resting 3 - 0
502 server_error upstream_redirects 0 - 0
502 server_error upstream_strange 0 - 0";
    assert_eq!(table.join("\n"), want);
}

#[test]
fn says_it_in_a_sentence() {
    for refusal in every_refusal() {
        let message = refusal.to_string();
        assert!(message.ends_with('.') && message.starts_with(char::is_uppercase), "{message}");
        let body: serde_json::Value = serde_json::from_slice(&refusal.body(Dialect::OpenAi, "r")).unwrap();
        assert_eq!(body["error"]["message"], message);
        assert_eq!(body["error"]["code"], refusal.code());
        assert_eq!(body["error"]["param"].as_str(), refusal.param());
        let body: serde_json::Value = serde_json::from_slice(&refusal.body(Dialect::Anthropic, "r")).unwrap();
        assert_eq!((&body["error"]["message"], &body["request_id"]), (&message.into(), &"r".into()));
    }
    let pools = [("a", Idle::Missing), ("b", Idle::Empty), ("c", Idle::Starting(1)), ("d", Idle::Starting(3))];
    let pools = pools.map(|(name, idle)| (name.to_owned(), idle)).to_vec();
    assert_eq!(
        Refusal::no_replica("m", pools).to_string(),
        "No replica can answer for \"m\": pool a does not exist; pool b has no replicas; the one replica of pool c is \
         not ready; none of the 3 replicas of pool d is ready."
    );
}

#[test]
fn repeats_no_endless_text() {
    let message = Refusal::unknown_model(&"é".repeat(100_000)).to_string();
    assert!(message.chars().count() < 250, "{}", message.len());
}

#[test]
fn money_is_a_402_for_messages() {
    let refusal = Refusal::UpstreamLimited { upstream: Upstream::Target("a".to_owned()), seconds: 7, money: true };
    for (dialect, status) in [(Dialect::Anthropic, 402), (Dialect::OpenAi, 429), (Dialect::Responses, 429)] {
        assert_eq!(refusal.status_for(dialect).as_u16(), status);
    }
    let body = String::from_utf8(refusal.body(Dialect::Anthropic, "r")).unwrap();
    assert!(body.contains("billing_error"), "{body}");
}

#[test]
fn only_messages_know_529() {
    let refusal = Refusal::UpstreamOverloaded { upstream: Upstream::Target("a".to_owned()) };
    for (dialect, status) in [(Dialect::Anthropic, 529), (Dialect::OpenAi, 503), (Dialect::Responses, 503)] {
        assert_eq!(refusal.status_for(dialect).as_u16(), status);
    }
    let body = String::from_utf8(refusal.body(Dialect::Anthropic, "r")).unwrap();
    assert!(body.contains("overloaded_error"), "{body}");
}
