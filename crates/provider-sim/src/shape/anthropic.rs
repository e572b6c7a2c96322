//! Anthropic's Messages.

use super::about::{About, Told};
use super::event::{EVENTS, event};
use crate::answer::{Answer, Call, Stop};
use crate::script::{Script, Step};
use crate::text::quoted;

/// Stands for what Anthropic signs thoughts with.
const SIGNATURE: &str = "c2ltdWxhdGVkIHNpZ25hdHVyZQ==";

/// One event of a stream: its name, its data, and how many tokens of the answer it holds.
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) data: String,
    pub(super) tokens: u64,
}

/// The answer in one piece.
pub(crate) fn plain(about: &About<'_>, answer: &Answer) -> Script {
    Script::json(200, message(about, answer), answer.tokens())
}

/// The body of an answer in one piece.
pub(super) fn message(about: &About<'_>, answer: &Answer) -> String {
    let mut blocks = Vec::new();
    if !answer.thoughts.is_empty() {
        let thoughts = quoted(&answer.thoughts.concat());
        blocks.push(format!(r#"{{"type":"thinking","thinking":{thoughts},"signature":"{SIGNATURE}"}}"#));
    }
    if !answer.text.is_empty() {
        blocks.push(format!(r#"{{"type":"text","text":{}}}"#, quoted(&answer.text.concat())));
    }
    for call in &answer.calls {
        // A call that was cut has arguments that are no JSON; Anthropic then has none.
        let input = call.arguments.concat();
        let input = if serde_json::from_str::<serde_json::Value>(&input).is_ok() { input } else { "{}".to_owned() };
        blocks.push(call_block(call, &input));
    }
    let (reason, word) = reason(&answer.stop);
    let (head, blocks) = (head(about), blocks.join(","));
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(told)));
    format!(
        r#"{{{head},"content":[{blocks}],"stop_reason":"{reason}","stop_sequence":{word},"stop_details":null{usage}}}"#
    )
}

/// The answer as a stream of events.
pub(crate) fn stream(about: &About<'_>, answer: &Answer) -> Script {
    let steps = events(about, answer).into_iter().map(|Event { name, data, tokens }| event(Some(name), &data, tokens));
    Script::stream(EVENTS, steps.collect::<Vec<Step>>())
}

/// The events of a stream.
pub(super) fn events(about: &About<'_>, answer: &Answer) -> Vec<Event> {
    let mut all = Events::default();
    let opening = about.told.map(|told| Told { output: 1, reasoning: 0, ..told });
    let usage_at_first = opening.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(told)));
    let head = head(about);
    all.push("message_start", format!(
        r#"{{"type":"message_start","message":{{{head},"content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null{usage_at_first}}}}}"#
    ), 0);
    if !answer.thoughts.is_empty() {
        all.open(r#"{"type":"thinking","thinking":"","signature":""}"#);
        for thought in &answer.thoughts {
            all.delta(&format!(r#"{{"type":"thinking_delta","thinking":{}}}"#, quoted(thought)), 1);
        }
        all.delta(&format!(r#"{{"type":"signature_delta","signature":"{SIGNATURE}"}}"#), 0);
        all.close();
    }
    if !answer.text.is_empty() {
        all.open(r#"{"type":"text","text":""}"#);
        for piece in &answer.text {
            all.delta(&format!(r#"{{"type":"text_delta","text":{}}}"#, quoted(piece)), 1);
        }
        all.close();
    }
    for call in &answer.calls {
        all.open(&call_block(call, "{}"));
        all.delta(r#"{"type":"input_json_delta","partial_json":""}"#, 0);
        for piece in &call.arguments {
            all.delta(&format!(r#"{{"type":"input_json_delta","partial_json":{}}}"#, quoted(piece)), 1);
        }
        all.close();
    }
    let (reason, word) = reason(&answer.stop);
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(told)));
    all.push("message_delta", format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":{word},"stop_details":null}}{usage}}}"#
    ), 0);
    all.push("message_stop", r#"{"type":"message_stop"}"#.to_owned(), 0);
    all.events
}

#[derive(Default)]
struct Events {
    events: Vec<Event>,
    block: u32,
}

impl Events {
    fn push(&mut self, name: &'static str, data: String, tokens: u64) {
        self.events.push(Event { name, data, tokens });
    }

    fn open(&mut self, block: &str) {
        let index = self.block;
        let data = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        self.push("content_block_start", data, 0);
        if index == 0 {
            self.push("ping", r#"{"type":"ping"}"#.to_owned(), 0);
        }
    }

    fn delta(&mut self, delta: &str, tokens: u64) {
        let index = self.block;
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        self.push("content_block_delta", data, tokens);
    }

    fn close(&mut self) {
        let data = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.block);
        self.push("content_block_stop", data, 0);
        self.block += 1;
    }
}

fn head(about: &About<'_>) -> String {
    format!(r#""model":{},"id":"msg_{}","type":"message","role":"assistant""#, quoted(&about.ask.model), about.unique)
}

fn call_block(call: &Call, input: &str) -> String {
    format!(r#"{{"type":"tool_use","id":"toolu_{}","name":{},"input":{input}}}"#, call.id, quoted(&call.name))
}

/// Why an answer ended: a word, and the stop sequence as JSON.
fn reason(stop: &Stop) -> (&'static str, String) {
    match stop {
        Stop::End => ("end_turn", "null".to_owned()),
        Stop::Length => ("max_tokens", "null".to_owned()),
        Stop::Tool => ("tool_use", "null".to_owned()),
        Stop::Word(word) => ("stop_sequence", quoted(word)),
    }
}

/// The prompt without what came from the cache or went into it stands apart.
fn usage(told: Told) -> String {
    let Told { input, cached, written, written_hour, output, .. } = told;
    let all_written = written + written_hour;
    format!(
        r#"{{"input_tokens":{input},"cache_creation_input_tokens":{all_written},"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":{written},"ephemeral_1h_input_tokens":{written_hour}}},"output_tokens":{output},"service_tier":"standard"}}"#
    )
}
