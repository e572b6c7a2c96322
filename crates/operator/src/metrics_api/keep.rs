//! Keeps the metrics API reachable: its certificate in a Secret, that certificate's authority in the APIService objects, and
//! the authority of the API server's own certificate in what the server trusts.
//!
//! All of it is looked at once a minute and written only where it differs. Only the operator that leads writes; the others
//! look more often, because they must show what it has written.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use operator_core::FIELD_MANAGER;
use operator_core::metrics_api::{MetricsApi, Registration, ServiceName, VERSIONS, registration};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Identity;
use super::certificate::Serving;
use super::front_proxy::{self, FrontProxy};
use crate::call::call;
use crate::error::Error;

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How often by an operator that does not lead. When the leader has made a new certificate, the others show the old one for
/// so long.
const FOLLOW: Duration = Duration::from_secs(5);
/// How often while pools are not scaled by our figures, for example because another server has the API.
const HINDERED: Duration = Duration::from_secs(10);
/// How soon after a failure.
const AGAIN: Duration = Duration::from_secs(3);

/// Who the server is.
pub(crate) struct Keeper {
    pub(crate) reader: Client,
    pub(crate) writer: Client,
    /// Whether this operator is the one that writes.
    pub(crate) leading: watch::Receiver<bool>,
    pub(crate) clock: fn() -> Time,
    /// Namespace of the operator.
    pub(crate) namespace: String,
    /// The Service by which the API server reaches the operator.
    pub(crate) service: String,
    /// The Secret that holds the certificate.
    pub(crate) secret: String,
    /// Where the server takes its identity from.
    pub(crate) identity: watch::Sender<Option<Identity>>,
    /// Where others learn who serves the metrics API.
    pub(crate) standing: watch::Sender<MetricsApi>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{0}")]
    Cluster(#[from] Error),
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the authority of the API server's certificate cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("the certificate's Secret holds no certificate and key that can be used")]
    Unusable,
    #[error("the operator that leads has not made a certificate yet")]
    NotYet,
}

impl Keeper {
    /// Keeps looking until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut shown: Option<(Serving, FrontProxy)> = None;
        let mut leading = self.leading.clone();
        loop {
            let leads = *leading.borrow_and_update();
            let wait = match self.look(&mut shown, leads).await {
                Ok(()) if leads && self.standing.borrow().obstacle().is_some() => HINDERED,
                Ok(()) if leads => EVERY,
                Ok(()) => FOLLOW,
                Err(KeepError::NotYet) => {
                    tracing::info!("waiting for the operator that leads to make a certificate");
                    AGAIN
                }
                Err(error) => {
                    tracing::warn!(%error, "the metrics API is not as it should be");
                    AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = leading.changed() => {}
            }
        }
    }

    async fn look(&self, shown: &mut Option<(Serving, FrontProxy)>, leads: bool) -> Result<(), KeepError> {
        let (serving, proxy) = (self.serving(leads).await?, self.front_proxy().await?);
        let registered = self.register(&serving, leads).await;
        // A new certificate is shown when the API server trusts it. The first is shown at once: it is better than none.
        let serving = match (&registered, &*shown) {
            (Err(_), Some((before, _))) => before.clone(),
            _ => serving,
        };
        let now = (serving, proxy);
        if shown.as_ref() != Some(&now) {
            self.identity.send_replace(Some(identify(&now.0, &now.1)?));
            tracing::info!(secret = self.secret, "the metrics API has a new certificate or takes new callers");
            *shown = Some(now);
        }
        let standing = registered?;
        self.standing.send_if_modified(|before| {
            let new = *before != standing;
            if let Some(obstacle) = standing.obstacle().filter(|_| new) {
                tracing::warn!(obstacle, "the autoscaler does not ask this operator");
            }
            *before = standing;
            new
        });
        Ok(())
    }

