//! How what lies outside of our pools is reached: over which TLS, and at which addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use router_core::Reach;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Finds the addresses of a host at a port.
pub type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How often the file of authorities is looked at. A node brings a changed ConfigMap to a pod within about a minute anyway.
const LOOK: Duration = Duration::from_secs(5);

/// What connections to providers and services are made with. Clones share the authorities.
#[derive(Clone)]
pub struct Outbound {
    pub(crate) tls: Arc<ArcSwap<ClientConfig>>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) resolver: Resolver,
}

/// Why a file of certificate authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// It cannot be read.
    #[error("--provider-ca-file {0}: {1}")]
    File(PathBuf, io::Error),
    /// It is no PEM.
    #[error("--provider-ca-file {0}: {1}")]
    Pem(PathBuf, pem::Error),
    /// It holds no certificate.
    #[error("--provider-ca-file {0}: no PEM certificate in it; it must hold those of authorities")]
    Empty(PathBuf),
    /// A certificate in it is none.
    #[error("--provider-ca-file: {0}")]
    Certificate(#[from] rustls::Error),
}

/// What was found in the file of authorities, good or not.
type Looked = Result<Vec<u8>, String>;

impl Outbound {
    /// Trusts in the authorities that browsers trust in, and in these.
    ///
    /// # Errors
    ///
    /// When one of these is no certificate.
    pub fn new(reach: Reach, authorities: Vec<CertificateDer<'static>>) -> Result<Self, OutboundError> {
        Ok(Self::with(reach, roots(authorities)?))
    }

    /// The same, with the authorities of a PEM file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds something else.
    pub fn read(reach: Reach, file: &Path) -> Result<Self, OutboundError> {
        let text = std::fs::read(file).map_err(|error| OutboundError::File(file.to_owned(), error))?;
        Self::new(reach, authorities(file, &text)?)
    }

    /// Puts what the file of authorities holds to use whenever that changes, for as long as it is polled. What cannot be used
    /// leaves the old ones in place. Connections that are open stay.
    pub async fn follow(self, file: PathBuf) {
        let mut last: Option<Looked> = None;
        let mut turns = tokio::time::interval(LOOK);
        loop {
            turns.tick().await;
            let path = file.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read(path).map_err(|error| error.to_string()));
            let Ok(now) = read.await else { return };
            // What it held at first was read before.
            if let Some(last) = last.filter(|last| *last != now) {
                match self.look(&file, &now) {
                    Ok(()) => tracing::info!(file = %file.display(), "new authorities of providers are in use"),
                    Err(error) => {
                        tracing::error!(%error, was_read = last.is_ok(), "the new authorities of providers are not used; the old ones stay");
                    }
                }
            }
            last = Some(now);
        }
    }

    /// Puts what was found in the file to use.
    fn look(&self, file: &Path, now: &Looked) -> Result<(), OutboundError> {
        let text =
            now.as_ref().map_err(|error| OutboundError::File(file.to_owned(), io::Error::other(error.clone())))?;
        self.tls.store(Arc::new(tls(roots(authorities(file, text)?)?)));
        Ok(())
    }

    /// The same, with the addresses of hosts from somewhere else than the system.
    #[must_use]
    pub fn resolved_by(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    fn with(reach: Reach, roots: RootCertStore) -> Self {
        Self {
            tls: Arc::new(ArcSwap::from_pointee(tls(roots))),
            reach: Arc::new(reach),
            resolver: Arc::new(|host, port| Box::pin(by_system(host, port))),
        }
    }
}

async fn by_system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn tls(roots: RootCertStore) -> ClientConfig {
    // TLS 1.2 and 1.3 are all that the library has. Its provider is ring, the only one that is built in.
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls
}

/// The certificates in a file with this text.
fn authorities(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| OutboundError::Pem(file.to_owned(), error))?;
    if all.is_empty() { Err(OutboundError::Empty(file.to_owned())) } else { Ok(all) }
}

/// The usual authorities and these.
fn roots(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = usual_roots();
    for authority in authorities {
        roots.add(authority)?;
    }
    Ok(roots)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(vec!["authority".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_file_of_authorities_is_put_to_use_or_not() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = std::env::temp_dir().join(format!("router-authorities-{}.pem", std::process::id()));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases = [
            (authority() + &authority(), None),
            (String::new(), Some("no PEM certificate in it")),
            ("no PEM".to_owned(), Some("no PEM certificate in it")),
            (broken.to_owned(), Some("--provider-ca-file")),
        ];
        for (text, problem) in cases {
            std::fs::write(&file, &text).unwrap();
            let told = Outbound::read(Reach::default(), &file).err().map(|error| error.to_string());
            assert_eq!(told.is_none(), problem.is_none(), "{text}: {told:?}");
            assert!(told.is_none_or(|told| told.contains(problem.unwrap())), "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        let gone = Outbound::read(Reach::default(), &file).unwrap_err().to_string();
        assert!(gone.contains(&file.display().to_string()), "{gone}");
        // Later ones are used by all clones, and bad ones change nothing.
        let outbound = Outbound::default();
        let clone = outbound.clone();
        let before = clone.tls.load_full();
        assert!(
            outbound.look(&file, &Ok(Vec::new())).is_err() && outbound.look(&file, &Err("gone".to_owned())).is_err()
        );
        assert!(Arc::ptr_eq(&before, &clone.tls.load_full()), "the old ones stay");
        outbound.look(&file, &Ok(authority().into_bytes())).unwrap();
        assert!(!Arc::ptr_eq(&before, &clone.tls.load_full()), "the new ones are in use");
    }
}
