//! Made-up probabilities of tokens, in the shapes that clients read.

use std::fmt::Write as _;

use super::quoted;
use crate::request::Kind;
use crate::text::mix;

/// The tokens of an answer, or of a piece of it, whose probabilities are told.
#[derive(Clone, Debug)]
pub(crate) struct Probabilities<'a> {
    /// The texts of the tokens.
    pub(crate) tokens: &'a [String],
    /// How many alternatives to tell for each.
    pub(crate) alternatives: u32,
    /// What the numbers are drawn from.
    pub(crate) key: u64,
}

impl Probabilities<'_> {
    /// As JSON.
    pub(crate) fn json(&self, kind: Kind) -> String {
        if kind == Kind::Completion { self.of_completion() } else { self.of_chat() }
    }

    /// The logarithm of the probability of an alternative to a token: likelier ones first.
    fn logprob(&self, at: usize, rank: u32) -> f64 {
        let place = u64::try_from(at).unwrap_or(u64::MAX);
        let draw = u32::try_from(mix(self.key ^ place.rotate_left(24)) % 1000).unwrap_or(0);
        -0.1 - f64::from(draw) / 1000.0 - f64::from(rank)
    }

    /// The token itself and words that could have stood there.
    fn alternatives(&self, at: usize) -> Vec<(String, f64)> {
        let token = self.tokens.get(at).cloned().unwrap_or_default();
        let all = (0..self.alternatives).map(|rank| {
            let word = if rank == 0 { token.clone() } else { format!(" other{rank}") };
            (word, self.logprob(at, rank))
        });
        all.collect()
    }

    fn of_chat(&self) -> String {
        let entry = |token: &str, logprob: f64| {
            let bytes: Vec<String> = token.bytes().map(|byte| byte.to_string()).collect();
            format!(r#""token":{},"logprob":{logprob},"bytes":[{}]"#, quoted(token), bytes.join(","))
        };
        let each = self.tokens.iter().enumerate().map(|(at, token)| {
            let top: Vec<String> =
                self.alternatives(at).iter().map(|(word, logprob)| format!("{{{}}}", entry(word, *logprob))).collect();
            format!("{{{},\"top_logprobs\":[{}]}}", entry(token, self.logprob(at, 0)), top.join(","))
        });
        format!(r#"{{"content":[{}]}}"#, each.collect::<Vec<_>>().join(","))
    }

    fn of_completion(&self) -> String {
        let (mut offsets, mut numbers, mut words, mut tops) =
            (String::new(), String::new(), String::new(), String::new());
        let mut offset = 0;
        for (at, token) in self.tokens.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let logprob = self.logprob(at, 0);
            let mut top: Vec<String> =
                self.alternatives(at).iter().map(|(word, logprob)| format!("{}:{logprob}", quoted(word))).collect();
            if top.is_empty() {
                top.push(format!("{}:{logprob}", quoted(token)));
            }
            // Writing to a string cannot fail.
            let _ = write!(offsets, "{comma}{offset}");
            let _ = write!(numbers, "{comma}{logprob}");
            let _ = write!(words, "{comma}{}", quoted(token));
            let _ = write!(tops, "{comma}{{{}}}", top.join(","));
            offset += token.chars().count();
        }
        format!(
            r#"{{"text_offset":[{offsets}],"token_logprobs":[{numbers}],"tokens":[{words}],"top_logprobs":[{tops}]}}"#
        )
    }
}
