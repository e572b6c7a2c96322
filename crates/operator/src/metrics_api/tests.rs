use super::certificate::Serving;
use super::front_proxy::FrontProxy;
use super::*;
use k8s_openapi::jiff::Timestamp;
use operator_core::load::{Replica, Sample};
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const NAME: &str = "operator.system.svc";
const POOL: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml/inferencepools.quartermaster.dev";

type Authority = CertifiedIssuer<'static, KeyPair>;
type Proof = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn proof(by: &Authority, name: &str) -> Proof {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, by).unwrap().der().clone();
    (der, PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap())
}

fn clock() -> Time {
    Time(Timestamp::from_second(1_800_000_000).unwrap())
}

/// A server that takes callers named `apiserver` with certificates by `callers`, and knows that ml/llama has 7 requests.
async fn start(callers: &Authority, stop: &CancellationToken) -> (SocketAddr, String, tokio::task::JoinHandle<()>) {
    let serving = Serving::issue(&[NAME.to_owned()], Timestamp::now()).unwrap();
    let proxy = FrontProxy { authority: callers.pem(), names: vec!["apiserver".to_owned()] };
    let identity = keep::identify(&serving, &proxy).unwrap();
    let loads = Arc::new(Loads::default());
    let replica = |pool: &str, uid: &str| Replica {
        namespace: "ml".to_owned(),
        pool: pool.to_owned(),
        name: uid.to_owned(),
        uid: uid.to_owned(),
        ip: String::new(),
    };
    loads.keep(&[replica("llama", "a"), replica("silent", "b")]);
    loads.put("a".to_owned(), Sample { running: 3, waiting: 4 }, Instant::now());
    let pages = Arc::new(Pages { loads, metrics: Metrics::new(&Registry::new()).unwrap(), clock });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (_, identity) = watch::channel(Some(identity));
    let server = tokio::spawn(serve(listener, identity, pages, stop.clone()));
    (at, serving.authority, server)
}

/// The status code and body of an answer, or `None` when the connection was refused.
async fn get(at: SocketAddr, trust: &str, proof: Option<Proof>, path: &str) -> Option<(u16, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trust.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match proof {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[tokio::test]
async fn answers_the_api_server_and_nobody_else() {
    let (callers, others, stop) = (authority(), authority(), CancellationToken::new());
    let (at, trust, server) = start(&callers, &stop).await;
    let check = async |proof: Option<Proof>, path: &str, want: Option<u16>, holds: &str| {
        let got = get(at, &trust, proof, path).await;
        assert_eq!(got.as_ref().map(|(code, _)| *code), want, "{path}: {got:?}");
        assert!(got.is_none_or(|(_, body)| body.contains(holds)), "{path}");
    };
    let known = || Some(proof(&callers, "apiserver"));
    check(known(), "/apis/custom.metrics.k8s.io/v1beta2", Some(200), "APIResourceList").await;
    check(known(), &format!("{POOL}/llama/vllm_inflight_requests"), Some(200), "\"value\":\"7\"").await;
    check(known(), &format!("{POOL}/silent/vllm_inflight_requests"), Some(404), "replica b has not told").await;
    check(known(), &format!("{POOL}/gone/vllm_inflight_requests"), Some(404), "no replica of the pool is ready").await;
    check(known(), "/openapi/v2", Some(404), "Status").await;

    check(None, "/healthz", Some(200), "ok").await;
    check(None, "/apis", Some(401), "Unauthorized").await;
    check(Some(proof(&callers, "kubelet")), "/apis", Some(401), "Unauthorized").await;
    check(Some(proof(&others, "apiserver")), "/apis", None, "").await;

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_end() {
    let stop = CancellationToken::new();
    let (at, _, server) = start(&authority(), &stop).await;
    let _silent = TcpStream::connect(at).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
}
