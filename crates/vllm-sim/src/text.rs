//! Made-up text, and how much text counts as a token.

/// Words of an answer. They need no escaping in JSON.
const WORDS: [&str; 64] = [
    "a", "small", "pool", "of", "warm", "engines", "waits", "for", "the", "next", "request", "and", "every", "token",
    "is", "counted", "before", "it", "leaves", "no", "model", "was", "asked", "here", "only", "this", "seed", "chose",
    "words", "in", "some", "order", "that", "means", "nothing", "yet", "reads", "like", "plain", "speech", "so",
    "people", "can", "watch", "how", "an", "answer", "streams", "while", "queues", "grow", "or", "shrink", "under",
    "load", "then", "replicas", "start", "quietly", "again", "each", "one", "ready", "soon",
];
/// How every answer begins, so that nobody takes it for a model's.
const OPENING: [&str; 2] = ["Simulated", " answer:"];
/// Tokens from one full stop to the next.
const SENTENCE: u32 = 12;

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

/// Tokens in `bytes` bytes of text: one for each four bytes begun, and at least one. Real tokenizers are near that for
/// English; what matters here is that every reader can work it out.
pub(crate) fn tokens_in(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX).max(1)
}

/// The token that ends an answer. It has no text.
pub(crate) const END: u32 = 1;

/// The number of the token that a piece of up to four bytes is: the bytes themselves, the first the highest. So the text
/// can be had back from the numbers.
fn token_of(piece: &[u8]) -> u32 {
    piece.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The tokens of a text: four bytes each.
pub(crate) fn tokens_of(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.as_bytes().chunks(4).map(token_of)
}

/// The text of tokens; bytes that are not UTF-8 are replaced.
pub(crate) fn text_of(tokens: &[u32]) -> String {
    let bytes = tokens.iter().filter(|token| **token > 3).flat_map(|token| {
        let bytes = token.to_be_bytes();
        bytes.into_iter().skip_while(|byte| *byte == 0)
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

/// Length of an answer whose request sets no limit, its end-of-text token included.
pub(crate) fn natural_length(key: u64) -> u32 {
    24 + u32::try_from(mix(key) % 41).unwrap_or(0)
}

/// Appends the token at `position` of the answer that `key` stands for.
pub(crate) fn push_token(out: &mut String, key: u64, position: u32) {
    if let Some(opening) = usize::try_from(position).ok().and_then(|at| OPENING.get(at)) {
        out.push_str(opening);
        return;
    }
    out.push(' ');
    let at = mix(key ^ u64::from(position).rotate_left(32)) % 64;
    out.push_str(usize::try_from(at).ok().and_then(|at| WORDS.get(at)).unwrap_or(&"and"));
    if position % SENTENCE == SENTENCE - 1 {
        out.push('.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: u64, tokens: u32) -> String {
        let mut out = String::new();
        (0..tokens).for_each(|at| push_token(&mut out, key, at));
        out
    }

    #[test]
    fn text_says_what_it_is_and_depends_on_its_key_alone() {
        assert_eq!(text(1, 40), text(1, 40));
        assert_ne!(text(1, 40), text(2, 40));
        assert!(text(3, 40).starts_with("Simulated answer: "));
        assert_eq!(text(3, 60).matches('.').count(), 5);
        assert!(WORDS.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic())));
    }

    #[test]
    fn tokens_give_their_text_back() {
        for text in ["", "a", "Hello you", "g\u{fc}ltig \u{1f600} ja"] {
            let tokens: Vec<u32> = tokens_of(text).collect();
            assert_eq!(text_of(&tokens), text);
            assert_eq!(tokens.len(), text.len().div_ceil(4));
        }
        assert_eq!(text_of(&[END]), "");
    }

    #[test]
    fn four_bytes_are_a_token() {
        for (bytes, tokens) in [(0, 1), (1, 1), (4, 1), (5, 2), (400, 100)] {
            assert_eq!(tokens_in(bytes), tokens, "{bytes} bytes");
        }
        assert!((0..1000).all(|key| (24..=64).contains(&natural_length(key))));
    }
}
