//! What the handlers share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::args::Args;
use crate::core::Limits;
use crate::engine::Engine;
use crate::error::ServeError;
use crate::faults::Faults;
use crate::metrics::{About, Metrics};
use crate::request::Served;
use crate::settings::Settings;
use crate::sleep::state::Sleep;
use crate::text::mix;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) args: Args,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    pub(crate) sleep: Mutex<Sleep>,
    pub(crate) faults: Mutex<Faults>,
    /// Draws of luck so far.
    pub(crate) luck: AtomicU64,
    adapters: Mutex<Adapters>,
    /// When the process started, by both clocks.
    started: (SystemTime, Instant),
    draining: AtomicBool,
    running: TaskTracker,
    in_flight: Arc<AtomicI64>,
    ids: AtomicU64,
    /// Told when the engine died by itself.
    pub(crate) died: CancellationToken,
}

/// Adapters by name, each with its place and number.
#[derive(Debug, Default)]
struct Adapters {
    all: Vec<(String, String, u32)>,
    next: u32,
}

/// A request that is being answered, until it is dropped.
pub(crate) struct InFlight {
    _running: TaskTrackerToken,
    count: Arc<AtomicI64>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lock whose holder panicked is as good as any: every change under these locks is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    pub(crate) fn new(args: Args, settings: Settings, started: SystemTime) -> Result<Self, ServeError> {
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let metrics = Metrics::new(&About {
            model: &args.served_names[0],
            longest: args.max_model_len,
            blocks: args.blocks,
            block_size: args.block_size,
            prefix_caching: args.prefix_caching,
            adapters: args.max_adapters,
            dev_mode: settings.dev_mode,
            started: since.as_secs_f64(),
        })?;
        let limits = Limits {
            slots: args.max_num_seqs,
            budget: args.max_batched_tokens,
            blocks: args.blocks,
            block_size: args.block_size,
            prefix_caching: args.prefix_caching,
            adapters: args.max_adapters.unwrap_or(1),
            priorities: args.priorities,
        };
        let faults = Faults::parse(args.faults.iter().map(String::as_str))?;
        let app = Self {
            engine: Arc::new(Engine::new(limits, settings, metrics)),
            sleep: Mutex::default(),
            faults: Mutex::default(),
            luck: AtomicU64::new(0),
            adapters: Mutex::default(),
            started: (started, Instant::now()),
            draining: AtomicBool::new(false),
            running: TaskTracker::new(),
            in_flight: Arc::default(),
            ids: AtomicU64::new(mix(u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32))),
            died: CancellationToken::new(),
            args,
            settings,
        };
        for (name, path) in app.args.adapters.clone() {
            app.load_adapter(&name, &path);
        }
        app.set_faults(faults);
        Ok(app)
    }

    /// Whether faults are there, or can come.
    pub(crate) fn is_faulty(&self) -> bool {
        self.args.allow_faults || self.settings.allow_faults || !self.args.faults.is_empty()
    }

    /// Takes a request in; `None` after the signal to stop.
    pub(crate) fn enter(&self) -> Option<InFlight> {
        if self.draining.load(Ordering::Acquire) {
            return None;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { _running: self.running.token(), count: Arc::clone(&self.in_flight) })
    }

    /// Requests that are being answered.
    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let now = self.started.0 + self.started.1.elapsed();
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Sixteen hexadecimal digits that this process does not give twice.
    pub(crate) fn unique(&self) -> String {
        format!("{:016x}", mix(self.ids.fetch_add(1, Ordering::Relaxed)))
    }

    /// The adapters' names and numbers.
    pub(crate) fn adapters(&self) -> Vec<(String, u32)> {
        lock(&self.adapters).all.iter().map(|(name, _, number)| (name.clone(), *number)).collect()
    }

    /// The adapters' names and places.
    pub(crate) fn adapter_places(&self) -> Vec<(String, String)> {
        lock(&self.adapters).all.iter().map(|(name, path, _)| (name.clone(), path.clone())).collect()
    }

    /// The name of an adapter, when it is still there.
    pub(crate) fn adapter_name(&self, number: u32) -> String {
        let adapters = lock(&self.adapters);
        adapters.all.iter().find(|(_, _, known)| *known == number).map(|(name, ..)| name.clone()).unwrap_or_default()
    }

    /// Adds an adapter, or gives the one of this name another place.
    pub(crate) fn load_adapter(&self, name: &str, path: &str) {
        let mut adapters = lock(&self.adapters);
        if let Some((_, known, _)) = adapters.all.iter_mut().find(|(known, ..)| known == name) {
            path.clone_into(known);
            return;
        }
        let number = adapters.next;
        adapters.next += 1;
        adapters.all.push((name.to_owned(), path.to_owned(), number));
    }

    /// Removes an adapter; `false` when there is none of this name.
    pub(crate) fn unload_adapter(&self, name: &str) -> bool {
        let mut adapters = lock(&self.adapters);
        let before = adapters.all.len();
        adapters.all.retain(|(known, ..)| known != name);
        adapters.all.len() < before
    }

    /// What requests are judged by.
    pub(crate) fn served<'a>(&'a self, adapters: &'a [(String, u32)]) -> Served<'a> {
        Served {
            names: &self.args.served_names,
            adapters,
            max_model_len: self.args.max_model_len,
            block_size: self.args.block_size,
            tools: self.args.tools,
        }
    }

    /// Lets running requests go on for at most so long, and takes no new ones; then ends the engine.
    pub(crate) async fn drain(&self, patience: Duration) {
        if !patience.is_zero() {
            self.draining.store(true, Ordering::Release);
            self.running.close();
            // Who is not done by then is ended below.
            let _ = timeout(patience, self.running.wait()).await;
        }
        self.engine.end();
    }
}
