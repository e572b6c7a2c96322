//! The routing table together with what hangs on it: handles of metrics, and keys.

use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::jiff::Timestamp;
use router_core::{Choice, Keys, Table, Target, Volume};
use wire::openai::{ListedModel, model_entry, model_list};

use crate::issuers::Issuers;
use crate::metrics::{Metrics, RouteHandles};
use crate::secrets::{Credentials, KeyFault, Secrets};
use crate::volume::Volumes;

/// Who owns every model in the list, as far as clients are told.
const OWNER: &str = "quartermaster";

/// One state of the configuration, never changed once it is shared.
#[derive(Debug)]
pub struct Live {
    /// Where requests go.
    pub table: Table,
    /// What is kept of callers' keys.
    pub callers: Arc<Keys>,
    /// The keys of the issuers whose tokens policies take.
    pub issuers: Arc<Issuers>,
    /// What is wrong with the configuration, where it is read from files.
    pub(crate) mistakes: Arc<[String]>,
    /// Whether the cluster's configuration was read at all. Until then nothing can be said about any model.
    pub synced: bool,
    /// Handles for each target of each policy, by their places in the table.
    pub(crate) routes: Vec<Vec<RouteHandles>>,
    /// The key of each target of each policy, if it needs one, by the same places.
    pub(crate) keys: Vec<Vec<Result<Option<Credentials>, KeyFault>>>,
    /// What each policy has had today, by its place in the table, if its rules ask for that.
    pub(crate) volumes: Vec<Option<Arc<Volume>>>,
}

/// The current [`Live`], replaced as a whole by one writer and read by every worker.
pub type Shared = Arc<ArcSwap<Live>>;

impl Live {
    /// The view before anything is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            table: Table::default(),
            callers: Arc::default(),
            issuers: Arc::default(),
            mistakes: Arc::default(),
            synced: false,
            routes: Vec::new(),
            keys: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// A view of this table. Looks up each metric once, so that no request has to.
    #[must_use]
    pub fn new(table: Table, metrics: &Metrics) -> Self {
        let routes = table
            .policies()
            .iter()
            .map(|policy| policy.targets.iter().map(|target| metrics.route(policy, target)).collect())
            .collect();
        let (callers, issuers, mistakes, keys, volumes) =
            (Arc::default(), Arc::default(), Arc::default(), Vec::new(), Vec::new());
        let live = Self { table, callers, issuers, mistakes, synced: true, routes, keys, volumes };
        live.with(&Secrets::default()).counting(&Volumes::default())
    }

    /// The same view, with these keys.
    #[must_use]
    pub fn with(mut self, secrets: &Secrets) -> Self {
        let key = |target: &Target| target.remote().map_or(Ok(None), |remote| secrets.for_target(&remote.input));
        self.keys = self.table.policies().iter().map(|policy| policy.targets.iter().map(key).collect()).collect();
        self
    }

    /// The same view, in which policies' requests are counted here.
    #[must_use]
    pub fn counting(mut self, volumes: &Volumes) -> Self {
        self.volumes = self.table.policies().iter().map(|policy| volumes.of(policy)).collect();
        self
    }

    /// The same view, with what is kept of these callers' keys.
    #[must_use]
    pub fn with_callers(self, callers: Arc<Keys>) -> Self {
        Self { callers, ..self }
    }

    /// The same view, with the keys of these issuers.
    #[must_use]
    pub fn with_issuers(self, issuers: Arc<Issuers>) -> Self {
        Self { issuers, ..self }
    }

    /// The same view, of a configuration with these mistakes.
    pub(crate) fn with_mistakes(self, mistakes: &Arc<[String]>) -> Self {
        Self { mistakes: Arc::clone(mistakes), ..self }
    }

    /// The key of a target; `None` where it needs none.
    pub(crate) fn key(&self, choice: Choice) -> Result<Option<&Credentials>, KeyFault> {
        self.keys[choice.policy][choice.target].as_ref().map(Option::as_ref).map_err(|fault| *fault)
    }

    /// The answer of `GET /v1/models` for a caller who may use these policies.
    pub(crate) fn models(&self, may: &[bool]) -> Vec<u8> {
        let of = |at: usize| may.get(at).copied().unwrap_or(false);
        let dated: Vec<_> =
            self.table.models_of(of).into_iter().map(|(id, created)| (id, created, date(created))).collect();
        let listed = dated.iter().map(|(id, created, at)| ListedModel { id, created: *created, created_at: at });
        model_list(listed, OWNER)
    }

    /// The answer of `GET /v1/models/{id}`; `None` when nobody offers that model. One that only a pattern covers was
    /// offered at an unknown time.
    pub(crate) fn model(&self, id: &str) -> Option<Vec<u8>> {
        let listed = self.table.models().into_iter().find(|(name, _)| *name == id);
        let created = listed.map(|(_, created)| created).or_else(|| self.table.policy_for(id).map(|_| 0))?;
        Some(model_entry(ListedModel { id, created, created_at: &date(created) }, OWNER))
    }

    /// Makes this the first view of a new [`Shared`].
    #[must_use]
    pub fn shared(self) -> Shared {
        Arc::new(ArcSwap::from_pointee(self))
    }
}

/// By RFC 3339, of seconds since 1970.
fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
