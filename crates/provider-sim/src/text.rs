//! Made-up text, and how much text counts as a token.

use serde_json::Value;

/// Words of an answer.
const WORDS: [&str; 32] = [
    "no", "model", "was", "asked", "here", "and", "every", "token", "is", "counted", "on", "a", "bill", "that", "the",
    "test", "can", "read", "so", "what", "this", "says", "means", "nothing", "yet", "it", "streams", "like", "plain",
    "speech", "at", "last",
];
/// Bytes that count as one token. Real tokenizers are near that for English; what matters here is that every reader can
/// work it out.
const TOKEN: usize = 4;

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A count of pieces or places.
pub(crate) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Mixes a number so that near numbers give far ones (the finaliser of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that stands for `text`: the same in every process (64-bit FNV-1a).
pub(crate) fn key_of(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |key, byte| (key ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Tokens in `bytes` bytes of a prompt: one for each four bytes begun.
pub(crate) fn tokens_in(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(TOKEN)).unwrap_or(u64::MAX)
}

/// A text in the pieces that it streams in, each of which counts as one token: four bytes, or a little more where a
/// character would be cut.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.len() >= TOKEN {
            all.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        all.push(piece);
    }
    all
}

/// What is said when nothing else is asked for. `who` names the stand-in, so that nobody takes the text for a model's.
pub(crate) fn speech(who: &str, key: u64) -> String {
    let mut text = format!("Simulated answer of {who}:");
    for position in 0..12 + mix(key) % 13 {
        let word = usize::try_from(mix(key ^ position.rotate_left(32)) % 32).unwrap_or(0);
        text.push(' ');
        text.push_str(WORDS[word % WORDS.len()]);
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_their_text_back_and_cut_no_character() {
        for (text, count) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("g\u{fc}ltig \u{1f600} ja", 4)] {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert_eq!(pieces.len(), count, "{text}: {pieces:?}");
        }
    }

    #[test]
    fn speech_depends_on_its_key_alone() {
        assert_eq!(speech("x", 1), speech("x", 1));
        assert_ne!(speech("x", 1), speech("x", 2));
        assert!(speech("Anthropic", 3).starts_with("Simulated answer of Anthropic: "));
    }
}
