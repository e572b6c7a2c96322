use super::certificate::Serving;
use super::front_proxy::FrontProxy;
use super::*;
use crate::metrics::Metrics;
use crate::scrape::Loads;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{reflector, watcher};
use operator_core::load::{Sample, replica};
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const NAME: &str = "operator.system.svc";
const ML: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml";
const POOL: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml/inferencepools.quartermaster.dev";

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;
pub(super) type Proof = (CertificateDer<'static>, PrivateKeyDer<'static>);

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn proof(by: &Authority, name: &str) -> Proof {
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

/// A store that holds these objects.
fn store<K>(objects: impl IntoIterator<Item = Value>) -> reflector::Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + 'static,
{
    let mut writer = Writer::<K>::default();
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(object).unwrap()));
    }
    writer.as_reader()
}

fn pod(pool: &str, name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"namespace": "ml", "name": name, "uid": name, "labels": {"quartermaster.dev/pool": pool}},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// Pools: `llama` has two replicas with 7 and 2 requests and one that is starting, `half` has a silent one beside one that
/// answers, `silent` has only that, and `empty` has none.
pub(super) fn pages() -> Pages {
    let pool = |name: &str| {
        json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool",
            "metadata": {"namespace": "ml", "name": name, "labels": {"team": if name == "llama" { "a" } else { "b" }}},
        })
    };
    let pods = [
        pod("llama", "l1", "True"),
        pod("llama", "l2", "True"),
        pod("llama", "l3", "False"),
        pod("half", "h1", "True"),
        pod("half", "h2", "True"),
        pod("silent", "s1", "True"),
    ];
    let loads = Loads::default();
    let ready = pods.iter().filter_map(|pod| replica(&serde_json::from_value(pod.clone()).unwrap()));
    loads.keep(&ready.collect::<Vec<_>>());
    for (pod, running, waiting, cache) in [("l1", 3, 4, 500), ("l2", 2, 0, 375), ("h1", 1, 0, 0)] {
        let sample = Sample { running, waiting, cache_millis: (cache > 0).then_some(cache) };
        loads.put(pod.to_owned(), sample, Instant::now());
    }
    Pages {
        loads: Arc::new(loads),
        pods: store::<Pod>(pods),
        pools: store::<crate::guarded::GuardedPool>(["llama", "half", "silent", "empty"].map(pool)),
        metrics: Metrics::new(&Registry::new()).unwrap(),
        clock,
    }
}

#[test]
fn tells_what_is_known_and_never_a_zero_for_what_is_not() {
    let pages = pages();
    let check = |path: &str, want: Result<&[&str], &str>| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (code, body) = pages.answer(&format!("{ML}/{path}"), query, Instant::now());
        let found = |body: &Value| -> Vec<String> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let items = body["items"].as_array().unwrap();
            items.iter().map(|item| text(&item["describedObject"]["name"]) + "=" + &text(&item["value"])).collect()
        };
        match want {
            Ok(items) => {
                assert_eq!((code, found(&body)), (200, items.iter().map(|&s| s.to_owned()).collect()), "{path}");
            }
            Err(message) => {
                assert_eq!(code, 404, "{path}: {body}");
                assert!(body["message"].as_str().unwrap().contains(message), "{path}: {body}");
            }
        }
    };
    let pool = "inferencepools.quartermaster.dev";
    check(&format!("{pool}/llama/vllm_inflight_requests"), Ok(&["llama=9"]));
    check(&format!("{pool}/llama/vllm_requests_running"), Ok(&["llama=5"]));
    check(&format!("{pool}/llama/vllm_requests_waiting"), Ok(&["llama=4"]));
    check(&format!("{pool}/llama/vllm_kv_cache_usage"), Ok(&["llama=437m"]));
    check(&format!("{pool}/half/vllm_inflight_requests"), Err("replica h2 has not told its load yet"));
    check(&format!("{pool}/empty/vllm_inflight_requests"), Err("no replica of the pool is ready"));
    check(&format!("{pool}/gone/vllm_inflight_requests"), Err("there is no such pool"));
    check(&format!("{pool}/llama/cpu"), Err("there is no metric \"cpu\""));
    check(&format!("{pool}/*/vllm_inflight_requests"), Ok(&["llama=9"]));
    check(&format!("{pool}/*/vllm_inflight_requests?labelSelector=team%3Da"), Ok(&["llama=9"]));
    check(&format!("{pool}/*/vllm_inflight_requests?labelSelector=team%3Db"), Err("no replica of the pool is ready"));
    check(&format!("{pool}/*/vllm_inflight_requests?labelSelector=team%3Dc"), Err("the selector takes no"));

    check("pods/l1/vllm_inflight_requests", Ok(&["l1=7"]));
    check("pods/l1/vllm_kv_cache_usage", Ok(&["l1=500m"]));
    check("pods/l3/vllm_inflight_requests", Err("it is not ready"));
    check("pods/h1/vllm_inflight_requests", Ok(&["h1=1"]));
    check("pods/h1/vllm_kv_cache_usage", Err("does not tell vllm_kv_cache_usage"));
    check("pods/s1/vllm_inflight_requests", Err("replica s1 has not told its load yet"));
    check("pods/other/vllm_inflight_requests", Err("there is no such pod"));
    let of = |pool: &str| format!("pods/*/vllm_inflight_requests?labelSelector=quartermaster.dev%2Fpool%3D{pool}");
    check(&of("llama"), Ok(&["l1=7", "l2=2"]));
    check(&of("half"), Ok(&["h1=1"]));
    check(&of("silent"), Err("replica s1 has not told its load yet"));
    let (code, body) =
        pages.answer(&format!("{ML}/pods/*/vllm_inflight_requests"), "metricLabelSelector=a%3D1", Instant::now());
    assert_eq!((code, body["reason"].as_str()), (400, Some("BadRequest")));
}

/// A server that takes callers named `apiserver` with certificates by `callers`.
async fn start(callers: &Authority, stop: &CancellationToken) -> (SocketAddr, String, tokio::task::JoinHandle<()>) {
    let serving = Serving::issue(&[NAME.to_owned()], Timestamp::now(), None).unwrap();
    let proxy = FrontProxy { authority: callers.pem(), names: vec!["apiserver".to_owned()] };
    let identity = keep::identify(&serving, &proxy).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (_, identity) = watch::channel(Some(identity));
    let server = tokio::spawn(serve(listener, identity, Arc::new(pages()), stop.clone()));
    (at, serving.authority, server)
}

/// The status code and body of an answer, or `None` when the connection was refused.
pub(super) async fn get(
    at: SocketAddr,
    name: &'static str,
    trust: &str,
    proof: Option<Proof>,
    path: &str,
) -> Option<(u16, String)> {
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
    let server = ServerName::try_from(name).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await.ok()?;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
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
        let got = get(at, NAME, &trust, proof, path).await;
        assert_eq!(got.as_ref().map(|(code, _)| *code), want, "{path}: {got:?}");
        assert!(got.is_none_or(|(_, body)| body.contains(holds)), "{path}");
    };
    let known = || Some(proof(&callers, "apiserver"));
    check(known(), "/apis/custom.metrics.k8s.io/v1beta2", Some(200), "APIResourceList").await;
    check(known(), &format!("{POOL}/llama/vllm_inflight_requests"), Some(200), "\"value\":\"9\"").await;
    check(known(), &format!("{POOL}/silent/vllm_inflight_requests"), Some(404), "replica s1 has not told").await;
    check(known(), &format!("{POOL}/%2A/vllm_inflight_requests"), Some(200), "\"value\":\"9\"").await;
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
