//! A stream of events: however it is split, the same bytes leave, only whole events leave, and the same tokens are counted.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::pieces;
use wire::Dialect;
use wire::sse::{WholeEvents, without_usage};
use wire::usage::UsageReader;

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
    }
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
