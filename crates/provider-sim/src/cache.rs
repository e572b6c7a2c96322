//! Which prompts a provider remembers, so that a second one costs less.

use std::collections::VecDeque;

use crate::answer::{Usage, prompt_tokens};
use crate::ask::{Ask, Ttl};
use crate::text::tokens_in;

/// Shortest prompt that is cached, in tokens, by both providers.
const SHORTEST: u64 = 1024;
/// `OpenAI` counts what came from the cache in steps of so many tokens.
const STEP: u64 = 128;
/// Prompts that are remembered.
const MOST: usize = 256;

/// What is remembered: whose it is (key and model), and the text.
#[derive(Debug, Default)]
pub(crate) struct Cache(VecDeque<(String, String)>);

impl Cache {
    /// The prompt's part of the usage, and what the cache learns by it. `marked` says that a prompt is cached only up to
    /// the client's marks, as Anthropic and Bedrock do; `OpenAI` caches all by itself.
    pub(crate) fn look_up(&mut self, owner: &str, ask: &Ask, marked: bool) -> Usage {
        let total = prompt_tokens(ask);
        let mut usage = if marked { self.marked(owner, ask) } else { self.automatic(owner, ask) };
        usage.input = total.saturating_sub(usage.prompt());
        usage
    }

    fn marked(&mut self, owner: &str, ask: &Ask) -> Usage {
        let text = &ask.prompt.text;
        let Some((end, ttl)) = ask.prompt.breaks.last().copied() else { return Usage::default() };
        let part = &text[..end];
        let whole = tokens_in(part.len());
        if whole < SHORTEST {
            return Usage::default();
        }
        let known = self.0.iter().filter(|(of, known)| of == owner && part.starts_with(known.as_str()));
        let cached = known.map(|(_, known)| tokens_in(known.len())).max().unwrap_or(0);
        for (end, _) in &ask.prompt.breaks {
            if tokens_in(*end) >= SHORTEST {
                self.remember(owner, &text[..*end]);
            }
        }
        let new = whole - cached;
        match ttl {
            Ttl::Minutes => Usage { cached, written: new, ..Usage::default() },
            Ttl::Hour => Usage { cached, written_hour: new, ..Usage::default() },
        }
    }

    fn automatic(&mut self, owner: &str, ask: &Ask) -> Usage {
        let text = &ask.prompt.text;
        let known = self.0.iter().filter(|(of, _)| of == owner);
        let common = |known: &str| known.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        let longest = known.map(|(_, known)| tokens_in(common(known) / 4 * 4)).max().unwrap_or(0);
        let cached = if longest < SHORTEST { 0 } else { longest / STEP * STEP };
        if tokens_in(text.len()) >= SHORTEST {
            self.remember(owner, text);
        }
        Usage { cached, ..Usage::default() }
    }

    fn remember(&mut self, owner: &str, text: &str) {
        if self.0.iter().any(|(of, known)| of == owner && known == text) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((owner.to_owned(), text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(parts: &[(usize, Option<Ttl>)]) -> Ask {
        let mut ask = Ask::default();
        for (length, mark) in parts {
            // With its line feed, the part has just this length.
            ask.prompt.push(&"x".repeat(length - 1));
            if let Some(ttl) = mark {
                ask.prompt.mark(*ttl);
            }
        }
        ask
    }

    fn numbers(usage: Usage) -> [u64; 4] {
        [usage.input, usage.cached, usage.written, usage.written_hour]
    }

    #[test]
    fn a_marked_prompt_is_written_once_and_read_then() {
        let mut cache = Cache::default();
        let mut seen = |parts: &[(usize, Option<Ttl>)]| numbers(cache.look_up("a", &ask(parts), true));
        let (five, hour) = (Some(Ttl::Minutes), Some(Ttl::Hour));
        assert_eq!(seen(&[(400, five), (40, None)]), [110, 0, 0, 0], "too short");
        assert_eq!(seen(&[(8000, five), (40, None)]), [10, 0, 2000, 0]);
        assert_eq!(seen(&[(8000, five), (80, None)]), [20, 2000, 0, 0]);
        assert_eq!(seen(&[(8000, five), (4000, hour)]), [0, 2000, 0, 1000]);
        assert_eq!(seen(&[(8000, None), (4000, None)]), [3000, 0, 0, 0], "no mark");
        assert_eq!(numbers(cache.look_up("b", &ask(&[(8000, five)]), true)), [0, 0, 2000, 0], "another's");
    }

    #[test]
    fn a_long_prompt_is_cached_by_itself_in_steps() {
        let mut cache = Cache::default();
        let mut seen = |parts: &[(usize, Option<Ttl>)]| numbers(cache.look_up("a", &ask(parts), false));
        assert_eq!(seen(&[(8040, None)]), [2010, 0, 0, 0]);
        assert_eq!(seen(&[(8040, None)]), [2010 - 1920, 1920, 0, 0]);
        assert_eq!(seen(&[(4000, None)]), [1000, 0, 0, 0], "too short");
    }
}
