//! Answers in the shape of OpenAI's responses.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Ending, Reply, Usage, Whole};
use crate::core::Finish;

/// What a response repeats of its request, as JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    instructions: String,
    metadata: String,
    temperature: String,
    top_p: String,
    most: String,
    user: String,
    top_logprobs: String,
    /// The id of the one message, as a JSON string.
    message: String,
}

impl Asked {
    /// What the request's fields say; `message` is the id of the message that will answer, and `room` the most tokens that
    /// an answer without a limit can have.
    pub(crate) fn new(fields: &Map<String, Value>, message: &str, room: u32) -> Self {
        let or = |name: &str, otherwise: Value| match fields.get(name) {
            None | Some(Value::Null) => otherwise.to_string(),
            Some(value) => value.to_string(),
        };
        let number = |name: &str| fields.get(name).and_then(Value::as_f64).unwrap_or(1.0);
        // Without a temperature there is nothing to choose among.
        let top_p = if number("temperature") == 0.0 { 1.0 } else { number("top_p") };
        Self {
            instructions: or("instructions", Value::Null),
            metadata: or("metadata", Value::Null),
            temperature: format!("{:?}", number("temperature")),
            top_p: format!("{top_p:?}"),
            most: or("max_output_tokens", room.into()),
            user: or("user", Value::Null),
            top_logprobs: or("top_logprobs", Value::Null),
            message: super::quoted(message),
        }
    }
}

/// Where a response is in its life.
enum State<'a> {
    InProgress,
    Ended(&'a Whole, Usage),
}

fn body(reply: &Reply, state: &State<'_>) -> String {
    let Reply { id, created, model, asked, .. } = reply;
    let Asked { instructions, metadata, temperature, top_p, most, user, top_logprobs, .. } = asked;
    let (incomplete, status, output, usage) = match state {
        State::InProgress => ("null", "in_progress", String::new(), "null".to_owned()),
        State::Ended(answer, usage) => {
            let (incomplete, status) = match answer.ending.finish {
                Finish::Length => (r#"{"reason":"max_output_tokens"}"#, "incomplete"),
                Finish::Stop | Finish::Abort => ("null", "completed"),
            };
            let Usage { prompt, completion, cached, .. } = *usage;
            let total = prompt + completion;
            let usage = format!(
                r#"{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]}},"output_tokens":{completion},"output_tokens_details":{{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]}},"total_tokens":{total}}}"#
            );
            (incomplete, status, message(reply, &answer.text), usage)
        }
    };
    format!(
        r#"{{"id":{id},"created_at":{created},"incomplete_details":{incomplete},"instructions":{instructions},"metadata":{metadata},"model":{model},"object":"response","output":[{output}],"parallel_tool_calls":true,"temperature":{temperature},"tool_choice":"none","tools":[],"top_p":{top_p},"background":false,"max_output_tokens":{most},"max_tool_calls":null,"previous_response_id":null,"prompt":null,"reasoning":null,"service_tier":"auto","status":"{status}","text":null,"top_logprobs":{top_logprobs},"truncation":"disabled","usage":{usage},"user":{user},"presence_penalty":0.0,"frequency_penalty":0.0,"kv_transfer_params":null,"ec_transfer_params":null,"input_messages":null,"output_messages":null}}"#
    )
}

/// The one message of an answer; it has no part when it has no text.
fn message(reply: &Reply, text: &str) -> String {
    let id = &reply.asked.message;
    let part = if text.is_empty() { String::new() } else { part(text, "null") };
    format!(r#"{{"id":{id},"content":[{part}],"role":"assistant","status":"completed","type":"message","phase":null}}"#)
}

fn part(text: &str, logprobs: &str) -> String {
    format!(r#"{{"annotations":[],"text":"{text}","type":"output_text","logprobs":{logprobs}}}"#)
}

/// The body of an answer that is not streamed.
pub(super) fn whole(reply: &Reply, answer: &Whole, usage: Usage) -> String {
    body(reply, &State::Ended(answer, usage))
}

/// Writes the events of one stream, and numbers them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    next: u32,
    text: String,
}

impl Events {
    fn push(&mut self, out: &mut String, name: &str, before: &str, after: &str) {
        let number = self.next;
        self.next += 1;
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "event: {name}\ndata: {{{before},\"sequence_number\":{number}{after},\"type\":\"{name}\"}}\n\n"
        );
    }

    /// The events before the first text.
    pub(crate) fn push_opening(&mut self, reply: &Reply, out: &mut String) {
        let response = format!("\"response\":{}", body(reply, &State::InProgress));
        self.push(out, "response.created", &response, "");
        self.push(out, "response.in_progress", &response, "");
    }

    /// The event of a text; the first opens its message.
    pub(crate) fn push_text(&mut self, reply: &Reply, out: &mut String, text: &str) {
        let id = &reply.asked.message;
        if self.text.is_empty() {
            let item = format!(
                r#""item":{{"id":{id},"content":[],"role":"assistant","status":"in_progress","type":"message","phase":null}},"output_index":0"#
            );
            self.push(out, "response.output_item.added", &item, "");
            let part = format!(r#""content_index":0,"item_id":{id},"output_index":0,"part":{}"#, part("", "[]"));
            self.push(out, "response.content_part.added", &part, "");
        }
        self.text.push_str(text);
        let delta = format!(r#""content_index":0,"delta":"{text}","item_id":{id},"logprobs":[],"output_index":0"#);
        self.push(out, "response.output_text.delta", &delta, "");
    }

    /// The events after the last text.
    pub(crate) fn push_end(&mut self, reply: &Reply, out: &mut String, ending: &Ending, usage: Usage) {
        let id = &reply.asked.message;
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            let place = format!(r#""content_index":0,"item_id":{id}"#);
            let done = format!(r#"{place},"logprobs":[],"output_index":0"#);
            self.push(out, "response.output_text.done", &done, &format!(r#","text":"{text}""#));
            let done = format!(r#"{place},"output_index":0,"part":{}"#, part(&text, "null"));
            self.push(out, "response.content_part.done", &done, "");
            let item = format!(r#""item":{},"output_index":0"#, message(reply, &text));
            self.push(out, "response.output_item.done", &item, "");
        }
        let answer = Whole { text, ending: ending.clone(), logprobs: String::new() };
        let response = format!("\"response\":{}", body(reply, &State::Ended(&answer, usage)));
        self.push(out, "response.completed", &response, "");
    }
}
