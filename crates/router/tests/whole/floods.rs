//! RC-03: HTTP/2 clients that make much work of little, written frame by frame, because no library would. Each flood ends
//! its own connection; memory stays bounded, and others are answered all the while.

use std::time::Duration;

use router::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::alone::{alone, memory};
use crate::bed::{ASK, Bed, Engine, STREAM, Wire, calm, chunk, plain, soon, status, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a flood is made of at most.
const FRAMES: u32 = 100_000;
/// What all floods one after the other may add to the memory of the process.
const MEMORY: u64 = 48 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is not to be kept, its name literal too.
fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A text of HPACK: its length in seven bits, going on where they do not do.
fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = text.len();
    if left < 127 {
        out.push(u8::try_from(left).unwrap());
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// The head of a POST: method and scheme by their numbers, path and host as texts.
fn head() -> Vec<u8> {
    [&[0x83, 0x86, 0x04][..], &text("/v1/chat/completions"), &[0x01], &text("router")].concat()
}

/// The number of the client's stream at this place.
fn stream(at: u32) -> u32 {
    2 * at + 1
}

fn opening(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

fn settings() -> Settings {
    let short = Duration::from_millis(700);
    Settings { http2: true, write_timeout: short, ..calm() }
}

/// Writes what `unit` makes until the router ends the connection, or as many as make a flood; how many of them were written
/// when it ended. A client that `reads` takes what it is told.
async fn pour(bed: &Bed, unit: &dyn Fn(u32) -> Vec<u8>, reads: bool) -> Option<u32> {
    let stream = soon(TcpStream::connect(bed.workers.address())).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let taken = tokio::spawn(async move {
        let mut some = vec![0; 16 * 1024];
        while reads && matches!(reader.read(&mut some).await, Ok(1..)) {}
        reader
    });
    let writing = async {
        writer.write_all(&opening(&[])).await.ok()?;
        for first in (0..FRAMES).step_by(50) {
            let units: Vec<u8> = (first..first + 50).flat_map(unit).collect();
            if writer.write_all(&units).await.is_err() {
                return Some(first);
            }
        }
        None
    };
    let at = soon(writing).await;
    if at.is_none() && reads {
        // All of it was sent; the end may still be on its way.
        return tokio::time::timeout(Duration::from_secs(5), taken).await.is_ok().then_some(FRAMES);
    }
    taken.abort();
    at
}

/// A client that behaves well, and is answered for as long as this is polled; how long it waited at most.
async fn others(bed: &Bed, worst: &std::cell::Cell<Duration>) {
    let mut client = bed.client().await;
    loop {
        let begun = tokio::time::Instant::now();
        client.send(crate::bed::chat(ASK)).await;
        assert_eq!(status(&soon(client.message()).await.0), 200);
        worst.set(worst.get().max(begun.elapsed()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn closed(bed: &Bed, reason: &str) -> f64 {
    bed.figure(&format!(r#"quartermaster_router_closed_connections_total{{reason="{reason}"}}"#))
}

/// A name, and what the flood consists of.
type Flood = (&'static str, Box<dyn Fn(u32) -> Vec<u8>>);

/// The floods that the router counts itself.
fn counted() -> Vec<Flood> {
    let same = |bytes: Vec<u8>| Box::new(move |_: u32| bytes.clone()) as Box<dyn Fn(u32) -> Vec<u8>>;
    vec![
        ("settings", same(frame(SETTINGS, 0, 0, &[]))),
        ("settings that change the table of headers", same(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]))),
        ("pings", same(frame(6, 0, 0, &[0; 8]))),
        ("answers to pings that nobody sent", same(frame(6, 1, 0, &[0; 8]))),
        ("priorities", Box::new(|at| frame(2, 0, stream(at % 1000), &[0, 0, 0, 0, 1]))),
        ("windows of the connection", same(frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("frames of no known kind", same(frame(77, 0, 0, &[0; 16]))),
    ]
}

/// The floods that hyper ends, or this router: whichever is sooner.
fn others_end() -> Vec<Flood> {
    let head = head();
    let (reset, unended) = (head.clone(), head.clone());
    let (long, empty) = (vec![0; 16 * 1024], head);
    vec![
        (
            "streams reset as soon as they are opened",
            Box::new(move |at| {
                let stream = stream(at);
                [frame(HEADERS, END_STREAM | END_HEADERS, stream, &reset), frame(RESET, 0, stream, &[0, 0, 0, 8])]
                    .concat()
            }),
        ),
        (
            "a head that never ends",
            Box::new(move |at| match at {
                0 => frame(HEADERS, END_STREAM, 1, &unended),
                _ => frame(CONTINUATION, 0, 1, &[]),
            }),
        ),
        (
            "a head that never ends, of long frames",
            Box::new(move |at| match at {
                0 => frame(HEADERS, END_STREAM, 1, &[0x83]),
                _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'x', 127, 0xff, 0xff, 0x7f][..], &long[7..]].concat()),
            }),
        ),
        (
            "a body of empty frames",
            Box::new(move |at| match at {
                0 => frame(HEADERS, END_HEADERS, 1, &empty),
                _ => frame(DATA, 0, 1, &[]),
            }),
        ),
    ]
}

#[test]
fn rc03_floods_end_their_connection_and_nobody_else_s() {
    alone("floods::rc03_floods_end_their_connection_and_nobody_else_s", || async {
        let engine = Engine::answering(plain("{}")).await;
        let bed = Bed::with(&settings(), &[engine.address]);
        // What is used once and kept, such as buffers of the allocator, is no part of what a flood costs.
        pour(&bed, &|_| frame(SETTINGS, 0, 0, &[]), true).await;
        let (before, worst) = (memory(), std::cell::Cell::new(Duration::ZERO));
        let flooding = async {
            for (name, unit) in counted() {
                for reads in [true, false] {
                    // Who takes no answers is given up for that, if that is noticed first.
                    let ended = || closed(&bed, "http2_flood") + closed(&bed, "write_timeout");
                    let seen = ended();
                    assert!(pour(&bed, &unit, reads).await.is_some(), "{name}: never ended");
                    until(name, || ended() > seen + 0.5).await;
                }
            }
            for (name, unit) in others_end() {
                for reads in [true, false] {
                    assert!(pour(&bed, &unit, reads).await.is_some(), "{name}: never ended");
                }
            }
            until("all of them are gone", || bed.figure("quartermaster_router_connections ") < 1.5).await;
        };
        tokio::select! {
            () = others(&bed, &worst) => {}
            () = flooding => {}
        }
        let grown = memory().saturating_sub(before);
        eprintln!("SEEN floods: {} KiB more memory, others waited {:?} at most", grown >> 10, worst.get());
        assert!(grown < MEMORY, "{grown} bytes");
    });
}

/// A hundred streams at a time, each reset before the next hundred: never more than are allowed, and each seen by the router.
#[tokio::test]
async fn rc03_streams_that_are_reset_a_few_at_a_time_end_the_connection_too() {
    let engine = Engine::answering(plain("{}")).await;
    let bed = Bed::with(&settings(), &[engine.address]);
    let mut client = TcpStream::connect(bed.workers.address()).await.unwrap();
    client.write_all(&opening(&[])).await.unwrap();
    let mut some = vec![0; 16 * 1024];
    let mut opened = 0;
    while opened < FRAMES {
        let block = head();
        let streams: Vec<u8> =
            (opened..opened + 10).flat_map(|at| frame(HEADERS, END_STREAM | END_HEADERS, stream(at), &block)).collect();
        let resets: Vec<u8> = (opened..opened + 10).flat_map(|at| frame(RESET, 0, stream(at), &[0, 0, 0, 8])).collect();
        opened += 10;
        // An answer to any of them shows that they were begun.
        let done = client.write_all(&streams).await.is_err()
            || !matches!(soon(client.read(&mut some)).await, Ok(1..))
            || client.write_all(&resets).await.is_err();
        if done {
            break;
        }
    }
    assert!(opened < 5_000, "{opened} streams were opened and reset");
    until("it is counted", || closed(&bed, "http2_flood") > 0.5).await;
}

#[tokio::test]
async fn rc03_heads_that_are_too_large_are_refused() {
    let bed = Bed::with(&settings(), &[]);
    let large: Vec<u8> = (0..100).flat_map(|at| literal(&format!("x-{at}"), &"x".repeat(16 * 1024))).collect();
    // One header that is kept, then mentioned very often: a byte each here, 4,000 there.
    let bomb = [&[0x40][..], &text("x-long"), &text(&"x".repeat(3_900)), &[0xbe; 12_000]].concat();
    for (name, headers) in [("100 headers of 16 KiB", large), ("a header that is mentioned 12,000 times", bomb)] {
        let mut client = Wire::new(TcpStream::connect(bed.workers.address()).await.unwrap());
        let block = [head(), headers].concat();
        let mut sent = opening(&[]);
        for (at, part) in block.chunks(16 * 1024).enumerate() {
            let last = if (at + 1) * 16 * 1024 >= block.len() { END_HEADERS } else { 0 };
            let (kind, flags) = if at == 0 { (HEADERS, END_STREAM | last) } else { (CONTINUATION, last) };
            sent.extend(frame(kind, flags, 1, part));
        }
        // It may be told so before it has sent all.
        let _ = client.stream.write_all(&sent).await;
        let frames = refused(&mut client).await;
        assert!(frames.is_some(), "{name} was taken");
    }
}

/// What a client is told that is not answered: a status of 431, that its stream is reset, or that all is over.
async fn refused(client: &mut Wire) -> Option<&'static str> {
    loop {
        let mut head = [0; 9];
        if soon(client.stream.read_exact(&mut head)).await.is_err() {
            return Some("closed");
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        soon(client.stream.read_exact(&mut payload)).await.unwrap();
        match head[3] {
            RESET => return Some("reset"),
            7 => return Some("going away"),
            // 431 is no status with a number of its own: its digits stand there.
            HEADERS => return payload.windows(3).any(|digits| digits == b"431").then_some("431"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn rc03_half_a_head_is_given_up() {
    let settings = Settings { keep_alive_timeout: Duration::from_millis(700), ..settings() };
    let bed = Bed::with(&settings, &[]);
    let mut client = Wire::new(TcpStream::connect(bed.workers.address()).await.unwrap());
    client.send([opening(&[]), frame(HEADERS, END_STREAM, 1, &head())].concat()).await;
    client.read_all().await;
    assert!((closed(&bed, "keep_alive_timeout") - 1.0).abs() < 1e-9);
}

/// As many streams as a connection may have, none of which is ever allowed to send: each is given up alone, and holds little
/// until then.
#[test]
fn rc03_streams_without_a_window_hold_little() {
    alone("floods::rc03_streams_without_a_window_hold_little", || async {
        let event = chunk(&format!("data: {}\n\n", "x".repeat(60_000)));
        let engine = Engine::new(move |_, mut wire| {
            let event = event.clone();
            async move {
                wire.message().await;
                wire.send(STREAM).await;
                while wire.stream.write_all(event.as_bytes()).await.is_ok() {}
            }
        })
        .await;
        let bed = Bed::with(&settings(), &[engine.address]);
        let before = memory();
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = Wire::new(TcpStream::connect(bed.workers.address()).await.unwrap());
            // The windows of streams: 0 bytes.
            client.send(opening(&[0, 4, 0, 0, 0, 0])).await;
            for at in 0..128 {
                let ask = [
                    frame(HEADERS, END_HEADERS, stream(at), &head()),
                    frame(DATA, END_STREAM, stream(at), ASK.as_bytes()),
                ];
                client.send(ask.concat()).await;
            }
            clients.push(client);
        }
        until("all of them were given up", || closed(&bed, "stream_write_timeout") > 511.5).await;
        let grown = memory().saturating_sub(before);
        eprintln!("SEEN 512 streams without a window: {} KiB more memory", grown >> 10);
        assert!(grown < 256 << 20, "{grown} bytes");
        bed.settled().await;
    });
}
