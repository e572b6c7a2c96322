//! What translation between API shapes costs, per kilobyte of what is read: `cargo run --release -p wire --example
//! bench_translate`. The best of many rounds counts, because whatever else the machine does only ever adds.

use std::hint::black_box;
use std::io::{Error, Write};
use std::time::Instant;

use wire::translate::{Asked, Echo, End, Shape, Stream, Target, answer, request};

const ROUNDS: usize = 200;
const TOKENS: usize = 500;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let target = Target { model: "m", max_tokens: 4096, compatible: false };
    let prose = "A line of seventy characters or so, as a person might well write it.\\n".repeat(14);
    let turn = |text: &str| format!(r#"{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"Yes."}}"#);
    let tool = r#"{"type":"function","function":{"name":"f","description":"does it","parameters":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}}}"#;
    let image = format!(
        r#"{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}"#,
        "QUJD".repeat(256 * 1024)
    );
    let requests = [
        ("request of 1 KB", format!(r#"{{"model":"m","messages":[{}]}}"#, turn(&prose))),
        (
            "request of 100 KB, 100 turns",
            format!(r#"{{"model":"m","messages":[{}]}}"#, vec![turn(&prose); 100].join(",")),
        ),
        (
            "request of 64 tools",
            format!(r#"{{"model":"m","messages":[{}],"tools":[{}]}}"#, turn("a"), vec![tool; 64].join(",")),
        ),
        ("request of an image of 1 MB", format!(r#"{{"model":"m","messages":[{image}]}}"#)),
    ];
    for (name, body) in &requests {
        for to in [Shape::Messages, Shape::Responses, Shape::Converse] {
            let took = best(|| request(Shape::Chat, to, black_box(body.as_bytes()), &target).map_err(Error::other))?;
            line(&mut out, &format!("{name}, chat to {to}"), took, body.len())?;
        }
    }
    let whole = format!(
        r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"{prose}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":1,"output_tokens":2}}}}"#
    );
    let took =
        best(|| answer(Shape::Messages, Shape::Chat, black_box(whole.as_bytes()), &asked()).map_err(Error::other))?;
    line(&mut out, "answer of 1 KB, messages to chat", took, whole.len())?;
    for (from, stream) in [(Shape::Chat, chat()), (Shape::Messages, messages())] {
        for to in [Shape::Chat, Shape::Messages, Shape::Responses].into_iter().filter(|to| *to != from) {
            let took = best(|| {
                let mut stream_of = Stream::new(from, to, asked()).ok_or_else(|| Error::other("no such stream"))?;
                let mut left = Vec::with_capacity(stream.len() * 2);
                // As it comes: an event at a time.
                for event in stream.split_inclusive("\n\n") {
                    left.clear();
                    stream_of.push(black_box(event.as_bytes()), &mut left);
                }
                stream_of.finish(End::Closed, &mut left);
                if stream_of.done() { Ok(left) } else { Err(Error::other("the stream failed")) }
            })?;
            let name = format!("stream of {TOKENS} tokens, {from} to {to}");
            line(&mut out, &name, took, stream.len())?;
            writeln!(out, "{:52} {:8.2} µs per token", "", took / 500.0)?;
        }
    }
    Ok(())
}

fn asked() -> Asked {
    Asked { id: "r".to_owned(), created: 0, model: "m".to_owned(), echo: Echo::default() }
}

fn chat() -> String {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let token = chunk(r#"{"content":" token"}"#, "null").repeat(TOKENS);
    format!("{token}{}data: [DONE]\n\n", chunk("{}", "\"stop\""))
}

fn messages() -> String {
    let event = |kind: &str, more: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{more}}}\n\n");
    let token = r#","index":0,"delta":{"type":"text_delta","text":" token"}"#;
    [
        event("message_start", r#","message":{"model":"m","usage":{"input_tokens":1,"output_tokens":1}}"#),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        event("content_block_delta", token).repeat(TOKENS),
        event("content_block_stop", r#","index":0"#),
        event("message_delta", r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":500}"#),
        event("message_stop", ""),
    ]
    .concat()
}

/// Microseconds of the best round.
fn best<T>(mut work: impl FnMut() -> std::io::Result<T>) -> std::io::Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        black_box(work()?);
        best = best.min(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(best)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn line(out: &mut impl Write, name: &str, took: f64, bytes: usize) -> std::io::Result<()> {
    writeln!(out, "{name:52} {took:8.1} µs, {:6.2} µs per KB", took * 1024.0 / bytes as f64)
}
