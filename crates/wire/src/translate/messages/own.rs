//! What in a request of messages is for one target only: thoughts of other targets in a conversation that goes to Anthropic as it
//! came, and conversations that Anthropic is to keep. Anthropic refuses a request with a seal that is not its own, so a
//! conversation that another target once answered could never come back.

use serde_json::value::RawValue;

use crate::translate::is_anthropics;
use crate::translate::json::{Object, text};
use crate::translate::write::{self, List};

/// A request of messages for `model` without the thoughts that other targets had; `None` where there are none, so that the bytes
/// can go as they are. All else stays as it came. Where a turn goes on after results of tools without the thoughts that led to
/// them, `thinking` with a budget is left out too, as it would be refused.
#[must_use]
pub fn own_thoughts(body: &[u8], model: &str) -> Option<Vec<u8>> {
    if !may_hold_others(body) {
        return None;
    }
    let mut object = Object::parse(body).ok()?;
    let messages: Vec<&RawValue> = serde_json::from_str(object.take("messages").ok()??.get()).ok()?;
    let messages: Vec<Message<'_>> = messages.into_iter().map(Message::read).collect();
    if !messages.iter().any(|message| message.lost) {
        return None;
    }
    let drops_thinking = forgot(&messages) && object.peek("thinking").is_some_and(is_budget);
    let mut out = Vec::with_capacity(body.len());
    write::object(&mut out, |o| {
        o.text("model", model);
        for (name, json) in object.members() {
            if name != "model" && !(name == "thinking" && drops_thinking) {
                o.member(name, json);
            }
        }
        o.list("messages", |l| messages.iter().for_each(|message| message.write(l)));
    });
    Some(out)
}

/// Whether a request of messages wants its conversation kept by who answers (`thread`), or goes on from one that is.
#[must_use]
pub fn wants_thread(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"thread\"").is_some() && Object::parse(body).is_ok_and(|o| o.peek("thread").is_some())
}

/// Whether a seal stands in the bytes that is not Anthropic's, as far as a look without parsing says.
fn may_hold_others(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"signature\"";
    memchr::memmem::find_iter(body, KEY).any(|at| {
        let value = body[at + KEY.len()..].trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        let Some(value) = value.strip_prefix(b"\"") else { return false };
        // None of the prefixes is longer, and none has an escape in it.
        let start = &value[..value.len().min(32)];
        start.starts_with(b"\"") || !is_anthropics(&String::from_utf8_lossy(start))
    })
}

struct Message<'a> {
    raw: &'a RawValue,
    /// Its blocks, where they could be read.
    kept: Vec<&'a RawValue>,
    /// A block of it is left out.
    lost: bool,
}

impl<'a> Message<'a> {
    fn read(raw: &'a RawValue) -> Self {
        let content = Object::read(raw).ok().and_then(|mut o| o.take("content").ok().flatten());
        let blocks: Vec<&'a RawValue> =
            content.and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default();
        let kept: Vec<&'a RawValue> = blocks.iter().copied().filter(|block| !is_others_thought(block)).collect();
        Self { raw, lost: kept.len() < blocks.len(), kept }
    }

    fn write(&self, l: &mut List<'_>) {
        if !self.lost {
            l.item().extend_from_slice(self.raw.get().as_bytes());
            return;
        }
        // A message of nothing is refused; those beside it are put together by the API.
        let Some(object) = Object::read(self.raw).ok().filter(|_| !self.kept.is_empty()) else { return };
        l.object(|o| {
            for (name, json) in object.members().filter(|(name, _)| *name != "content") {
                o.member(name, json);
            }
            o.list("content", |l| {
                for block in &self.kept {
                    l.item().extend_from_slice(block.get().as_bytes());
                }
            });
        });
    }
}

fn kind(block: &RawValue) -> Option<String> {
    Object::read(block).ok()?.text("type").ok()?
}

fn is_others_thought(block: &RawValue) -> bool {
    let Ok(mut object) = Object::read(block) else { return false };
    let mut member = |name| object.take(name).ok().flatten().and_then(|raw| text(raw).ok());
    let thought = member("type").as_deref() == Some("thinking");
    thought && !member("signature").is_some_and(|seal| is_anthropics(&seal))
}

