//! Thoughts in a request of responses that its target would refuse: those that another one had in a conversation that goes
//! on as it came. OpenAI refuses a seal that is not its own, and a thought by an id that it does not know; engines refuse
//! every seal. Without this, a conversation could not fall back once its model has thought.

use serde_json::value::RawValue;

use crate::translate::json::{Object, text};
use crate::translate::write::{self, List};
use crate::translate::{ANTHROPIC_SEAL, ANTHROPIC_SEALED, is_foreign};

/// Who is to read the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// OpenAI: what it sealed itself stays, and what lies with it by its id.
    OpenAi,
    /// An engine: thoughts stay as far as they can be read, and no seal does.
    Engine,
}

/// A request of responses for `model` without the thoughts, or the seals of thoughts, that this reader refuses; `None`
/// where there are none, so that the bytes can go as they are. All else stays as it came.
#[must_use]
pub fn own_reasoning(body: &[u8], model: &str, reader: Reader) -> Option<Vec<u8>> {
    if !may_hold_others(body, reader) {
        return None;
    }
    let mut object = Object::parse(body).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(object.take("input").ok()??.get()).ok()?;
    let items: Vec<(&RawValue, Stays)> = items.into_iter().map(|item| (item, stays(item, reader))).collect();
    if items.iter().all(|(_, stays)| *stays == Stays::AsItCame) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    write::object(&mut out, |o| {
        o.text("model", model);
        for (name, json) in object.members().filter(|(name, _)| *name != "model") {
            o.member(name, json);
        }
        o.list("input", |l| items.iter().for_each(|(item, stays)| write_item(item, *stays, l)));
    });
    Some(out)
}

/// What of an item stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    AsItCame,
    /// All but the seal.
    Words,
    Nothing,
}

/// Whether there is something to look for, as far as a look without parsing says.
fn may_hold_others(body: &[u8], reader: Reader) -> bool {
    let behind = |word: &'static [u8]| {
        memchr::memmem::find_iter(body, word).map(|at| body[at + word.len()..].trim_ascii_start())
    };
    // What engines write themselves has `null` as its seal.
    let sealed =
        |after: &[u8]| after.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""));
    match reader {
        Reader::Engine => behind(b"\"encrypted_content\"").any(sealed),
        // As a key it says how much to think.
        Reader::OpenAi => behind(b"\"reasoning\"").any(|after| !after.starts_with(b":")),
    }
}

fn stays(item: &RawValue, reader: Reader) -> Stays {
    let Ok(mut object) = Object::read(item) else { return Stays::AsItCame };
    let mut member = |name| object.take(name).ok().flatten().and_then(|raw| text(raw).ok()).unwrap_or_default();
    if member("type") != "reasoning" {
        return Stays::AsItCame;
    }
    let (id, seal) = (member("id"), member("encrypted_content"));
    let says = |name| {
        let list = object.peek(name).and_then(|json| serde_json::from_str::<Vec<&RawValue>>(json).ok());
        list.is_some_and(|list| !list.is_empty())
    };
    let others = [ANTHROPIC_SEAL, ANTHROPIC_SEALED].iter().any(|other| seal.starts_with(other)) || is_foreign(&seal);
    match reader {
        Reader::Engine if seal.is_empty() => Stays::AsItCame,
        Reader::Engine if says("content") || says("summary") => Stays::Words,
        Reader::Engine => Stays::Nothing,
        // Engines write their thoughts out, and OpenAI's models do not; an id of ours has a number at its end.
        Reader::OpenAi if seal.is_empty() && (says("content") || is_ours(&id)) => Stays::Nothing,
        Reader::OpenAi if others => Stays::Nothing,
        Reader::OpenAi => Stays::AsItCame,
    }
}

/// Whether this is an id as translated answers have them.
fn is_ours(id: &str) -> bool {
    id.strip_prefix("rs_").is_some_and(|rest| rest.contains('_'))
}

