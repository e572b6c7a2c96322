//! TLS towards clients.

use std::sync::Arc;
use std::time::Duration;

use router::settings::Settings;
use router::tls::{Tls, TlsFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::{ASK, Bed, Engine, STREAM, calm, chat, chunk, plain, soon, until};

/// A folder with a certificate and its key, removed when dropped.
struct Pair {
    files: TlsFiles,
    folder: std::path::PathBuf,
}

impl Pair {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("router-whole-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        Self { files, folder }
    }

    /// Puts a new pair in place; its certificate.
    fn renew(&self) -> CertificateDer<'static> {
        self.renew_until(2090)
    }

    /// The same for one that ends with the first second of this year.
    fn renew_until(&self, year: i32) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(vec!["router".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(&self.files.key, key.serialize_pem()).unwrap();
        std::fs::write(&self.files.certificate, made.pem()).unwrap();
        CertificateDer::from_pem_slice(made.pem().as_bytes()).unwrap()
    }

    fn settings(&self, http2: bool) -> Settings {
        Settings { tls: Some(Tls::read(&self.files, http2).unwrap()), http2, ..calm() }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn connect(
    bed: &Bed,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(bed.workers.address()).await?;
    let name = ServerName::try_from("router").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, body: &str, end: &str) -> String {
    soon(stream.write_all(chat(body).as_bytes())).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let count = soon(stream.read_buf(&mut seen)).await.unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn answers_pass_under_tls() {
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(3 << 20));
    let engine = Engine::new(|_, mut wire| async move {
        while let Some((_, body)) = wire.next_message().await {
            if body == ASK {
                wire.send(format!("{STREAM}{}0\r\n\r\n", chunk("data: [DONE]\n\n"))).await;
            } else {
                wire.send(plain(&body)).await;
            }
        }
    })
    .await;
    let pair = Pair::new("pass");
    let trusted = pair.renew();
    let bed = Bed::with(&pair.settings(false), &[engine.address]);
    let mut stream = connect(&bed, &trusted, "http/1.1").await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut stream, ASK, "0\r\n\r\n").await.contains("data: [DONE]\n\n"));
        assert!(ask(&mut stream, &long, "x\"}").await.ends_with(&long));
    }
    assert!(connect(&bed, &trusted, "h2").await.is_err(), "nothing else was agreed on");
}

#[tokio::test]
async fn http2_is_agreed_on() {
    let engine = Engine::answering(plain("{}")).await;
    let pair = Pair::new("http2");
    let trusted = pair.renew();
    let bed = Bed::with(&pair.settings(true), &[engine.address]);
    let stream = connect(&bed, &trusted, "h2").await.unwrap();
    let (sender, connection) = soon(h2::client::handshake(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = soon(sender.ready()).await.unwrap();
    let request = http::Request::post("https://router/v1/completions").body(()).unwrap();
    let (answer, mut out) = sender.send_request(request, false).unwrap();
    out.send_data(ASK.into(), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    connection.abort();
    let mut stream = connect(&bed, &trusted, "http/1.1").await.unwrap();
    assert!(ask(&mut stream, ASK, "{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_new_certificate_is_used_and_drops_nobody() {
    let engine = Engine::answering(plain("{}")).await;
    let pair = Pair::new("renew");
    let first = pair.renew();
    let settings = pair.settings(false);
    let bed = Bed::with(&settings, &[engine.address]);
    let following = tokio::spawn(settings.tls.clone().unwrap().follow(pair.files.clone(), bed.metrics.clone()));
    let mut before = connect(&bed, &first, "http/1.1").await.unwrap();
    let ends = "quartermaster_router_tls_certificate_expiry_timestamp_seconds ";
    // The first second of 2090, then that of 2080.
    until("when it ends is told", || (bed.figure(ends) - 3_786_912_000.0).abs() < 0.5).await;
    let second = pair.renew_until(2080);
    until("the new certificate is in use", || bed.figure("quartermaster_router_tls_reloads_total ") > 0.5).await;
    until("when that ends is told", || (bed.figure(ends) - 3_471_292_800.0).abs() < 0.5).await;
    assert!(connect(&bed, &first, "http/1.1").await.is_err());
    assert!(connect(&bed, &second, "http/1.1").await.is_ok());
    assert!(ask(&mut before, ASK, "{}").await.starts_with("HTTP/1.1 200"));
    // Half a pair is counted and not used.
    std::fs::write(&pair.files.key, "no key").unwrap();
    until("the bad one is counted", || bed.figure("quartermaster_router_tls_refused_total ") > 0.5).await;
    assert!(connect(&bed, &second, "http/1.1").await.is_ok());
    following.abort();
}

#[tokio::test]
async fn who_does_not_speak_tls_is_closed() {
    let pair = Pair::new("silent");
    pair.renew();
    let settings = Settings { opening_timeout: Duration::from_millis(200), ..pair.settings(true) };
    let bed = Bed::with(&settings, &[]);
    for (sent, name) in
        [("", "tls_timeout"), ("\x16\x03\x01", "tls_timeout"), ("GET / HTTP/1.1\r\n\r\n", "tls_handshake")]
    {
        let counted = format!(r#"quartermaster_router_closed_connections_total{{reason="{name}"}}"#);
        let before = bed.figure(&counted);
        let mut client = bed.client().await;
        client.send(sent).await;
        let said = client.read_all().await;
        assert!(!said.contains("HTTP"), "{said:?}");
        until(name, || bed.figure(&counted) > before + 0.5).await;
    }
}
