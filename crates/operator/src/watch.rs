//! Watches and the stores that they fill.
//!
//! A store is filled by the same stream that triggers the reconciles, so that a reconcile never sees less than what
//! triggered it. Each watch begins again by itself when it breaks off, and its errors end here: a controller that saw them
//! would hold up all its watches for the sake of one.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::POOL_LABEL;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use operator_core::diff;
use operator_core::plan::{Child, ChildKind};
use operator_core::pool::causes;
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;

use crate::guarded::{GuardedPolicy, GuardedPool};
use crate::overlay::Gone;

/// A watch that says nothing for longer than this is begun again. A connection that died without a word is noticed only
/// then, so it is short; to begin again costs one request and no list.
const WATCH_SECONDS: u32 = 25;

/// Pause before a watch that broke off is begun again: it doubles from the first to the longest. The longest is what an
/// operator is late by when the API server comes back.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A watch without a failure for this long is well: longer than the longest pause and the request after it.
const CALM: Duration = Duration::from_secs(20);

/// The objects of all pools as the watches last told.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) service_accounts: Store<ServiceAccount>,
    pub(crate) network_policies: Store<NetworkPolicy>,
    pub(crate) services: Store<Service>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) disruption_budgets: Store<PodDisruptionBudget>,
    pub(crate) autoscalers: Store<HorizontalPodAutoscaler>,
    pub(crate) pods: Store<Pod>,
    pub(crate) pools: Store<GuardedPool>,
    pub(crate) policies: Store<GuardedPolicy>,
    /// Namespaces and their labels, where the operator looks after all of them.
    pub(crate) namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
    pub(crate) heard: Heard,
}

/// What fills the stores, for those who act on changes. Each must be read for its store to be filled.
pub(crate) struct Changes {
    pub(crate) service_accounts: Stream<ServiceAccount>,
    pub(crate) network_policies: Stream<NetworkPolicy>,
    pub(crate) services: Stream<Service>,
    pub(crate) deployments: Stream<Deployment>,
    pub(crate) disruption_budgets: Stream<PodDisruptionBudget>,
    pub(crate) autoscalers: Stream<HorizontalPodAutoscaler>,
    pub(crate) pods: Stream<Pod>,
    pub(crate) pools: Stream<GuardedPool>,
    pub(crate) policies: Stream<GuardedPolicy>,
    pub(crate) namespaces: Stream<PartialObjectMeta<Namespace>>,
}

/// Changes of one kind; it never ends and never fails.
type Stream<K> = BoxStream<'static, Result<K, watcher::Error>>;

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
fn all() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// How objects made for pools are watched.
fn of_pools() -> watcher::Config {
    all().labels(POOL_LABEL)
}

/// Objects made for pools are kept with who has set which field: that decides what may be written.
fn packed<K: Resource>(object: &mut K) {
    diff::pack(object.meta_mut());
}

/// Of all others it is not asked.
fn unmanaged<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// What the watches have told besides what is in the stores.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// Which watches have delivered their first list. A store can tell, too, but it wakes only the last of those who wait for
    /// it, and the controller of its kind is one.
    lists: Vec<channel::Receiver<bool>>,
    /// What was deleted lately.
    pub(crate) gone: Gone,
}

