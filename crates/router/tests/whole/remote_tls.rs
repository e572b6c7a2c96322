//! Targets over TLS: only with a certificate that verifies, for the host that was named (RU-08, S23).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use router::outbound::Outbound;
use router::settings::Settings;
use router_core::{Api, BadTls, NoDial, Reach, RemoteInput};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::bed::{ASK, Bed, Engine, Wire, calm, chat, plain, soon, status, until};
use crate::remote::{World, far, keys};

/// What no wire may show before TLS is agreed on.
const KEY: &str = "sk-canary-0123456789";

struct Authority(CertificateDer<'static>, Issuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self(certificate.der().clone(), Issuer::new(params, key))
    }

    /// A certificate for this name, changed by `change`, with what takes connections by it.
    fn acceptor(&self, name: &str, change: fn(&mut CertificateParams)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.1).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A certificate that vouches for itself.
fn self_signed(name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    acceptor(certificate.der().clone(), &key)
}

/// A provider over TLS.
struct Provider {
    address: SocketAddr,
    /// How many connections were made to it, and how many requests reached it.
    accepted: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    /// Ends all connections that there are.
    end: watch::Sender<()>,
}

impl Provider {
    async fn new(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [accepted, asked] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let acceptor = Arc::new(Mutex::new(acceptor));
        let (end, ended) = watch::channel(());
        let (all, count, current) = (Arc::clone(&accepted), Arc::clone(&asked), Arc::clone(&acceptor));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                all.fetch_add(1, Ordering::SeqCst);
                let (acceptor, count, mut ended) = (current.lock().unwrap().clone(), Arc::clone(&count), ended.clone());
                ended.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut seen = Vec::new();
                    loop {
                        tokio::select! {
                            _ = ended.changed() => return,
                            Ok(1..) = stream.read_buf(&mut seen) => {}
                            else => return,
                        }
                        if seen.ends_with(b"}") {
                            seen.clear();
                            count.fetch_add(1, Ordering::SeqCst);
                            stream.write_all(plain("{\"secret\":true,\"choices\":[{}]}").as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { address, accepted, asked, acceptor, end }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn target(address: SocketAddr) -> RemoteInput {
    let authority = format!("localhost:{}", address.port());
    RemoteInput { secure: true, host: "localhost".to_owned(), authority, ..far(Api::OpenAi, address) }
}

/// A router that trusts in this authority, and in no other.
fn bed(world: &World, authority: &Authority) -> Bed {
    let reach = Reach::new(vec!["localhost".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let outbound = Outbound::new(reach, vec![authority.0.clone()]).unwrap();
    world.bed_as(&Settings { outbound, ..calm() }, &keys(KEY))
}

async fn ask(bed: &Bed) -> (u16, String) {
    let (head, body) = bed.asking(ASK).await.message().await;
    (status(&head), body)
}

#[tokio::test]
async fn only_a_certificate_that_verifies_gets_the_key() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let same = |_: &mut CertificateParams| {};
    let expired = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    };
    let early = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    };
    let spare = Engine::answering(plain("spare")).await;
    for (name, acceptor, words) in [
        ("a right one", ours.acceptor("localhost", same), None),
        ("for another host", ours.acceptor("other.example", same), Some("its certificate is for another host")),
        ("by another authority", theirs.acceptor("localhost", same), Some("nobody whom this router trusts")),
        ("by itself", self_signed("localhost"), Some("nobody whom this router trusts")),
        ("expired", ours.acceptor("localhost", expired), Some("its certificate has expired")),
        ("of tomorrow", ours.acceptor("localhost", early), Some("its certificate is not valid yet")),
    ] {
        let provider = Provider::new(acceptor).await;
        let alone = bed(&World::of(vec![target(provider.address)]), &ours);
        let mut client = alone.client().await;
        for round in 1..=3 {
            client.send(chat(ASK)).await;
            let (head, body) = client.message().await;
            assert_eq!(status(&head), if words.is_some() { 502 } else { 200 }, "{name}: {body}");
            assert_eq!(provider.asked(), if words.is_some() { 0 } else { round }, "{name}");
            if let Some(words) = words {
                assert!(body.contains(words) && body.contains("\"upstream_tls\""), "{name}: {body}");
            }
        }
        let connects = alone.figure("quartermaster_router_upstream_connects_total ");
        let made = if words.is_some() { 0.0 } else { 1.0 };
        assert!((connects - made).abs() < 1e-9, "{name}: one connection for all three: {connects}");
        // Somebody else answers in its place.
        let other = RemoteInput { secret: None, ..far(Api::OpenAiCompatible, spare.address) };
        let both = bed(&World::of(vec![target(provider.address), other]), &ours);
        let (code, body) = ask(&both).await;
        assert_eq!((code, body == "spare"), (200, words.is_some()), "{name}: {body}");
    }
}

/// RU-08: who it is does not change within a second, so nothing is tried again; five times in a row, and the target is left alone.
#[tokio::test]
async fn a_certificate_that_does_not_verify_is_not_tried_again() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let provider = Provider::new(theirs.acceptor("localhost", |_| {})).await;
    let mut world = World::of(vec![target(provider.address)]);
    world.resilience.attempts = 3;
    let bed = bed(&world, &ours);
    for round in 1..=5 {
        let (code, body) = ask(&bed).await;
        assert!(code == 502 && body.contains("upstream_tls"), "{code} {body}");
        assert_eq!(provider.accepted.load(Ordering::SeqCst), round);
    }
    let why = r#"quartermaster_router_unreached_total{policy="ml/route",pool="far-0",reason="certificate_untrusted"}"#;
    assert!((bed.figure(why) - 5.0).abs() < 1e-9, "{}", bed.figure(why));
    let told = bed.live.load().table.policies()[0].targets[0].remote().and_then(|remote| remote.unreached.why());
    assert_eq!(told, Some(NoDial::Tls(BadTls::Untrusted)));
    let (code, body) = ask(&bed).await;
    assert!(code == 503 && body.contains("upstream_resting"), "{code} {body}");
    assert_eq!(provider.accepted.load(Ordering::SeqCst), 5);
}

/// Whatever stands at the port instead of TLS that is still safe: nothing of the request is shown to it, and after five times it is
/// left alone.
#[tokio::test]
async fn what_is_no_safe_tls_is_shown_nothing() {
    // ServerHello of TLS 1.0: version, random, no session, a cipher, no compression.
    let mut old = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 0x2f, 0]);
    let alert = vec![0x15, 3, 1, 0, 2, 2, 70];
    let cases: [(&str, Option<Vec<u8>>, bool, &str); 6] = [
        (
            "clear text",
            Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()),
            false,
            "does not speak TLS",
        ),
        ("TLS 1.0", Some(old), false, "no version of TLS that is still safe"),
        ("an alert", Some(alert), false, "no version of TLS that is still safe"),
        ("an end", Some(Vec::new()), false, "broke off while TLS was agreed on"),
        ("a reset", Some(Vec::new()), true, "broke off while TLS was agreed on"),
        ("a stall", None, false, "did not take a connection in time"),
    ];
    let authority = Authority::new();
    for (name, answer, reset, words) in cases {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let engine = Engine::new(move |_, mut wire: Wire| {
            let (tell, answer) = (tell.clone(), answer.clone());
            async move {
                // The length of the hello stands in its record.
                let head = wire.read_exactly(5).await;
                let hello = wire.read_exactly(usize::from(u16::from_be_bytes([head[3], head[4]]))).await;
                match answer {
                    Some(answer) => wire.send(answer).await,
                    None => {
                        wire.stream.read_to_end(&mut Vec::new()).await.unwrap_or_default();
                    }
                }
                if reset {
                    wire.reset();
                    tell.send(hello).unwrap();
                    return;
                }
                let mut more = hello;
                let _ = tokio::time::timeout(Duration::from_millis(50), wire.stream.read_to_end(&mut more)).await;
                tell.send(more).unwrap();
            }
        })
        .await;
        let mut world = World::of(vec![target(engine.address)]);
        world.resilience.connect = Some(Duration::from_millis(if name == "a stall" { 200 } else { 20_000 }));
        let bed = bed(&world, &authority);
        for _ in 0..5 {
            let (code, body) = ask(&bed).await;
            assert!(code == 502 && body.contains(words), "{name}: {code} {body}");
            let seen = soon(told.recv()).await.unwrap();
            let shows = |text: &str| seen.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!shows("canary") && !shows("POST"), "{name}");
        }
        let (code, body) = ask(&bed).await;
        assert!(code == 503 && body.contains("upstream_resting"), "{name}: {code} {body}");
        assert_eq!(engine.connections(), 5, "{name}");
        let late = r#"quartermaster_router_timeouts_total{policy="ml/route",pool="far-0",timeout="connect"}"#;
        assert_eq!(bed.figure(late) > 4.5, name == "a stall", "{name}");
    }
}

/// A certificate counts when a connection is made. Those that are kept go on; the next new one is judged.
#[tokio::test]
async fn a_certificate_that_turns_bad_is_found_with_the_next_connection() {
    let ours = Authority::new();
    let provider = Provider::new(ours.acceptor("localhost", |_| {})).await;
    let bed = bed(&World::of(vec![target(provider.address)]), &ours);
    assert_eq!(ask(&bed).await.0, 200);
    *provider.acceptor.lock().unwrap() = self_signed("localhost");
    assert_eq!(ask(&bed).await.0, 200);
    assert_eq!(provider.asked(), 2);
    provider.end.send(()).unwrap();
    until("the kept connection is gone", || provider.end.receiver_count() == 1).await;
    let (code, body) = ask(&bed).await;
    assert!(code == 502 && body.contains("upstream_tls"), "{code} {body}");
    assert_eq!(provider.asked(), 2);
    // It is set right, and is used again at once.
    *provider.acceptor.lock().unwrap() = ours.acceptor("localhost", |_| {});
    assert_eq!(ask(&bed).await.0, 200);
}
