//! Makes up an answer. The same request gets the same answer.

mod made;

use crate::ask::{Ask, Choice, Form, Tool};
use crate::text::{key_of, mix, pieces, speech, tokens_in};

/// A user's message that begins so is answered with what follows it.
const REPEAT: &str = "Repeat: ";
/// A user's message that holds this word gets a call of every tool.
const TOGETHER: &str = "parallel";
/// What an image counts.
const IMAGE_TOKENS: u64 = 85;

/// One answer to a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Thoughts, text and arguments come in pieces, each of which is a token.
    pub(crate) thoughts: Vec<String>,
    pub(crate) text: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) stop: Stop,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What makes its id unique.
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, in pieces.
    pub(crate) arguments: Vec<String>,
}

/// Why an answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    #[default]
    End,
    Length,
    Tool,
    /// This stop sequence came.
    Word(String),
}

/// Tokens of a whole request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tokens of the prompt that neither came from the cache nor went into it.
    pub(crate) input: u64,
    pub(crate) cached: u64,
    /// Written into the cache, for five minutes and for an hour.
    pub(crate) written: u64,
    pub(crate) written_hour: u64,
    /// Reasoning included.
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

impl Usage {
    /// All tokens of the prompt.
    pub(crate) fn prompt(&self) -> u64 {
        self.input + self.cached + self.written + self.written_hour
    }
}

impl Answer {
    /// Tokens of the answer.
    pub(crate) fn tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|call| call.arguments.len()).sum();
        u64::try_from(self.thoughts.len() + self.text.len() + calls).unwrap_or(u64::MAX)
    }

    /// Tokens that were spent on thinking.
    pub(crate) fn reasoning(&self) -> u64 {
        u64::try_from(self.thoughts.len()).unwrap_or(u64::MAX)
    }

    /// Cuts the answer to `limit` tokens: what comes later goes first.
    fn cut(&mut self, limit: u64) {
        if self.tokens() <= limit {
            return;
        }
        self.stop = Stop::Length;
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut keep = |pieces: &mut Vec<String>| {
            pieces.truncate(left);
            left -= pieces.len();
            !pieces.is_empty()
        };
        keep(&mut self.thoughts);
        keep(&mut self.text);
        self.calls.retain_mut(|call| keep(&mut call.arguments));
    }
}

/// Tokens of a prompt.
pub(crate) fn prompt_tokens(ask: &Ask) -> u64 {
    tokens_in(ask.prompt.text.len()) + ask.prompt.images * IMAGE_TOKENS
}

/// The answers to a request. `who` is named in the text.
pub(crate) fn answers(ask: &Ask, who: &str) -> Vec<Answer> {
    let key = key_of(ask.prompt.text.as_bytes());
    (0..ask.count).map(|index| answer(ask, who, mix(key ^ index))).collect()
}

fn answer(ask: &Ask, who: &str, key: u64) -> Answer {
    let mut answer = Answer::default();
    if ask.reasons {
        answer.thoughts = pieces("What is asked for is simulated, and so is this thought about it.");
    }
    let called = called(ask);
    if called.is_empty() {
        let (text, stop) = stopped(text(ask, who, key), &ask.stop);
        (answer.text, answer.stop) = (pieces(&text), stop);
    } else {
        let call = |(at, tool): (u64, &Tool)| Call {
            id: format!("{:016x}", mix(key ^ at.rotate_left(48))),
            name: tool.name.clone(),
            arguments: pieces(&made::value(&tool.schema).to_string()),
        };
        (answer.calls, answer.stop) = ((0..).zip(called).map(call).collect(), Stop::Tool);
    }
    answer.cut(ask.limit.unwrap_or(u64::MAX));
    answer
}

