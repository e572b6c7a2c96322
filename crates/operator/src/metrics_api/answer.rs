//! What the API server is told, once it is known to be the one who asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::SignedDuration;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use operator_core::load::{self, Load};
use operator_core::metrics_api::{Ask, Figure, Kind, Query, Which, ask, failure, figures, group, groups, resources};
use serde_json::Value;

use crate::guarded::GuardedPool;
use crate::metrics::Metrics;
use crate::scrape::Loads;

/// What answers are made from.
pub(crate) struct Pages {
    pub(crate) loads: Arc<Loads>,
    /// The pods of pools.
    pub(crate) pods: Store<Pod>,
    /// All pools.
    pub(crate) pools: Store<GuardedPool>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: fn() -> Time,
}

impl Pages {
    /// The status code and body for a request to this path.
    pub(super) fn answer(&self, path: &str, query: &str, now: Instant) -> (u16, Value) {
        match ask(path, query) {
            Ok(Ask::Health) => (200, Value::from("ok")),
            Ok(Ask::Groups) => (200, groups()),
            Ok(Ask::Group) => (200, group()),
            Ok(Ask::Resources(version)) => (200, resources(version)),
            Ok(Ask::Figures(query)) => match self.look_up(&query, now) {
                Ok(found) => (200, figures(&query, &found)),
                // Never a zero: on an error the autoscaler leaves the pool as it is. Not 503 either, because a pool without
                // a ready replica is no failure of the cluster's API, and would count as one.
                Err(message) => (404, failure(404, "NotFound", &message)),
            },
            Err(refusal) => {
                let (code, reason) = refusal.code();
                (code, failure(code, reason, &refusal.to_string()))
            }
        }
    }

    /// The figures asked for; those of several objects without the ones that are not known, unless none is.
    fn look_up(&self, query: &Query, now: Instant) -> Result<Vec<Figure>, String> {
        let names = match &query.which {
            Which::Named(name) => return self.figure(query, name, now).map(|figure| vec![figure]),
            Which::Selected(selector) => {
                let none = BTreeMap::new();
                self.names(query, |meta| selector.matches(meta.labels.as_ref().unwrap_or(&none)))
            }
        };
        let (mut found, mut unknown) = (Vec::new(), None);
        for name in names {
            match self.figure(query, &name, now) {
                Ok(figure) => found.push(figure),
                Err(message) => unknown = unknown.or(Some(message)),
            }
        }
        let nothing = || format!("the selector takes no {} of namespace {:?}", query.kind.resource(), query.namespace);
        if found.is_empty() { Err(unknown.unwrap_or_else(nothing)) } else { Ok(found) }
    }

    /// Names of the pools or pods in the namespace that `select` takes, in order.
    fn names(&self, query: &Query, select: impl Fn(&ObjectMeta) -> bool) -> Vec<String> {
        let take = |meta: &ObjectMeta| {
            let here = meta.namespace.as_deref() == Some(query.namespace.as_str());
            (here && select(meta)).then(|| meta.name.clone()).flatten()
        };
        let mut names: Vec<String> = match query.kind {
            Kind::Pool => self.pools.state().iter().filter_map(|pool| take(pool.meta())).collect(),
            Kind::Pod => self.pods.state().iter().filter_map(|pod| take(&pod.metadata)).collect(),
        };
        names.sort_unstable();
        names
    }

    fn figure(&self, query: &Query, name: &str, now: Instant) -> Result<Figure, String> {
        let what = || format!("{} {name:?} in namespace {:?}", query.kind.resource(), query.namespace);
        let load = match query.kind {
            Kind::Pool => self.of_pool(&query.namespace, name, now),
            Kind::Pod => self.of_pod(&query.namespace, name, now),
        };
        let load = load.map_err(|why| format!("the load of {} is not known: {why}", what()))?;
        let millis = query.metric.millis_of(&load);
        let millis = millis.ok_or_else(|| format!("the engine of {} does not tell {}", what(), query.metric.name()))?;
        let age = SignedDuration::try_from(now.saturating_duration_since(load.oldest)).unwrap_or_default();
        let Time(wall) = (self.clock)();
        Ok(Figure { name: name.to_owned(), millis, at: wall.checked_sub(age).unwrap_or(wall) })
    }

    fn of_pool(&self, namespace: &str, name: &str, now: Instant) -> Result<Load, String> {
        if self.pools.get(&ObjectRef::new(name).within(namespace)).is_none() {
            return Err("there is no such pool".to_owned());
        }
        self.loads.of(namespace, name, now).map_err(|unknown| unknown.to_string())
    }

    fn of_pod(&self, namespace: &str, name: &str, now: Instant) -> Result<Load, String> {
        let pod = self.pods.get(&ObjectRef::new(name).within(namespace));
        let pod = pod.ok_or("there is no such pod of a pool")?;
        let replica = load::replica(&pod).ok_or("it is not ready, or on its way out")?;
        self.loads.of_replica(&replica, now).map_err(|unknown| unknown.to_string())
    }
}
