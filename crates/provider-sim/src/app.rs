//! What the handlers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::bill::Bill;
use crate::cache::Cache;
use crate::faults::Faults;
use crate::settings::Settings;
use crate::text::mix;

/// Requests and responses that are kept to be looked at.
const KEPT: usize = 128;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) aws_secret: String,
    pub(crate) token_gap: Duration,
    pub(crate) first_token: Duration,
    pub(crate) keys: Mutex<Vec<String>>,
    pub(crate) bill: Mutex<Bill>,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) faults: Mutex<Faults>,
    /// The last requests, as JSON.
    pub(crate) received: Mutex<VecDeque<String>>,
    /// The last responses by their ids, as JSON.
    pub(crate) responses: Mutex<VecDeque<(String, String)>>,
    /// When the process started, by both clocks.
    started: (SystemTime, Instant),
    ids: AtomicU64,
}

/// A lock whose holder panicked is as good as any: every change under these locks is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the newest.
pub(crate) fn keep<T>(all: &Mutex<VecDeque<T>>, newest: T) {
    let mut all = lock(all);
    if all.len() == KEPT {
        all.pop_front();
    }
    all.push_back(newest);
}

impl App {
    pub(crate) fn new(settings: Settings, started: SystemTime) -> Self {
        let Settings { keys, aws_secret, token_gap, first_token, tls: _ } = settings;
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            aws_secret,
            token_gap,
            first_token,
            keys: Mutex::new(keys),
            bill: Mutex::default(),
            cache: Mutex::default(),
            faults: Mutex::default(),
            received: Mutex::default(),
            responses: Mutex::default(),
            started: (started, Instant::now()),
            ids: AtomicU64::new(mix(since.as_secs() ^ u64::from(since.subsec_nanos()).rotate_left(32))),
        }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> SystemTime {
        self.started.0 + self.started.1.elapsed()
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Sixteen hexadecimal digits that this process does not give twice.
    pub(crate) fn unique(&self) -> String {
        format!("{:016x}", mix(self.ids.fetch_add(1, Ordering::Relaxed)))
    }
}
