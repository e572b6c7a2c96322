//! What the router takes for a request, beside what hyper's server and nginx take for one (RC-04). The table with all
//! verdicts is docs/framing.md.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{Bed, Engine, Wire, plain, soon};

/// How long a server may think. Only those that wait for more take so long.
const THINKING: Duration = Duration::from_secs(4);

const STRICT: &str = "two readers could end it in two places";
const LINE: &str = "a line end that others do not see as one";
const NOT_OURS: &str = "no client of an inference API sends it";
const ROUTED: &str = "parsed alike; what it asks for is judged later";

/// A name, the request, and why our verdict is not that of both others where it is not.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let post = |headers: &str, body: &str| format!("POST /v1/completions HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}");
    let get = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n");
    let model = r#"{"model":"m"}"#;
    let chunked = "transfer-encoding: chunked\r\n";
    let whole = "d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n";
    let many = "a: b\r\n".repeat(120);
    let models = "GET /v1/models HTTP/1.1";
    let host = "host: a\r\n";
    vec![
        ("a length", post("content-length: 13\r\n", model), ""),
        ("chunks", post(chunked, whole), ""),
        ("no body", get(models, host), ""),
        ("two equal lengths", post("content-length: 13\r\ncontent-length: 13\r\n", model), STRICT),
        ("two different lengths", post("content-length: 13\r\ncontent-length: 3\r\n", model), ""),
        ("a list of lengths", post("content-length: 13, 13\r\n", model), ""),
        ("a length with a plus", post("content-length: +13\r\n", model), ""),
        ("a length with a minus", post("content-length: -13\r\n", model), ""),
        ("a hexadecimal length", post("content-length: 0xd\r\n", model), ""),
        ("an empty length", post("content-length:\r\n", ""), ""),
        ("a length of 20 digits", post("content-length: 99999999999999999999\r\n", model), ""),
        ("a length with zeros before it", post("content-length: 00013\r\n", model), ""),
        ("a length and chunks", post(&format!("content-length: 13\r\n{chunked}"), whole), STRICT),
        ("chunks and a length", post(&format!("{chunked}content-length: 13\r\n"), whole), STRICT),
        ("chunked in capitals", post("Transfer-Encoding: CHUNKED\r\n", whole), ""),
        ("chunked twice in one line", post("transfer-encoding: chunked, chunked\r\n", whole), STRICT),
        ("chunked twice in two lines", post(&format!("{chunked}{chunked}"), whole), STRICT),
        ("gzip, then chunked", post("transfer-encoding: gzip, chunked\r\n", whole), STRICT),
        ("chunked, then gzip", post("transfer-encoding: chunked, gzip\r\n", whole), ""),
        ("an unknown coding", post("transfer-encoding: x\r\n", whole), ""),
        ("identity", post("transfer-encoding: identity\r\ncontent-length: 13\r\n", model), ""),
        ("chunked with a parameter", post("transfer-encoding: chunked;q=1\r\n", whole), ""),
        ("chunked in quotes", post("transfer-encoding: \"chunked\"\r\n", whole), ""),
        ("chunked after a vertical tab", post("transfer-encoding: \u{b}chunked\r\n", whole), ""),
        ("space before the colon of a coding", post("transfer-encoding : chunked\r\n", whole), ""),
        ("underscores in a coding", post("transfer_encoding: chunked\r\ncontent-length: 13\r\n", model), ""),
        ("chunks over HTTP/1.0", format!("POST /v1/completions HTTP/1.0\r\n{host}{chunked}\r\n{whole}"), ""),
        ("a chunk size with 0x", post(chunked, "0xd\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("a chunk size with space before", post(chunked, " d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("a chunk size with space after", post(chunked, "d \r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), STRICT),
        ("a chunk size with zeros before", post(chunked, "000d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("a chunk size of 17 digits", post(chunked, "1000000000000000d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("a chunk size with a minus", post(chunked, "-d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("an empty chunk size", post(chunked, "\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("a chunk extension", post(chunked, "d;a=b\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        (
            "a long chunk extension",
            post(chunked, &format!("d;{}\r\n{{\"model\":\"m\"}}\r\n0\r\n\r\n", "x".repeat(2000))),
            "others read as much as is sent, which nobody needs",
        ),
        ("a chunk size and a bare line feed", post(chunked, "d\n{\"model\":\"m\"}\r\n0\r\n\r\n"), LINE),
        ("a chunk and a bare line feed", post(chunked, "d\r\n{\"model\":\"m\"}\n0\r\n\r\n"), LINE),
        ("a chunk longer than its size", post(chunked, "c\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"), ""),
        ("trailers", post(chunked, "d\r\n{\"model\":\"m\"}\r\n0\r\nx: y\r\n\r\n"), ""),
        (
            "a bare line feed after the request line",
            get(&format!("{models}\n{host}"), "").replace("\r\n\r\n\r\n", "\r\n\r\n"),
            LINE,
        ),
        ("a bare line feed after a header", get(models, "host: a\nx: y\r\n"), LINE),
        ("a bare line feed at the end", format!("{models}\r\n{host}\n"), LINE),
        ("bare line feeds only", "GET /v1/models HTTP/1.1\nhost: a\n\n".to_owned(), LINE),
        ("a bare carriage return in a header", get(models, "host: a\r\nx: a\rb\r\n"), ""),
        ("a folded header", get(models, "host: a\r\nx: a\r\n b\r\n"), ""),
        ("a folded first header", get(models, " x: a\r\nhost: a\r\n"), ""),
        ("NUL in a header", get(models, "host: a\r\nx: a\0b\r\n"), ""),
        ("NUL in a name", get(models, "host: a\r\nx\0: b\r\n"), ""),
        ("space in a name", get(models, "host: a\r\nx y: b\r\n"), ""),
        ("an empty name", get(models, "host: a\r\n: b\r\n"), ""),
        ("a header without a colon", get(models, "host: a\r\nx\r\n"), "nobody can say what it means"),
        ("bytes above 127 in a value", get(models, "host: a\r\nx: é\r\n"), ""),
        ("no host", get(models, ""), "RFC 9112 has it refused"),
        ("two hosts", get(models, "host: a\r\nhost: b\r\n"), "RFC 9112 has it refused"),
        ("an empty host", get(models, "host:\r\n"), "nobody can say who was meant"),
        ("a host with a path", get(models, "host: a/b\r\n"), "no host has that form"),
        ("a host with credentials", get(models, "host: u@a\r\n"), "no host has that form"),
        ("120 headers", get(models, &format!("{host}{many}")), "bounded"),
        ("a header of 100 KB", get(models, &format!("{host}x: {}\r\n", "x".repeat(100_000))), "bounded"),
        ("a target of 20 KB", get(&format!("GET /{} HTTP/1.1", "x".repeat(20_000)), host), "bounded"),
        ("HTTP/1.0 without a host", get("GET /v1/models HTTP/1.0", ""), ""),
        ("HTTP/0.9", "GET /v1/models\r\n\r\n".to_owned(), ""),
        ("HTTP/1.2", get("GET /v1/models HTTP/1.2", host), NOT_OURS),
        ("HTTP/2.0", get("GET /v1/models HTTP/2.0", host), ""),
        ("http in small letters", get("GET /v1/models http/1.1", host), ""),
        ("two spaces before the target", get("GET  /v1/models HTTP/1.1", host), NOT_OURS),
        ("two spaces before the version", get("GET /v1/models  HTTP/1.1", host), NOT_OURS),
        ("a tab before the target", get("GET\t/v1/models HTTP/1.1", host), ""),
        ("space after the version", get("GET /v1/models HTTP/1.1 ", host), NOT_OURS),
        ("a method with a brace", get("G{T /v1/models HTTP/1.1", host), ""),
        ("a method in small letters", get("get /v1/models HTTP/1.1", host), ROUTED),
        ("an absolute target", get("GET http://a/v1/models HTTP/1.1", host), ""),
        (
            "an absolute target of another host",
            get("GET http://b/v1/models HTTP/1.1", host),
            "two hosts are one too many",
        ),
        (
            "an absolute target with credentials",
            get("GET http://u@a/v1/models HTTP/1.1", host),
            "no host has that form",
        ),
        ("a target without a slash", get("GET v1/models HTTP/1.1", host), ""),
        ("a fragment", get("GET /v1/models#x HTTP/1.1", host), "a fragment is never sent"),
        ("bytes above 127 in a target", get("GET /é HTTP/1.1", host), "no URI has them"),
        ("a star", get("OPTIONS * HTTP/1.1", host), ROUTED),
        ("CONNECT", get("CONNECT a:80 HTTP/1.1", host), NOT_OURS),
        ("an empty line first", format!("\r\n{}", get(models, host)), ""),
        ("two empty lines first", format!("\r\n\r\n{}", get(models, host)), NOT_OURS),
        ("a bare line feed first", format!("\n{}", get(models, host)), LINE),
        ("an unknown expectation", post("expect: x\r\ncontent-length: 13\r\n", model), "RFC 9110 offers 417 for it"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".to_owned(), ""),
    ]
}

/// Whether a server that says this took the request for one.
fn verdict(said: &str) -> &'static str {
    let own = ["not_found", "unknown_path", "method_not_allowed", "missing_model", "invalid_json"];
    match said.split(' ').nth(1) {
        Some("200") => "takes",
        Some(_) if own.iter().any(|code| said.contains(code)) => "takes",
        None if said == "…" => "waits",
        Some(_) | None => "refuses",
    }
}

/// The first answer of a server to these bytes; an ellipsis while it says nothing and does not close either.
async fn said(server: SocketAddr, request: &str) -> String {
    let mut client = Wire::new(soon(TcpStream::connect(server)).await.unwrap());
    // A server may close before it has read all.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, request.as_bytes()).await;
    let mut all = Vec::new();
    let answered = async {
        let complete = |seen: &[u8]| {
            let text = String::from_utf8_lossy(seen);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length = crate::bed::header(head, "content-length").and_then(|length| length.parse().ok());
            length.is_none_or(|length: usize| body.len() >= length)
        };
        while !complete(&all) && matches!(client.stream.read_buf(&mut all).await, Ok(1..)) {}
    };
    let late = tokio::time::timeout(THINKING, answered).await.is_err();
    if late && all.is_empty() { "…".to_owned() } else { String::from_utf8_lossy(&all).into_owned() }
}

async fn hyper() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: http::Request<Incoming>| async {
                request.into_body().collect().await?;
                Ok::<_, hyper::Error>(http::Response::new(Full::<Bytes>::from("ok")))
            });
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    address
}

/// nginx in front of `upstream`, ended when dropped.
struct Nginx {
    child: Child,
    folder: std::path::PathBuf,
    address: SocketAddr,
}

impl Nginx {
    /// `None` where it is not installed.
    async fn start(upstream: SocketAddr) -> Option<Self> {
        let version = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return None;
        }
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("router-framing-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}} http {{ access_log off; \
             {temporary} server {{ listen {address}; location / {{ proxy_pass http://{upstream}; }} }} }}"
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-c", &format!("{at}/nginx.conf"), "-p", &at.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, folder, address };
        let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < give_up, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `UPDATE_GOLDEN=1 cargo test -p router --test whole framing` writes the table anew.
#[tokio::test]
async fn nothing_is_taken_that_hyper_and_nginx_refuse() {
    let engine = Engine::answering(plain("{}")).await;
    let Some(nginx) = soon(Nginx::start(engine.address)).await else {
        eprintln!("SKIPPED framing::nothing_is_taken_that_hyper_and_nginx_refuse: nginx is not installed");
        return;
    };
    let (hyper, bed) = (hyper().await, Bed::new(&[engine.address]));
    let mut rows = vec![
        "| request | router | hyper | nginx | why it differs |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    let servers = [bed.workers.address(), hyper, nginx.address];
    let heard = join_all(cases().into_iter().map(|(name, request, why)| async move {
        let [ours, hyper, nginx] = servers.map(|server| said(server, &request));
        let heard = tokio::join!(ours, hyper, nginx);
        (name, why, [verdict(&heard.0), verdict(&heard.1), verdict(&heard.2)])
    }));
    let mut wrong = Vec::new();
    for (name, why, [ours, hyper, nginx]) in heard.await {
        let alone = ours == "takes" && hyper != "takes" && nginx != "takes";
        let explained = (ours != hyper || ours != nginx) != why.is_empty();
        if alone || !explained {
            wrong.push(format!("{name}: {ours}, {hyper}, {nginx}, because {why:?}"));
        }
        rows.push(format!("| {name} | {ours} | {hyper} | {nginx} | {why} |"));
    }
    assert!(wrong.is_empty(), "taken by the router alone, or with a reason too few or too many:\n{}", wrong.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/framing.md");
    let want = format!("{HEADING}{}\n", rows.join("\n"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, want).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(path).unwrap(), want, "stale, UPDATE_GOLDEN=1 rewrites it");
    }
}

const HEADING: &str = "# What is taken for a request\n\nMade by the router's tests: each odd request is sent to the router, to hyper's server and to nginx. The router takes nothing that\nboth others refuse, and where it differs from one of them the last column says why. \"Takes\" means that the request went on to what\nwould answer it; \"waits\" means that the server expected more.\n\n";
