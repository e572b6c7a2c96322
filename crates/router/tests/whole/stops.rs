//! How a vLLM that drains, dies, is full or gives up looks to clients: success elsewhere, or one clear error. The bytes are
//! those that vLLM 0.32 was seen to send.

use crate::bed::{ASK, Bed, Engine, STREAM, chunk, plain, status};

/// An answer of status 500 or more, as vLLM frames it.
fn refusal(status: &str, message: &str, kind: &str) -> String {
    let code = &status[..3];
    let body = format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#);
    format!(
        "HTTP/1.1 {status}\r\ndate: Sat, 21 Nov 2026 06:45:44 GMT\r\nserver: uvicorn\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{body}",
        body.len()
    )
}

fn draining() -> String {
    refusal("500 Internal Server Error", "cannot schedule new futures after shutdown", "InternalServerError")
}

fn died() -> String {
    let message = "EngineCore encountered an issue. See stack trace (above) for the root cause.";
    refusal("500 Internal Server Error", message, "InternalServerError")
}

const ROLE: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const WORD: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\\"error\\\" \"},\"finish_reason\":null}]}\n\n";
const ABORT: &str = "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"abort\"}]}\n\n";
const ERROR: &str = "data: {\"error\": {\"message\": \"EngineCore encountered an issue. See stack trace (above) for the root cause.\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn streamed(events: &[&str]) -> String {
    format!("{STREAM}{}0\r\n\r\n", events.iter().map(|event| chunk(event)).collect::<String>())
}

fn aborted() -> String {
    plain(r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"abort"}]}"#)
}

/// Every way in which a stopping or failing engine answers before anything of use has come from it.
fn stops() -> Vec<(&'static str, String)> {
    vec![
        ("draining", draining()),
        ("died before a plain answer", died()),
        ("full", refusal("503 Service Unavailable", "Too many queued requests", "Service Unavailable")),
        ("died before a stream", streamed(&[ERROR, DONE])),
        ("died before the first token", streamed(&[ROLE, ERROR, DONE])),
        ("died in another shape", streamed(&["event: error\ndata: {\"type\":\"error\"}\n\n"])),
        ("gave up before a stream", streamed(&[ABORT, DONE])),
        ("gave up a plain answer", aborted()),
        ("closed", String::new()),
        ("closed in the head", draining()[..40].to_owned()),
        ("closed before the first event", STREAM.to_owned()),
        ("closed in a short answer", plain("{\"a\":1}")[..70].to_owned()),
    ]
}

/// An engine that says this to each connection and closes it.
async fn saying(answer: String) -> Engine {
    Engine::new(move |_, mut wire| {
        let answer = answer.clone();
        async move {
            wire.asked().await;
            wire.send(answer).await;
        }
    })
    .await
}

