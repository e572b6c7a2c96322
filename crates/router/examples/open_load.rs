//! Load that does not wait for answers: so many requests a second, whatever becomes of them.
//!
//! `open_load ADDRESS MODEL RATE SECONDS LIMIT_MS [WARM_UP_SECONDS]`: prints what came back whole within the limit (the
//! goodput), what came later, what was refused with 503, and how soon; what ends during the warm-up does not count. It
//! takes a second processor; beside other work its figures are rough.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::Instant;

type Error = Box<dyn std::error::Error>;

/// Most requests under way; a client that gives up would not hold more either.
const MOST: usize = 15_000;

#[derive(Default)]
struct Figures {
    idle: Vec<TcpStream>,
    under_way: usize,
    /// Milliseconds of whole answers, of refusals.
    answered: Vec<f64>,
    refused: Vec<f64>,
    failed: usize,
    unsent: usize,
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, model, rate, seconds, limit, warm_up @ ..] = &args[..] else {
        return Err("usage: open_load ADDRESS MODEL RATE SECONDS LIMIT_MS [WARM_UP_SECONDS]".into());
    };
    let warm_up: f64 = warm_up.first().map_or(Ok(0.0), |seconds| seconds.parse())?;
    let (address, rate, seconds): (SocketAddr, f64, f64) = (address.parse()?, rate.parse()?, seconds.parse()?);
    let limit: f64 = limit.parse()?;
    let body =
        format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Say something."}}]}}"#);
    let request: Rc<str> = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let figures = Rc::new(RefCell::new(Figures::default()));
        let begin = Instant::now();
        let mut sent = 0.0;
        let mut turns = tokio::time::interval(Duration::from_millis(1));
        let mut warm = false;
        while begin.elapsed().as_secs_f64() < seconds + warm_up {
            turns.tick().await;
            if !warm && begin.elapsed().as_secs_f64() >= warm_up {
                warm = true;
                let mut figures = figures.borrow_mut();
                (figures.failed, figures.unsent) = (0, 0);
                figures.answered.clear();
                figures.refused.clear();
            }
            while sent < begin.elapsed().as_secs_f64() * rate {
                sent += 1.0;
                if figures.borrow().under_way >= MOST {
                    figures.borrow_mut().unsent += 1;
                    continue;
                }
                figures.borrow_mut().under_way += 1;
                let (figures, request) = (Rc::clone(&figures), Rc::clone(&request));
                spawn_local(async move {
                    let begin = Instant::now();
                    let answer = tokio::time::timeout(Duration::from_secs(10), ask(address, &request, &figures)).await;
                    let took = begin.elapsed().as_secs_f64() * 1000.0;
                    let mut figures = figures.borrow_mut();
                    figures.under_way -= 1;
                    match answer {
                        Ok(Ok(200)) => figures.answered.push(took),
                        Ok(Ok(503)) => figures.refused.push(took),
                        _ => figures.failed += 1,
                    }
                });
            }
        }
        let figures = figures.borrow();
        let good = figures.answered.iter().filter(|took| **took <= limit).count();
        writeln!(
            std::io::stdout(),
            "offered {:.0}/s: good {:.0}/s (p50 {:.2} ms, p99 {:.2} ms), late {:.0}/s, refused {:.0}/s (p50 {:.1} ms, p99 {:.1} ms), failed {}, unsent {}, under way {}",
            sent / (seconds + warm_up),
            good as f64 / seconds,
            at(&figures.answered, 500),
            at(&figures.answered, 990),
            (figures.answered.len() - good) as f64 / seconds,
            figures.refused.len() as f64 / seconds,
            at(&figures.refused, 500),
            at(&figures.refused, 990),
            figures.failed,
            figures.unsent,
            figures.under_way,
        )?;
        Ok(())
    })
}

fn at(figures: &[f64], per_mille: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * per_mille / 1000).copied().unwrap_or(0.0)
}

async fn ask(address: SocketAddr, request: &str, figures: &RefCell<Figures>) -> std::io::Result<u16> {
    let idle = figures.borrow_mut().idle.pop();
    let mut stream = match idle {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut seen = Vec::with_capacity(16 * 1024);
    while !whole(&seen) {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = std::str::from_utf8(&seen[9..12]).ok().and_then(|code| code.parse().ok());
    figures.borrow_mut().idle.push(stream);
    status.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// Whether an answer is here to its end.
fn whole(seen: &[u8]) -> bool {
    let Some(head) = seen.windows(4).take(2000).position(|at| at == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&seen[..head]);
    match text.split("content-length: ").nth(1) {
        Some(rest) => {
            rest.lines().next().and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| seen.len() >= head + 4 + n)
        }
        None => seen.ends_with(b"0\r\n\r\n"),
    }
}
