//! At which tier a provider says that it answered, read out of the answer on its way through.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

/// Most bytes that the key of a tier and its value have together, with some space between them.
const MOST: usize = 48;
/// Longest key of the outermost object that matters, and longest object behind one. Bedrock's have some twenty bytes.
const MOST_KEY: usize = 20;
const MOST_OBJECT: usize = 128;
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"service_tier\""));

/// How soon a provider answers, which it charges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTier {
    /// As usual. Capacity that is paid for by the month (`scale`, `reserved`) is one with it: what a token costs there, no
    /// answer tells.
    Standard,
    /// Sooner.
    Priority,
    /// Later.
    Flex,
    /// Within a day.
    Batch,
    /// By a faster version of the model, which Bedrock calls a latency and has in preview.
    Optimized,
}

impl ServiceTier {
    /// The tier that an answer names; `None` for `auto`, which says nothing yet, and for names of others.
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"default" | b"standard" | b"scale" | b"reserved" => Some(Self::Standard),
            b"priority" => Some(Self::Priority),
            b"flex" => Some(Self::Flex),
            b"batch" => Some(Self::Batch),
            _ => None,
        }
    }

    /// The tier by Bedrock's words: of its `serviceTier`, and of the latency in its `performanceConfig`. InvokeModel tells both
    /// in headers.
    #[must_use]
    pub fn of_bedrock(tier: Option<&str>, latency: Option<&str>) -> Option<Self> {
        match latency {
            Some("optimized") => Some(Self::Optimized),
            _ => Self::named(tier?.as_bytes()),
        }
    }
}

/// Finds the tier in an answer that comes in pieces; what is told last counts.
#[derive(Debug)]
pub struct TierReader(Reader);

#[derive(Debug)]
enum Reader {
    OpenAi(Named),
    Converse(Outermost),
}

impl TierReader {
    /// For answers of OpenAI's shapes, which name it beside the usage.
    #[must_use]
    pub fn openai() -> Self {
        Self(Reader::OpenAi(Named::default()))
    }

    /// For answers of Converse, whole ones or events: there it stands in an object of the outermost one.
    #[must_use]
    pub fn converse() -> Self {
        Self(Reader::Converse(Outermost::default()))
    }

    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        match &mut self.0 {
            Reader::OpenAi(named) => named.look(piece),
            Reader::Converse(outermost) => piece.iter().for_each(|byte| outermost.step(*byte)),
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn tier(&self) -> Option<ServiceTier> {
        match &self.0 {
            Reader::OpenAi(named) => named.tier,
            Reader::Converse(outermost) => outermost.tier(),
        }
    }
}

/// Looks for the key, wherever it stands: as with the usage, a quote within a text is escaped, and OpenAI's shapes carry what a
/// model writes within texts only. Costs a search for one short word.
#[derive(Debug, Default)]
struct Named {
    tier: Option<ServiceTier>,
    /// The end of what came, as the key and its value may be cut.
    carried: Vec<u8>,
}

impl Named {
    fn look(&mut self, piece: &[u8]) {
        if !self.carried.is_empty() {
            let near = piece.len().min(MOST);
            self.carried.extend_from_slice(&piece[..near]);
            self.tier = last_tier(&self.carried).or(self.tier);
        }
        self.tier = last_tier(piece).or(self.tier);
        if piece.len() < MOST {
            if self.carried.is_empty() {
                self.carried.extend_from_slice(piece);
            }
            let over = self.carried.len().saturating_sub(MOST);
            self.carried.drain(..over);
        } else {
            self.carried.clear();
            self.carried.extend_from_slice(&piece[piece.len() - MOST..]);
        }
    }
}

/// Walks over JSON byte by byte, and reads the objects of the outermost one that tell the tier. Arguments of a call stand in an
/// answer of Converse as JSON, so a key further inside can be the model's own words and must not count.
#[derive(Debug, Default)]
struct Outermost {
    depth: u32,
    text: bool,
    escaped: bool,
    /// The text of the outermost object that came last: at a brace, the key before it.
    key: Vec<u8>,
    /// The object that is read.
    object: Option<Vec<u8>>,
    tier: Option<String>,
    latency: Option<String>,
}

impl Outermost {
    fn step(&mut self, byte: u8) {
        if let Some(object) = self.object.as_mut().filter(|object| object.len() < MOST_OBJECT) {
            object.push(byte);
        }
        if self.text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ if self.depth == 1 && self.key.len() < MOST_KEY => self.key.push(byte),
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.text = true;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                if self.depth == 1 && matches!(self.key.as_slice(), b"serviceTier" | b"performanceConfig") {
                    self.object = Some(vec![byte]);
                }
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1 {
                    self.close();
                }
            }
            b',' if self.depth == 1 => self.key.clear(),
            _ => {}
        }
    }

    fn close(&mut self) {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Said {
            r#type: Option<String>,
            latency: Option<String>,
        }
        let Some(object) = self.object.take() else { return };
        let said: Said = serde_json::from_slice(&object).unwrap_or_default();
        match self.key.as_slice() {
            b"serviceTier" => self.tier = said.r#type.or_else(|| self.tier.take()),
            _ => self.latency = said.latency.or_else(|| self.latency.take()),
        }
    }

    fn tier(&self) -> Option<ServiceTier> {
        ServiceTier::of_bedrock(self.tier.as_deref(), self.latency.as_deref())
    }
}

