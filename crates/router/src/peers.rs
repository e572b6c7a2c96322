//! Asks the other routers, again and again, what they have counted today. See docs/design/023.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::net::lookup_host;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::metrics::Metrics;
use crate::upstream::Conn;
use crate::volume::{MOST_BYTES, Volumes};

/// The page, beside those for kubelet and Prometheus.
pub const PAGE: &str = "/volumes";
/// How often the others are asked: how late this router knows of their requests.
const EVERY: Duration = Duration::from_secs(2);
/// How often this router looks whether it is time: soon after a policy first asks for its volume, the others are asked.
const LOOK: Duration = Duration::from_millis(250);
/// How long finding them may take, and each of them.
const DEADLINE: Duration = Duration::from_secs(1);
/// Most routers that are asked.
const MOST_PEERS: usize = 64;
/// How often what is known is written to the volume.
const KEEP: Duration = Duration::from_secs(10);

/// What is exchanged, and where it is kept.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Host and port at which all routers answer, this one too; `None` for a router alone.
    pub peers: Option<String>,
    /// Folder that what is known is kept in, for the next start.
    pub folder: Option<PathBuf>,
    /// The counts.
    pub volumes: Volumes,
}

impl Exchange {
    /// Asks the others, and keeps what is known, for as long as it is polled.
    pub async fn run(self, metrics: Metrics) {
        let (mut kept, mut heard) = (Instant::now(), None::<Instant>);
        let mut failed = false;
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            // Where no policy asks, nobody is asked.
            if !self.volumes.are_wanted() {
                heard = None;
                continue;
            }
            if let Some(peers) = self.peers.as_ref().filter(|_| heard.is_none_or(|heard| heard.elapsed() >= EVERY)) {
                heard = Some(Instant::now());
                match find(peers).await {
                    Ok(addresses) => {
                        let told = join_all(addresses.into_iter().map(|address| self.hear(address))).await;
                        let others = told.into_iter().filter(|other| *other).count();
                        metrics.rules.peers.set(i64::try_from(others).unwrap_or(i64::MAX));
                        failed = false;
                    }
                    // Once, and not every two seconds: a name can be missing for as long as the router runs.
                    Err(error) if !std::mem::replace(&mut failed, true) => {
                        tracing::warn!(peers, %error, "the other routers are not found, so volumes are this router's own");
                        metrics.rules.peers.set(0);
                    }
                    Err(_) => {}
                }
            }
            if kept.elapsed() >= KEEP {
                self.keep().await;
                kept = Instant::now();
            }
        }
    }

    /// Writes what is known to the folder, away from the thread that this runs on.
    pub async fn keep(&self) {
        let Some(folder) = self.folder.clone() else { return };
        let volumes = self.volumes.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || volumes.keep(&folder)).await {
            tracing::warn!(%error, "what policies had today is not kept");
        }
    }

    /// Asks one router; whether it is another one, and has told.
    async fn hear(&self, address: SocketAddr) -> bool {
        let Some(page) = timeout(DEADLINE, ask(address)).await.ok().flatten() else {
            tracing::debug!(%address, "a router does not tell what it has counted");
            return false;
        };
        self.volumes.learn(&page).unwrap_or_else(|error| {
            tracing::warn!(%address, %error, "a router tells something else than what it has counted");
            false
        })
    }
}

async fn find(peers: &str) -> std::io::Result<Vec<SocketAddr>> {
    let found = timeout(DEADLINE, lookup_host(peers)).await.unwrap_or_else(|late| Err(late.into()))?;
    Ok(found.take(MOST_PEERS).collect())
}

async fn ask(address: SocketAddr) -> Option<Bytes> {
    let mut conn = Conn::open(address, DEADLINE).await.ok()?;
    let head = format!("GET {PAGE} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let head = conn.ask(head.as_bytes(), b"").await.ok().filter(|head| head.status.is_success())?;
    conn.whole(&head, MOST_BYTES).await.ok()?
}
