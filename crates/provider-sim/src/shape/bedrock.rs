//! Bedrock's Converse, and Anthropic's Messages by `InvokeModel`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::about::{About, Told};
use super::anthropic;
use super::frame::{self, FRAMES};
use crate::answer::{Answer, Call, Stop};
use crate::ask::bedrock::{LATENCY, TIER};
use crate::script::{Script, Step};
use crate::text::quoted;

/// Stands for what thoughts are signed with.
const SIGNATURE: &str = "c2ltdWxhdGVkIHNpZ25hdHVyZQ==";
/// Headers of `InvokeModel` by which it is asked, and tells, how a request is served.
pub(crate) const SERVICE_TIER: &str = "x-amzn-bedrock-service-tier";
pub(crate) const SERVICE_LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";

/// The answer of Converse in one piece.
pub(crate) fn plain(about: &About<'_>, answer: &Answer) -> Script {
    let mut blocks = Vec::new();
    if !answer.thoughts.is_empty() {
        let thoughts = quoted(&answer.thoughts.concat());
        blocks.push(format!(
            r#"{{"reasoningContent":{{"reasoningText":{{"text":{thoughts},"signature":"{SIGNATURE}"}}}}}}"#
        ));
    }
    if !answer.text.is_empty() {
        blocks.push(format!(r#"{{"text":{}}}"#, quoted(&answer.text.concat())));
    }
    for call in &answer.calls {
        let input = call.arguments.concat();
        let input = if serde_json::from_str::<serde_json::Value>(&input).is_ok() { input } else { "{}".to_owned() };
        let (id, name) = (&call.id, quoted(&call.name));
        blocks.push(format!(r#"{{"toolUse":{{"toolUseId":"tooluse_{id}","name":{name},"input":{input}}}}}"#));
    }
    let (reason, blocks) = (reason(&answer.stop), blocks.join(","));
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(told)));
    let served = served(about);
    let body = format!(
        r#"{{"metrics":{{"latencyMs":1}},"output":{{"message":{{"content":[{blocks}],"role":"assistant"}}}}{served},"stopReason":"{reason}"{usage}}}"#
    );
    Script::json(200, body, answer.tokens())
}

/// The answer of `ConverseStream`.
pub(crate) fn stream(about: &About<'_>, answer: &Answer) -> Script {
    let mut all = Frames::default();
    all.push("messageStart", r#"{"role":"assistant"}"#, 0);
    if !answer.thoughts.is_empty() {
        for thought in &answer.thoughts {
            all.delta(&format!(r#"{{"reasoningContent":{{"text":{}}}}}"#, quoted(thought)), 1);
        }
        all.delta(&format!(r#"{{"reasoningContent":{{"signature":"{SIGNATURE}"}}}}"#), 0);
        all.close();
    }
    if !answer.text.is_empty() {
        // Only a tool's block has a start.
        for piece in &answer.text {
            all.delta(&format!(r#"{{"text":{}}}"#, quoted(piece)), 1);
        }
        all.close();
    }
    for call in &answer.calls {
        all.call(call);
    }
    all.push("messageStop", &format!(r#"{{"stopReason":"{}"}}"#, reason(&answer.stop)), 0);
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(told)));
    all.push("metadata", &format!(r#"{{"metrics":{{"latencyMs":1}}{}{usage}}}"#, served(about)), 0);
    Script::stream(FRAMES, all.steps)
}

/// The answer of `InvokeModel`.
pub(crate) fn invoke(about: &About<'_>, answer: &Answer) -> Script {
    let mut script = Script::json(200, anthropic::message(about, answer), answer.tokens());
    if let Some(told) = about.told {
        script.header("x-amzn-bedrock-input-token-count", told.input.to_string());
        script.header("x-amzn-bedrock-output-token-count", told.output.to_string());
    }
    serve(about, &mut script);
    script
}

/// How the request was served, as members of Converse's answer.
fn served(about: &About<'_>) -> String {
    let said = |name: &str| about.ask.fields.get(name).and_then(serde_json::Value::as_str);
    let latency = said(LATENCY).map(|latency| format!(r#","{LATENCY}":{{"latency":"{latency}"}}"#));
    let tier = said(TIER).map(|tier| format!(r#","{TIER}":{{"type":"{tier}"}}"#));
    [latency, tier].into_iter().flatten().collect()
}

/// The same as headers.
fn serve(about: &About<'_>, script: &mut Script) {
    for (name, header) in [(TIER, SERVICE_TIER), (LATENCY, SERVICE_LATENCY)] {
        if let Some(value) = about.ask.fields.get(name).and_then(serde_json::Value::as_str) {
            script.header(header, value);
        }
    }
}

/// The answer of `InvokeModelWithResponseStream`: Anthropic's events, each in a frame. The last tells what was used.
pub(crate) fn invoke_stream(about: &About<'_>, answer: &Answer) -> Script {
    let framed = |event: anthropic::Event| {
        let mut data = event.data;
        if let (true, Some(told)) = (event.name == "message_stop", about.told) {
            data = format!(
                r#"{{"type":"message_stop","amazon-bedrock-invocationMetrics":{{"inputTokenCount":{},"outputTokenCount":{},"invocationLatency":1,"firstByteLatency":1,"cacheReadInputTokenCount":{},"cacheWriteInputTokenCount":{}}}}}"#,
                told.input,
                told.output,
                told.cached,
                told.written + told.written_hour
            );
        }
        let payload = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(data));
        Step::Send(frame::event("chunk", &payload), event.tokens)
    };
    // Pings are not passed on.
    let events = anthropic::events(about, answer).into_iter().filter(|event| event.name != "ping");
    let mut script = Script::stream(FRAMES, events.map(framed).collect());
    serve(about, &mut script);
    script
}

#[derive(Default)]
struct Frames {
    steps: Vec<Step>,
    block: u32,
}

impl Frames {
    fn push(&mut self, name: &'static str, payload: &str, tokens: u64) {
        // Bedrock pads its payloads, so that their lengths tell less.
        let padded =
            payload.strip_suffix('}').map_or_else(|| payload.to_owned(), |open| format!(r#"{open},"p":"abcd"}}"#));
        self.steps.push(Step::Send(frame::event(name, &padded), tokens));
    }

    fn delta(&mut self, delta: &str, tokens: u64) {
        let payload = format!(r#"{{"contentBlockIndex":{},"delta":{delta}}}"#, self.block);
        self.push("contentBlockDelta", &payload, tokens);
    }

    fn close(&mut self) {
        self.push("contentBlockStop", &format!(r#"{{"contentBlockIndex":{}}}"#, self.block), 0);
        self.block += 1;
    }

    fn call(&mut self, call: &Call) {
        let (index, id, name) = (self.block, &call.id, quoted(&call.name));
        let start = format!(
            r#"{{"contentBlockIndex":{index},"start":{{"toolUse":{{"name":{name},"toolUseId":"tooluse_{id}"}}}}}}"#
        );
        self.push("contentBlockStart", &start, 0);
        for piece in &call.arguments {
            self.delta(&format!(r#"{{"toolUse":{{"input":{}}}}}"#, quoted(piece)), 1);
        }
        self.close();
    }
}

fn reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Length => "max_tokens",
        Stop::Tool => "tool_use",
        Stop::Word(_) => "stop_sequence",
    }
}

fn usage(told: Told) -> String {
    let Told { input, cached, written, written_hour, output, .. } = told;
    let (all_written, total) = (written + written_hour, told.prompt() + output);
    format!(
        r#"{{"cacheReadInputTokens":{cached},"cacheWriteInputTokens":{all_written},"inputTokens":{input},"outputTokens":{output},"totalTokens":{total}}}"#
    )
}