pub(super) fn last_tier(bytes: &[u8]) -> Option<ServiceTier> {
    KEY.find_iter(bytes).filter_map(|at| tier_after(&bytes[at + KEY.needle().len()..])).last()
}

/// The tier that stands as a text behind a key.
fn tier_after(bytes: &[u8]) -> Option<ServiceTier> {
    let value = bytes.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    ServiceTier::named(&value[..memchr::memchr(b'"', value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_beside_the_usage_is_found_however_the_answer_is_cut() {
        let text = "data: {\"type\":\"response.created\",\"response\":{\"service_tier\":\"auto\"}}\n\n\
            data: {\"delta\":\"say \\\"service_tier\\\":\\\"batch\\\"\"}\n\n\
            data: {\"response\":{\"service_tier\" : \"flex\",\"usage\":{\"input_tokens\":1}}}\n\n";
        for size in 1..text.len() {
            let mut reader = TierReader::openai();
            text.as_bytes().chunks(size).for_each(|piece| reader.look(piece));
            assert_eq!(reader.tier(), Some(ServiceTier::Flex), "pieces of {size}");
        }
        let mut reader = TierReader::openai();
        reader.look(br#"{"service_tier":"default"}"#);
        assert_eq!(reader.tier(), Some(ServiceTier::Standard));
    }

    #[test]
    fn converse_tells_its_tier_at_the_top_only() {
        let call = r#"{"output":{"message":{"content":[{"toolUse":{"input":{"serviceTier":{"type":"flex"},"a":"}\"{"},"name":"f"}}]}}"#;
        let cases = [
            (r#"{"serviceTier":{"type":"priority"},"stopReason":"end_turn"}"#.to_owned(), Some(ServiceTier::Priority)),
            (r#"{"usage":{"inputTokens":1},"serviceTier" : { "type" : "flex" }}"#.to_owned(), Some(ServiceTier::Flex)),
            (r#"{"serviceTier":{"type":"default"}}"#.to_owned(), Some(ServiceTier::Standard)),
            (r#"{"serviceTier":{"type":"reserved"}}"#.to_owned(), Some(ServiceTier::Standard)),
            (r#"{"serviceTier":{"type":"unheard-of"}}"#.to_owned(), None),
            (r#"{"serviceTier":null,"x":{"type":"flex"}}"#.to_owned(), None),
            (r#"{"stopReason":"serviceTier","x":{"type":"flex"}}"#.to_owned(), None),
            (
                r#"{"performanceConfig":{"latency":"optimized"},"serviceTier":{"type":"default"}}"#.to_owned(),
                Some(ServiceTier::Optimized),
            ),
            (
                r#"{"performanceConfig":{"latency":"standard"},"serviceTier":{"type":"flex"}}"#.to_owned(),
                Some(ServiceTier::Flex),
            ),
            (format!("{call}}}"), None),
            (format!(r#"{call},"serviceTier":{{"type":"priority"}}}}"#), Some(ServiceTier::Priority)),
            (
                "event: messageStart\ndata: {\"role\":\"assistant\"}\n\n\
                 event: contentBlockDelta\ndata: {\"delta\":{\"text\":\"\\\"serviceTier\\\":{\\\"type\\\":\\\"flex\\\"}\"}}\n\n\
                 event: metadata\ndata: {\"usage\":{\"inputTokens\":1},\"serviceTier\":{\"type\":\"priority\"},\"p\":\"ab\"}\n\n"
                    .to_owned(),
                Some(ServiceTier::Priority),
            ),
        ];
        for (text, want) in cases {
            for size in 1..=text.len() {
                let mut reader = TierReader::converse();
                text.as_bytes().chunks(size).for_each(|piece| reader.look(piece));
                assert_eq!(reader.tier(), want, "pieces of {size}: {text}");
            }
        }
    }

    #[test]
    fn little_is_kept_of_what_is_long() {
        let mut reader = Outermost::default();
        let long = format!(r#"{{"serviceTier":{{"type":"{}"#, "x".repeat(10_000));
        long.bytes().for_each(|byte| reader.step(byte));
        assert!(reader.object.as_ref().is_some_and(|object| object.len() <= MOST_OBJECT));
        let mut reader = Outermost::default();
        format!(r#"{{"{}"#, "x".repeat(10_000)).bytes().for_each(|byte| reader.step(byte));
        assert!(reader.key.len() <= MOST_KEY);
    }
}
