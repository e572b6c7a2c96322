//! The count of tokens, read out of an answer on its way through.
//!
//! Engines and providers tell it in an object `usage` somewhere in their JSON. A quote within a JSON text is always escaped, so the
//! word in its quotes, followed by a colon and a brace, can only be a key, and a search for it needs no parser.

mod tier;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use self::tier::last_tier;
pub use self::tier::{ServiceTier, TierReader};
use crate::translate::converse_tokens;

/// Longest object that is read. vLLM's longest has some 400 bytes, and more with many tool turns.
const MOST: usize = 4 * 1024;
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Tokens of a request and of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read: `prompt_tokens` or `input_tokens`.
    pub prompt: Option<u64>,
    /// Tokens written: `completion_tokens` or `output_tokens`.
    pub completion: Option<u64>,
    /// Tokens read of which the engine had computed before: `cached_tokens` or `cache_read_input_tokens`.
    pub cached: Option<u64>,
    /// Tokens read that were written to a cache: `cache_creation_input_tokens`, or OpenAI's `cache_write_tokens`.
    pub written: Option<u64>,
    /// Those of them that stay there for an hour: `ephemeral_1h_input_tokens`.
    pub written_1h: Option<u64>,
    /// Tokens written that were thoughts, counted within `completion`: `reasoning_tokens` or `thinking_tokens`.
    pub reasoning: Option<u64>,
    /// At which tier the provider says that it answered, where it says so within the usage.
    pub tier: Option<ServiceTier>,
    /// `cached` and `written` are counted beside `prompt`, as Anthropic has it, and not within it.
    pub beside: bool,
}

impl Usage {
    /// Tokens read and written together, whether they were cached or not.
    #[must_use]
    pub fn all(&self) -> u64 {
        let beside = if self.beside { self.cached.unwrap_or(0).saturating_add(self.written.unwrap_or(0)) } else { 0 };
        [self.prompt.unwrap_or(0), beside, self.completion.unwrap_or(0)].into_iter().fold(0, u64::saturating_add)
    }

    /// All tokens read, those that a cache had a part in included.
    #[must_use]
    pub fn read(&self) -> Option<u64> {
        let beside = if self.beside { self.cached.unwrap_or(0) + self.written.unwrap_or(0) } else { 0 };
        self.prompt.map(|prompt| prompt.saturating_add(beside))
    }

    /// Tokens read that a cache had no part in.
    #[must_use]
    pub fn uncached(&self) -> u64 {
        let prompt = self.prompt.unwrap_or(0);
        let within = self.cached.unwrap_or(0).saturating_add(self.written.unwrap_or(0));
        if self.beside { prompt } else { prompt.saturating_sub(within) }
    }
}

/// Finds the last usage in an answer that comes in pieces. The figures of a stream are those of its latest event, not a
/// sum; one that is missing in a later event stays as it was.
#[derive(Debug, Default)]
pub struct UsageReader {
    usage: Usage,
    /// The end of the last piece, if the key or its object may go on in the next one.
    carried: Vec<u8>,
}

impl UsageReader {
    /// Looks at the next piece. Costs a search for one short word.
    pub fn look(&mut self, piece: &[u8]) {
        if self.carried.is_empty() {
            if let Some(from) = self.search(piece) {
                self.carried.extend_from_slice(&piece[from..]);
            }
            return;
        }
        // What is carried can only end within the next few bytes; the rest of the piece is not copied.
        let (near, far) = piece.split_at(piece.len().min(MOST));
        let mut joined = std::mem::take(&mut self.carried);
        joined.extend_from_slice(near);
        let from = self.search(&joined);
        if far.is_empty() {
            if let Some(from) = from {
                joined.drain(..from);
                self.carried = joined;
            }
        } else {
            // What was carried has been read, or is too long.
            self.look(piece);
        }
    }

    /// The head of the answer tells these counts of tokens read and written. What the body tells stands above them.
    pub fn told_by_head(&mut self, prompt: Option<u64>, completion: Option<u64>) {
        (self.usage.prompt, self.usage.completion) = (prompt, completion);
    }

