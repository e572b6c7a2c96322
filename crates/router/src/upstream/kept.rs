//! Connections that wait for their next request. Each worker has its own, so they are never locked and never woken from
//! another thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Conn, Home};

/// Most connections kept for one endpoint. More are only there after a peak.
const MOST_KEPT: usize = 256;

/// How long a connection to a host may rest. Providers and the load balancers in front of them keep theirs for a minute and
/// more.
pub(crate) const HOST_REST: Duration = Duration::from_secs(50);

/// The connections that one worker keeps.
#[derive(Debug, Default)]
pub(crate) struct KeptConns {
    by_home: RefCell<HashMap<Home, Vec<(Conn, Instant)>>>,
}

impl KeptConns {
    /// The connection to `home` that was used last, if it was not closed from there and rests for less than `age`.
    pub(crate) fn take(&self, home: &Home, age: Duration) -> Option<Conn> {
        let mut by_home = self.by_home.borrow_mut();
        let kept = by_home.get_mut(home)?;
        while let Some((mut conn, since)) = kept.pop() {
            if since.elapsed() > age {
                // Those below it are older still.
                kept.clear();
                return None;
            }
            if conn.is_quiet() {
                return Some(conn);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(crate) fn put(&self, conn: Conn) {
        let mut by_home = self.by_home.borrow_mut();
        let kept = match by_home.get_mut(conn.home()) {
            Some(kept) => kept,
            None => by_home.entry(conn.home().clone()).or_default(),
        };
        if kept.len() < MOST_KEPT {
            kept.push((conn, Instant::now()));
        }
    }

    /// Closes connections to engines that are not wanted any more.
    pub(crate) fn keep_only(&self, wanted: impl Fn(&SocketAddr) -> bool) {
        self.by_home.borrow_mut().retain(|home, _| match home {
            Home::Engine(address) => wanted(address),
            Home::Host { .. } => true,
        });
    }

    /// Closes connections that have rested for longer than engines and hosts let them.
    pub(crate) fn sweep(&self, engines: Duration, hosts: Duration) {
        self.by_home.borrow_mut().retain(|home, kept| {
            let age = if matches!(home, Home::Engine(_)) { engines } else { hosts };
            kept.retain(|(_, since)| since.elapsed() <= age);
            !kept.is_empty()
        });
    }
}
