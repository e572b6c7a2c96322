//! Policies and pools out of a cluster. Only reads, and no Secret among what is read.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use api::POOL_LABEL;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::config::KubeConfigOptions;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Config, Resource, ResourceExt};
use rustls::crypto::ring;
use serde::de::DeserializeOwned;

use crate::Outcome;
use crate::objects::Objects;

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The objects of the kubeconfig's context of this name, or of its current one; of one namespace, or of all.
pub(crate) fn objects(context: Option<&str>, namespace: Option<&str>) -> Outcome<Objects> {
    // Only the first provider counts; that another was installed first would be as good.
    let _ = ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let read = read(context, namespace);
        tokio::time::timeout(DEADLINE, read)
            .await
            .unwrap_or_else(|_| Err(format!("the API server took more than {} seconds", DEADLINE.as_secs()).into()))
    })
}

async fn read(context: Option<&str>, namespace: Option<&str>) -> Outcome<Objects> {
    let hint = "set KUBECONFIG, or give files by --policy";
    let mut config = match context {
        None => Config::infer().await.map_err(|error| format!("no way to a cluster: {error}; {hint}"))?,
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(|error| format!("--context {context}: {error}"))?
        }
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    // Whoever waits at a prompt asks again himself.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| format!("{server} cannot be spoken to: {error}"))?;
    let mut notes = Vec::new();
    let all = ListParams::default();
    let must = |kind: &str, error: kube::Error| format!("{kind} cannot be listed at {server}: {error}");
    let policies = list(&client, namespace, &all, &mut notes).await.map_err(|e| must("RoutePolicies", e))?;
    let pools = list(&client, namespace, &all, &mut notes).await.map_err(|e| must("InferencePools", e))?;
    let slices = list::<EndpointSlice>(&client, namespace, &all.clone().labels(POOL_LABEL), &mut notes).await;
    if let Err(error) = &slices {
        notes.push(format!("which pools have ready replicas is not known: EndpointSlices cannot be listed: {error}"));
    }
    let namespaces = Api::<Namespace>::all(client).list_metadata(&all).await;
    let labels = |namespace: PartialObjectMeta<Namespace>| (namespace.name_any(), namespace.labels().clone());
    let namespaces = match namespaces {
        Ok(namespaces) => namespaces.items.into_iter().map(labels).collect(),
        Err(error) => {
            notes.push(format!(
                "pools that admit namespaces by label count as closed: Namespaces cannot be listed: {error}"
            ));
            BTreeMap::new()
        }
    };
    Ok(Objects { policies, pools, slices: slices.ok(), namespaces, notes })
}

/// All objects of a kind; one that cannot be read is noted and left out.
async fn list<K>(
    client: &Client,
    namespace: Option<&str>,
    which: &ListParams,
    notes: &mut Vec<String>,
) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<DeserializeGuard<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut all = Vec::new();
    for object in api.list(which).await?.items {
        match object.0 {
            Ok(object) => all.push(object),
            Err(bad) => notes.push(format!(
                "{} {}/{} is left out: {}",
                K::kind(&()),
                bad.metadata.namespace.as_deref().unwrap_or_default(),
                bad.metadata.name.as_deref().unwrap_or_default(),
                bad.error
            )),
        }
    }
    Ok(all)
}
