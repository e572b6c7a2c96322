//! How what lies outside of our pools is reached: over which TLS, and at which addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use router_core::Reach;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Finds the addresses of a host at a port.
pub type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What connections to providers and services are made with.
#[derive(Clone)]
pub struct Outbound {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) resolver: Resolver,
}

/// Why a file of certificate authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// It cannot be read, or is no PEM.
    #[error("--provider-ca-file {0}: {1}")]
    File(PathBuf, pem::Error),
    /// A certificate in it is none.
    #[error("--provider-ca-file: {0}")]
    Certificate(#[from] rustls::Error),
}

impl Outbound {
    /// Trusts in the authorities that browsers trust in, and in these.
    ///
    /// # Errors
    ///
    /// When one of these is no certificate.
    pub fn new(reach: Reach, authorities: Vec<CertificateDer<'static>>) -> Result<Self, OutboundError> {
        let mut roots = usual_roots();
        for authority in authorities {
            roots.add(authority)?;
        }
        Ok(Self::with(reach, roots))
    }

    /// The same, with the authorities of a PEM file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds something else.
    pub fn read(reach: Reach, file: &Path) -> Result<Self, OutboundError> {
        let bad = |error| OutboundError::File(file.to_owned(), error);
        let authorities = CertificateDer::pem_file_iter(file).map_err(bad)?;
        Self::new(reach, authorities.collect::<Result<_, _>>().map_err(bad)?)
    }

    /// The same, with the addresses of hosts from somewhere else than the system.
    #[must_use]
    pub fn resolved_by(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    fn with(reach: Reach, roots: RootCertStore) -> Self {
        // TLS 1.2 and 1.3 are all that the library has. Its provider is ring, the only one that is built in.
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tls: Arc::new(tls),
            reach: Arc::new(reach),
            resolver: Arc::new(|host, port| Box::pin(by_system(host, port))),
        }
    }
}

async fn by_system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn usual_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::with(Reach::default(), usual_roots())
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("reach", &self.reach).finish_non_exhaustive()
    }
}
