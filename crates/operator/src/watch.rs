//! Watches and the stores that they fill.
//!
//! A store is filled by the same stream that triggers the reconciles, so that a reconcile never sees less than what
//! triggered it. Each watch begins again by itself when it breaks off, and its errors end here: a controller that saw them
//! would hold up all its watches for the sake of one.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use api::{InferencePool, POOL_LABEL};
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use operator_core::plan::{Child, ChildKind};
use serde::de::DeserializeOwned;

/// A watch that says nothing for longer than this is begun again. A connection that died without a word is noticed only
/// then, so it is short; to begin again costs one request and no list.
const WATCH_SECONDS: u32 = 25;

/// Pause before a watch that broke off is begun again: it doubles from the first to the longest. The longest is what an
/// operator is late by when the API server comes back.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The objects of all pools as the watches last told.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) services: Store<Service>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) autoscalers: Store<HorizontalPodAutoscaler>,
    pub(crate) pods: Store<Pod>,
    /// Which pools there are, for those who refer to them.
    pub(crate) pools: Store<PartialObjectMeta<InferencePool>>,
}

/// Where to look: one namespace, or all.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
}

impl Scope {
    /// All objects of a kind in the scope.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// How objects that people write are watched.
pub(crate) fn all() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// How objects made for pools are watched.
pub(crate) fn of_pools() -> watcher::Config {
    all().labels(POOL_LABEL)
}

/// A store, and the stream of changes that fills it while it is read. The stream never ends and never fails.
pub(crate) fn reflect<K>(
    api: Api<K>,
    config: watcher::Config,
    prune: impl FnMut(&mut K) + Send + 'static,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer) = reflector::store();
    let changes = watcher(api, config).backoff(Pause(FIRST_PAUSE)).modify(prune).reflect(writer).touched_objects();
    let (kind, mut broken) = (K::kind(&K::DynamicType::default()).into_owned(), false);
    let changes = changes.filter_map(move |change| {
        let change = match change {
            Ok(object) => {
                broken = false;
                Some(Ok(object))
            }
            Err(error) if broken => {
                tracing::debug!(kind, %error, "a watch is still broken");
                None
            }
            Err(error) => {
                tracing::warn!(kind, %error, "a watch broke off, and is begun again until it holds");
                broken = true;
                None
            }
        };
        std::future::ready(change)
    });
    (store, changes)
}

/// The next pause.
#[derive(Debug)]
struct Pause(Duration);

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        // Between half of it and all, so that the watches do not all begin in the same moment.
        Some(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// Leaves of a pod only what [`operator_core::load::replica`] reads: pods are by far the largest objects watched.
pub(crate) fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.spec = None;
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
    }
}

impl Stores {
    /// The child of this kind and name with its version, if there is one.
    pub(crate) fn child(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<(Child, Option<String>)> {
        fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<(K, Option<String>)>
        where
            K: Resource<DynamicType = ()> + Clone + 'static,
        {
            let found = store.get(&ObjectRef::new(name).within(namespace))?;
            Some((K::clone(&found), found.meta().resource_version.clone()))
        }
        match kind {
            ChildKind::Service => get(&self.services, namespace, name).map(|(o, v)| (Child::Service(o), v)),
            ChildKind::Deployment => {
                get(&self.deployments, namespace, name).map(|(o, v)| (Child::Deployment(Box::new(o)), v))
            }
            ChildKind::Autoscaler => get(&self.autoscalers, namespace, name).map(|(o, v)| (Child::Autoscaler(o), v)),
        }
    }

    /// Waits until every watch has delivered its first list. False when one has ended instead. Only one task may wait: of
    /// several, a store wakes the last one only.
    pub(crate) async fn synced(&self) -> bool {
        self.services.wait_until_ready().await.is_ok()
            && self.deployments.wait_until_ready().await.is_ok()
            && self.autoscalers.wait_until_ready().await.is_ok()
            && self.pods.wait_until_ready().await.is_ok()
            && self.pools.wait_until_ready().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut pause = Pause(FIRST_PAUSE);
        for most in [500, 1000, 2000, 4000, 5000, 5000] {
            let most = Duration::from_millis(most);
            let next = pause.next().unwrap();
            assert!(next >= most / 2 && next <= most, "{next:?} of {most:?}");
        }
        pause.reset();
        assert!(pause.next().unwrap() <= FIRST_PAUSE);
    }
}
