//! TLS towards clients: a certificate and its key, as files that are read again when they change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use x509_parser::parse_x509_certificate;

use crate::metrics::Metrics;

/// How often the files are looked at. A node brings a changed Secret to a pod within about a minute anyway.
const LOOK: Duration = Duration::from_secs(5);

/// Why a certificate and a key are not put to use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{path}: no PEM certificate in it; it must begin with that of this server")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no key.
    #[error("{path}: no PEM private key in it")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or are of a kind that cannot be used.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate and those that lead to a root, as PEM.
    pub certificate: PathBuf,
    /// The key of the first of them, as PEM.
    pub key: PathBuf,
}

/// The certificate in use, replaced as a whole. Connections that are open keep theirs. Clones are the same one.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ArcSwap<InUse>>,
    /// What it was made of at first.
    first: Arc<Pair>,
    http2: bool,
}

/// A certificate and its key, ready for use.
struct InUse {
    config: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970; 0 if it does not say so in a way that can be read.
    expires: i64,
}

/// Says nothing: what it holds is secret.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("http2", &self.http2).finish_non_exhaustive()
    }
}

/// What the files held. Compared, never shown.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads certificate and key, and offers HTTP/2 to clients if `http2`.
    ///
    /// # Errors
    ///
    /// When they cannot be read or used.
    pub fn read(files: &TlsFiles, http2: bool) -> Result<Self, TlsError> {
        let first = files.read()?;
        let config = first.config(files, http2)?;
        Ok(Self { config: Arc::new(ArcSwap::from_pointee(config)), first: Arc::new(first), http2 })
    }

    /// Makes TLS out of connections, with the certificate of this moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.load().config))
    }

    /// When the certificate in use ends, in seconds since 1970.
    fn expires(&self) -> i64 {
        self.config.load().expires
    }

    /// Puts new certificates to use for as long as it is polled. A pair that cannot be used leaves the old one in place.
    pub async fn follow(self, files: TlsFiles, metrics: Metrics) {
        let mut known = Known::Pair(Arc::clone(&self.first));
        metrics.tls_expires.set(self.expires());
        let mut turns = tokio::time::interval(LOOK);
        loop {
            turns.tick().await;
            let (tls, from) = (self.clone(), files.clone());
            let looked = tokio::task::spawn_blocking(move || tls.look(&from, &known)).await;
            let Ok((now, outcome)) = looked else { return };
            known = now;
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    metrics.tls_reloads.inc();
                    metrics.tls_expires.set(self.expires());
                    tracing::info!(certificate = %files.certificate.display(), "a new certificate is in use");
                }
                Err(error) => {
                    metrics.tls_refused.inc();
                    tracing::error!(%error, "the new certificate is not used; the old one stays");
                }
            }
        }
    }

    /// Reads the files, and puts what they hold to use if it is not what was there `last`; whether it did. What is the
    /// same as before is not judged again.
    fn look(&self, files: &TlsFiles, last: &Known) -> (Known, Result<bool, TlsError>) {
        let pair = match files.read() {
            Ok(pair) => pair,
            Err(error) => {
                let now = Known::Error(error.to_string());
                let said = now == *last;
                return (now, if said { Ok(false) } else { Err(error) });
            }
        };
        let pair = Arc::new(pair);
        let now = Known::Pair(Arc::clone(&pair));
        if now == *last {
            return (now, Ok(false));
        }
        let outcome = pair.config(files, self.http2).map(|config| {
            self.config.store(Arc::new(config));
            true
        });
        (now, outcome)
    }
}

/// What the last look found.
#[derive(PartialEq, Eq)]
enum Known {
    /// What the files held, good or not.
    Pair(Arc<Pair>),
    /// Why they could not be read.
    Error(String),
}

impl TlsFiles {
    fn read(&self) -> Result<Pair, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source });
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

impl Pair {
    fn config(&self, files: &TlsFiles, http2: bool) -> Result<InUse, TlsError> {
        let none = || TlsError::NoCertificate { path: files.certificate.clone() };
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<_, _>>().map_err(|_| none())?;
        // Clients judge by the first; those that lead to a root outlive it as a rule.
        let expires = chain.first().map(|own| not_after(own)).ok_or_else(none)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NoKey { path: files.key.clone() })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(InUse { config: Arc::new(config), expires })
    }
}

/// The end of a certificate's validity, in seconds since 1970; 0 if it cannot be read.
fn not_after(certificate: &CertificateDer<'_>) -> i64 {
    parse_x509_certificate(certificate).map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of its own and its key, as PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["router".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_new_pair_is_used_and_a_bad_one_is_not() {
        let folder = std::env::temp_dir().join(format!("router-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        let put = |certificate: &str, key: &str| {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        assert!(matches!(Tls::read(&files, true), Err(TlsError::File { .. })));
        let (first, second) = (pair(), pair());
        put(&first.0, &first.1);
        let tls = Tls::read(&files, true).unwrap();
        assert!(!format!("{tls:?}").contains("key"));
        // What is in the files, then whether it is put to use, or why not.
        let cases: [(&str, &str, Result<bool, &str>); 9] = [
            (&first.0, &first.1, Ok(false)),
            (&second.0, &second.1, Ok(true)),
            (&second.0, &second.1, Ok(false)),
            (&first.0, &second.1, Err("together")),
            (&first.0, &second.1, Ok(false)),
            ("", &second.1, Err("no PEM certificate")),
            (&second.0, "", Err("no PEM private key")),
            ("-----BEGIN CERTIFICATE-----\n!", "", Err("no PEM certificate")),
            (&first.0, &first.1, Ok(true)),
        ];
        let mut known = Known::Pair(Arc::clone(&tls.first));
        for (at, (certificate, key, want)) in cases.into_iter().enumerate() {
            put(certificate, key);
            let before = tls.config.load_full();
            let (now, outcome) = tls.look(&files, &known);
            known = now;
            match (outcome, want) {
                (Ok(used), Ok(want)) => assert_eq!(used, want, "case {at}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "case {at}: {error}");
                    assert!(Arc::ptr_eq(&before, &tls.config.load_full()), "case {at}: the old one stays");
                }
                (outcome, want) => panic!("case {at}: {outcome:?}, not {want:?}"),
            }
        }
        std::fs::remove_file(&files.key).unwrap();
        let (known, outcome) = tls.look(&files, &known);
        assert!(matches!(outcome, Err(TlsError::File { .. })));
        assert!(matches!(tls.look(&files, &known), (_, Ok(false))), "said once");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