/// Whether the last message brings results of tools and the one before has lost its first thoughts.
fn forgot(messages: &[Message<'_>]) -> bool {
    let [.., assistant, user] = messages else { return false };
    let is = |block: &&&RawValue, name| kind(block).as_deref() == Some(name);
    let results = user.kept.iter().any(|block| is(&block, "tool_result"));
    let first = assistant.kept.first();
    results && assistant.lost && !first.is_some_and(|block| is(&block, "thinking") || is(&block, "redacted_thinking"))
}

fn is_budget(thinking: &str) -> bool {
    let raw: Option<&RawValue> = serde_json::from_str(thinking).ok();
    raw.and_then(kind).as_deref() == Some("enabled")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn own(body: &str) -> Option<String> {
        own_thoughts(body.as_bytes(), "claude").map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn what_is_anthropic_s_passes_as_it_came() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"Eq0="}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"signature":""}}]}]}"#,
            r#"{"messages":[{"role":"user","content":"{\"signature\":\"openai:\"}"}]}"#,
            r#"{"signature":"openai:x","messages":7}"#,
            r#"{"signature":"openai:x""#,
        ] {
            assert_eq!(own(body), None, "{body}");
        }
    }

    #[test]
    fn thoughts_of_others_are_left_out() {
        let thought = |seal: &str| json!({"type": "thinking", "thinking": "hm", "signature": seal}).to_string();
        let vllm = "7bc08f0e1c2f4d0fb5c0a5dd2e6c1a9b";
        for seal in ["", "openai:rs_1:enc", "plain:reasoning_content", "extra:{\"google\":{}}", vllm] {
            let body = format!(
                r#"{{"model": "m", "top": 1.0, "messages": [{{"role":"user","content":"a"}},{{"role":"assistant","x":1e2,"content":[{},{{"type":"text","text":"b\u00e9"}}]}},{{"role":"assistant","content":[{}]}},{{"role":"user", "content":"c"}}]}}"#,
                thought(seal),
                thought(seal),
            );
            let want = r#"{"model":"claude","top":1.0,"messages":[{"role":"user","content":"a"},{"role":"assistant","x":1e2,"content":[{"type":"text","text":"b\u00e9"}]},{"role":"user", "content":"c"}]}"#;
            assert_eq!(own(&body).as_deref(), Some(want), "{seal}");
        }
        // White space is no way past.
        let spaced = "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"\",\"signature\" :\n \"openai:a:b\"}]}]}";
        assert_eq!(own(spaced).as_deref(), Some(r#"{"model":"claude","messages":[]}"#));
    }

    #[test]
    fn a_thread_is_seen_where_it_is_one() {
        for (body, want) in [
            (r#"{"thread" : {"type":"create"},"messages":[]}"#, true),
            (r#"{"messages":[],"thread":{"type":"continue","previous_message_id":"msg_1"}}"#, true),
            (r#"{"messages":[],"thread":null}"#, false),
            (r#"{"messages":[{"role":"user","content":[{"type":"tool_use","input":{"thread":1}}]}]}"#, false),
            (r#"{"thread":1"#, false),
        ] {
            assert_eq!(wants_thread(body.as_bytes()), want, "{body}");
        }
    }

    #[test]
    fn a_budget_is_left_out_where_the_thoughts_are_missing() {
        let request = |seal: &str, thinking: Value, own: Option<&str>| {
            let mut content = vec![json!({"type": "thinking", "thinking": "", "signature": seal})];
            content.extend(own.map(|own| json!({"type": "thinking", "thinking": "", "signature": own})));
            content.push(json!({"type": "tool_use", "id": "a", "name": "f", "input": {}}));
            json!({"thinking": thinking, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]}]})
            .to_string()
        };
        let budget = json!({"type": "enabled", "budget_tokens": 2000});
        for (thinking, kept, stays) in
            [(&budget, None, false), (&budget, Some("Eq0="), true), (&json!({"type": "adaptive"}), None, true)]
        {
            let got: Value =
                serde_json::from_str(&own(&request("openai:a:b", thinking.clone(), kept)).unwrap()).unwrap();
            assert_eq!(got.get("thinking").is_some(), stays, "{thinking} {kept:?}");
            assert_eq!(got["messages"][1]["content"].as_array().unwrap().len(), 1 + usize::from(kept.is_some()));
        }
    }
}
