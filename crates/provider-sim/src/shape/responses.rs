//! Responses.

use serde_json::Value;

use super::about::{About, Told};
use super::event::{EVENTS, event};
use crate::answer::{Answer, Call, Stop};
use crate::script::{Script, Step};
use crate::text::{count, quoted};

/// The answer in one piece.
pub(crate) fn plain(about: &About<'_>, answer: &Answer) -> Script {
    Script::json(200, ended(about, answer), answer.tokens())
}

/// The response as it stands when it has ended.
fn ended(about: &About<'_>, answer: &Answer) -> String {
    let items = items(about, answer);
    let output = items.iter().map(|item| item.whole("completed")).collect::<Vec<_>>().join(",");
    if answer.stop == Stop::Length {
        body(about, "incomplete", r#"{"reason":"max_output_tokens"}"#, &output, about.told)
    } else {
        body(about, "completed", "null", &output, about.told)
    }
}

/// The answer as a stream of events.
pub(crate) fn stream(about: &About<'_>, answer: &Answer) -> Script {
    let mut all = Events::default();
    let begun = format!(r#""response":{}"#, body(about, "in_progress", "null", "", None));
    all.push("response.created", &begun, 0);
    all.push("response.in_progress", &begun, 0);
    for (at, item) in items(about, answer).iter().enumerate() {
        item.push(&mut all, count(at));
    }
    let end = if answer.stop == Stop::Length { "response.incomplete" } else { "response.completed" };
    all.push(end, &format!(r#""response":{}"#, ended(about, answer)), 0);
    Script::stream(EVENTS, all.steps)
}

/// Writes events and numbers them.
#[derive(Default)]
struct Events {
    steps: Vec<Step>,
}

impl Events {
    fn push(&mut self, name: &str, fields: &str, tokens: u64) {
        let number = self.steps.len();
        let data = format!(r#"{{"type":"{name}","sequence_number":{number},{fields}}}"#);
        self.steps.push(event(Some(name), &data, tokens));
    }
}

/// One item of a response's output.
enum Item<'a> {
    Reasoning { id: String, thoughts: &'a [String] },
    Message { id: String, text: &'a [String] },
    Call { id: String, call: &'a Call },
}

fn items<'a>(about: &About<'_>, answer: &'a Answer) -> Vec<Item<'a>> {
    let unique = &about.unique;
    let mut all = Vec::new();
    if !answer.thoughts.is_empty() {
        all.push(Item::Reasoning { id: format!("rs_{unique}"), thoughts: &answer.thoughts });
    }
    if answer.calls.is_empty() {
        all.push(Item::Message { id: format!("msg_{unique}"), text: &answer.text });
    }
    all.extend(answer.calls.iter().map(|call| Item::Call { id: format!("fc_{}", call.id), call }));
    all
}

impl Item<'_> {
    /// The item as it is in the end, or with the content it has in this state.
    fn whole(&self, status: &str) -> String {
        let done = status == "completed";
        match self {
            Self::Reasoning { id, thoughts } => {
                let summary = if done { summary(&thoughts.concat()) } else { String::new() };
                format!(r#"{{"id":"{id}","type":"reasoning","summary":[{summary}]}}"#)
            }
            Self::Message { id, text } => {
                let part = if done { part(&text.concat()) } else { String::new() };
                format!(r#"{{"id":"{id}","type":"message","status":"{status}","content":[{part}],"role":"assistant"}}"#)
            }
            Self::Call { id, call } => {
                let arguments = if done { quoted(&call.arguments.concat()) } else { r#""""#.to_owned() };
                let (unique, name) = (&call.id, quoted(&call.name));
                format!(
                    r#"{{"id":"{id}","type":"function_call","status":"{status}","arguments":{arguments},"call_id":"call_{unique}","name":{name}}}"#
                )
            }
        }
    }

    fn push(&self, all: &mut Events, at: u64) {
        let place = |id: &str| format!(r#""item_id":"{id}","output_index":{at}"#);
        all.push(
            "response.output_item.added",
            &format!(r#""output_index":{at},"item":{}"#, self.whole("in_progress")),
            0,
        );
        match self {
            Self::Reasoning { id, thoughts } => {
                let place = format!(r#"{},"summary_index":0"#, place(id));
                let text = quoted(&thoughts.concat());
                all.push("response.reasoning_summary_part.added", &format!(r#"{place},"part":{}"#, summary("")), 0);
                for thought in *thoughts {
                    let delta = format!(r#"{place},"delta":{}"#, quoted(thought));
                    all.push("response.reasoning_summary_text.delta", &delta, 1);
                }
                all.push("response.reasoning_summary_text.done", &format!(r#"{place},"text":{text}"#), 0);
                let part = summary(&thoughts.concat());
                all.push("response.reasoning_summary_part.done", &format!(r#"{place},"part":{part}"#), 0);
            }
            Self::Message { id, text } => {
                let place = format!(r#"{},"content_index":0"#, place(id));
                let whole = text.concat();
                all.push("response.content_part.added", &format!(r#"{place},"part":{}"#, part("")), 0);
                for piece in *text {
                    let delta = format!(r#"{place},"delta":{},"logprobs":[]"#, quoted(piece));
                    all.push("response.output_text.delta", &delta, 1);
                }
                let done = format!(r#"{place},"text":{},"logprobs":[]"#, quoted(&whole));
                all.push("response.output_text.done", &done, 0);
                all.push("response.content_part.done", &format!(r#"{place},"part":{}"#, part(&whole)), 0);
            }
            Self::Call { id, call } => {
                let place = place(id);
                for piece in &call.arguments {
                    let delta = format!(r#"{place},"delta":{}"#, quoted(piece));
                    all.push("response.function_call_arguments.delta", &delta, 1);
                }
                let done = format!(
                    r#"{place},"name":{},"arguments":{}"#,
                    quoted(&call.name),
                    quoted(&call.arguments.concat())
                );
                all.push("response.function_call_arguments.done", &done, 0);
            }
        }
        all.push("response.output_item.done", &format!(r#""output_index":{at},"item":{}"#, self.whole("completed")), 0);
    }
}

fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{}}}"#, quoted(text))
}

fn summary(text: &str) -> String {
    format!(r#"{{"type":"summary_text","text":{}}}"#, quoted(text))
}

fn body(about: &About<'_>, status: &str, incomplete: &str, output: &str, told: Option<Told>) -> String {
    let About { unique, now, ask, .. } = about;
    let or = |name: &str, otherwise: &str| ask.fields.get(name).map_or_else(|| otherwise.to_owned(), Value::to_string);
    let usage = told.map_or_else(|| "null".to_owned(), usage);
    let model = quoted(&ask.model);
    let fields = [
        ("max_output_tokens", "null"),
        ("parallel_tool_calls", "true"),
        ("previous_response_id", "null"),
        ("reasoning", r#"{"effort":null,"summary":null}"#),
        ("store", "true"),
        ("temperature", "1.0"),
        ("text", r#"{"format":{"type":"text"},"verbosity":"medium"}"#),
        ("tool_choice", r#""auto""#),
        ("tools", "[]"),
        ("top_p", "1.0"),
        ("truncation", r#""disabled""#),
        ("user", "null"),
        ("metadata", "{}"),
    ];
    let fields = fields.map(|(name, otherwise)| format!(r#""{name}":{}"#, or(name, otherwise))).join(",");
    format!(
        r#"{{"id":"resp_{unique}","object":"response","created_at":{now},"status":"{status}","background":false,"error":null,"incomplete_details":{incomplete},"instructions":{},"max_tool_calls":null,"model":{model},"output":[{output}],"service_tier":"default","top_logprobs":0,"usage":{usage},{fields}}}"#,
        or("instructions", "null")
    )
}

fn usage(told: Told) -> String {
    let Told { cached, output, reasoning, .. } = told;
    let (prompt, total) = (told.prompt(), told.prompt() + output);
    format!(
        r#"{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
    )
}

/// What ends a stream that fails after it began.
pub(crate) fn failure(message: &str, code: &str) -> Step {
    let data = format!(
        r#"{{"type":"error","sequence_number":0,"code":{},"message":{},"param":null}}"#,
        quoted(code),
        quoted(message)
    );
    event(Some("error"), &data, 0)
}

/// The id of a response and the response, as they are kept for later; not for who asks not to.
pub(crate) fn kept(about: &About<'_>, answers: &[Answer]) -> Option<(String, String)> {
    if about.ask.fields.get("store") == Some(&Value::Bool(false)) {
        return None;
    }
    Some((format!("resp_{}", about.unique), ended(about, answers.first()?)))
}
