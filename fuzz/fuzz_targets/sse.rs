//! A stream of events: however it is split, the same bytes leave, only whole events leave, and the same tokens are counted. What its
//! opening says, it says for good: more bytes change nothing.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::pieces;
use wire::Dialect;
use wire::sse::{StreamOpening, WholeEvents, stream_opening, without_usage};
use wire::usage::UsageReader;
use wire::vllm::is_error;

/// What is called an error is one to a reader of JSON too. Keys that come twice or are written with escapes are left out.
fn is_error_indeed(text: &[u8]) {
    let Ok(serde_json::Value::Object(body)) = serde_json::from_slice(text) else { return };
    let text = String::from_utf8_lossy(text);
    let once = |word: &str| text.matches(word).count() <= 1;
    if is_error(text.as_bytes())
        && !text.contains('\\')
        && ["\"error\"", "\"type\"", "\"object\""].into_iter().all(once)
    {
        let told = body.get("error").is_some_and(|error| error.is_object() || error.is_string());
        assert!(told || body.get("type").or(body.get("object")).is_some_and(|kind| kind == "error"));
    }
}

fuzz_target!(|data: &[u8]| {
    let (parts, text) = pieces(data);
    for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic] {
        let (mut whole, mut parted) = (WholeEvents::new(dialect), WholeEvents::new(dialect));
        let mut one = whole.pass(Bytes::copy_from_slice(text)).to_vec();
        let mut other = Vec::new();
        for part in &parts {
            other.extend_from_slice(&parted.pass(Bytes::copy_from_slice(part)));
        }
        // An end in CR LF that is split between the two leaves with the CR and the LF follows.
        assert!(one == other || other.starts_with(&one) || one.starts_with(&other));
        one.extend_from_slice(&whole.finish());
        other.extend_from_slice(&parted.finish());
        assert_eq!(one, text);
        assert_eq!(other, text);
        let mut known = StreamOpening::Nothing;
        let mut end = 0;
        for part in &parts {
            end += part.len();
            let opening = stream_opening(dialect, &text[..end]);
            assert!(known == StreamOpening::Nothing || known == opening, "{known:?}, then {opening:?}");
            known = opening;
        }
    }
    is_error_indeed(text);
    // What is hidden is one event at most, and the rest stays in order.
    let shown = without_usage(Bytes::copy_from_slice(text));
    assert!(shown.len() <= text.len());
    let same = shown.iter().zip(text).take_while(|(a, b)| a == b).count();
    assert!(text.ends_with(&shown[same..]));

    let (mut one, mut other) = (UsageReader::default(), UsageReader::default());
    one.look(text);
    for part in &parts {
        other.look(part);
    }
    assert_eq!(one.usage(), other.usage());
});