impl Heard {
    /// A store, and the stream of changes that fills it while it is read. The stream never ends and never fails. Its first
    /// list is among those that are waited for.
    fn reflect<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        prune: impl FnMut(&mut K) + Send + 'static,
    ) -> (Store<K>, Stream<K>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
    {
        let (listed, first) = channel::channel(false);
        self.lists.push(first);
        let gone = self.gone.clone();
        let (store, writer) = reflector::store();
        let changes =
            watcher(api, config).backoff(Pause::first()).modify(prune).reflect(writer).inspect_ok(move |event| {
                match event {
                    watcher::Event::InitDone => _ = listed.send_replace(true),
                    watcher::Event::Delete(object) => {
                        object.meta().uid.iter().for_each(|uid| gone.note(uid.clone(), Instant::now()));
                    }
                    _ => {}
                }
            });
        let changes = changes.touched_objects();
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
        (store, changes.boxed())
    }

    /// Waits until all are there. False when a watch has ended instead.
    async fn wait(&self) -> bool {
        for listed in &self.lists {
            if listed.clone().wait_for(|listed| *listed).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// The next pause, and when the last one was asked for.
///
/// The library calls every event a success, also the one that only says that a list is about to be asked for. What counts
/// here is time: who had no failure for a while begins with a short pause again.
#[derive(Debug)]
struct Pause {
    next: Duration,
    last: Option<Instant>,
}

impl Pause {
    fn first() -> Self {
        Self { next: FIRST_PAUSE, last: None }
    }

    /// The pause after a failure at `now`, between half of it and all by `luck` from 0 to 1: so the watches do not all begin
    /// in the same moment.
    fn after(&mut self, now: Instant, luck: f64) -> Duration {
        let calm = self.last.is_none_or(|last| now.saturating_duration_since(last) > CALM);
        let pause = if calm { FIRST_PAUSE } else { self.next };
        (self.next, self.last) = ((pause * 2).min(LONGEST_PAUSE), Some(now));
        pause.mul_f64(0.5 + luck / 2.0)
    }
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now(), rand::random()))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {}
}

/// Namespace and name of the pool that a pod was made for.
pub(crate) fn pool_of(pod: &Pod) -> Option<(&str, &str)> {
    Some((pod.metadata.namespace.as_deref()?, pod.metadata.labels.as_ref()?.get(POOL_LABEL)?))
}

impl Stores {
    /// The labels of a namespace, where namespaces are watched.
    pub(crate) fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let found = self.namespaces.as_ref()?.get(&ObjectRef::new(namespace))?;
        found.metadata.labels.clone()
    }

    /// Stores of everything in the scope, and what fills them.
    pub(crate) fn watched(scope: &Scope) -> (Self, Changes) {
        let mut heard = Heard::default();
        let (service_accounts, service_account_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (network_policies, network_policy_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (services, service_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (deployments, deployment_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (disruption_budgets, disruption_budget_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (autoscalers, autoscaler_changes) = heard.reflect(scope.api(), of_pools(), packed);
        let (pods, pod_changes) = heard.reflect(scope.api(), of_pools(), causes::prune);
        let (pools, pool_changes) = heard.reflect(scope.api(), all(), unmanaged);
        let (policies, policy_changes) = heard.reflect(scope.api(), all(), unmanaged);
        // In a single namespace there is nothing to be let into.
        let (namespaces, namespace_changes) = match &scope.namespace {
            Some(_) => (None, futures::stream::pending().boxed()),
            None => {
                let namespaces = Api::<PartialObjectMeta<Namespace>>::all(scope.client.clone());
                let (store, changes) = heard.reflect(namespaces, all(), unmanaged);
                (Some(store), changes)
            }
        };
        let stores = Self {
            service_accounts,
            network_policies,
            services,
            deployments,
            disruption_budgets,
            autoscalers,
            pods,
            pools,
            policies,
            namespaces,
            heard,
        };
        let changes = Changes {
            service_accounts: service_account_changes,
            network_policies: network_policy_changes,
            services: service_changes,
            deployments: deployment_changes,
            disruption_budgets: disruption_budget_changes,
            autoscalers: autoscaler_changes,
            pods: pod_changes,
            pools: pool_changes,
            policies: policy_changes,
            namespaces: namespace_changes,
        };
        (stores, changes)
    }

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
            ChildKind::ServiceAccount => {
                get(&self.service_accounts, namespace, name).map(|(o, v)| (Child::ServiceAccount(o), v))
            }
            ChildKind::NetworkPolicy => {
                get(&self.network_policies, namespace, name).map(|(o, v)| (Child::NetworkPolicy(Box::new(o)), v))
            }
            ChildKind::Service => get(&self.services, namespace, name).map(|(o, v)| (Child::Service(Box::new(o)), v)),
            ChildKind::Deployment => {
                get(&self.deployments, namespace, name).map(|(o, v)| (Child::Deployment(Box::new(o)), v))
            }
            ChildKind::PodDisruptionBudget => {
                get(&self.disruption_budgets, namespace, name).map(|(o, v)| (Child::PodDisruptionBudget(o), v))
            }
            ChildKind::Autoscaler => get(&self.autoscalers, namespace, name).map(|(o, v)| (Child::Autoscaler(o), v)),
        }
    }

    /// The pods of a pool's replicas.
    pub(crate) fn pods_of(&self, namespace: &str, pool: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| pool_of(pod) == Some((namespace, pool)))
    }

    /// Waits until every watch has delivered its first list. False when one has ended instead.
    pub(crate) async fn synced(&self) -> bool {
        self.heard.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let (start, mut pause) = (Instant::now(), Pause::first());
        let mut check = |at: u64, luck: f64, millis: u64| {
            // The library's idea of a success changes nothing.
            pause.reset();
            let got = pause.after(start + Duration::from_secs(at), luck);
            assert_eq!(got, Duration::from_millis(millis), "at {at} s");
        };
        for (at, most) in [(0, 500), (1, 1000), (2, 2000), (4, 4000), (8, 5000), (13, 5000)] {
            check(at, 1.0, most);
        }
        check(18, 0.0, 2500);
        check(18 + CALM.as_secs() + 1, 1.0, 500);
    }

    /// A store wakes only one of them, and an operator whose other task was woken never became ready.
    #[tokio::test]
    async fn several_may_wait_for_the_first_lists() {
        let (listed, first) = channel::channel(false);
        let (done, second) = channel::channel(true);
        let lists = Heard { lists: vec![second, first], gone: Gone::default() };
        let waits = [lists.clone(), lists].map(|lists| tokio::spawn(async move { lists.wait().await }));
        tokio::task::yield_now().await;
        listed.send_replace(true);
        for wait in waits {
            assert!(wait.await.unwrap());
        }
        drop((listed, done));
        let (ended, never) = channel::channel(false);
        drop(ended);
        assert!(!Heard { lists: vec![never], gone: Gone::default() }.wait().await, "its watch has ended");
    }
}