fn write_item(item: &RawValue, stays: Stays, l: &mut List<'_>) {
    match stays {
        Stays::AsItCame => l.item().extend_from_slice(item.get().as_bytes()),
        Stays::Nothing => {}
        Stays::Words => {
            let Ok(object) = Object::read(item) else { return };
            l.object(|o| {
                for (name, json) in object.members().filter(|(name, _)| *name != "encrypted_content") {
                    o.member(name, json);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items that are left of a conversation with this thought in it; nothing where all is as it came.
    fn left(thought: &str, reader: Reader) -> Option<String> {
        let body = format!(
            r#"{{"model": "m", "top": 1.0, "input": [{{"role":"user","content":"a"}},{thought},{{"x": 1e2}}], "store":false}}"#
        );
        let changed = String::from_utf8(own_reasoning(body.as_bytes(), "gpt", reader)?).unwrap();
        let inner = changed
            .strip_prefix(r#"{"model":"gpt","top":1.0,"store":false,"input":[{"role":"user","content":"a"},"#)
            .and_then(|rest| rest.strip_suffix(r#"{"x": 1e2}]}"#));
        Some(inner.unwrap_or_else(|| panic!("{changed}")).trim_end_matches(',').to_owned())
    }

    #[test]
    fn thoughts_go_to_who_can_read_them() {
        let summary = r#"{"type":"summary_text","text":"hm"}"#;
        let own = format!(r#"{{"type":"reasoning","id":"rs_1","summary":[{summary}],"encrypted_content":"gAAA"}}"#);
        let bare = r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}"#;
        let stored = r#"{"type":"reasoning","id":"rs_68af40","summary":[],"encrypted_content":null}"#;
        let engine = r#"{"type":"reasoning","id":"rs_b0","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],"encrypted_content":null,"status":null}"#;
        let claude = format!(
            r#"{{"type":"reasoning","id":"rs_9_0","summary":[{summary}],"encrypted_content":"anthropic:Eq0="}}"#
        );
        let redacted =
            r#"{"type":"reasoning","id":"rs_9_0","summary":[],"encrypted_content":"anthropic-redacted:Eq0="}"#;
        let deepseek = format!(
            r#"{{"type":"reasoning","id":"rs_9_0","summary":[{summary}],"encrypted_content":"plain:reasoning_content"}}"#
        );
        let gemini = r#"{"type":"reasoning","id":"rs_9_0","summary":[],"encrypted_content":"extra:{}"}"#;
        let unsealed = format!(r#"{{"type":"reasoning","id":"rs_9_0","summary":[{summary}]}}"#);
        let words = |id: &str| format!(r#"{{"type":"reasoning","id":"{id}","summary":[{summary}]}}"#);
        let nothing = || Some(String::new());
        for (thought, openai, at_engine) in [
            (own.as_str(), None, Some(words("rs_1"))),
            (bare, None, nothing()),
            (stored, None, None),
            (engine, nothing(), None),
            (&claude, nothing(), Some(words("rs_9_0"))),
            (redacted, nothing(), nothing()),
            (gemini, nothing(), nothing()),
            (&deepseek, nothing(), Some(words("rs_9_0"))),
            (&unsealed, nothing(), None),
        ] {
            assert_eq!(left(thought, Reader::OpenAi), openai, "{thought}");
            assert_eq!(left(thought, Reader::Engine), at_engine, "{thought}");
        }
    }

    #[test]
    fn what_holds_no_thoughts_passes_as_it_came() {
        for body in [
            r#"{"model":"m","input":"\"encrypted_content\" \"reasoning\""}"#,
            r#"{"model":"m","input":"a","reasoning":{"effort":"low"},"include":["reasoning.encrypted_content"]}"#,
            r#"{"input":[{"type":"message","role":"user","content":[],"encrypted_content":"x"},7,"reasoning"]}"#,
            r#"{"input":[{"type":"reasoning","encrypted_content":"x""#,
            r#"{"encrypted_content":"reasoning"}"#,
        ] {
            for reader in [Reader::OpenAi, Reader::Engine] {
                assert_eq!(own_reasoning(body.as_bytes(), "m", reader), None, "{body}");
            }
        }
    }
}
