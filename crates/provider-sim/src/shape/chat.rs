//! Chat Completions.

use std::fmt::Write as _;

use super::about::{About, Told};
use super::event::{EVENTS, event};
use crate::answer::{Answer, Call, Stop};
use crate::refusal::Api;
use crate::script::{Script, Step};
use crate::text::quoted;

/// The answer in one piece.
pub(crate) fn plain(about: &About<'_>, answers: &[Answer]) -> Script {
    let mut choices = String::new();
    for (index, answer) in answers.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let content = if answer.text.is_empty() { "null".to_owned() } else { quoted(&answer.text.concat()) };
        let calls = match answer.calls.as_slice() {
            [] => String::new(),
            calls => format!(r#","tool_calls":[{}]"#, calls.iter().map(whole_call).collect::<Vec<_>>().join(",")),
        };
        let probabilities = match about.ask.probabilities {
            Some(top) => format!(r#"{{"content":[{}],"refusal":null}}"#, probabilities(&answer.text, top)),
            None => "null".to_owned(),
        };
        let (thoughts, reason) = (thoughts(about, &answer.thoughts.concat()), reason(&answer.stop));
        // Writing to a string cannot fail.
        let _ = write!(
            choices,
            r#"{comma}{{"index":{index},"message":{{"role":"assistant","content":{content}{thoughts}{calls},"refusal":null,"annotations":[]}},"logprobs":{probabilities},"finish_reason":"{reason}"}}"#
        );
    }
    let head = head(about, "chat.completion");
    let usage = about.told.map_or_else(String::new, |told| format!(r#","usage":{}"#, usage(about.api, told)));
    let tail = tail(about.api);
    let body = format!(r#"{{{head},"choices":[{choices}]{usage}{tail}}}"#);
    Script::json(200, body, answers.iter().map(Answer::tokens).sum())
}

/// The answer as a stream of events.
pub(crate) fn stream(about: &About<'_>, answers: &[Answer]) -> Script {
    let mut steps = Vec::new();
    let mut push = |index: usize, delta: &str, reason: Option<&str>, pieces: &[String], tokens: u64| {
        let reason = reason.map_or_else(|| "null".to_owned(), quoted);
        let probabilities = match about.ask.probabilities {
            Some(top) if !pieces.is_empty() => {
                format!(r#"{{"content":[{}],"refusal":null}}"#, probabilities(pieces, top))
            }
            _ => "null".to_owned(),
        };
        let choice =
            format!(r#"{{"index":{index},"delta":{delta},"logprobs":{probabilities},"finish_reason":{reason}}}"#);
        steps.push(chunk(about, &choice, "null", tokens));
    };
    for (index, answer) in answers.iter().enumerate() {
        let silent = hidden(about, answer);
        let calls = !answer.calls.is_empty();
        if !calls {
            push(index, r#"{"role":"assistant","content":"","refusal":null}"#, None, &[], silent);
        }
        if about.api == Api::Compatible {
            for thought in &answer.thoughts {
                push(index, &format!(r#"{{"content":"","reasoning":{}}}"#, quoted(thought)), None, &[], 1);
            }
        }
        for piece in &answer.text {
            let pieces = std::slice::from_ref(piece);
            push(index, &format!(r#"{{"content":{}}}"#, quoted(piece)), None, pieces, 1);
        }
        for (at, call) in answer.calls.iter().enumerate() {
            let opening = opening_call(at, call);
            push(index, &opening, None, &[], if at == 0 { silent } else { 0 });
            for piece in &call.arguments {
                let piece = quoted(piece);
                let delta = format!(r#"{{"tool_calls":[{{"index":{at},"function":{{"arguments":{piece}}}}}]}}"#);
                push(index, &delta, None, &[], 1);
            }
        }
        push(index, "{}", Some(reason(&answer.stop)), &[], 0);
    }
    if let (true, Some(told)) = (about.ask.stream_usage, about.told) {
        steps.push(chunk(about, "", &usage(about.api, told), 0));
    }
    steps.push(Step::Send("data: [DONE]\n\n".into(), 0));
    Script::stream(EVENTS, steps)
}

/// Tokens that are spent before anything is seen.
fn hidden(about: &About<'_>, answer: &Answer) -> u64 {
    if about.api == Api::Compatible { 0 } else { answer.reasoning() }
}

fn head(about: &About<'_>, object: &str) -> String {
    let About { unique, now, ask, .. } = about;
    format!(r#""id":"chatcmpl-{unique}","object":"{object}","created":{now},"model":{}"#, quoted(&ask.model))
}

fn tail(api: Api) -> &'static str {
    match api {
        Api::Compatible => r#","system_fingerprint":"fp_provider_sim""#,
        _ => r#","service_tier":"default","system_fingerprint":"fp_provider_sim""#,
    }
}

fn chunk(about: &About<'_>, choice: &str, usage: &str, tokens: u64) -> Step {
    let (head, tail) = (head(about, "chat.completion.chunk"), tail(about.api));
    // A stream that is to tell its usage has the field in each of its chunks.
    let usage = if about.ask.stream_usage { format!(r#","usage":{usage}"#) } else { String::new() };
    let padding = if about.api == Api::OpenAi { r#","obfuscation":"Jx2Vq7""# } else { "" };
    event(None, &format!(r#"{{{head}{tail},"choices":[{choice}]{usage}{padding}}}"#), tokens)
}

fn whole_call(call: &Call) -> String {
    let (id, name, arguments) = (&call.id, quoted(&call.name), quoted(&call.arguments.concat()));
    format!(r#"{{"id":"call_{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
}

fn opening_call(at: usize, call: &Call) -> String {
    let role = if at == 0 { r#""role":"assistant","content":null,"# } else { "" };
    let (id, name) = (&call.id, quoted(&call.name));
    format!(
        r#"{{{role}"tool_calls":[{{"index":{at},"id":"call_{id}","type":"function","function":{{"name":{name},"arguments":""}}}}]}}"#
    )
}

fn thoughts(about: &About<'_>, thoughts: &str) -> String {
    // OpenAI keeps them to itself.
    if about.api != Api::Compatible || thoughts.is_empty() {
        return String::new();
    }
    format!(r#","reasoning":{}"#, quoted(thoughts))
}

/// Why an answer ended, in a word.
pub(super) fn reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Word(_) => "stop",
        Stop::Length => "length",
        Stop::Tool => "tool_calls",
    }
}

/// The usage of Chat Completions and of Completions.
pub(super) fn usage(api: Api, told: Told) -> String {
    let Told { cached, output, reasoning, .. } = told;
    let (prompt, total) = (told.prompt(), told.prompt() + output);
    let counts = format!(r#""prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{total}"#);
    if api == Api::Compatible {
        return format!("{{{counts}}}");
    }
    format!(
        r#"{{{counts},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

fn probabilities(pieces: &[String], top: u64) -> String {
    let one = |piece: &String| {
        let (token, bytes) = (quoted(piece), format!("{:?}", piece.as_bytes()));
        let known = format!(r#""token":{token},"logprob":-0.25,"bytes":{bytes}"#);
        let others = (0..top).map(|rank| {
            if rank == 0 {
                format!("{{{known}}}")
            } else {
                format!(r#"{{"token":"~{rank}","logprob":-{rank}.5,"bytes":[126]}}"#)
            }
        });
        format!(r#"{{{known},"top_logprobs":[{}]}}"#, others.collect::<Vec<_>>().join(","))
    };
    pieces.iter().map(one).collect::<Vec<_>>().join(",")
}