fn total(bed: &Bed, reason: &str) -> f64 {
    bed.figure(&format!(r#"quartermaster_router_refusals_total{{policy="ml/route",pool="ml/p",reason="{reason}",surface="chat_completions"}}"#))
}

#[tokio::test]
async fn clients_get_the_answer_of_another_replica() {
    for (name, answer) in stops() {
        let stopping = saying(answer).await;
        let good = Engine::answering(plain("fine")).await;
        let bed = Bed::new(&[stopping.address, good.address]);
        for _ in 0..12 {
            let (head, body) = bed.asking(ASK).await.message().await;
            assert_eq!((status(&head), body.as_str()), (200, "fine"), "{name}");
        }
        assert!(stopping.connections() > 0, "{name}: equal loads are drawn evenly, so some drew the stopping one");
        bed.settled().await;
    }
}

#[tokio::test]
async fn an_engine_that_says_that_it_stops_is_asked_once() {
    for answer in [draining(), died()] {
        let stopping = saying(answer).await;
        let good = Engine::answering(plain("fine")).await;
        let bed = Bed::new(&[stopping.address, good.address]);
        for _ in 0..40 {
            assert_eq!(status(&bed.asking(ASK).await.message().await.0), 200);
        }
        assert_eq!(stopping.connections(), 1);
        assert!((bed.figure(r#"quartermaster_router_ejections_total{pool="ml/p"}"#) - 1.0).abs() < 1e-9);
        assert!((bed.figure(r#"quartermaster_router_replicas{pool="ml/p",state="ejected"}"#) - 1.0).abs() < 1e-9);
    }
}

#[tokio::test]
async fn where_no_other_replica_is_left_the_engine_s_own_error_passes_unchanged() {
    for (name, answer) in stops() {
        let engine = saying(answer.clone()).await;
        let bed = Bed::new(&[engine.address]);
        let mut client = bed.client().await;
        client.send(crate::bed::post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
        let got = client.read_all().await;
        let told = |code: &str| got.contains(&format!("\"code\":\"{code}\""));
        if name.starts_with("closed") {
            assert!(status(&got) == 502 && told("upstream_broke"), "{name}: {got}");
        } else if answer.contains("200 OK") {
            assert!(status(&got) == 502 && told("upstream_failed"), "{name}: {got}");
        } else {
            assert_eq!((status(&got), payload(&got)), (status(&answer), payload(&answer)), "{name}");
        }
        bed.settled().await;
        if answer.contains("200 OK") && !name.starts_with("closed") {
            assert!((total(&bed, "upstream_failed") - 1.0).abs() < 1e-9, "{name}: a 200 that failed counts as failed");
        }
    }
}

#[tokio::test]
async fn a_failure_within_a_stream_counts_as_one_although_done_follows() {
    let cases = [(vec![ROLE, WORD, DONE], 0.0), (vec![ROLE, WORD, ERROR, DONE], 1.0), (vec![ROLE, WORD, ERROR], 1.0)];
    for (events, failures) in cases {
        let engine = Engine::answering(streamed(&events)).await;
        let bed = Bed::new(&[engine.address]);
        let got = bed.asking(ASK).await.read_to("0\r\n\r\n").await;
        // Nothing follows the error, so that nobody who overlooks it takes the answer for a whole one.
        let passing = events.iter().position(|event| *event == ERROR).map_or(events.len(), |at| at + 1);
        assert!(got.split_once("\r\n\r\n").unwrap().1.matches("data: ").count() == passing, "{got}");
        for event in &events[..passing] {
            assert!(got.contains(event.trim_end()), "{got}");
        }
        bed.settled().await;
        assert!((total(&bed, "upstream_failed") - failures).abs() < 1e-9, "{events:?}");
        let cut = bed.figure(r#"quartermaster_router_cut_answers_total{policy="ml/route",pool="ml/p"}"#);
        assert!((cut - failures).abs() < 1e-9, "{events:?}");
    }
}

const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"},\"index\":0}\n\n";
const NO_REASON: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null,\"stop_sequence\":null},\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const CREATED: &str = "event: response.created\ndata: {\"response\":{\"metadata\":{\"status\":\"cancelled\"},\"status\":\"in_progress\"},\"sequence_number\":0,\"type\":\"response.created\"}\n\n";
const WROTE: &str = "event: response.output_text.delta\ndata: {\"delta\":\"a\",\"sequence_number\":1,\"type\":\"response.output_text.delta\"}\n\n";
const CANCELLED: &str = "event: response.completed\ndata: {\"response\":{\"output\":[],\"status\":\"cancelled\"},\"sequence_number\":2,\"type\":\"response.completed\"}\n\n";
const COMPLETED: &str = "event: response.completed\ndata: {\"response\":{\"output\":[],\"status\":\"completed\"},\"sequence_number\":2,\"type\":\"response.completed\"}\n\n";

/// What a client gets of a stream at this path.
async fn relayed(path: &str, events: &[&str]) -> (String, Bed) {
    let engine = Engine::answering(streamed(events)).await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    client.send(crate::bed::post(path, "connection: close\r\n", r#"{"model":"m","stream":true}"#)).await;
    let got = payload(&client.read_all().await);
    bed.settled().await;
    (got, bed)
}

fn failures(bed: &Bed, surface: &str, reason: &str) -> f64 {
    bed.figure(&format!(
        r#"quartermaster_router_refusals_total{{policy="ml/route",pool="ml/p",reason="{reason}",surface="{surface}"}}"#
    ))
}

#[tokio::test]
async fn a_stream_that_the_engine_gave_up_ends_in_an_error_in_every_shape() {
    // The path, the surface, the events; then how many of them pass, and what the error is told with.
    let cases: [(&str, &str, Vec<&str>, usize, &str); 3] = [
        ("/v1/chat/completions", "chat_completions", vec![ROLE, WORD, ABORT, DONE], 3, "{\"error\":{"),
        ("/v1/messages", "messages", vec![DELTA, NO_REASON, STOP], 2, "\"type\":\"api_error\""),
        ("/v1/responses", "responses", vec![CREATED, WROTE, CANCELLED], 2, "\"sequence_number\":2}"),
    ];
    for (path, surface, events, passing, told) in cases {
        let (got, bed) = relayed(path, &events).await;
        let rest = got.strip_prefix(&events[..passing].concat()).unwrap_or_else(|| panic!("{path}: {got}"));
        assert!(rest.contains(told) && rest.matches("\n\n").count() == 1, "{path}: {rest}");
        assert!((failures(&bed, surface, "upstream_failed") - 1.0).abs() < 1e-9, "{path}");
    }
}

/// OpenAI's streams may leave out `[DONE]` after a choice has said why it finished; the others have one last event.
#[tokio::test]
async fn a_stream_that_only_stops_is_no_whole_stream() {
    const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const REASON: &str =
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let (chat, messages, responses) = ("/v1/chat/completions", "/v1/messages", "/v1/responses");
    const BROKE: &str = "upstream_broke";
    const CUT: &str = "upstream_cut";
    let cases: [(&str, &str, Vec<&str>, Option<&str>); 10] = [
        (chat, "chat_completions", vec![ROLE, WORD, DONE], None),
        (chat, "chat_completions", vec![ROLE, FINISH], None),
        (
            chat,
            "chat_completions",
            vec![ROLE, FINISH, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n"],
            None,
        ),
        (chat, "chat_completions", vec![ROLE, WORD], Some(CUT)),
        // An event that is not ended belongs to no whole stream.
        (chat, "chat_completions", vec![ROLE, "data: {\"choi"], Some(BROKE)),
        (messages, "messages", vec![DELTA, REASON, STOP], None),
        (messages, "messages", vec![DELTA, REASON], Some(CUT)),
        (responses, "responses", vec![CREATED, WROTE, COMPLETED], None),
        (responses, "responses", vec![CREATED, WROTE], Some(CUT)),
        (responses, "responses", vec![CREATED], Some(BROKE)),
    ];
    for (path, surface, events, fault) in cases {
        let (got, bed) = relayed(path, &events).await;
        // Of a stream that has said nothing the client sees nothing.
        assert_eq!(got.contains("\"upstream_broke\""), fault == Some(BROKE), "{path}: {got}");
        assert_eq!(
            got.contains("\"upstream_cut\"") || got.contains("event: error"),
            fault == Some(CUT),
            "{path}: {got}"
        );
        for reason in [CUT, BROKE] {
            let counted = f64::from(u8::from(fault == Some(reason)));
            assert!((failures(&bed, surface, reason) - counted).abs() < 1e-9, "{path}: {got}");
        }
        if fault == Some(CUT) && path == responses {
            let next = format!("\"sequence_number\":{}}}", events.len());
            assert!(got.trim_end().ends_with(&next), "it counts on: {got}");
        }
        assert!(!got.contains("{\"choi\n") && !got.ends_with("{\"choi"), "{got}");
    }
}

#[tokio::test]
async fn a_plain_answer_that_the_engine_gave_up_is_a_failure_in_every_shape_and_length() {
    let chat = |text: &str| format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"abort"}}]}}"#);
    let message = |text: &str| format!(r#"{{"role":"assistant","content":[{{"text":"{text}"}}],"usage":{{}}}}"#);
    let response = |text: &str| format!(r#"{{"output":["{text}"],"status":"cancelled","usage":null}}"#);
    let lengths = [10, 20_000, 60_000, 200_000];
    let (short, long) = (&lengths[..3], &lengths[3..]);
    for (path, surface, body) in [
        ("/v1/chat/completions", "chat_completions", &chat as &dyn Fn(&str) -> String),
        ("/v1/messages", "messages", &message),
        ("/v1/responses", "responses", &response),
    ] {
        for length in short {
            let gave_up = Engine::answering(plain(&body(&"x".repeat(*length)))).await;
            let ask = crate::bed::post(path, "", ASK);
            let bed = Bed::new(&[gave_up.address]);
            let mut client = bed.client().await;
            client.send(&ask).await;
            assert_eq!(status(&client.message().await.0), 502, "{path} {length}");
            assert!((failures(&bed, surface, "upstream_failed") - 1.0).abs() < 1e-9, "{path} {length}");
            // With another replica the client sees nothing of it.
            let good = Engine::answering(plain("fine")).await;
            let bed = Bed::new(&[gave_up.address, good.address]);
            for _ in 0..8 {
                let mut client = bed.client().await;
                client.send(&ask).await;
                assert_eq!(client.message().await.1, "fine", "{path} {length}");
            }
        }
        for length in long {
            // Too long to be waited for: it passes, and is counted where it can be told.
            let engine = Engine::answering(plain(&body(&"x".repeat(*length)))).await;
            let bed = Bed::new(&[engine.address]);
            let mut client = bed.client().await;
            client.send(crate::bed::post(path, "", ASK)).await;
            assert_eq!(status(&client.message().await.0), 200, "{path} {length}");
            bed.settled().await;
            let counted = f64::from(u8::from(surface != "responses"));
            assert!((failures(&bed, surface, "upstream_failed") - counted).abs() < 1e-9, "{path} {length}");
        }
    }
}

#[tokio::test]
async fn engines_that_fail_within_their_streams_are_left_alone() {
    let failing = Engine::answering(streamed(&[ROLE, WORD, ERROR, DONE])).await;
    let good = Engine::answering(streamed(&[ROLE, WORD, DONE])).await;
    let bed = Bed::new(&[failing.address, good.address]);
    let mut failed = 0;
    for _ in 0..60 {
        let got = bed.asking(ASK).await.read_to("0\r\n\r\n").await;
        failed += usize::from(got.contains("EngineCore"));
        bed.settled().await;
    }
    assert_eq!(failed, 5, "five in a row eject it");
}

#[tokio::test]
async fn what_is_not_known_to_be_a_stop_is_passed_on_and_not_repeated() {
    for answer in [
        refusal("500 Internal Server Error", "list index out of range", "InternalServerError"),
        refusal("501 Not Implemented", "no", "NotImplementedError"),
        refusal("400 Bad Request", "cannot schedule new futures after shutdown", "BadRequestError"),
        refusal("429 Too Many Requests", "slow down", "RateLimit"),
    ] {
        let engines = [Engine::answering(answer.clone()).await, Engine::answering(answer.clone()).await];
        let bed = Bed::new(&[engines[0].address, engines[1].address]);
        let mut client = bed.asking(ASK).await;
        let head = client.read_to("\r\n\r\n").await;
        assert_eq!(status(&head), status(&answer));
        assert_eq!(engines[0].connections() + engines[1].connections(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_long_error_is_not_waited_for() {
    // 8 KiB tell enough; the rest of this one never comes.
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 1000000\r\n\r\n";
    let engine = Engine::new(move |_, mut wire| async move {
        wire.message().await;
        wire.send(format!("{head}{}", "x".repeat(9_000))).await;
        wire.read_all().await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.asking(ASK).await;
    assert_eq!(status(&client.read_to("\r\n\r\n").await), 500);
    assert_eq!(client.read_exactly(9_000).await, "x".repeat(9_000).as_bytes());
}

#[tokio::test]
async fn redirects_are_neither_followed_nor_passed_on() {
    let elsewhere = Engine::answering(plain("stolen")).await;
    for code in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {code} Go\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", elsewhere.address);
        let engine = Engine::answering(answer).await;
        let bed = Bed::new(&[engine.address]);
        let (head, body) = bed.asking(ASK).await.message().await;
        assert!(status(&head) == 502 && body.contains("upstream_redirects"), "{code}: {body}");
        assert!(crate::bed::header(&head, "location").is_none(), "{head}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn any_split_of_an_engine_s_bytes_gives_the_same_answer() {
    let answers = [
        streamed(&[ROLE, WORD, WORD, DONE]),
        streamed(&[ROLE, ERROR, DONE]),
        plain("{\"choices\":[]}"),
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{ROLE}{WORD}{DONE}"),
    ];
    for answer in answers {
        let bytes = answer.clone().into_bytes();
        // At each place once, and everywhere at once.
        let splits: Vec<Vec<usize>> =
            (1..bytes.len()).step_by(5).map(|at| vec![at]).chain([(1..bytes.len()).collect()]).collect();
        let count = splits.len();
        let engine = Engine::new(move |number, mut wire| {
            let (bytes, split) = (bytes.clone(), splits[number].clone());
            async move {
                wire.message().await;
                let mut from = 0;
                for at in split.into_iter().chain([bytes.len()]) {
                    wire.send(&bytes[from..at]).await;
                    tokio::task::yield_now().await;
                    from = at;
                }
            }
        })
        .await;
        let bed = Bed::new(&[engine.address]);
        let mut first: Option<String> = None;
        for _ in 0..count {
            let mut client = bed.client().await;
            client.send(crate::bed::post("/v1/chat/completions", "connection: close\r\n", ASK)).await;
            let got = payload(&client.read_all().await);
            assert_eq!(first.get_or_insert_with(|| got.clone()), &got);
        }
    }
}

/// The bytes of a body, whatever chunks they came in.
fn payload(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    if !head.contains("transfer-encoding: chunked") {
        return rest.to_owned();
    }
    let mut payload = String::new();
    loop {
        let (size, data) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return payload;
        }
        payload.push_str(&data[..size]);
        rest = data[size..].strip_prefix("\r\n").unwrap();
    }
}
