//! What every reconcile has at hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::InferencePoolStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt};
use operator_core::metrics_api::MetricsApi;
use operator_core::plan::{Child, ChildKind};
use operator_core::pool::Site;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::error::{Class, Error};
use crate::metrics::Metrics;
use crate::overlay::Overlay;
use crate::scrape::Loads;
use crate::watch::Stores;

/// How long a reconcile waits for the first lists before it tries again later.
const FIRST_LISTS: Duration = Duration::from_secs(30);

/// After this many failures in a row, that is after some three seconds, a pool's status says what fails. What passes sooner is
/// nobody's concern.
const TOLD_AFTER: u32 = 2;

/// A child of a pool: its kind, namespace and name, and the pool's UID. A pool that is made anew under its name must not
/// inherit what was written for the one before.
pub(crate) type ChildKey = (ChildKind, String, String, String);

pub(crate) struct Context {
    pub(crate) client: Client,
    /// Where operator and routers run.
    pub(crate) site: Site,
    /// When the process began: before it has asked the replicas, that no load is known says nothing.
    pub(crate) started: Instant,
    /// The time, in whole seconds, as Kubernetes stores it.
    pub(crate) clock: fn() -> Time,
    pub(crate) stores: Stores,
    /// Becomes true when all stores have had their first list.
    pub(crate) known: watch::Receiver<bool>,
    pub(crate) loads: Arc<Loads>,
    /// Who serves the metrics API.
    pub(crate) metrics_api: watch::Receiver<MetricsApi>,
    pub(crate) metrics: Metrics,
    pub(crate) events: Recorder,
    pub(crate) backoff: Backoff,
    /// Children that were written, until their watch echoes it.
    pub(crate) written: Overlay<ChildKey, Child>,
    /// Statuses that were written, by the pool's UID.
    pub(crate) reported: Overlay<String, InferencePoolStatus>,
    /// When the status of a pool was written last, by its UID.
    pub(crate) last_report: Mutex<HashMap<String, Instant>>,
}

impl Context {
    /// Waits for the watches' first lists: before them nothing can be told from nothing.
    pub(crate) async fn synced(&self) -> Result<(), Error> {
        match tokio::time::timeout(FIRST_LISTS, self.known.clone().wait_for(|known| *known)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::NotSynced),
        }
    }

    /// Counts a reconcile's end, and decides when the object, which failed at `generation`, is looked at again after `error`.
    pub(crate) fn failed(&self, kind: &'static str, key: &str, generation: Option<i64>, error: &Error) -> Action {
        let class = error.class();
        self.metrics.failed(kind, class);
        let name = format!("{kind} {key}");
        let wait = self.backoff.failed(&name, generation, class, Instant::now(), rand::random());
        let seconds = wait.as_secs_f64();
        match class {
            Class::Bug => {
                tracing::error!(kind, object = key, class = class.as_str(), retry_in = seconds, %error, "failed");
            }
            Class::Transient | Class::Invalid => {
                tracing::warn!(kind, object = key, class = class.as_str(), retry_in = seconds, %error, "failed");
            }
            Class::Waiting | Class::Conflict => {
                tracing::info!(kind, object = key, class = class.as_str(), retry_in = seconds, %error, "not yet");
            }
        }
        Action::requeue(wait)
    }

    /// When the object may be tried, if not now. See [`Backoff::pause`].
    pub(crate) fn paused(&self, kind: &'static str, object: &impl ResourceExt) -> Option<Action> {
        let key = format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
        self.backoff.pause(&key, object.meta().generation, Instant::now()).map(Action::requeue)
    }

    /// Whether the object has failed so often in a row that people should be told why.
    pub(crate) fn keeps_failing(&self, kind: &'static str, key: &str) -> bool {
        self.backoff.in_a_row(&format!("{kind} {key}")) >= TOLD_AFTER
    }

    /// Counts a reconcile that got to its end.
    pub(crate) fn succeeded(&self, kind: &'static str, key: &str) {
        self.backoff.succeeded(&format!("{kind} {key}"));
    }

    /// How long ago the status of the pool with this UID was written, or this process started.
    pub(crate) fn since_report(&self, uid: &str) -> Duration {
        let all = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).unwrap_or(&self.started).elapsed()
    }

    /// Remembers that the status of the pool with this UID was written now.
    pub(crate) fn note_report(&self, uid: &str) {
        let mut all = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, at| at.elapsed() < Duration::from_secs(60));
        all.insert(uid.to_owned(), Instant::now());
    }
}
