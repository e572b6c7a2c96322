//! Takes out of an engine's words what may be a secret.
//!
//! Conditions and events are read by many more people than Secrets and logs are. It is better to lose a word of a message
//! than to publish a token, so what looks like one goes.

const GONE: &str = "[redacted]";

/// Beginnings of tokens that their makers chose so that they can be found.
const PREFIXES: [&str; 14] = [
    "hf_",
    "sk-",
    "pk-",
    "rk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "eyJ",
];
/// A name that ends like this is followed by a secret.
const NAMES: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "private_key",
    "signature",
    "credential",
    "authorization",
];
/// Words before a secret in an HTTP header.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// Shortest word of mixed letters and digits that is taken for a secret whatever stands before it.
const OPAQUE: usize = 32;
/// Shortest word that is taken for a secret because of what stands before it.
const NAMED: usize = 6;

/// `text` without what looks like a secret.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut name, mut between) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let gap = rest.find(|c| !is_gap(c)).unwrap_or(rest.len());
        between.clear();
        between.push_str(&rest[..gap]);
        out.push_str(&rest[..gap]);
        rest = &rest[gap..];
        let end = rest.find(is_gap).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        if is_secret(&name, &between, word) {
            out.push_str(GONE);
        } else {
            out.push_str(&without_login(word));
        }
        // A scheme stands between the header's name and the secret; both count.
        name = word.trim_end_matches(':').to_ascii_lowercase();
    }
    out
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || "\"'`()[]{}<>,;=&?|".contains(c)
}

fn is_secret(name: &str, between: &str, word: &str) -> bool {
    let bare = word.rsplit(':').next().unwrap_or(word);
    let known = |word: &str| PREFIXES.iter().any(|p| word.starts_with(p) && word.len() >= p.len() + NAMED);
    if known(word) || known(bare) || opaque(word) {
        return true;
    }
    let named = NAMES.iter().any(|end| name.ends_with(end));
    let assigned = between.contains('=') && word.len() >= NAMED && !is_number(word);
    // After a colon or a mere space a word of plain letters is prose: "token is missing".
    let mixed = word.len() >= NAMED && word.bytes().any(|b| b.is_ascii_digit()) && !is_number(word);
    let joined = word.split_once(':').is_some_and(|(name, value)| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().any(|end| name.ends_with(end)) && value.len() >= NAMED && !is_number(value)
    });
    (named && (assigned || mixed)) || joined || (SCHEMES.contains(&name) && mixed_or_long(word))
}

/// "basic authentication" is prose, `Basic dXNlcjpwYXNz` is not.
fn mixed_or_long(word: &str) -> bool {
    let upper = word.bytes().skip(1).any(|b| b.is_ascii_uppercase());
    word.len() >= NAMED && (upper || word.bytes().any(|b| b.is_ascii_digit()) || word.len() >= OPAQUE)
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

/// Digests, which are lower-case, stay: they say which image it was.
fn opaque(word: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
    word.len() >= OPAQUE
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+/=.".contains(&b))
        && !word.contains("//")
        && word.split(['/', '.', '-', '_']).any(|part| part.len() >= OPAQUE / 2)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

/// An address without the name and the password in front of its host.
fn without_login(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let host = rest.find('/').unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://{GONE}{}", &rest[at..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go() {
        let secrets = [
            "hf_AbCdEfGhIjKlMnOpQrSt",
            "sk-proj-1234567890abcdef",
            "ghp_16charactersOrMore",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "q7XbT2mW9kLpR4vNc8ZsYd3HfJ6gAe1U",
        ];
        let around = [
            "the word {} stands alone",
            "token={}",
            "Authorization: Bearer {}",
            "{\"token\": \"{}\"}",
            "--hf-token {}",
            "https://host/path?sig={}&x=1",
            "HF_TOKEN:{}",
        ];
        for secret in secrets {
            for text in around {
                let text = text.replace("{}", secret);
                assert!(!redact(&text).contains(secret), "{text} became {}", redact(&text));
            }
        }
        let check = |text: &str, want: &str| assert_eq!(redact(text), want);
        check("password=hunter22 rest", "password=[redacted] rest");
        check("Bearer abc123def", "Bearer [redacted]");
        check("GET https://me:pass@host:80/x failed", "GET https://[redacted]@host:80/x failed");
    }

    #[test]
    fn what_people_need_stays() {
        for text in [
            "vllm: error: unrecognized arguments: --foo bar",
            "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'",
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
            "ValueError: max_num_batched_tokens=2048 is smaller than max_model_len=9000000",
            "localhost:1/nothing/here@sha256:c2d21830b4e156ace60cf5bc79720f2530b3c8a1349cdb7a417a738f4fba1fe2",
            "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: 12)",
            "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8 is not a local folder",
            "a token is missing; basic authentication is wanted, tokenizer='/models/tiny'",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "failed to resolve reference \"registry.example.com/vllm/vllm-openai:v0.32.0\"",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