    /// The certificate in the Secret; for the leader a new one when that is missing, for another name, or near its end.
    async fn serving(&self, leads: bool) -> Result<Serving, KeepError> {
        let secrets = Api::<Secret>::namespaced(self.reader.clone(), &self.namespace);
        let what = format!("read the Secret {}/{}", self.namespace, self.secret);
        let found = call(&what, secrets.get_opt(&self.secret)).await?;
        let names =
            [format!("{}.{}.svc", self.service, self.namespace), format!("{}.{}", self.service, self.namespace)];
        let Time(now) = (self.clock)();
        let stored = found.as_ref().and_then(|secret| Serving::read(secret.data.as_ref()?));
        let earlier = match stored {
            Some(stored) if !leads || stored.serves(&names[0], now) => return Ok(stored),
            None if !leads => return Err(KeepError::NotYet),
            stored => stored,
        };
        let data = Serving::issue(&names, now, earlier.as_ref())?.data();
        let what = format!("write the Secret {}/{}", self.namespace, self.secret);
        let secrets = Api::<Secret>::namespaced(self.writer.clone(), &self.namespace);
        let written = match found {
            // A certificate that does not serve is replaced whoever wrote it, for there is no other use for it. The version
            // keeps it from replacing what somebody has written since.
            Some(found) => {
                let patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version}, "data": data});
                let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                call(&what, secrets.patch(&self.secret, &by, &Patch::Merge(patch))).await?
            }
            None => {
                let secret = Secret {
                    metadata: ObjectMeta { name: Some(self.secret.clone()), ..ObjectMeta::default() },
                    type_: Some("kubernetes.io/tls".to_owned()),
                    data: Some(data),
                    ..Secret::default()
                };
                call(&what, secrets.patch(&self.secret, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(&secret)))
                    .await?
            }
        };
        tracing::info!(secret = self.secret, "made a certificate for the metrics API");
        written.data.as_ref().and_then(Serving::read).ok_or(KeepError::Unusable)
    }

    async fn front_proxy(&self) -> Result<FrontProxy, KeepError> {
        let maps = Api::<ConfigMap>::namespaced(self.reader.clone(), front_proxy::NAMESPACE);
        let what = format!("read the ConfigMap {}/{}", front_proxy::NAMESPACE, front_proxy::CONFIG_MAP);
        let found = call(&what, maps.get_opt(front_proxy::CONFIG_MAP)).await?;
        Ok(found.and_then(|map| map.data).map(|data| FrontProxy::read(&data)).unwrap_or_default())
    }

    /// Lets the API server trust the certificate, where the API is ours to serve and this operator leads. Returns who
    /// serves it.
    async fn register(&self, serving: &Serving, leads: bool) -> Result<MetricsApi, KeepError> {
        let authority = ByteString(serving.authority.clone().into_bytes());
        let ours = ServiceName { namespace: &self.namespace, name: &self.service };
        let mut versions = Vec::new();
        for version in VERSIONS {
            let name = version.api_service();
            let services = Api::<APIService>::all(self.reader.clone());
            let found = call(&format!("read the APIService {name}"), services.get_opt(&name)).await?;
            versions.push(match registration(&name, found.as_ref(), ours, &authority) {
                Registration::Leave(standing) => standing,
                Registration::Trust => {
                    if leads {
                        self.trust(&name, found.and_then(|found| found.metadata.resource_version), &authority).await?;
                    }
                    MetricsApi::Ours
                }
            });
        }
        Ok(MetricsApi::of_versions(versions))
    }

    async fn trust(&self, name: &str, version: Option<String>, authority: &ByteString) -> Result<(), KeepError> {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"caBundle": authority}});
        let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let services = Api::<APIService>::all(self.writer.clone());
        call(&format!("write the APIService {name}"), services.patch(name, &by, &Patch::Merge(patch))).await?;
        tracing::info!(name, "the API server now trusts the metrics API");
        Ok(())
    }
}

/// What the server shows and takes, from its certificate and the API servers' authority.
pub(super) fn identify(serving: &Serving, proxy: &FrontProxy) -> Result<Identity, KeepError> {
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let roots = Arc::new(proxy.roots());
    let config = if roots.is_empty() {
        tracing::warn!("the cluster publishes no authority for API servers, so nobody may ask the metrics API");
        config.with_no_client_auth()
    } else {
        // A client without a certificate may still ask whether the server is up.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated();
        config.with_client_cert_verifier(verifier.build()?)
    };
    let key = serving.key().ok_or(KeepError::Unusable)?;
    let tls = Arc::new(config.with_single_cert(serving.chain(), key)?);
    Ok(Identity { tls, callers: Arc::new(proxy.callers()) })
}

#[cfg(test)]
mod tests;
