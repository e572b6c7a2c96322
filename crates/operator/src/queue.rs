//! The way of an object from a change to its reconcile: nothing passes before this process leads, what waits is counted, and
//! a reconcile that panics ends itself only.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::{Lookup, Store};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use tokio::sync::watch;
use tracing::Instrument;

use crate::error::Error;
use crate::metrics::Metrics;

/// The queue of one kind.
#[derive(Clone)]
pub(crate) struct Queue {
    kind: &'static str,
    /// Since when each object waits, by namespace and name.
    waiting: Arc<Mutex<HashMap<String, Instant>>>,
    metrics: Metrics,
    leading: watch::Receiver<bool>,
}

impl Queue {
    pub(crate) fn new(kind: &'static str, metrics: Metrics, leading: watch::Receiver<bool>) -> Self {
        Self { kind, waiting: Arc::default(), metrics, leading }
    }

    /// Passes on the changes of objects of this kind while this process leads. Before, it only lets them fill their store.
    pub(crate) fn of_objects<K, S>(
        &self,
        changes: S,
    ) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static + use<K, S>
    where
        K: ResourceExt + Send + 'static,
        S: Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    {
        self.pass(changes, |change| {
            let object = change.as_ref().ok()?;
            Some(key(object.namespace().as_deref(), &object.name_any()))
        })
    }

    /// Passes on the changes of objects that belong to objects of this kind, likewise.
    pub(crate) fn of_owned<K, S>(
        &self,
        changes: S,
    ) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static + use<K, S>
    where
        K: ResourceExt + Send + 'static,
        S: Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    {
        let kind = self.kind;
        self.pass(changes, move |change| {
            let object = change.as_ref().ok()?;
            let owner = object.owner_references().iter().find(|owner| owner.kind == kind)?;
            Some(key(object.namespace().as_deref(), &owner.name))
        })
    }

    /// Passes on anything else that calls for reconciles, likewise. How many it calls for is not known before.
    pub(crate) fn of_others<S>(&self, changes: S) -> impl Stream<Item = S::Item> + Send + 'static + use<S>
    where
        S: Stream<Item: Send> + Send + 'static,
    {
        self.pass(changes, |_| None)
    }

    /// Tells once, when this process leads, that all objects of the store are to be looked at.
    pub(crate) fn all_at_first<K>(&self, store: Store<K>) -> impl Stream<Item = ()> + Send + 'static + use<K>
    where
        K: Resource + Clone + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Send + Sync + Default,
    {
        let queue = self.clone();
        futures::stream::once(async move {
            if queue.leading.clone().wait_for(|leading| *leading).await.is_err() {
                // The process ends.
                std::future::pending::<()>().await;
            }
            for object in store.state() {
                let meta = object.meta();
                queue.wait(key(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default()));
            }
        })
    }

    /// Does the reconcile `work` of an object, unless that is `paused`: then it goes on waiting.
    pub(crate) fn turn<K, W>(
        &self,
        object: &K,
        paused: Option<Action>,
        work: W,
    ) -> impl Future<Output = W::Output> + Send + use<K, W>
    where
        K: ResourceExt,
        W: Future<Output = Result<Action, Error>> + Send,
    {
        let key = key(object.namespace().as_deref(), &object.name_any());
        let span = tracing::info_span!(
            "reconcile",
            kind = self.kind,
            object = key,
            generation = object.meta().generation.unwrap_or_default(),
        );
        let queue = self.clone();
        let turn = async move {
            if let Some(later) = paused {
                return Ok(later);
            }
            let _under_way = queue.begin(&key);
            let done = AssertUnwindSafe(work).catch_unwind().await;
            let done = done.unwrap_or_else(|panic| Err(Error::Panicked(said(panic.as_ref()))));
            if done.is_ok() {
                queue.metrics.succeeded(queue.kind, Timestamp::now());
            }
            done
        };
        turn.instrument(span)
    }

