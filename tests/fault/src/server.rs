//! The API server as its administrator reaches it: what the proxy stands before, and what the harness asks directly.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as SendError};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use serde_json::Value;

/// How long the API server may take to answer the harness.
const DEADLINE: Duration = Duration::from_secs(20);

/// A way to the API server. Clones share their connections.
#[derive(Clone)]
pub struct Server {
    base: Uri,
    with_certificate: Upstream,
    with_token: Upstream,
}

type Upstream = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why a kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Unusable {
    #[error("the kubeconfig cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("the kubeconfig is not YAML: {0}")]
    Yaml(#[from] serde_saphyr::Error),
    #[error("the kubeconfig lacks {0}: it must name one cluster and have the certificates in it")]
    Lacks(&'static str),
    #[error("the kubeconfig's certificates cannot be read: {0}")]
    Pem(#[from] pem::Error),
    #[error("the kubeconfig's certificates are refused: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Failure {
    #[error("{what}: {source}")]
    Send { what: String, source: SendError },
    #[error("{what}: the answer broke off: {source}")]
    Read { what: String, source: hyper::Error },
    #[error("{what}: no answer within {DEADLINE:?}")]
    Late { what: String },
    #[error("{what}: {code}: {message}")]
    Refused { what: String, code: u16, message: String },
}

impl Failure {
    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

impl Server {
    /// The API server that the text of a kubeconfig leads to.
    ///
    /// # Errors
    /// When it is not one as tests/cluster and kind write them: one cluster, and certificates in the text.
    pub fn of(kubeconfig: &str) -> Result<Self, Unusable> {
        let text: Value = serde_saphyr::from_str(kubeconfig)?;
        let get = |path: &str, what| text.pointer(path).and_then(Value::as_str).ok_or(Unusable::Lacks(what));
        let data =
            |path: &str, what| get(path, what).and_then(|it| BASE64.decode(it).map_err(|_| Unusable::Lacks(what)));
        let base = get("/clusters/0/cluster/server", "a server")?;
        let base = base.parse().map_err(|_| Unusable::Lacks("a server's URL"))?;
        let authority = data("/clusters/0/cluster/certificate-authority-data", "an authority")?;
        let chain = data("/users/0/user/client-certificate-data", "a client certificate")?;
        let key = data("/users/0/user/client-key-data", "a client's key")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate?)?;
        }
        let roots = Arc::new(roots);
        let builder = || rustls::ClientConfig::builder().with_root_certificates(Arc::clone(&roots));
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
        let known = builder().with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
        let anonymous = builder().with_no_client_auth();
        Ok(Self { base, with_certificate: client(known), with_token: client(anonymous) })
    }

    /// Sends a request whose URI is only a path. Whoever brings a token is known by it alone.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let mut uri = self.base.clone().into_parts();
        uri.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        let by_token = request.headers().contains_key(AUTHORIZATION);
        let client = if by_token { &self.with_token } else { &self.with_certificate };
        client.request(request).await
    }

    /// Asks as the administrator, and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn ask(&self, method: Method, path: &str, kind: &'static str, body: &Value) -> Result<Value, Failure> {
        let what = format!("{method} {path}");
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse::<PathAndQuery>().map(Uri::from).unwrap_or_default();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let answered = tokio::time::timeout(DEADLINE, async {
            let answer = self.send(request).await.map_err(|source| Failure::Send { what: what.clone(), source })?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|source| Failure::Read { what: what.clone(), source })?;
            Ok((head.status, body.to_bytes()))
        });
        let (status, body) = answered.await.map_err(|_| Failure::Late { what: what.clone() })??;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let message =
            value["message"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        Err(Failure::Refused { what, code: status.as_u16(), message })
    }
}

fn client(mut config: rustls::ClientConfig) -> Upstream {
    config.alpn_protocols.clear();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}
