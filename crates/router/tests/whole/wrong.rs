//! What clients see when things go wrong, on every surface before every kind of target: a pool, a provider of the same shape, a
//! provider of another one.

use std::time::Duration;

use router_core::{Api, RemoteInput, Resilience};
use serde_json::{Value, json};

use crate::bed::{Bed, Engine, STREAM, Wire, chunk, header, plain, post, soon, status, until};
use crate::remote::{World, far};

/// The shape that a target's answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
    Responses,
    Messages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    Provider(Api),
}

/// A surface before a kind of target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) client: Shape,
    pub(crate) kind: Kind,
    /// What the target speaks.
    pub(crate) target: Shape,
}

/// All that there are.
pub(crate) fn ways() -> Vec<Way> {
    use Shape::{Chat, Completion, Messages, Responses};
    let to = |api| Kind::Provider(api);
    [
        (Chat, Kind::Pool, Chat),
        (Completion, Kind::Pool, Completion),
        (Responses, Kind::Pool, Responses),
        (Messages, Kind::Pool, Messages),
        (Chat, to(Api::OpenAi), Chat),
        (Chat, to(Api::OpenAiCompatible), Chat),
        (Completion, to(Api::OpenAi), Completion),
        (Responses, to(Api::OpenAi), Responses),
        (Messages, to(Api::Anthropic), Messages),
        (Messages, to(Api::Engine), Messages),
        (Chat, to(Api::Anthropic), Messages),
        (Responses, to(Api::Anthropic), Messages),
        (Responses, to(Api::OpenAiCompatible), Chat),
        (Messages, to(Api::OpenAi), Responses),
        (Messages, to(Api::OpenAiCompatible), Chat),
    ]
    .map(|(client, kind, target)| Way { client, kind, target })
    .into()
}

impl Shape {
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// A request, with these fields beside.
    fn ask(self, stream: bool, more: &Value) -> String {
        let turns = json!([{"role": "user", "content": "Hello"}]);
        let mut body = match self {
            Self::Chat => json!({"model": "m", "messages": turns}),
            Self::Completion => json!({"model": "m", "prompt": "Hello"}),
            Self::Responses => json!({"model": "m", "input": "Hello"}),
            Self::Messages => json!({"model": "m", "max_tokens": 50, "messages": turns}),
        };
        body["stream"] = stream.into();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    }

    /// Events of a stream of this shape, as its API writes them.
    fn event(self, name: &str, data: &Value) -> String {
        if matches!(self, Self::Chat | Self::Completion) {
            return format!("data: {data}\n\n");
        }
        let mut data = data.clone();
        data["type"] = name.into();
        format!("event: {name}\ndata: {data}\n\n")
    }

