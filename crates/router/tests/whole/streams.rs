//! Streams of every shape: however an engine's bytes are split, and whatever they are, the client gets the same.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;

use crate::bed::{Bed, Engine, STREAM, Wire, chunk, header, post};

/// What engines and others write: comments, a byte order mark, every kind of line end, several lines of data, characters of
/// several bytes, no name or no data, an event that is not ended.
const ODD: &str = "\u{feff}: ping\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"é😀 敏捷\"}}]}\n\n\
    data: two\ndata: lines\n\n: comment\r\n\r\nevent: x\r\nid: 7\r\nretry: 5\r\ndata: y\r\n\r\ndata: a\rdata: b\r\r\
    event: only\n\n\n\ndata\n\ndata:\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":13,\"completion_tokens\":4}}\n\n\
    data: [DONE]\n\ndata: not ended";
const ASK: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;

/// The whole payload of a chunked answer, whose head has been read.
async fn payload(client: &mut Wire) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let size = client.read_to("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut data = client.read_exactly(size + 2).await;
        assert_eq!(data.split_off(size), b"\r\n");
        payload.extend_from_slice(&data);
        if size == 0 {
            return payload;
        }
    }
}

/// What a client gets when an engine writes these pieces one after the other, each a chunk of its own if `chunks` says so.
async fn relayed(pieces: Vec<Vec<u8>>, chunks: bool) -> (Vec<u8>, Bed) {
    let engine = Engine::new(move |_, mut wire| {
        let pieces = pieces.clone();
        async move {
            wire.message().await;
            wire.send(STREAM).await;
            let whole = pieces.concat();
            if !chunks {
                wire.send(format!("{:x}\r\n", whole.len())).await;
            }
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                if chunks {
                    wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
                } else {
                    wire.send(piece).await;
                }
                tokio::task::yield_now().await;
            }
            wire.send(if chunks { "0\r\n\r\n" } else { "\r\n0\r\n\r\n" }).await;
        }
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.client().await;
    client.send(post("/v1/chat/completions", "", ASK)).await;
    let head = client.read_to("\r\n\r\n").await;
    let got = match header(&head, "content-length") {
        Some(length) => client.read_exactly(length.parse().unwrap()).await,
        None => payload(&mut client).await,
    };
    bed.settled().await;
    (got, bed)
}

fn tokens(bed: &Bed) -> f64 {
    bed.figure(r#"quartermaster_router_tokens_total{kind="prompt",policy="ml/route",pool="ml/p"}"#)
}

#[tokio::test]
async fn a_byte_at_a_time_is_the_same_stream() {
    for chunks in [false, true] {
        let (got, bed) = relayed(ODD.bytes().map(|byte| vec![byte]).collect(), chunks).await;
        assert_eq!(String::from_utf8(got).unwrap(), ODD);
        crate::bed::until("13 tokens", || (tokens(&bed) - 13.0).abs() < 1e-9).await;
    }
}

#[test]
fn any_split_is_the_same_stream() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 48, ..Config::default() });
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
    let ended = runner.run(&(cuts, any::<bool>()), |(cuts, chunks)| {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(ODD.len())).collect();
        at.extend([0, ODD.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| ODD.as_bytes()[pair[0]..pair[1]].to_vec()).collect();
        let (got, _bed) = runtime.block_on(relayed(pieces, chunks));
        prop_assert_eq!(String::from_utf8(got).unwrap(), ODD);
        Ok(())
    });
    ended.unwrap();
}

#[tokio::test]
async fn garbage_passes_as_far_as_it_is_events_and_counts_nothing() {
    let cases: [&[u8]; 9] = [
        b"<html><body>502 Bad Gateway</body></html>",
        b"data: {\"choices\":\n\ndata: }{\n\n",
        b"\0\x01\xff\xfe\n\n\x80\n\n",
        b"event: unheard-of\ndata: {}\n\n",
        b"data: {\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e9}}\n\n",
        b"data: {\"usage\":{\"prompt_tokens\":\"many\"}}\n\ndata: {\"usage\":null}\n\ndata: {\"usage\":[]}\n\n",
        b"data: {\"usage\":{\"prompt_tokens\":99999999999999999999999}}\n\n",
        b"data: [DONE]\n\ndata: [DONE]\n\ndata: {\"usage\":{\"prompt_tokens\":0}}\n\n",
        b"\n\n\n\n\r\r\r",
    ];
    for garbage in cases {
        let (got, bed) = relayed(vec![garbage.to_vec()], true).await;
        // Unless something of it says that the stream is whole, what is whole of it passes, and then an error. Where nothing
        // of it is an event that says anything, an error is all of the answer.
        let common = got.iter().zip(garbage).take_while(|(got, garbage)| got == garbage).count();
        let (passed, told) = (&garbage[..common], String::from_utf8_lossy(&got[common..]));
        let refused = common == 0 && told.contains("\"upstream_broke\"");
        assert!(
            refused || common == garbage.len() || !garbage[common..].ends_with(b"\n\n"),
            "{:?}",
            String::from_utf8_lossy(passed)
        );
        assert!(refused || told.is_empty() || told.contains("\"upstream_cut\""), "{told}");
        assert!(tokens(&bed).abs() < 1e-9, "{:?}", String::from_utf8_lossy(garbage));
    }
}

#[tokio::test]
async fn usage_that_is_told_twice_counts_once() {
    let twice = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":13,\"output_tokens\":0}}}\n\n\
                 event: message_delta\ndata: {\"usage\":{\"input_tokens\":13,\"output_tokens\":3}}\n\n\
                 event: message_delta\ndata: {\"usage\":{\"input_tokens\":13,\"output_tokens\":4}}\n\n";
    let (_, bed) = relayed(vec![twice.as_bytes().to_vec()], true).await;
    let line = r#"quartermaster_router_tokens_total{kind="completion",policy="ml/route",pool="ml/p"}"#;
    crate::bed::until("4 tokens", || (bed.figure(line) - 4.0).abs() < 1e-9).await;
    assert!((tokens(&bed) - 13.0).abs() < 1e-9);
}

/// Ten megabytes without a line end, then an ordinary event: all of it passes, and little is held (`wire::sse` says how
/// much).
#[tokio::test]
async fn an_event_without_end_passes_in_pieces() {
    let long = [b"data: ".to_vec(), b"x".repeat(10 << 20), b"\n\ndata: [DONE]\n\n".to_vec()].concat();
    let pieces = long.chunks(60_000).map(<[u8]>::to_vec).collect();
    let (got, _bed) = relayed(pieces, true).await;
    assert!(got == long, "{} of {} bytes", got.len(), long.len());
}

/// A cut inside such an event cannot be told by an event of its own: the connection closes without the last chunk.
#[tokio::test]
async fn a_cut_inside_an_overlong_event_closes() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.message().await;
        wire.send(STREAM).await;
        wire.send(chunk(&"x".repeat(200_000))).await;
    })
    .await;
    let bed = Bed::new(&[engine.address]);
    let mut client = bed.asking(ASK).await;
    let got = client.read_all().await;
    assert!(!got.ends_with("0\r\n\r\n") && !got.contains("upstream_cut"), "{}", &got[got.len() - 100..]);
}
