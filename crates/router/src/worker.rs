//! What the tasks of one worker share, and its connections. Nothing here is shared with another worker but the routing
//! table, which is only read, and counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use arc_swap::Cache;
use router_core::RetryBudget;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::date::{self, Date};
use crate::issuers::Tokens;
use crate::lag::Lag;
use crate::live::{Live, Shared};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::request_log::{LineFormat, RequestLog};
use crate::settings::Settings;
use crate::upstream::KeptConns;

/// What the tasks of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    live: RefCell<Cache<Shared, Arc<Live>>>,
    pub(crate) metrics: Metrics,
    pub(crate) kept: KeptConns,
    /// How many requests may be tried again, by the requests of this worker.
    pub(crate) retries: RefCell<RetryBudget>,
    /// Copies of requests under way to mirrors.
    pub(crate) mirrors: Cell<usize>,
    pub(crate) log: RequestLog,
    pub(crate) load: Arc<Load>,
    /// What was found of callers' tokens lately.
    pub(crate) tokens: Tokens,
    date: Date,
    lag: Lag,
    leaving: Arc<AtomicBool>,
    pub(crate) connections: Connections,
}

/// What all workers of the process have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) settings: Settings,
    pub(crate) live: Shared,
    pub(crate) metrics: Metrics,
    pub(crate) load: Arc<Load>,
    pub(crate) leaving: Arc<AtomicBool>,
}

impl Worker {
    pub(crate) fn new(common: Common) -> Self {
        let Common { settings, live, metrics, load, leaving } = common;
        // Lines follow the log's filter, which is asked here once for all of them.
        let wanted = tracing::enabled!(target: "router::request", tracing::Level::INFO);
        let lines = if wanted { settings.request_lines } else { LineFormat::Off };
        Self {
            settings,
            live: RefCell::new(Cache::new(live)),
            metrics,
            kept: KeptConns::default(),
            retries: RefCell::default(),
            mirrors: Cell::default(),
            log: RequestLog::new(lines),
            load,
            tokens: Tokens::default(),
            date: Date::default(),
            lag: Lag::default(),
            leaving,
            connections: Connections::default(),
        }
    }

    /// The configuration as of now. A request asks once and keeps the answer.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(self.live.borrow_mut().load())
    }

    /// Takes a further attempt out of the budget of this many for a hundred requests, if there is room. What was refused is
    /// counted.
    pub(crate) fn may_retry(&self, percent: u64) -> bool {
        let may = self.retries.borrow_mut().take(clock::now(), percent);
        if !may {
            self.metrics.retries_refused.inc();
        }
        may
    }

    /// The same for an attempt beside one that is only slow, of which there may be fewer.
    pub(crate) fn may_hedge(&self, percent: u64) -> bool {
        self.retries.borrow_mut().take_beside(clock::now(), percent)
    }

    /// Now, as the `Date` header has it.
    pub(crate) fn date(&self) -> [u8; date::LENGTH] {
        self.date.now()
    }

    /// Whether this request is to be refused because the worker is too far behind with its work.
    pub(crate) fn sheds(self: &Rc<Self>) -> bool {
        let verdict = self.lag.asked(Instant::now(), self.settings.max_lag);
        if verdict.measure {
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move { worker.lag.ran(Instant::now(), worker.settings.max_lag) });
        }
        verdict.refuse
    }

    /// Whether clients are to be sent elsewhere.
    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

/// The client connections of one worker, so that each can be told to close.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Option<Waker>>>,
    next: Cell<u64>,
    closing: Cell<bool>,
    changed: Notify,
}

impl Connections {
    pub(crate) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    pub(crate) fn close(&self) {
        self.closing.set(true);
        for waker in self.open.borrow_mut().values_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    pub(crate) async fn none_left(&self) {
        while self.count() > 0 {
            self.changed.notified().await;
        }
    }
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    worker: Rc<Worker>,
    number: u64,
    known: Cell<bool>,
}

impl Open {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        let connections = &worker.connections;
        let number = connections.next.get();
        connections.next.set(number + 1);
        connections.open.borrow_mut().insert(number, None);
        worker.metrics.connections.inc();
        Self { worker: Rc::clone(worker), number, known: Cell::new(false) }
    }

    /// Whether to close. Asked by the connection's task; the first time it asks, it arranges to be woken for a yes. A
    /// task's waker stays good for as long as the task lives.
    pub(crate) fn should_close(&self, cx: &Context<'_>) -> bool {
        let connections = &self.worker.connections;
        if !self.known.replace(true) {
            connections.open.borrow_mut().insert(self.number, Some(cx.waker().clone()));
        }
        connections.closing.get()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.worker.connections;
        connections.open.borrow_mut().remove(&self.number);
        connections.changed.notify_one();
        self.worker.metrics.connections.dec();
    }
}