    /// What was found so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Reads every usage in these bytes; gives where one begins that is not whole yet.
    fn search(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(found) = KEY.find(&bytes[at..]) {
            let key = at + found;
            at = key + KEY.needle().len();
            match object_end(&bytes[at..]) {
                End::At(start, end) => {
                    self.read(&bytes[at + start..at + end]);
                    at += end;
                }
                End::Later if bytes.len() - key <= MOST => return Some(key),
                End::Later | End::None => {}
            }
        }
        // The key itself may be cut.
        let tail = bytes.len().saturating_sub(KEY.needle().len() - 1).max(at);
        let quote = tail + memchr::memrchr(b'"', &bytes[tail..])?;
        KEY.needle().starts_with(&bytes[quote..]).then_some(quote)
    }

    fn read(&mut self, object: &[u8]) {
        if memchr::memmem::find(object, b"\"inputTokens\"").is_some() {
            // Only Converse's has these names, and the same ones again within a list, so it is read as what it is.
            if let Some(tokens) = converse_tokens(object) {
                self.usage = Usage {
                    prompt: Some(tokens.prompt),
                    completion: Some(tokens.completion),
                    cached: Some(tokens.cache_read),
                    written: Some(tokens.cache_write),
                    written_1h: Some(tokens.cache_write_hour),
                    reasoning: None,
                    tier: self.usage.tier,
                    beside: true,
                };
            }
            return;
        }
        let keep = |old: &mut Option<u64>, new: Option<u64>| *old = new.or(*old);
        keep(&mut self.usage.prompt, first(object, &["prompt_tokens", "input_tokens"]));
        keep(&mut self.usage.completion, first(object, &["completion_tokens", "output_tokens"]));
        keep(&mut self.usage.cached, first(object, &["cached_tokens"]));
        keep(&mut self.usage.reasoning, first(object, &["reasoning_tokens", "thinking_tokens"]));
        self.add_thoughts(first(object, &["total_tokens"]));
        // Not all shapes have these, so others pay one search for all of them.
        if memchr::memmem::find(object, b"\"cache_").is_some() {
            let (read, created) =
                (first(object, &["cache_read_input_tokens"]), first(object, &["cache_creation_input_tokens"]));
            keep(&mut self.usage.cached, read);
            keep(&mut self.usage.written, created.or_else(|| first(object, &["cache_write_tokens"])));
            keep(&mut self.usage.written_1h, first(object, &["ephemeral_1h_input_tokens"]));
            self.usage.tier = last_tier(object).or(self.usage.tier);
            self.usage.beside |= read.is_some() || created.is_some();
        }
    }

    /// Gemini and xAI leave thoughts out of `completion_tokens` and count them in the total only. They are charged as all that is
    /// written.
    fn add_thoughts(&mut self, total: Option<u64>) {
        let usage = &mut self.usage;
        if let (Some(total), Some(prompt), Some(completion)) = (total, usage.prompt, usage.completion) {
            let thoughts = total.saturating_sub(prompt.saturating_add(completion));
            if thoughts > 0 {
                usage.completion = Some(completion + thoughts);
                usage.reasoning = usage.reasoning.or(Some(thoughts));
            }
        }
    }
}

enum End {
    /// From its brace to behind its brace.
    At(usize, usize),
    /// Not in these bytes.
    Later,
    /// There is no object.
    None,
}

/// Where the object after a key ends. Its texts are walked over, so that a brace within one does not count.
fn object_end(bytes: &[u8]) -> End {
    let space = |at: usize| at + bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let colon = space(0);
    match bytes.get(colon) {
        Some(b':') => {}
        Some(_) => return End::None,
        None => return End::Later,
    }
    let start = space(colon + 1);
    match bytes.get(start) {
        Some(b'{') => {}
        Some(_) => return End::None,
        None => return End::Later,
    }
    let (mut depth, mut text, mut escaped) = (0u32, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start).take(MOST) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' if !text => depth += 1,
            b'}' if !text => {
                depth -= 1;
                if depth == 0 {
                    return End::At(start, at + 1);
                }
            }
            _ => {}
        }
    }
    if bytes.len() - start > MOST { End::None } else { End::Later }
}

