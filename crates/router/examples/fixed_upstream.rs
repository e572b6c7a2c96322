//! An engine that gives a fixed answer without thinking, for measuring what stands in front of it.
//!
//! `fixed_upstream PLAIN BURST PACED`: three addresses to listen on. The first answers with a small JSON body, the second
//! with a stream of 65 events sent at once, the third with the same events 2 ms apart.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

const EVENTS: usize = 65;
const PACE: Duration = Duration::from_millis(2);

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let mut ways = Vec::new();
        for (address, (head, parts, pace)) in std::env::args().skip(1).zip([plain(), burst(), paced()]) {
            let listener = TcpListener::bind(&address).await?;
            ways.push(spawn_local(accept(listener, head, parts, pace)));
        }
        for way in ways {
            way.await?;
        }
        Ok(())
    })
}

type Answer = (Bytes, Vec<Bytes>, Duration);

fn plain() -> Answer {
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":64,"total_tokens":73}}}}"#,
        "word ".repeat(64)
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{body}",
        body.len()
    );
    (head.into(), Vec::new(), Duration::ZERO)
}

fn events() -> Vec<Bytes> {
    let event = |data: &str| Bytes::from(format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8));
    let token = |at: usize| {
        let reason = if at + 1 < EVENTS { "null" } else { "\"stop\"" };
        event(&format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"bench","choices":[{{"index":0,"delta":{{"content":" word{at}"}},"logprobs":null,"finish_reason":{reason}}}]}}"#
        ))
    };
    let mut events: Vec<Bytes> = (1..EVENTS).map(token).collect();
    events.push([event("[DONE]"), Bytes::from_static(b"0\r\n\r\n")].concat().into());
    events
}

fn stream_head() -> Bytes {
    Bytes::from_static(
        b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n\
          content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

fn burst() -> Answer {
    ([stream_head(), events().concat().into()].concat().into(), Vec::new(), Duration::ZERO)
}

fn paced() -> Answer {
    (stream_head(), events(), PACE)
}

async fn accept(listener: TcpListener, head: Bytes, parts: Vec<Bytes>, pace: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        let (head, parts) = (head.clone(), parts.clone());
        // A client that leaves ends only its own connection.
        spawn_local(async move { drop(answer(stream, &head, &parts, pace).await) });
    }
}

async fn answer(mut stream: TcpStream, head: &[u8], parts: &[Bytes], pace: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = BytesMut::with_capacity(16 * 1024);
    loop {
        while let Some(length) = request(&seen) {
            seen.advance(length);
            stream.write_all(head).await?;
            for part in parts {
                tokio::time::sleep(pace).await;
                stream.write_all(part).await?;
            }
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
    }
}

/// Length of the request that the bytes begin with, once it is whole.
fn request(seen: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(seen).ok()?;
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or(0);
    (seen.len() >= whole).then_some(whole)
}