/// The tools that are called: the one that is named, or else the first, or all if the user asks for it. A model that is
/// left the choice calls one as well, unless a tool has just spoken.
fn called(ask: &Ask) -> &[Tool] {
    let first = || ask.tools.get(..1).unwrap_or_default();
    match &ask.choice {
        Choice::None => &[],
        Choice::Named(name) => {
            let at = ask.tools.iter().position(|tool| tool.name == *name);
            at.map_or(&[], |at| &ask.tools[at..=at])
        }
        Choice::Auto if ask.after_tool => &[],
        Choice::Auto | Choice::Any if ask.parallel && ask.last.contains(TOGETHER) => &ask.tools,
        Choice::Auto | Choice::Any => first(),
    }
}

fn text(ask: &Ask, who: &str, key: u64) -> String {
    match &ask.form {
        Form::Schema(schema) => made::value(schema).to_string(),
        Form::Object => r#"{"simulated":true}"#.to_owned(),
        Form::Text => ask.last.strip_prefix(REPEAT).map_or_else(|| speech(who, key), str::to_owned),
    }
}

/// The text up to the first of the words that end it.
fn stopped(mut text: String, words: &[String]) -> (String, Stop) {
    let found = words.iter().filter(|word| !word.is_empty()).filter_map(|word| Some((text.find(word.as_str())?, word)));
    match found.min() {
        Some((at, word)) => {
            text.truncate(at);
            (text, Stop::Word(word.clone()))
        }
        None => (text, Stop::End),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(last: &str) -> Ask {
        let mut ask = Ask { last: last.to_owned(), count: 1, parallel: true, ..Ask::default() };
        ask.prompt.push(last);
        ask
    }

    fn one(ask: &Ask) -> Answer {
        answers(ask, "nobody").remove(0)
    }

    fn with_tools(last: &str) -> Ask {
        let tool = |name: &str| Tool { name: name.to_owned(), schema: json!({"type": "object"}) };
        Ask { tools: vec![tool("first"), tool("second")], ..ask(last) }
    }

    #[test]
    fn what_is_asked_for_is_said() {
        assert_eq!(one(&ask("Repeat: gr\u{fc}n")).text.concat(), "gr\u{fc}n");
        assert!(one(&ask("hi")).text.concat().starts_with("Simulated answer of nobody:"));
        assert_eq!(one(&ask("hi")), one(&ask("hi")));
        let both = answers(&Ask { count: 2, ..ask("hi") }, "nobody");
        assert_ne!(both[0].text, both[1].text);
    }

    #[test]
    fn an_answer_stops_where_it_should() {
        let stops = Ask { stop: vec!["z".to_owned(), "cd".to_owned()], ..ask("Repeat: abcdz") };
        assert_eq!((one(&stops).text.concat(), one(&stops).stop), ("ab".to_owned(), Stop::Word("cd".to_owned())));
        let short = Ask { limit: Some(2), ..ask("Repeat: abcdefghijkl") };
        assert_eq!((one(&short).text.concat(), one(&short).stop), ("abcdefgh".to_owned(), Stop::Length));
        let enough = Ask { limit: Some(3), ..ask("Repeat: abcdefghijkl") };
        assert_eq!(one(&enough).stop, Stop::End);
        let thinks = Ask { limit: Some(5), reasons: true, ..ask("hi") };
        assert_eq!((one(&thinks).tokens(), one(&thinks).reasoning(), one(&thinks).stop), (5, 5, Stop::Length));
    }

    #[test]
    fn tools_are_called_as_the_choice_says() {
        let called = |ask: &Ask| one(ask).calls.into_iter().map(|call| call.name).collect::<Vec<_>>().join(" ");
        let named = Choice::Named("second".to_owned());
        for (ask, expected) in [
            (with_tools("hi"), "first"),
            (with_tools("both in parallel"), "first second"),
            (Ask { parallel: false, ..with_tools("both in parallel") }, "first"),
            (Ask { choice: named, ..with_tools("hi") }, "second"),
            (Ask { choice: Choice::None, ..with_tools("hi") }, ""),
            (Ask { after_tool: true, ..with_tools("hi") }, ""),
            (Ask { after_tool: true, choice: Choice::Any, ..with_tools("hi") }, "first"),
        ] {
            assert_eq!(called(&ask), expected, "{:?}", ask.choice);
        }
    }
}
