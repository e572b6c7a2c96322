//! Connections that wait for their next request. Each worker has its own, so they are never locked and never woken from
//! another thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Conn;

/// Most connections kept for one endpoint. More are only there after a peak.
const MOST_KEPT: usize = 256;

/// The connections that one worker keeps.
#[derive(Debug, Default)]
pub(crate) struct KeptConns {
    by_address: RefCell<HashMap<SocketAddr, Vec<(Conn, Instant)>>>,
}

impl KeptConns {
    /// The connection to `address` that was used last, if the engine has not closed it and it is younger than `age`.
    pub(crate) fn take(&self, address: SocketAddr, age: Duration) -> Option<Conn> {
        let mut by_address = self.by_address.borrow_mut();
        let kept = by_address.get_mut(&address)?;
        while let Some((conn, since)) = kept.pop() {
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
        let mut by_address = self.by_address.borrow_mut();
        let kept = by_address.entry(conn.address()).or_default();
        if kept.len() < MOST_KEPT {
            kept.push((conn, Instant::now()));
        }
    }

    /// Closes connections to addresses that are not wanted any more.
    pub(crate) fn keep_only(&self, wanted: impl Fn(&SocketAddr) -> bool) {
        self.by_address.borrow_mut().retain(|address, _| wanted(address));
    }

    /// Closes connections that have waited for longer than `age`.
    pub(crate) fn sweep(&self, age: Duration) {
        self.by_address.borrow_mut().retain(|_, kept| {
            kept.retain(|(_, since)| since.elapsed() <= age);
            !kept.is_empty()
        });
    }
}
