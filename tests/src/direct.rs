//! Requests on connections of which a scenario sees what a library hides: the certificate and the protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection, or any piece of an answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate as it goes over the wire.
pub type Shown = CertificateDer<'static>;

/// Whom a client trusts over TLS, and as whom it knows the server.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The authority's certificate.
    pub authority: Shown,
    /// The server's name.
    pub host: String,
}

/// How to speak to a server.
#[derive(Clone, Debug)]
pub struct Way {
    /// Its address.
    pub at: SocketAddr,
    /// Over TLS, and then whom to trust; else in clear text.
    pub trust: Option<Trust>,
    /// HTTP/2 and nothing else: agreed on over TLS, without asking in clear text. Else HTTP/1.1 and nothing else.
    pub http2: bool,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Direct {
    /// HTTP status.
    pub status: u16,
    /// The body; over HTTP/1.1 with its framing.
    pub body: String,
    /// The server's certificate, if it has shown one.
    pub certificate: Option<Shown>,
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// An open connection and the certificate that was shown on it.
type Opened = (Box<dyn Io>, Option<Shown>);

impl Way {
    /// POSTs JSON on a new connection.
    ///
    /// # Errors
    ///
    /// When there is no connection, no agreement on the protocol, or no whole answer.
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Direct> {
        self.stream(path, body, |_| true)
    }

    /// As [`Way::post`], and shows each piece of the answer's body, with its framing over HTTP/1.1, until `go_on` is false.
    ///
    /// # Errors
    ///
    /// As [`Way::post`].
    pub fn stream(&self, path: &str, body: &Value, go_on: impl FnMut(&[u8]) -> bool) -> io::Result<Direct> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (stream, certificate) = soon(self.open()).await?;
            let (status, body) = if self.http2 {
                self.by_http2(stream, path, body.to_string(), go_on).await?
            } else {
                by_http1(stream, path, &body.to_string(), go_on).await?
            };
            Ok(Direct { status, body, certificate })
        })
    }

    async fn open(&self) -> io::Result<Opened> {
        let stream = TcpStream::connect(self.at).await?;
        let Some(Trust { authority, host }) = &self.trust else { return Ok((Box::new(stream), None)) };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned());
        Ok((Box::new(stream), shown))
    }

    async fn by_http2(
        &self,
        stream: Box<dyn Io>,
        path: &str,
        body: String,
        mut go_on: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<(u16, String)> {
        let (sender, connection) = soon_h2(h2::client::handshake(stream)).await?;
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        let request =
            http::Request::post(format!("{scheme}://router{path}")).header("content-type", "application/json");
        let request = request.body(()).map_err(io::Error::other)?;
        let exchange = async {
            let mut sender = soon_h2(sender.ready()).await?;
            let (answer, mut out) = sender.send_request(request, false).map_err(io::Error::other)?;
            out.send_data(Bytes::from(body), true).map_err(io::Error::other)?;
            let answer = soon_h2(answer).await?;
            let status = answer.status().as_u16();
            let (mut pieces, mut whole) = (answer.into_body(), Vec::new());
            while let Some(piece) = soon(async { Ok(pieces.data().await) }).await? {
                let piece = piece.map_err(io::Error::other)?;
                pieces.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
                whole.extend_from_slice(&piece);
                if !go_on(&piece) {
                    break;
                }
            }
            Ok((status, String::from_utf8_lossy(&whole).into_owned()))
        };
        tokio::select! {
            done = exchange => done,
            ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
        }
    }
}

async fn by_http1(
    mut stream: Box<dyn Io>,
    path: &str,
    body: &str,
    mut go_on: impl FnMut(&[u8]) -> bool,
) -> io::Result<(u16, String)> {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: router\r\nconnection: close\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    soon(stream.write_all(request.as_bytes())).await?;
    let (mut seen, mut body_at) = (Vec::new(), None);
    loop {
        let before = seen.len();
        if soon(stream.read_buf(&mut seen)).await? == 0 {
            break;
        }
        body_at = body_at.or_else(|| Some(seen.windows(4).position(|end| end == b"\r\n\r\n")? + 4));
        if let Some(at) = body_at
            && seen.len() > at
            && !go_on(&seen[before.max(at)..])
        {
            break;
        }
    }
    let text = String::from_utf8_lossy(&seen);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let (Some(status), Some(at)) = (status, body_at) else {
        return Err(io::Error::other(format!("no answer of HTTP/1.1: {text:?}")));
    };
    Ok((status, String::from_utf8_lossy(&seen[at..]).into_owned()))
}

async fn soon<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn soon_h2<T>(work: impl Future<Output = Result<T, h2::Error>>) -> io::Result<T> {
    soon(async { work.await.map_err(io::Error::other) }).await
}

/// An authority for one scenario.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one. Panics when there is no randomness.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A Secret of the type `kubernetes.io/tls` with a new certificate for `host`, as cert-manager makes it; and the
    /// certificate.
    #[must_use]
    pub fn secret(&self, name: &str, host: &str) -> (String, Shown) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name of a host");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        let data = json!({"tls.crt": leaf.pem(), "tls.key": key.serialize_pem(), "ca.crt": self.issuer.pem()});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
            "stringData": data,
        });
        (secret.to_string(), leaf.der().clone())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The first certificate in a text. Panics when there is none.
#[must_use]
pub fn certificate(pem: &str) -> Shown {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate as PEM")
}
