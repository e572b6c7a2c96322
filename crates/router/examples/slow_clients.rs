//! Clients that cost a server patience, and the engine that some of them read from.
//!
//! `slow_clients ROUTER ENGINE SILENT DRIPPING READERS SECONDS`: listens on ENGINE and answers there with a stream without
//! end. Opens, and opens again when they are closed, so many connections to ROUTER of each kind: those that say nothing,
//! those that send a byte of a head or of a body every second, and those that ask for the model `endless` and read a
//! byte of the stream every second. Within each second they are spread evenly.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

type Error = Box<dyn std::error::Error>;

const BEAT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().collect();
    let [_, router, engine, silent, dripping, readers, seconds] = &args[..] else {
        return Err("usage: slow_clients ROUTER ENGINE SILENT DRIPPING READERS SECONDS".into());
    };
    let router: SocketAddr = router.parse()?;
    let engine: SocketAddr = engine.parse()?;
    let (silent, dripping, readers) = (silent.parse::<usize>()?, dripping.parse::<usize>()?, readers.parse::<usize>()?);
    let seconds: u64 = seconds.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(engine).await?;
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(async move { drop(endless(stream).await) });
            }
        });
        for number in 0..silent {
            spawn_local(again(router, part(number, silent), |stream| async { drip(stream, "", "").await }));
        }
        for number in 0..dripping {
            let head = "POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: 100000\r\n\r\n";
            let (said, next) =
                if number % 2 == 0 { ("", head) } else { (head, "{\"model\":\"plain\",\"prompt\":\"aaaaaaaaaaaaaa") };
            spawn_local(again(router, part(number, dripping), move |stream| drip(stream, said, next)));
        }
        for number in 0..readers {
            spawn_local(again(router, part(number, readers), read_slowly));
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    })
}

/// When in a beat the client of this number has its turn.
fn part(number: usize, of: usize) -> Duration {
    BEAT.mul_f64(number as f64 / of as f64)
}

async fn again<F: Future<Output = std::io::Result<()>>>(
    router: SocketAddr,
    delay: Duration,
    client: impl Fn(TcpStream) -> F,
) {
    tokio::time::sleep(delay).await;
    loop {
        if let Ok(stream) = TcpStream::connect(router).await {
            drop(client(stream).await);
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Says something at once, then byte by byte, until the other side closes.
async fn drip(mut stream: TcpStream, said: &str, next: &str) -> std::io::Result<()> {
    stream.write_all(said.as_bytes()).await?;
    let mut some = [0; 1024];
    for byte in next.bytes().chain(std::iter::repeat(b'a')) {
        match tokio::time::timeout(BEAT, stream.read(&mut some)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Ok(()),
            Err(_) if next.is_empty() => {}
            Err(_) => stream.write_all(&[byte]).await?,
        }
    }
    Ok(())
}

async fn read_slowly(mut stream: TcpStream) -> std::io::Result<()> {
    let body = r#"{"model":"endless","stream":true}"#;
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await?;
    let mut byte = [0; 1];
    while stream.read(&mut byte).await? > 0 {
        tokio::time::sleep(BEAT).await;
    }
    Ok(())
}

/// An engine that streams for as long as somebody takes it.
async fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    let mut some = vec![0; 16 * 1024];
    let _ = stream.read(&mut some).await?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let data = format!("data: {}\n\n", "x".repeat(2000));
    let event = format!("{:x}\r\n{data}\r\n", data.len());
    loop {
        stream.write_all(event.as_bytes()).await?;
    }
}
