//! RU-04, S50: whatever an engine does to the framing of its answers, no client gets a byte that belongs to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;

use crate::bed::{Bed, Engine, STREAM, Wire, calm, chat, chunk, header, status};

/// How many requests are sent: as many as this says, or a number that takes seconds.
const PAIRS: &str = "ROUTER_TEST_PAIRS";
const SOME: usize = 20_000;
/// Client connections, and requests that each sends before it reads.
const CLIENTS: usize = 4;
const AHEAD: usize = 20;

/// The body of a request; its engine answers with the same.
fn body(number: usize) -> String {
    format!(r#"{{"model":"m","number":"{number:08}"}}"#)
}

/// What an engine says to this body, and whether it then closes. Most answers are good, in one framing or another.
fn answer(asked: &str, number: usize) -> (String, bool) {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let good = format!("{ok}content-length: {}\r\n\r\n{asked}", asked.len());
    let chunked = format!("{ok}transfer-encoding: chunked\r\n");
    let (near, far) = asked.split_at(9);
    match number % 50 {
        // Good ones that are odd.
        0 => (format!("{chunked}\r\n{}{}0\r\n\r\n", chunk(near), chunk(far)), false),
        1 => (format!("{chunked}\r\n{}0\r\ncontent-length: 5\r\nx-t: 1\r\n\r\n", chunk(asked)), false),
        2 => (format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{good}"), false),
        3 => (format!("{ok}\r\n{asked}"), true),
        4 => (format!("{STREAM}{}{}0\r\n\r\n", chunk(&format!("data: {asked}\n\n")), chunk("data: [DONE]\n\n")), false),
        // Bytes after the answer: some, and what looks like the answer to the next request.
        5 => (format!("{good}evil"), false),
        6 => (format!("{good}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"), false),
        7 => (format!("{chunked}\r\n{}0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", chunk(asked)), false),
        // A length that is too short, or too long.
        8 => (format!("{ok}content-length: {}\r\n\r\n{asked}", asked.len() - 3), false),
        9 => (format!("{ok}content-length: {}\r\n\r\n{asked}", asked.len() + 3), true),
        // Framing that can be read in two ways, or in none.
        10 => (format!("{ok}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk(asked)), false),
        11 => (format!("{ok}content-length: 4\r\ncontent-length: 5\r\n\r\n{asked}"), false),
        12 => (format!("{chunked}\r\n3\r\n{asked}\r\n0\r\n\r\n"), false),
        13 => (format!("{chunked}\r\nffff\r\n{asked}\r\n0\r\n\r\n"), true),
        14 => (format!("{chunked}\r\n{}0\r\n{}\r\n", chunk(asked), "x: y\r\n".repeat(3000)), false),
        15 => (format!("{}{good}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(200)), false),
        16 => (format!("{ok}{}\r\n{asked}", "x: y\r\n".repeat(500)), false),
        17 => (format!("HTTP/1.1 204 No Content\r\n\r\n{asked}"), false),
        18 => ("evil\r\n\r\n".to_owned(), false),
        19 => (good[..good.len() - 5].to_owned(), true),
        _ => (good, false),
    }
}

async fn engine(count: Arc<AtomicUsize>) -> Engine {
    Engine::new(move |_, mut wire| {
        let count = Arc::clone(&count);
        async move {
            while let Some((_, asked)) = wire.next_message().await {
                let (answer, closes) = answer(&asked, count.fetch_add(1, Ordering::SeqCst));
                if wire.stream.write_all(answer.as_bytes()).await.is_err() || closes {
                    return;
                }
            }
        }
    })
    .await
}

/// The payload of an answer in whichever framing; `None` when it broke off.
async fn payload(client: &mut Wire, head: &str) -> Option<String> {
    if let Some(length) = header(head, "content-length") {
        let length: usize = length.parse().unwrap();
        return Some(String::from_utf8(client.read_exactly(length).await).unwrap());
    }
    let mut payload = String::new();
    if header(head, "transfer-encoding").is_none() {
        return Some(payload);
    }
    loop {
        let size = client.line().await?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let data = client.some(size + 2).await?;
        payload.push_str(&data[..size]);
        if size == 0 {
            return Some(payload);
        }
    }
}

/// `ROUTER_TEST_PAIRS=1000000 cargo test -p router --test whole ru04` sends a million.
#[tokio::test]
async fn ru04_no_answer_has_a_byte_of_another() {
    let pairs = std::env::var(PAIRS).map_or(SOME, |pairs| pairs.parse().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let engines = [engine(Arc::clone(&count)).await, engine(Arc::clone(&count)).await];
    // However busy the machine is: nothing is to be refused for that.
    let settings = calm();
    let bed = Bed::with(&settings, &[engines[0].address, engines[1].address]);
    let each = (0..CLIENTS).map(|place| converse(&bed, place * pairs, pairs / CLIENTS));
    let all = futures::future::join_all(each).await;
    let [mut whole, mut part, mut refused, mut cut] = [0; 4];
    for seen in all {
        (whole, part) = (whole + seen[0], part + seen[1]);
        (refused, cut) = (refused + seen[2], cut + seen[3]);
    }
    eprintln!(
        "{whole} whole, {part} as short as their length, {refused} refused, {cut} cut; {} at engines",
        count.load(Ordering::SeqCst)
    );
    assert!(whole + part + refused + cut >= pairs);
    assert!(whole * 10 > pairs * 6, "most answers are good");
    assert!(refused > pairs / 20, "and many were not");
}

/// Sends `pairs` requests and looks at each answer: how many were whole, as short as their engine said, refused, and cut.
async fn converse(bed: &Bed, first: usize, pairs: usize) -> [usize; 4] {
    let mut seen = [0; 4];
    let mut client = bed.client().await;
    let mut at = 0;
    while at < pairs {
        let ahead = AHEAD.min(pairs - at);
        let asks: String = (0..ahead).map(|next| chat(&body(first + at + next))).collect();
        client.send(asks).await;
        for number in 0..ahead {
            let want = body(first + at + number);
            let Some(head) = client.head().await else {
                // What was behind a cut answer is asked for again.
                client = bed.client().await;
                at += number;
                break;
            };
            let Some(got) = payload(&mut client, &head).await else {
                seen[3] += 1;
                client = bed.client().await;
                at += number + 1;
                break;
            };
            let got =
                got.strip_prefix("data: ").map_or(got.as_str(), |event| event.trim_end_matches("\n\ndata: [DONE]\n\n"));
            match status(&head) {
                200 if got == want => seen[0] += 1,
                200 => {
                    assert_eq!(got, &want[..want.len() - 3], "request {want} got {got}");
                    seen[1] += 1;
                }
                204 => {
                    assert_eq!(got, "");
                    seen[0] += 1;
                }
                code => {
                    assert_eq!(code, 502, "{head}{got}");
                    assert!(got.contains("\"code\":\"upstream_"), "{got}");
                    seen[2] += 1;
                }
            }
            if number + 1 == ahead {
                at += ahead;
            }
        }
    }
    seen
}
