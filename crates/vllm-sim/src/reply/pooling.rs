//! Answers of models that answer with numbers.

use crate::request::{Pool, Pooled, Prompt};
use crate::text::{key_of, mix};

use super::quoted;

/// Numbers of an embedding.
const DIMENSIONS: usize = 64;

/// The body of an answer. `unique` becomes the id.
pub(crate) fn whole(pool: Pool, asked: &Pooled, unique: &str, created: u64) -> String {
    let tokens: u64 = asked.prompts.iter().map(|prompt| u64::from(prompt.tokens)).sum();
    let model = quoted(&asked.model);
    if pool == Pool::Rerank {
        let results = ranking(asked).join(",");
        let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
        return format!(r#"{{"id":"score-{unique}","model":{model},"usage":{usage},"results":[{results}]}}"#);
    }
    let prefix = match pool {
        Pool::Embed => "embd",
        Pool::Classify => "classify",
        Pool::Pooling => "pooling",
        Pool::Score | Pool::Rerank => "score",
    };
    let data: Vec<String> =
        asked.prompts.iter().enumerate().map(|(index, prompt)| entry(pool, asked, index, prompt)).collect();
    format!(
        r#"{{"id":"{prefix}-{unique}","object":"list","created":{created},"model":{model},"data":[{}],"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens},"completion_tokens":0,"prompt_tokens_details":null,"completion_tokens_details":null}}}}"#,
        data.join(",")
    )
}

fn entry(pool: Pool, asked: &Pooled, index: usize, prompt: &Prompt) -> String {
    match pool {
        Pool::Embed => {
            let numbers = vector(prompt.key, DIMENSIONS);
            let embedding = if asked.base64 { quoted(&base64(&numbers)) } else { list(&numbers) };
            format!(r#"{{"index":{index},"object":"embedding","embedding":{embedding}}}"#)
        }
        Pool::Pooling => {
            let numbers = list(&vector(prompt.key, DIMENSIONS));
            format!(r#"{{"index":{index},"object":"pooling","data":{numbers}}}"#)
        }
        Pool::Classify => {
            let yes = score(prompt.key);
            let (label, no) = (if yes >= 0.5 { "LABEL_1" } else { "LABEL_0" }, 1.0 - yes);
            format!(r#"{{"index":{index},"label":"{label}","probs":[{no},{yes}],"num_classes":2}}"#)
        }
        Pool::Score | Pool::Rerank => {
            format!(r#"{{"index":{index},"object":"score","score":{}}}"#, score(prompt.key))
        }
    }
}

/// The documents, the most fitting first.
fn ranking(asked: &Pooled) -> Vec<String> {
    let mut scored: Vec<(usize, f64)> =
        asked.prompts.iter().enumerate().map(|(index, prompt)| (index, score(prompt.key))).collect();
    scored.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    scored.truncate(asked.best.unwrap_or(usize::MAX));
    let one = |(index, score): (usize, f64)| {
        let text = quoted(asked.documents.get(index).map_or("", String::as_str));
        format!(r#"{{"index":{index},"document":{{"text":{text},"multi_modal":null}},"relevance_score":{score}}}"#)
    };
    scored.into_iter().map(one).collect()
}

/// A number from 0 to 1 in thousandths.
fn score(key: u64) -> f64 {
    f64::from(u32::try_from(mix(key ^ key_of(b"score")) % 1000).unwrap_or(0)) / 1000.0
}

/// A vector of length 1 that stands for a text.
fn vector(key: u64, dimensions: usize) -> Vec<f32> {
    let draw = |at: u64| f64::from(u32::try_from(mix(key ^ at.rotate_left(32)) % 2001).unwrap_or(0)) / 1000.0 - 1.0;
    let numbers: Vec<f64> = (0..u64::try_from(dimensions).unwrap_or(0)).map(draw).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_possible_truncation, reason = "embeddings are single-precision numbers")]
    numbers.into_iter().map(|number| (number / length) as f32).collect()
}

fn list(numbers: &[f32]) -> String {
    let all: Vec<String> = numbers.iter().map(f32::to_string).collect();
    format!("[{}]", all.join(","))
}

/// The numbers' bytes, little end first, as base64.
fn base64(numbers: &[f32]) -> String {
    use ::base64::Engine as _;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
