//! A namespace full of pools that mutations are applied to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api_server::{Answer, ApiServer, pools};
use crate::objects::{self, Objects};
use crate::operator::{Figures, Operator};
use crate::settled::{End, settle};
use crate::wait::{wait_for, within};

/// Longest time for a pool without replicas to come to rest on a busy machine.
pub(crate) const WITHOUT_PODS: Duration = Duration::from_secs(30);
/// Longest time with replicas: an engine that ends as it starts is tried a few times before that is called a loop.
pub(crate) const WITH_PODS: Duration = Duration::from_secs(120);
/// Longest time for all that a pool has to go, replicas that drain included.
const GONE: Duration = Duration::from_secs(60);
/// How long the operator must have written nothing to be called quiet.
const QUIET: Duration = Duration::from_secs(3);

/// A namespace for one test.
pub(crate) struct Yard {
    pub(crate) server: ApiServer,
    pub(crate) operator: Operator,
    pub(crate) namespace: String,
    before: Figures,
}

impl Yard {
    /// Makes the namespace anew, and finds or starts the operator.
    pub(crate) async fn open(purpose: &str) -> Self {
        let server = ApiServer::connect().await;
        let operator = Operator::start(&server).await;
        let namespace = format!("mutate-{purpose}");
        make_namespace(&server, &namespace).await;
        let before = operator.figures(&server).await.unwrap();
        Self { server, operator, namespace, before }
    }

    /// Path of a pool.
    pub(crate) fn path(&self, pool: &str) -> String {
        format!("{}/{pool}", pools(&self.namespace))
    }

    /// Applies a spec to a pool.
    pub(crate) async fn apply(&self, pool: &str, spec: &Value) -> Answer {
        let object = json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": pool}, "spec": spec,
        });
        self.server.apply(&self.path(pool), &object).await
    }

    /// Applies a spec that is valid, waits until the pool is Ready, and gives what was made for it.
    pub(crate) async fn converge(&self, pool: &str, spec: &Value, limit: Duration) -> Result<Objects, String> {
        self.apply(pool, spec).await.map_err(|refusal| format!("{refusal:?}"))?;
        match settle(&self.server, &self.namespace, pool, limit).await? {
            End::Converged => Ok(self.objects(pool).await),
            other => Err(format!("{other:?}")),
        }
    }

    /// What there is for a pool, in the form to be compared.
    pub(crate) async fn objects(&self, pool: &str) -> Objects {
        objects::canonical(objects::of(&self.server, &self.namespace, pool).await)
    }

    /// Deletes a pool; the error names what is left of it.
    pub(crate) async fn delete(&self, pool: &str) -> Result<(), String> {
        self.server.delete(&self.path(pool)).await;
        within(GONE, async || {
            let mut left = objects::left(&self.server, &self.namespace, pool).await;
            left.extend(self.server.get(&self.path(pool)).await.map(|_| "the pool".to_owned()));
            if left.is_empty() { Ok(()) } else { Err(format!("left after its deletion: {left:?}")) }
        })
        .await
    }

    /// Waits until the operator has written nothing for a while: a loop never lets that happen.
    pub(crate) async fn must_become_quiet(&self) {
        wait_for("the operator is quiet", Duration::from_secs(60), async || {
            let before = self.figures().await;
            tokio::time::sleep(QUIET).await;
            let after = self.figures().await;
            let [writes, looks, failures] =
                ["_writes_total", "_reconciles_total", "_failures_total"].map(|name| after.grown(&before, name));
            // Metrics of pods may bring a pool up to be looked at; that ends, and writes nothing.
            if writes == 0.0 && failures == 0.0 {
                return Ok(());
            }
            Err(format!("{writes} writes, {looks} reconciles and {failures} failures in {QUIET:?}"))
        })
        .await;
    }

    /// What the operator's counters that hold `part` have grown by since the yard was opened.
    pub(crate) async fn grown(&self, part: &str) -> f64 {
        self.figures().await.grown(&self.before, part)
    }

    async fn figures(&self) -> Figures {
        self.operator.figures(&self.server).await.unwrap()
    }

    /// Removes the namespace, which nothing may hold up.
    pub(crate) async fn close(self) {
        self.operator.must_be_well(&self.server).await;
        remove_namespace(&self.server, &self.namespace).await;
    }
}

async fn make_namespace(server: &ApiServer, name: &str) {
    remove_namespace(server, name).await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    server.call("POST", "/api/v1/namespaces", &object).await.unwrap();
    wait_for("the namespace has its service account", Duration::from_secs(30), async || {
        let account = server.get(&format!("/api/v1/namespaces/{name}/serviceaccounts/default")).await;
        account.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
}

async fn remove_namespace(server: &ApiServer, name: &str) {
    let path = format!("/api/v1/namespaces/{name}");
    if server.get(&path).await.is_none() {
        return;
    }
    // A namespace that is on its way out answers a second delete with a conflict.
    let _ = server.call("DELETE", &path, &Value::Null).await;
    wait_for("the namespace is gone", Duration::from_secs(90), async || match server.get(&path).await {
        None => Ok(()),
        Some(left) => Err(left["status"].to_string()),
    })
    .await;
}