    /// What comes before the first token.
    pub(crate) fn opening(self) -> String {
        match self {
            Self::Chat => self.event("", &chat(&json!({"role": "assistant", "content": ""}), None)),
            Self::Completion => String::new(),
            Self::Responses => {
                let response = json!({"id": "resp_1", "object": "response", "model": "gpt", "status": "in_progress", "output": []});
                self.event("response.created", &json!({"sequence_number": 0, "response": response}))
            }
            Self::Messages => {
                let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}});
                let block = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
                self.event("message_start", &json!({"message": message}))
                    + &self.event("content_block_start", &block)
                    + &self.event("ping", &json!({}))
            }
        }
    }

    /// A token.
    pub(crate) fn token(self, text: &str) -> String {
        match self {
            Self::Chat => self.event("", &chat(&json!({"content": text}), None)),
            Self::Completion => {
                self.event("", &json!({"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": null}]}))
            }
            Self::Responses => {
                let delta = json!({"sequence_number": 1, "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text});
                self.event("response.output_text.delta", &delta)
            }
            Self::Messages => {
                let delta = json!({"index": 0, "delta": {"type": "text_delta", "text": text}});
                self.event("content_block_delta", &delta)
            }
        }
    }

    /// What comes after the last token, the usage included.
    pub(crate) fn end(self) -> String {
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let count = self.event("", &json!({"id": "c", "choices": [], "usage": usage}));
        match self {
            Self::Chat => self.event("", &chat(&json!({}), Some("stop"))) + &count + "data: [DONE]\n\n",
            Self::Completion => {
                let stop = json!({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]});
                self.event("", &stop) + &count + "data: [DONE]\n\n"
            }
            Self::Responses => {
                let usage = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5});
                let response = json!({"id": "resp_1", "object": "response", "model": "gpt", "status": "completed", "output": [], "usage": usage});
                self.event("response.completed", &json!({"sequence_number": 2, "response": response}))
            }
            Self::Messages => {
                let delta =
                    json!({"delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 2}});
                self.event("content_block_stop", &json!({"index": 0}))
                    + &self.event("message_delta", &delta)
                    + &self.event("message_stop", &json!({}))
            }
        }
    }

    /// The same answer at once.
    pub(crate) fn whole(self, text: &str) -> String {
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let body = match self {
            Self::Chat => json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt", "usage": usage,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}),
            Self::Completion => {
                json!({"id": "c", "object": "text_completion", "created": 1, "model": "gpt", "usage": usage,
                "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]})
            }
            Self::Responses => {
                json!({"id": "resp_1", "object": "response", "model": "gpt", "status": "completed", "error": null,
                "output": [{"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}],
                "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
            }
            Self::Messages => {
                json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                "stop_sequence": null, "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 3, "output_tokens": 2}})
            }
        };
        body.to_string()
    }

    /// An error as its API tells of it.
    pub(crate) fn error(self, kind: &str, code: &str, words: &str) -> String {
        let error = json!({"type": kind, "code": code, "message": words, "param": null});
        match self {
            Self::Messages => {
                json!({"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}).to_string()
            }
            _ => json!({"error": error}).to_string(),
        }
    }

    /// An error within a stream.
    pub(crate) fn error_event(self, words: &str) -> String {
        match self {
            Self::Messages => self.event("error", &json!({"error": {"type": "overloaded_error", "message": words}})),
            Self::Responses => self.event(
                "error",
                &json!({"sequence_number": 1, "code": "server_error", "message": words, "param": null}),
            ),
            _ => self
                .event("", &json!({"error": {"type": "server_error", "code": null, "message": words, "param": null}})),
        }
    }

    /// Checks that a body is an error of this shape, and gives its words and its class.
    fn told(self, body: &str) -> (String, String) {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|why| panic!("{self:?}: {why}: {body}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if self == Self::Messages {
            assert_eq!(body["type"], "error", "{body}");
            assert!(body["request_id"].is_string(), "{body}");
            return (text(&body["error"]["message"]), text(&body["error"]["type"]));
        }
        assert!(body["error"]["type"].is_string(), "{body}");
        (text(&body["error"]["message"]), text(&body["error"]["code"]))
    }

    /// Whether what a client got of a stream looks like a finished answer.
    fn looks_finished(self, body: &str) -> bool {
        let ends: &[&str] = match self {
            Self::Chat | Self::Completion => &["[DONE]", "\"finish_reason\":\"stop\""],
            Self::Responses => &["response.completed", "response.incomplete"],
            Self::Messages => &["message_stop", "end_turn"],
        };
        ends.iter().any(|end| body.contains(end))
    }

    /// The error event at the end of what a client got of a stream.
    fn has_error_event(self, body: &str) -> bool {
        let last = body.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let (name, data) = last.split_once("data: ").unwrap_or_default();
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        match self {
            Self::Chat | Self::Completion => name.is_empty() && data["error"].is_object(),
            Self::Responses => name == "event: error\n" && data["type"] == "error" && data["message"].is_string(),
            Self::Messages => name == "event: error\n" && data["type"] == "error" && data["error"]["type"].is_string(),
        }
    }
}

fn chat(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

impl Way {
    /// A router that asks this target, then the other one, which answers with the word `spare`.
    pub(crate) fn world(self, target: &Engine, spare: Option<&Engine>) -> World {
        let spare = spare.map(|spare| {
            let api = match self.client {
                Shape::Messages => Api::Anthropic,
                _ => Api::OpenAi,
            };
            // A key of its own, which does not rest with the other's.
            RemoteInput { secret: None, ..far(api, spare.address) }
        });
        let resilience = Resilience { attempts: 0, ..Resilience::default() };
        let (pool, engines, first) = match self.kind {
            Kind::Pool => (true, vec![target.address], None),
            Kind::Provider(api) => (false, Vec::new(), Some(far(api, target.address))),
        };
        World { pool, engines, remotes: first.into_iter().chain(spare).collect(), resilience }
    }

    fn remote(self) -> bool {
        self.kind != Kind::Pool
    }

    fn translated(self) -> bool {
        self.client != self.target
    }

    async fn spare(self) -> Engine {
        let client = self.client;
        Engine::new(move |_, mut wire: Wire| async move {
            while let Some((_, body)) = wire.next_message().await {
                let streams = body.contains("\"stream\":true");
                wire.send(if streams {
                    streamed(&(client.opening() + &client.token("spare") + &client.end()))
                } else {
                    plain(&client.whole("spare"))
                })
                .await;
            }
        })
        .await
    }

    /// A request of the client's.
    pub(crate) fn request(self, stream: bool) -> String {
        post(self.client.path(), "", &self.client.ask(stream, &json!({})))
    }

    /// Asks, and gives the status, the head and the whole body.
    pub(crate) async fn asked(self, bed: &Bed, stream: bool, more: &Value) -> (u16, String, String) {
        let mut client = bed.client().await;
        client.send(post(self.client.path(), "", &self.client.ask(stream, more))).await;
        answer(&mut client).await
    }
}

/// An answer, whichever way its end is told.
pub(crate) async fn answer(client: &mut Wire) -> (u16, String, String) {
    let head = client.read_to("\r\n\r\n").await;
    let body = if header(&head, "transfer-encoding").is_some() {
        let framed = client.read_to("0\r\n\r\n").await;
        unchunked(&framed)
    } else {
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        String::from_utf8(client.read_exactly(length).await).unwrap()
    };
    (status(&head), head, body)
}

fn unchunked(framed: &str) -> String {
    let (mut rest, mut body) = (framed, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
        if size == 0 {
            break;
        }
    }
    body
}

/// A stream in good order.
pub(crate) fn streamed(events: &str) -> String {
    format!("{STREAM}{}0\r\n\r\n", chunk(events))
}

fn failing(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One that gives this answer to each request, on a connection that it then closes.
pub(crate) async fn once(answer: String) -> Engine {
    Engine::new(move |_, mut wire: Wire| {
        let answer = answer.clone();
        async move {
            wire.asked().await;
            wire.send(&answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn what_goes_well_is_an_answer_everywhere() {
    for way in ways() {
        let shape = way.target;
        let target = Engine::answering(plain(&shape.whole("Hi"))).await;
        let (code, _, body) = way.asked(&way.world(&target, None).bed(), false, &json!({})).await;
        assert!(code == 200 && body.contains("Hi"), "{way:?}: {code} {body}");
        let target = Engine::answering(streamed(&(shape.opening() + &shape.token("Hi") + &shape.end()))).await;
        let (code, _, body) = way.asked(&way.world(&target, None).bed(), true, &json!({})).await;
        assert!(code == 200 && body.contains("Hi") && way.client.looks_finished(&body), "{way:?}: {code} {body}");
        assert!(!way.client.has_error_event(&body), "{way:?}: {body}");
    }
}

/// Unknown models, and bodies that are no JSON: before any target is asked.
#[tokio::test]
async fn what_the_client_did_wrong_has_its_status_in_its_shape() {
    for way in ways() {
        let target = Engine::answering(plain("{}")).await;
        let bed = way.world(&target, None).bed();
        for stream in [false, true] {
            let (code, _, body) = way.asked(&bed, stream, &json!({"model": "nobody"})).await;
            let (words, class) = way.client.told(&body);
            assert!(code == 404 && words.contains("nobody"), "{way:?}: {code} {body}");
            assert_eq!(class, if way.client == Shape::Messages { "not_found_error" } else { "model_not_found" });
        }
        let mut client = bed.client().await;
        client.send(post(way.client.path(), "", "{\"model\":\"m\",")).await;
        let (code, _, body) = answer(&mut client).await;
        let (_, class) = way.client.told(&body);
        assert_eq!(
            (code, class.as_str()),
            (400, if way.client == Shape::Messages { "invalid_request_error" } else { "invalid_json" }),
            "{way:?}"
        );
        assert_eq!(target.connections(), 0, "{way:?}");
    }
}

#[tokio::test]
async fn a_400_keeps_its_words_and_never_falls_back() {
    for way in ways() {
        for (line, code) in [("400 Bad Request", 400), ("413 Too Large", 413), ("422 Unprocessable", 422)] {
            // Words that a client can make a provider repeat change nothing.
            let words = "messages.0.content: 'insufficient_quota overloaded_error' is wrong";
            let body = way.target.error("invalid_request_error", "invalid_value", words);
            let target = Engine::answering(failing(line, "", &body)).await;
            let spare = way.spare().await;
            let bed = way.world(&target, Some(&spare)).bed();
            for stream in [false, true] {
                let (got, _, body) = way.asked(&bed, stream, &json!({})).await;
                assert_eq!((got, way.client.told(&body).0.as_str()), (code, words), "{way:?} {stream}: {body}");
            }
            assert_eq!(spare.connections(), 0, "{way:?}");
        }
    }
}

#[tokio::test]
async fn too_much_to_do_is_529_for_messages_and_503_elsewhere() {
    for way in ways() {
        let (line, kind) = if way.target == Shape::Messages {
            ("529 Overloaded", "overloaded_error")
        } else {
            ("503 Busy", "server_error")
        };
        let body = way.target.error(kind, "overloaded", "Overloaded");
        let target = Engine::answering(failing(line, "", &body)).await;
        let code = match way.kind {
            // vLLM knows no 529 of its own.
            Kind::Pool if line.starts_with("529") => continue,
            _ if line.starts_with("529") && way.client == Shape::Messages => 529,
            _ => 503,
        };
        for stream in [false, true] {
            let (got, _, body) = way.asked(&way.world(&target, None).bed(), stream, &json!({})).await;
            assert_eq!(got, code, "{way:?} {stream}: {body}");
            let (_, class) = way.client.told(&body);
            assert!(
                way.client != Shape::Messages || way.target != Shape::Messages || class == "overloaded_error",
                "{way:?}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn when_to_come_again_reaches_the_client() {
    for way in ways().into_iter().filter(|way| way.remote()) {
        let body = way.target.error("rate_limit_error", "rate_limit_exceeded", "Slow down");
        for (headers, name, value) in [
            ("retry-after: 17\r\n", "retry-after", "17"),
            ("retry-after-ms: 16500\r\n", "retry-after-ms", "16500"),
            ("retry-after: Wed, 21 Oct 2065 07:28:00 GMT\r\n", "retry-after", "Wed, 21 Oct 2065 07:28:00 GMT"),
        ] {
            let target = Engine::answering(failing("429 Too Many", headers, &body)).await;
            let bed = way.world(&target, None).bed();
            let (code, head, body) = way.asked(&bed, false, &json!({})).await;
            assert_eq!((code, header(&head, name)), (429, Some(value)), "{way:?}: {head}");
            let (_, class) = way.client.told(&body);
            assert!(["rate_limit_error", "rate_limit_exceeded"].contains(&class.as_str()), "{way:?}: {body}");
            // Nobody asks the provider before then.
            let (code, head, body) = way.asked(&bed, true, &json!({})).await;
            assert!(code == 429 && header(&head, "retry-after").is_some(), "{way:?}: {code} {head} {body}");
            way.client.told(&body);
            assert_eq!(target.connections(), 1, "{way:?}");
        }
    }
}

/// 5.13: what providers tell only by when their limits are reset is obeyed as well.
#[tokio::test]
async fn limits_that_are_spent_are_waited_for() {
    let way = Way { client: Shape::Chat, kind: Kind::Provider(Api::OpenAi), target: Shape::Chat };
    let headers = "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6m0s\r\n";
    let target =
        Engine::answering(failing("429 Too Many", headers, &way.target.error("tokens", "rate_limit_exceeded", "Slow")))
            .await;
    let bed = way.world(&target, None).bed();
    way.asked(&bed, false, &json!({})).await;
    let (code, head, _) = way.asked(&bed, false, &json!({})).await;
    let after: u32 = header(&head, "retry-after").unwrap().parse().unwrap();
    assert!(code == 429 && (300..=360).contains(&after), "{head}");
}

#[tokio::test]
async fn money_that_is_spent_keeps_its_code() {
    let spent = r#"{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your limit","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}"#;
    let credit = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."},"request_id":"req_1"}"#;
    for way in ways().into_iter().filter(|way| way.remote()) {
        let openai = way.target.error("insufficient_quota", "insufficient_quota", "You exceeded your current quota");
        let cases: &[(&str, &str)] = match way.target {
            Shape::Messages => &[
                ("429 Too Many", spent),
                ("400 Bad Request", credit),
                (
                    "402 Pay",
                    r#"{"type":"error","error":{"type":"billing_error","message":"pay"},"request_id":"req_1"}"#,
                ),
            ],
            _ => &[("429 Too Many", &openai)],
        };
        for (line, body) in cases {
            let target = Engine::answering(failing(line, "", body)).await;
            let bed = way.world(&target, None).bed();
            // The second is refused by the router, as the key rests.
            for round in 0..2 {
                let (code, head, body) = way.asked(&bed, round == 0, &json!({})).await;
                let (_, class) = way.client.told(&body);
                let as_it_came = !way.translated() && round == 0 && !line.starts_with("400");
                let want = match way.client {
                    _ if as_it_came => line[..3].parse().unwrap(),
                    Shape::Messages => 402,
                    _ => 429,
                };
                assert_eq!(code, want, "{way:?} {line} {round}: {body}");
                assert!(
                    as_it_came || ["insufficient_quota", "billing_error"].contains(&class.as_str()),
                    "{way:?} {line} {round}: {body}"
                );
                assert_eq!(header(&head, "x-should-retry"), Some("false"), "{way:?} {line} {round}: {head}");
            }
            // Somebody else is asked at once.
            let spare = way.spare().await;
            let (code, _, body) = way.asked(&way.world(&target, Some(&spare)).bed(), false, &json!({})).await;
            assert!(code == 200 && body.contains("spare"), "{way:?} {line}: {code} {body}");
        }
    }
}

/// RU-07, 5.11, 5.14: an error before the first token is a status or a fallback, whatever came before it.
#[tokio::test]
async fn an_error_before_the_first_token_is_no_stream() {
    for way in ways() {
        let shape = way.target;
        let mut openings = vec![streamed(&(shape.opening() + &shape.error_event("their words")))];
        // Cut before a token, in good order and not.
        if way.remote() {
            openings.push(streamed(&shape.opening()));
            openings.push(streamed(&format!("\u{feff}: waiting\n\n{}", shape.error_event("their words"))));
        }
        if shape == Shape::Responses && way.remote() {
            // The first events repeat what the request said, instructions and tools.
            let long =
                shape.opening().replace("\"output\":[]", &format!("\"instructions\":\"{}\"", "x".repeat(90_000)));
            openings.push(streamed(&(long + &shape.error_event("their words"))));
        }
        openings.push(format!("{STREAM}{}", chunk(&shape.opening())).replace("0\r\n\r\n", ""));
        openings.push(STREAM.to_owned());
        for text in openings {
            let words = way.remote() && text.contains("their words");
            let target = once(text.clone()).await;
            let (code, head, body) = way.asked(&way.world(&target, None).bed(), true, &json!({})).await;
            assert!(code >= 500, "{way:?} {text}: {code} {body}");
            assert_eq!(header(&head, "content-type"), Some("application/json"), "{way:?}: {head}");
            assert!(!words || way.client.told(&body).0 == "their words", "{way:?} {text}: {body}");
            way.client.told(&body);
            let spare = way.spare().await;
            let (code, _, body) = way.asked(&way.world(&target, Some(&spare)).bed(), true, &json!({})).await;
            assert!(
                code == 200 && body.contains("spare") && !body.contains("their words"),
                "{way:?} {text}: {code} {body}"
            );
            assert!(way.client.looks_finished(&body), "{way:?}: {body}");
        }
    }
}

/// 5.10, 5.21: after the first token there is an error event, and nothing that looks like an end or like somebody else's text.
#[tokio::test]
async fn an_error_after_the_first_token_ends_the_stream() {
    for way in ways() {
        let shape = way.target;
        let begun = shape.opening() + &shape.token("Hel") + &shape.token("lo");
        for (name, text) in [
            ("an error event", streamed(&(begun.clone() + &shape.error_event("their words")))),
            ("an error in another shape", streamed(&(begun.clone() + "data: {\"error\":\"their words\"}\n\n"))),
            (
                "an error event and an end",
                streamed(&(begun.clone() + &shape.error_event("their words") + &shape.end())),
            ),
            ("a silent end", streamed(&begun)),
            ("a cut between events", format!("{STREAM}{}", chunk(&begun))),
            ("a cut within an event", format!("{STREAM}{}", chunk(&(begun.clone() + "data: {\"choi")))),
            ("a cut within a chunk", format!("{STREAM}{}FFF\r\ndata: {{", chunk(&begun))),
        ] {
            let (target, spare) = (once(text).await, way.spare().await);
            let bed = way.world(&target, Some(&spare)).bed();
            let (code, _, body) = way.asked(&bed, true, &json!({})).await;
            assert!(code == 200 && body.contains("Hel") && body.contains("lo"), "{way:?} {name}: {code} {body}");
            assert!(way.client.has_error_event(&body), "{way:?} {name}: {body}");
            assert!(!way.client.looks_finished(&body), "{way:?} {name}: {body}");
            assert!(!body.contains("spare") && spare.connections() == 0, "{way:?} {name}: {body}");
        }
    }
}

/// RU-01: wherever a stream is cut, its client is not told that it was whole. Each offset is a request, so only every seventh is asked
/// for.
#[tokio::test]
async fn no_cut_looks_like_an_end() {
    for way in ways() {
        let shape = way.target;
        let events = shape.opening() + &shape.token("Hel") + &shape.token("lo") + &shape.end();
        // The last event is whole without its empty line.
        let last = events.trim_end().len();
        for at in (0..last.saturating_sub(1)).step_by(37) {
            let target = once(format!("{STREAM}{}", chunk(&events[..at])).replace("0\r\n\r\n", "")).await;
            let (code, _, body) = way.asked(&way.world(&target, None).bed(), true, &json!({})).await;
            let whole = code == 200 && !way.client.has_error_event(&body);
            // A choice of an engine of ours has ended when it says why; the count of tokens and the last word may be lost.
            let said = way.kind == Kind::Pool && events[..at].contains("\"finish_reason\":\"stop\"");
            assert!(!whole || said, "{way:?} at {at}: {body}");
        }
    }
}

#[tokio::test]
async fn a_stall_is_a_failure() {
    for way in ways() {
        let shape = way.target;
        for begun in [shape.opening(), shape.opening() + &shape.token("Hi")] {
            let text = if begun.is_empty() { STREAM.to_owned() } else { format!("{STREAM}{}", chunk(&begun)) };
            let target = Engine::new(move |_, mut wire: Wire| {
                let text = text.clone();
                async move {
                    wire.asked().await;
                    wire.send(text).await;
                    std::future::pending::<()>().await;
                }
            })
            .await;
            let mut world = way.world(&target, None);
            (world.resilience.first_token, world.resilience.idle) =
                (Some(Duration::from_millis(150)), Some(Duration::from_millis(150)));
            let (code, _, body) = way.asked(&world.bed(), true, &json!({})).await;
            if begun.contains("Hi") {
                assert!(
                    code == 200 && way.client.has_error_event(&body) && !way.client.looks_finished(&body),
                    "{way:?}: {code} {body}"
                );
            } else {
                assert_eq!(code, 504, "{way:?}: {body}");
                way.client.told(&body);
            }
        }
    }
}

/// 5.15: who leaves stops the work, plain or streamed, before the first token and after it.
#[tokio::test]
async fn who_leaves_is_not_worked_for() {
    for way in ways() {
        for (stream, begins) in [(false, false), (true, false), (true, true)] {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let begun = way.target.opening() + &way.target.token("Hi");
            let target = Engine::new(move |_, mut wire: Wire| {
                let (tell, begun) = (tell.clone(), begun.clone());
                async move {
                    wire.message().await;
                    if begins {
                        wire.send(format!("{STREAM}{}", chunk(&begun))).await;
                    }
                    tell.send("asked").unwrap();
                    wire.read_all().await;
                    tell.send("closed").unwrap();
                }
            })
            .await;
            let bed = way.world(&target, None).bed();
            let mut client = bed.client().await;
            client.send(post(way.client.path(), "", &way.client.ask(stream, &json!({})))).await;
            assert_eq!(soon(told.recv()).await, Some("asked"));
            if begins {
                client.read_to("Hi").await;
            }
            drop(client);
            assert_eq!(soon(told.recv()).await, Some("closed"), "{way:?} {stream}");
            until("nothing under way", || {
                let page = prometheus::TextEncoder::new().encode_to_string(&bed.metrics.registry.gather()).unwrap();
                let mut busy = page.lines().filter(|line| line.starts_with("quartermaster_router_target_in_flight"));
                busy.all(|line| line.ends_with(" 0"))
            })
            .await;
        }
    }
}

#[tokio::test]
async fn usage_is_told_to_those_who_ask_and_told_right() {
    for way in ways().into_iter().filter(|way| matches!(way.client, Shape::Chat | Shape::Completion)) {
        let shape = way.target;
        let target = Engine::answering(streamed(&(shape.opening() + &shape.token("Hi") + &shape.end()))).await;
        let bed = way.world(&target, None).bed();
        let (_, _, body) = way.asked(&bed, true, &json!({})).await;
        assert!(!body.contains("\"usage\":{"), "{way:?}: {body}");
        let (_, _, body) = way.asked(&bed, true, &json!({"stream_options": {"include_usage": true}})).await;
        assert_eq!(body.matches("\"usage\":{").count(), 1, "{way:?}: {body}");
        let usage = body.split("\"usage\":{").nth(1).unwrap();
        for (field, count) in [("prompt_tokens", 3), ("completion_tokens", 2), ("total_tokens", 5)] {
            assert!(usage.contains(&format!("\"{field}\":{count}")), "{way:?}: {usage}");
        }
    }
}

/// What a target cannot do is refused with the field; what it can reaches it, known here or not.
#[tokio::test]
async fn nothing_is_dropped_in_silence() {
    for way in ways() {
        let cases: &[(&str, Value)] = match way.client {
            Shape::Chat => {
                &[("n", json!(2)), ("logprobs", json!(true)), ("logit_bias", json!({"5": 1})), ("brand_new", json!(7))]
            }
            Shape::Completion => &[("n", json!(2)), ("logprobs", json!(3)), ("brand_new", json!(7))],
            Shape::Responses => {
                &[("previous_response_id", json!("resp_0")), ("background", json!(true)), ("brand_new", json!(7))]
            }
            Shape::Messages => {
                &[("container", json!("c")), ("mcp_servers", json!([{"type": "url"}])), ("brand_new", json!(7))]
            }
        };
        for (field, value) in cases {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let answer = plain(&way.target.whole("Hi"));
            let target = Engine::new(move |_, mut wire: Wire| {
                let (tell, answer) = (tell.clone(), answer.clone());
                async move {
                    while let Some((_, body)) = wire.next_message().await {
                        tell.send(body).unwrap();
                        wire.send(&answer).await;
                    }
                }
            })
            .await;
            let (code, _, body) = way.asked(&way.world(&target, None).bed(), false, &json!({(*field): value})).await;
            if way.translated() {
                assert!(code == 400 && way.client.told(&body).0.contains(field), "{way:?} {field}: {code} {body}");
                assert_eq!(target.connections(), 0, "{way:?} {field}");
                let spare = way.spare().await;
                let (code, _, body) =
                    way.asked(&way.world(&target, Some(&spare)).bed(), false, &json!({(*field): value})).await;
                assert!(code == 200 && body.contains("spare"), "{way:?} {field}: {code} {body}");
            } else {
                assert_eq!(code, 200, "{way:?} {field}: {body}");
                let sent: Value = serde_json::from_str(&soon(told.recv()).await.unwrap()).unwrap();
                assert_eq!(&sent[*field], value, "{way:?} {field}: {sent}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_sees_what_is_wrong_with_the_router_s_key() {
    let gemini = r#"[{"error":{"code":400,"message":"API key not valid: sk-canary-0123456789","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#;
    for way in ways().into_iter().filter(|way| way.remote()) {
        let body =
            way.target.error("authentication_error", "invalid_api_key", "Incorrect API key provided: sk-can***789");
        for (line, body) in [("401 Unauthorized", body.as_str()), ("403 Forbidden", &body), ("400 Bad Request", gemini)]
        {
            let target = Engine::answering(failing(line, "www-authenticate: Bearer realm=\"sk-can\"\r\n", body)).await;
            for stream in [false, true] {
                let (code, head, body) = way.asked(&way.world(&target, None).bed(), stream, &json!({})).await;
                assert_eq!(code, 502, "{way:?} {line}: {body}");
                assert!(!head.contains("sk-can") && !body.contains("sk-can"), "{way:?} {line}: {head}{body}");
                way.client.told(&body);
            }
        }
    }
}
