//! Targets over TLS: only with a certificate that verifies, for the host that was named (RU-08, S23).

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use router::outbound::Outbound;
use router::settings::Settings;
use router_core::{Api, Reach, RemoteInput};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::bed::{ASK, plain, status};
use crate::remote::{World, far, keys};

struct Authority(CertificateDer<'static>, Issuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self(certificate.der().clone(), Issuer::new(params, key))
    }

    /// A provider with a certificate for this name, and how many requests reached it.
    async fn provider(&self, name: &str) -> (std::net::SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.1).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut seen = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut seen).await {
                        if seen.ends_with(b"}") {
                            seen.clear();
                            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            stream.write_all(plain("{\"secret\":true}").as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        (address, asked)
    }
}

#[tokio::test]
async fn only_a_certificate_that_verifies_gets_the_key() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cases = [(&ours, "localhost", true), (&ours, "other.example", false), (&theirs, "localhost", false)];
    for (authority, name, verifies) in cases {
        let (address, asked) = authority.provider(name).await;
        let target = RemoteInput {
            secure: true,
            host: "localhost".to_owned(),
            authority: format!("localhost:{}", address.port()),
            ..far(Api::OpenAi, address)
        };
        let outbound = Outbound::new(Reach::new(vec!["localhost".parse().unwrap()]), vec![ours.0.clone()]).unwrap();
        let bed = World::of(vec![target]).bed_as(&Settings { outbound, ..Settings::default() }, &keys("sk-1"));
        let mut client = bed.client().await;
        for round in 1..=3 {
            client.send(crate::bed::chat(ASK)).await;
            let (head, body) = client.message().await;
            assert_eq!(status(&head), if verifies { 200 } else { 502 }, "{name}: {body}");
            let want = if verifies { round } else { 0 };
            assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), want, "{name}");
        }
        let connects = bed.figure("quartermaster_router_upstream_connects_total ");
        assert!((connects - if verifies { 1.0 } else { 0.0 }).abs() < 1e-9, "one connection for all three: {connects}");
    }
}
