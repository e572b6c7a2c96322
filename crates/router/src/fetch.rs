//! Small documents that are fetched from elsewhere: over verified TLS, from addresses that may be reached, without following
//! redirects, and of a bounded size.

use std::io;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use crate::outbound::Outbound;
use crate::upstream::{DialError, Place, reach};

/// What documents are: JSON, and sets of keys, which have a type of their own. API servers refuse to show them as another one.
const ACCEPTED: &str = "application/jwk-set+json, application/json, */*";
/// Most bytes of a document.
const MOST: usize = 256 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It is not a URL that can be fetched.
    #[error("{0:?} is no URL of the form https://HOST/PATH")]
    Url(String),
    /// There is no connection.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// HTTP failed.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is another one than the document.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The document broke off, or is too long.
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// It is not what it should be.
    #[error("{0}")]
    Content(String),
}

/// The document at `url`, which must be there by `until`.
pub(crate) async fn fetch(url: &str, outbound: &Outbound, until: Instant) -> Result<Bytes, FetchError> {
    timeout_at(until, get(url, outbound)).await.unwrap_or(Err(FetchError::Late))
}

async fn get(url: &str, outbound: &Outbound) -> Result<Bytes, FetchError> {
    let bad = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(bad()),
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
    // The brackets of an IPv6 address belong to the URL only.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let place = Place { host: &host, port, secure, service: false };
    let stream = reach(&place, outbound).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, ACCEPTED)
        .body(Empty::<Bytes>::new())
        .map_err(|_| bad())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(FetchError::Body)?;
        Ok(body.to_bytes())
    };
    // The connection is driven beside; how it ends is seen by who asks.
    let driving = async {
        let _ = connection.await;
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        document = asking => document,
        _ = driving => Err(FetchError::Late),
    }
}
