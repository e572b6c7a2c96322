//! Relays what a watch says, line by line, unless it is held back, cut off or truncated.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::request::Parts;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use tokio::sync::mpsc;

use super::Shared;
use super::serve::Body;

/// Chunks under way to a client that reads slowly.
const UNDER_WAY: usize = 16;

type Sender = mpsc::Sender<io::Result<Frame<Bytes>>>;

impl Shared {
    /// Whether watches of this resource stand still.
    pub(super) fn holds(&self, resource: &str) -> bool {
        holds(&self.held.borrow(), resource)
    }

    /// Waits until watches of this resource may speak.
    async fn released(&self, resource: &str) {
        let mut held = self.held.subscribe();
        // The sender lives as long as the proxy, so the wait ends only by a release.
        let _ = held.wait_for(|held| !holds(held, resource)).await;
    }
}

fn holds(held: &std::collections::BTreeSet<String>, resource: &str) -> bool {
    held.contains(resource) || held.contains("*")
}

/// The body of a watch that the API server has begun to answer.
pub(super) fn now(shared: Arc<Shared>, resource: String, body: Incoming, truncate: bool) -> Body {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::spawn(relay(shared, resource, body, truncate, sender));
    from(receiver)
}

/// The body of a watch that the API server is asked for only when watches of the resource are released. Until then it is
/// open and silent.
pub(super) fn later(shared: Arc<Shared>, resource: String, parts: Parts, body: Bytes) -> Body {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => return,
            () = shared.released(&resource) => {}
        }
        // When the API server refuses, what it says is not a watch's line; a break says the same.
        match shared.ask(parts, body).await {
            Ok(answer) if answer.status() == 200 => {
                relay(shared, resource, answer.into_body(), false, sender).await;
            }
            _ => broken(&sender).await,
        }
    });
    from(receiver)
}

fn from(receiver: mpsc::Receiver<io::Result<Frame<Bytes>>>) -> Body {
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(stream) as std::pin::Pin<Box<dyn futures::Stream<Item = _> + Send + Sync>>))
}

/// The client's connection ends without the last chunk.
async fn broken(sender: &Sender) {
    let _ = sender.send(Err(io::Error::from(io::ErrorKind::ConnectionReset))).await;
}

async fn relay(shared: Arc<Shared>, resource: String, mut body: Incoming, truncate: bool, sender: Sender) {
    let mut cut = shared.cut.subscribe();
    loop {
        let frame = tokio::select! {
            () = sender.closed() => return,
            _ = cut.changed() => return broken(&sender).await,
            frame = body.frame() => frame,
        };
        // The end of a watch is news too, and waits as all other.
        tokio::select! {
            () = sender.closed() => return,
            _ = cut.changed() => return broken(&sender).await,
            () = shared.released(&resource) => {}
        }
        let Some(frame) = frame else { return };
        let Ok(Ok(data)) = frame.map(Frame::into_data) else { return broken(&sender).await };
        shared.relayed.fetch_add(data.len() as u64, Relaxed);
        if truncate {
            let half = data.slice(..data.len() / 2);
            let _ = sender.send(Ok(Frame::data(half))).await;
            return broken(&sender).await;
        }
        if sender.send(Ok(Frame::data(data))).await.is_err() {
            return;
        }
    }
}