    /// Drives a controller to its end, which comes when the process stops. Failed reconciles have been logged, and watches
    /// do not fail.
    pub(crate) async fn follow<K, E>(
        self,
        done: impl Stream<
            Item = Result<(kube::runtime::reflector::ObjectRef<K>, Action), controller::Error<E, watcher::Error>>,
        >,
    ) where
        K: Lookup,
        E: std::error::Error + 'static,
    {
        let mut done = std::pin::pin!(done);
        while let Some(result) = done.next().await {
            match result {
                Err(controller::Error::RunnerError(error)) => {
                    tracing::error!(kind = self.kind, %error, "a controller is in trouble");
                }
                // Deleted before its turn came.
                Err(controller::Error::ObjectNotFound(object)) => {
                    self.taken(&key(object.namespace.as_deref(), &object.name));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn pass<S, F>(&self, changes: S, key: F) -> impl Stream<Item = S::Item> + Send + 'static + use<S, F>
    where
        S: Stream<Item: Send> + Send + 'static,
        F: Fn(&S::Item) -> Option<String> + Send + 'static,
    {
        let queue = self.clone();
        changes.filter(move |change| {
            let leads = *queue.leading.borrow();
            if leads && let Some(key) = key(change) {
                queue.wait(key);
            }
            std::future::ready(leads)
        })
    }

    fn wait(&self, key: String) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_insert_with(Instant::now);
        self.metrics.wait(self.kind, waiting.len());
    }

    fn taken(&self, key: &str) -> Option<Instant> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = waiting.remove(key);
        self.metrics.wait(self.kind, waiting.len());
        since
    }

    fn begin(&self, key: &str) -> UnderWay {
        self.metrics.begins(self.kind, self.taken(key).map(|since| since.elapsed()));
        UnderWay { kind: self.kind, metrics: self.metrics.clone() }
    }
}

/// A reconcile under way, also when it is given up.
struct UnderWay {
    kind: &'static str,
    metrics: Metrics,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.metrics.ends(self.kind);
    }
}

fn key(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it does not say which".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
    use prometheus::Registry;

    fn object(name: &str, owner: &str) -> Service {
        let owner = OwnerReference { kind: "Pool".to_owned(), name: owner.to_owned(), ..OwnerReference::default() };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("ns".to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        Service { metadata, ..Service::default() }
    }

    fn queue(leads: bool) -> (Queue, watch::Sender<bool>) {
        let (sender, leading) = watch::channel(leads);
        (Queue::new("Pool", Metrics::new(&Registry::new()).unwrap(), leading), sender)
    }

    fn waiting(queue: &Queue) -> Vec<String> {
        let mut keys: Vec<String> = queue.waiting.lock().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    #[tokio::test]
    async fn nothing_passes_before_the_process_leads() {
        let (queue, lead) = queue(false);
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let changes = futures::stream::unfold(receiver, |mut changes| async { Some((changes.recv().await?, changes)) });
        let mut passed = Box::pin(queue.of_owned(changes));
        sender.send(Ok(object("one", "a"))).await.unwrap();
        assert!(passed.next().now_or_never().is_none(), "it was taken, and not passed on");
        assert_eq!((sender.capacity(), waiting(&queue).len()), (4, 0));
        lead.send_replace(true);
        sender.send(Ok(object("two", "b"))).await.unwrap();
        let change: Result<Service, watcher::Error> = passed.next().await.unwrap();
        assert_eq!((change.unwrap().name_any(), waiting(&queue)), ("two".to_owned(), vec!["ns/b".to_owned()]));
        let mut others = Box::pin(queue.of_objects(futures::stream::iter([Ok(object("c", ""))])));
        others.next().await.unwrap().unwrap();
        assert_eq!(waiting(&queue), ["ns/b", "ns/c"]);
        queue.turn(&object("c", ""), None, async { Ok(Action::await_change()) }).await.unwrap();
        assert_eq!(waiting(&queue), ["ns/b"]);
    }

    #[tokio::test]
    async fn a_panic_ends_its_reconcile_only() {
        let (queue, _lead) = queue(true);
        let error = queue.turn(&object("a", ""), None, async { panic!("no {}", "way") }).await.unwrap_err();
        assert_eq!(error.to_string(), "the operator has a fault: no way");
        assert_eq!(queue.metrics.under_way_now("Pool"), 0);
        assert!(queue.turn(&object("a", ""), None, async { Ok(Action::await_change()) }).await.is_ok());
    }
}
