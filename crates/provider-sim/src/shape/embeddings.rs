//! Embeddings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::ask::Fields;
use crate::refusal::{Api, Refusal};
use crate::text::{key_of, mix, quoted, tokens_in};

/// Most numbers of a vector.
const LONGEST: u64 = 3072;

/// What is to be turned into vectors.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) model: String,
    texts: Vec<String>,
    length: u64,
    base64: bool,
}

impl Inputs {
    /// Reads a request. A prompt may be a text, numbers of tokens, or a list of either.
    pub(crate) fn read(api: Api, body: &Value) -> Result<Self, Refusal> {
        let fields = Fields::of(api, body)?;
        let model = fields.needed_text("model")?.to_owned();
        let input = fields.get("input").ok_or_else(|| Refusal::missing(api, "input"))?;
        let texts = match input {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) if all.first().is_some_and(Value::is_number) => vec![input.to_string()],
            Value::Array(all) if !all.is_empty() => {
                all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
            }
            _ => return Err(fields.wrong("input", "a non-empty string or array")),
        };
        let natural = if model.contains("large") { LONGEST } else { 1536 };
        let length = fields.count("dimensions")?.unwrap_or(natural);
        if length > natural {
            return Err(fields.wrong("dimensions", "at most what the model has"));
        }
        let base64 = match fields.text("encoding_format")? {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(fields.wrong("encoding_format", "'float' or 'base64'")),
        };
        Ok(Self { model, texts, length, base64 })
    }

    /// Tokens of all texts.
    pub(crate) fn tokens(&self) -> u64 {
        self.texts.iter().map(|text| tokens_in(text.len())).sum()
    }

    /// The answer.
    pub(crate) fn write(&self) -> String {
        let data = self.texts.iter().enumerate().map(|(at, text)| {
            let vector = vector(text, self.length);
            let vector = if self.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                quoted(&STANDARD.encode(bytes))
            } else {
                Value::from(vector).to_string()
            };
            format!(r#"{{"object":"embedding","index":{at},"embedding":{vector}}}"#)
        });
        let (data, model, tokens) = (data.collect::<Vec<_>>().join(","), quoted(&self.model), self.tokens());
        format!(
            r#"{{"object":"list","data":[{data}],"model":{model},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
        )
    }
}

/// A vector of length one that only the text decides.
fn vector(text: &str, length: u64) -> Vec<f32> {
    let key = key_of(text.as_bytes());
    let raw = (0..length).map(|at| {
        let drawn = mix(key ^ at.rotate_left(32)) >> 48;
        f32::from(u16::try_from(drawn).unwrap_or(0)) / 65536.0 - 0.5
    });
    let raw: Vec<f32> = raw.collect();
    let norm = raw.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::EPSILON);
    raw.into_iter().map(|number| number / norm).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_vector_has_length_one_and_comes_in_both_encodings() {
        let ask = |format: &str| json!({"model": "text-embedding-3-small", "input": ["a", "bcdef"], "dimensions": 8, "encoding_format": format});
        let floats: Value = serde_json::from_str(&Inputs::read(Api::OpenAi, &ask("float")).unwrap().write()).unwrap();
        let coded: Value = serde_json::from_str(&Inputs::read(Api::OpenAi, &ask("base64")).unwrap().write()).unwrap();
        let numbers: Vec<f64> =
            floats["data"][1]["embedding"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!((numbers.iter().map(|n| n * n).sum::<f64>() - 1.0).abs() < 1e-5);
        let bytes = STANDARD.decode(coded["data"][1]["embedding"].as_str().unwrap()).unwrap();
        let same: Vec<f64> = bytes.chunks(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap()))).collect();
        assert_eq!(numbers.len(), same.len());
        assert!(numbers.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-6), "{numbers:?} {same:?}");
        assert_eq!(floats["usage"]["prompt_tokens"], 3);
    }

    #[test]
    fn what_is_no_input_is_refused() {
        for (body, message) in [
            (json!({"model": "m"}), "Missing required parameter: 'input'."),
            (json!({"model": "m", "input": []}), "Invalid type for 'input': expected a non-empty string or array."),
            (
                json!({"model": "m", "input": "a", "dimensions": 0}),
                "Invalid type for 'dimensions': expected an integer of at least 1.",
            ),
        ] {
            assert_eq!(Inputs::read(Api::OpenAi, &body).unwrap_err().message, message);
        }
    }
}
