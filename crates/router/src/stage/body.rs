//! The body of a request, whichever protocol brings it, bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use router_core::{Overload, Refusal};
use tokio::time::{Instant, timeout_at};

use crate::connection::client::{Client, Gathered, NoPiece};
use crate::load::Held;
use crate::settings::Settings;
use crate::worker::Worker;

/// A body that was not read yet.
#[derive(Debug)]
pub(crate) enum RequestBody<'a> {
    /// Read off the connection that the request came on.
    Http1(&'a Client),
    /// One stream of an HTTP/2 connection.
    Http2(Incoming),
}

impl RequestBody<'_> {
    /// Bytes that it has, if that was said.
    pub(crate) fn announced(&self) -> Option<u64> {
        match self {
            Self::Http1(client) => client.announced(),
            Self::Http2(body) => body.size_hint().exact(),
        }
    }

    /// The next piece by the time `at`; `None` after the last.
    async fn piece(&mut self, at: Instant) -> Option<Result<Bytes, NoPiece>> {
        match self {
            Self::Http1(client) => client.piece(at).await,
            Self::Http2(body) => loop {
                match timeout_at(at, body.frame()).await {
                    // Trailers say nothing that an engine was promised.
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => return Some(Ok(data)),
                        Err(_) => continue,
                    },
                    Ok(Some(Err(_))) => return Some(Err(NoPiece::Broken)),
                    Ok(None) => return None,
                    Err(_) => return Some(Err(NoPiece::Late)),
                }
            },
        }
    }

    /// All of it, and the claim on memory that goes with it.
    pub(crate) async fn read(self, worker: &Worker) -> Result<(Bytes, Held), Refusal> {
        let limit = worker.settings.max_body;
        let announced = self.announced().map(|announced| usize::try_from(announced).unwrap_or(usize::MAX));
        if announced.is_some_and(|announced| announced > limit) {
            return Err(Refusal::TooLarge { limit });
        }
        match (self, announced) {
            (Self::Http1(client), Some(announced)) => gather(client, announced, worker).await,
            (body, announced) => body.collect(announced.unwrap_or(0), worker).await,
        }
    }

    /// Puts it together from its pieces. A body that comes in a single piece is not copied.
    async fn collect(mut self, announced: usize, worker: &Worker) -> Result<(Bytes, Held), Refusal> {
        let settings = &worker.settings;
        let limit = settings.max_body;
        let mut held = worker.load.hold();
        let started = Instant::now();
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let (allowed, late) = deadline(settings, first.len() + whole.len());
            let data = match self.piece(started + allowed).await {
                Some(Ok(data)) => data,
                Some(Err(why)) => return Err(refusal(why, late)),
                None => break,
            };
            let size = first.len() + whole.len() + data.len();
            if size > limit {
                return Err(Refusal::TooLarge { limit });
            }
            if !held.grow_to(size.max(whole.capacity()), settings.max_held_bytes) {
                return Err(Refusal::Overloaded(Overload::Bodies));
            }
            if first.is_empty() && whole.is_empty() {
                first = data;
                continue;
            }
            if whole.is_empty() {
                // Room for what was announced is taken as it comes: announcing costs a client nothing.
                whole.reserve(announced.min(4 * size));
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&data);
        }
        Ok((if whole.is_empty() { first } else { whole.freeze() }, held))
    }
}

/// Reads a body of announced length off its connection, where it stays in one piece: it is never copied.
async fn gather(client: &Client, announced: usize, worker: &Worker) -> Result<(Bytes, Held), Refusal> {
    let settings = &worker.settings;
    let mut held = worker.load.hold();
    let started = Instant::now();
    loop {
        let Gathered { bytes, memory } = client.gathered();
        let (allowed, late) = deadline(settings, bytes);
        if !held.grow_to(if bytes < announced { memory } else { announced }, settings.max_held_bytes) {
            return Err(Refusal::Overloaded(Overload::Bodies));
        }
        if bytes >= announced {
            // It is here, so nothing is waited for.
            let whole = client.piece(started).await.transpose().map_err(|why| refusal(why, late))?;
            return Ok((whole.unwrap_or_default(), held));
        }
        client.gather(announced, started + allowed).await.map_err(|why| refusal(why, late))?;
    }
}

fn refusal(why: NoPiece, late: Refusal) -> Refusal {
    match why {
        NoPiece::Broken => Refusal::BrokenBody,
        NoPiece::Late => late,
    }
}

/// How long after its start a body of which this much is here may wait for more, and what it is told when it is late.
fn deadline(settings: &Settings, got: usize) -> (Duration, Refusal) {
    let total = settings.body_timeout;
    let least = settings.min_body_rate;
    let earned = settings.body_grace.saturating_add(Duration::from_secs(got as u64 / least.max(1)));
    if least == 0 || total <= earned {
        (total, Refusal::SlowBody { seconds: total.as_secs() })
    } else {
        (earned, Refusal::CrawlingBody { least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_earns_time_by_its_rate() {
        let seconds = Duration::from_secs;
        let settings =
            Settings { body_timeout: seconds(60), body_grace: seconds(10), min_body_rate: 1024, ..Settings::default() };
        let crawling = Refusal::CrawlingBody { least: 1024 };
        let slow = Refusal::SlowBody { seconds: 60 };
        let cases = [
            (0, 10, &crawling),
            (1023, 10, &crawling),
            (10 * 1024, 20, &crawling),
            (50 * 1024, 60, &slow),
            (1024 * 1024, 60, &slow),
        ];
        for (got, allowed, late) in cases {
            assert_eq!(deadline(&settings, got), (seconds(allowed), late.clone()), "{got}");
        }
        assert_eq!(deadline(&Settings { min_body_rate: 0, ..settings }, 0), (seconds(60), slow));
    }
}