/// The first of these members that is a plain number. Their names are unlike all others in a usage, at any depth.
fn first(object: &[u8], names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| {
        let quoted = |at: &usize| *at > 0 && object[at - 1] == b'"' && object.get(at + name.len()) == Some(&b'"');
        let at = memchr::memmem::find_iter(object, name).find(quoted)?;
        let rest = object[at + name.len() + 1..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(prompt: u64, completion: u64, cached: u64) -> Usage {
        Usage { prompt: Some(prompt), completion: Some(completion), cached: Some(cached), ..Usage::default() }
    }

    fn of(text: &str) -> Usage {
        let mut reader = UsageReader::default();
        reader.look(text.as_bytes());
        reader.usage()
    }

    const CHAT: &str = r#"{"choices":[{"text":"say \"usage\":{\"prompt_tokens\":9} and {\"usage\":{}}"}],"usage":{"prompt_tokens":46,"total_tokens":54,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":3,"x":"}"},"completion_tokens_details":null},"prompt_logprobs":null}"#;
    const MESSAGES: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":13,\"output_tokens\":0}}}\n\n\
        event: message_delta\ndata: {\"usage\": {\"output_tokens\": 4,\"cache_read_input_tokens\":2}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn finds_what_engines_tell() {
        let cases = [
            (CHAT, usage(46, 8, 3)),
            (MESSAGES, Usage { beside: true, ..usage(13, 4, 2) }),
            (
                r#"{"usage":{"input_tokens":5,"cache_creation_input_tokens":30,"cache_read_input_tokens":200,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":7}}"#,
                Usage { written: Some(30), written_1h: Some(20), beside: true, ..usage(5, 7, 200) },
            ),
            (
                r#"{"usage":{"input_tokens":13,"input_tokens_details":{"cached_tokens":1},"output_tokens":4}}"#,
                usage(13, 4, 1),
            ),
            (
                r#"{"usage":{"cacheDetails":[{"inputTokens":20,"ttl":"1h"},{"inputTokens":10,"ttl":"5m"}],"cacheReadInputTokens":200,"cacheWriteInputTokens":30,"inputTokens":5,"outputTokens":7,"totalTokens":242},"p":"ab"}"#,
                Usage { written: Some(30), written_1h: Some(20), beside: true, ..usage(5, 7, 200) },
            ),
            (r#"{"usage":null}"#, Usage::default()),
            (r#"{"x":"usage"}"#, Usage::default()),
            (r#"{"usage":{"prompt_tokens":-1,"completion_tokens":"2"}}"#, Usage::default()),
            (
                r#"{"usage":{"prompt_tokens":0}} {"usage":{"completion_tokens":0}}"#,
                Usage { prompt: Some(0), completion: Some(0), ..Usage::default() },
            ),
            (r#"{"usage":{"prompt_tokens":7"#, Usage::default()),
        ];
        for (text, want) in cases {
            assert_eq!(of(text), want, "{text}");
        }
    }

    #[test]
    fn openai_counts_what_goes_to_a_cache_within_the_prompt() {
        for text in [
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":60}}}"#,
            r#"{"usage":{"input_tokens":100,"input_tokens_details":{"cache_write_tokens":60,"cache_write_tokens_details":{"ttl_30m_tokens":60,"ttl_12h_tokens":0},"cached_tokens":30},"output_tokens":5,"total_tokens":105}}"#,
        ] {
            let found = of(text);
            assert_eq!(found, Usage { written: Some(60), ..usage(100, 5, 30) }, "{text}");
            assert_eq!((found.read(), found.uncached(), found.all()), (Some(100), 10, 105), "{text}");
        }
    }

    #[test]
    fn thoughts_that_only_the_total_has_were_written() {
        // As Gemini has it, and xAI.
        let gemini = of(r#"{"usage":{"completion_tokens":9,"prompt_tokens":7,"total_tokens":116}}"#);
        assert_eq!((gemini.completion, gemini.reasoning, gemini.all()), (Some(109), Some(100), 116));
        let xai = of(
            r#"{"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":116,"completion_tokens_details":{"reasoning_tokens":100}}}"#,
        );
        assert_eq!((xai.completion, xai.reasoning), (Some(109), Some(100)));
        // A stream may tell it with each event.
        let twice = of(
            r#"{"usage":{"completion_tokens":1,"prompt_tokens":7,"total_tokens":50}} {"usage":{"completion_tokens":9,"prompt_tokens":7,"total_tokens":116}}"#,
        );
        assert_eq!(twice.completion, Some(109));
        assert_eq!(
            of(r#"{"usage":{"prompt_tokens":7,"total_tokens":7}}"#).completion,
            None,
            "embeddings write nothing"
        );
    }

    #[test]
    fn thoughts_and_tiers_are_told() {
        let reasoning = of(
            r#"{"usage":{"prompt_tokens":1,"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":4}}}"#,
        );
        assert_eq!((reasoning.reasoning, reasoning.tier), (Some(4), None));
        let thinking =
            of(r#"{"usage":{"input_tokens":1,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}}"#);
        assert_eq!((thinking.completion, thinking.reasoning), (Some(9), Some(4)));
        let text =
            r#"{"usage":{"input_tokens":1,"cache_read_input_tokens":0,"output_tokens":2,"service_tier":"TIER"}}"#;
        for (name, tier) in [
            ("standard", Some(ServiceTier::Standard)),
            ("priority", Some(ServiceTier::Priority)),
            ("batch", Some(ServiceTier::Batch)),
            ("other", None),
        ] {
            assert_eq!(of(&text.replace("TIER", name)).tier, tier, "{name}");
        }
    }

    #[test]
    fn all_that_was_read_is_counted_once() {
        let within = usage(46, 8, 3);
        let beside = Usage { beside: true, written: Some(5), ..within };
        assert_eq!((within.read(), beside.read(), Usage::default().read()), (Some(46), Some(54), None));
    }

    #[test]
    fn the_body_stands_above_the_head() {
        let mut reader = UsageReader::default();
        reader.told_by_head(Some(7), Some(3));
        reader.look(br#"{"generation":"Hi"}"#);
        assert_eq!((reader.usage().prompt, reader.usage().completion), (Some(7), Some(3)));
        reader.look(CHAT.as_bytes());
        assert_eq!(reader.usage(), usage(46, 8, 3));
    }

    #[test]
    fn cached_tokens_are_not_counted_twice() {
        let within = usage(46, 8, 3);
        assert_eq!((within.uncached(), Usage { beside: true, ..within }.uncached()), (43, 46));
        assert_eq!((Usage::default().uncached(), usage(1, 0, 3).uncached()), (0, 0));
    }

    #[test]
    fn carries_little() {
        let mut reader = UsageReader::default();
        let long = format!("{{\"usage\":{{\"x\":\"{}\"", "y".repeat(100_000));
        for piece in long.as_bytes().chunks(1000) {
            reader.look(piece);
            assert!(reader.carried.len() <= MOST + 1000, "{}", reader.carried.len());
        }
        reader.look(b"\"}} ");
        reader.look(CHAT.as_bytes());
        assert_eq!(reader.usage(), usage(46, 8, 3));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(which in 0..2usize, before in 0usize..9000, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let text = " ".repeat(before) + [CHAT, MESSAGES][which];
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let mut reader = UsageReader::default();
            for pair in at.windows(2) {
                reader.look(&text.as_bytes()[pair[0]..pair[1]]);
            }
            prop_assert_eq!(reader.usage(), of(&text));
        }
    }
}
