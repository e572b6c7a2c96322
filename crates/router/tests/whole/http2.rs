//! HTTP/2 in clear text (RC-03): the same answers, and limits against those who make much work of little.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use router::settings::Settings;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bed::{ASK, Bed, Engine, STREAM, calm, chunk, plain, soon, until};

fn settings() -> Settings {
    Settings { http2: true, ..calm() }
}

async fn connect(bed: &Bed) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = soon(TcpStream::connect(bed.workers.address())).await.unwrap();
    let (sender, connection) = soon(client::handshake(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn asking() -> Request<()> {
    Request::post("http://router/v1/chat/completions").header("x_odd", "1").header("x-even", "2").body(()).unwrap()
}

/// Status and body of one request.
async fn ask(sender: &SendRequest<Bytes>, body: &str) -> (u16, String) {
    let mut sender = soon(sender.clone().ready()).await.unwrap();
    let (answer, mut out) = sender.send_request(asking(), false).unwrap();
    out.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    let answer = soon(answer).await.unwrap();
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut whole = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    (status, String::from_utf8(whole).unwrap())
}

#[tokio::test]
async fn plain_and_streamed_answers_pass() {
    let (asked, mut heads) = mpsc::unbounded_channel();
    let engine = Engine::new(move |_, mut wire| {
        let asked = asked.clone();
        async move {
            while let Some((head, body)) = wire.next_message().await {
                asked.send(head).unwrap();
                if body == ASK {
                    wire.send(format!("{STREAM}{}0\r\n\r\n", chunk("data: [DONE]\n\n"))).await;
                } else {
                    wire.send(plain(&body)).await;
                }
            }
        }
    })
    .await;
    let bed = Bed::with(&settings(), &[engine.address]);
    let (sender, _connection) = connect(&bed).await;
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(ask(&sender, ASK).await, (200, "data: [DONE]\n\n".to_owned()));
    assert_eq!(ask(&sender, &long).await, (200, long));
    assert_eq!(ask(&sender, "{").await.0, 400);
    let all = futures::future::join_all((0..50).map(|_| ask(&sender, ASK))).await;
    assert!(all.iter().all(|(status, _)| *status == 200));
    let head = soon(heads.recv()).await.unwrap();
    assert!(head.contains("x-even: 2\r\n") && !head.contains("x_odd") && !head.contains("x-odd"), "{head}");
}

#[tokio::test]
async fn clear_text_may_be_either_if_the_flag_says_so() {
    let both = Bed::with(&settings(), &[]);
    for start in ["", "P", "PRI * HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut client = both.client().await;
        client.send(start).await;
        if start.len() < 2 {
            client.send(&"POST /nowhere HTTP/1.1\r\nhost: a\r\n\r\n"[start.len()..]).await;
        }
        let status = crate::bed::status(&client.message().await.0);
        assert_eq!(status, if start.len() < 2 { 404 } else { 400 });
    }
    let bed = Bed::new(&[]);
    let mut client = bed.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(crate::bed::status(&client.message().await.0), 505);
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_the_engine_s_work_and_no_other() {
    let (seen, mut engine_saw) = mpsc::unbounded_channel();
    let engine = Engine::new(move |number, mut wire| {
        let seen = seen.clone();
        async move {
            wire.message().await;
            if number == 0 {
                wire.send(format!("{STREAM}{}", chunk("data: a\n\n"))).await;
            }
            seen.send("asked").unwrap();
            if number < 2 {
                wire.read_all().await;
                seen.send("left alone").unwrap();
            } else {
                wire.send(plain("{}")).await;
            }
        }
    })
    .await;
    let bed = Bed::with(&settings(), &[engine.address]);
    let (sender, _connection) = connect(&bed).await;
    // One stream that has begun its answer, and one that has not.
    for _ in 0..2 {
        let mut sender = soon(sender.clone().ready()).await.unwrap();
        let (answer, mut out) = sender.send_request(asking(), false).unwrap();
        out.send_data(ASK.into(), true).unwrap();
        assert_eq!(soon(engine_saw.recv()).await, Some("asked"));
        out.send_reset(h2::Reason::CANCEL);
        drop(answer);
        assert_eq!(soon(engine_saw.recv()).await, Some("left alone"));
    }
    assert_eq!(ask(&sender, ASK).await.0, 200);
    bed.settled().await;
}

#[tokio::test]
async fn streams_opened_only_to_be_reset_end_the_connection() {
    let bed = Bed::with(&settings(), &[]);
    let (mut sender, connection) = connect(&bed).await;
    let flood = async {
        for _ in 0..100_000 {
            let Ok(ready) = sender.ready().await else { return };
            sender = ready;
            let Ok((_, mut out)) = sender.send_request(asking(), false) else { return };
            out.send_reset(h2::Reason::CANCEL);
            tokio::task::yield_now().await;
        }
    };
    soon(flood).await;
    // What it is told may be lost where it goes on writing to a closed connection.
    let error = soon(connection).await.unwrap().expect_err("the connection is ended");
    assert!(error.is_io() || error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    // Others are served as ever.
    let (sender, _connection) = connect(&bed).await;
    assert_eq!(ask(&sender, "{").await.0, 400);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let bed = Bed::with(&settings(), &[]);
    let (sender, _connection) = connect(&bed).await;
    let mut sender = soon(sender.ready()).await.unwrap();
    let mut request = asking();
    for number in 0..100 {
        let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        request.headers_mut().insert(name, "x".repeat(16 * 1024).parse().unwrap());
    }
    let refused = match sender.send_request(request, true) {
        Ok((answer, _)) => soon(answer).await.map(|answer| answer.status().as_u16()),
        Err(error) => Err(error),
    };
    assert!(!matches!(refused, Ok(200..=299)), "{refused:?}");
    until("the client is gone or was told", || bed.figure("quartermaster_router_connections ") < 1.5).await;
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_given_up_and_no_other() {
    let long = format!("{STREAM}{}", chunk(&format!("data: {}\n\n", "x".repeat(1 << 20))));
    let engine = Engine::new(move |_, mut wire| {
        let long = long.clone();
        async move {
            while let Some((_, body)) = wire.next_message().await {
                wire.send(if body == ASK { long.clone() } else { plain(&body) }).await;
            }
        }
    })
    .await;
    let settings = Settings { write_timeout: Duration::from_millis(300), ..settings() };
    let bed = Bed::with(&settings, &[engine.address]);
    let stream = soon(TcpStream::connect(bed.workers.address())).await.unwrap();
    // Windows small enough that one stream leaves room for others on the connection.
    let (sender, connection) =
        soon(client::Builder::new().initial_window_size(16_384).handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut ready = soon(sender.clone().ready()).await.unwrap();
    let (answer, mut out) = ready.send_request(asking(), false).unwrap();
    out.send_data(ASK.into(), true).unwrap();
    // The body is never read, so its window stays shut.
    let mut body = soon(answer).await.unwrap().into_body();
    let counted = r#"quartermaster_router_closed_connections_total{reason="stream_write_timeout"}"#;
    let other = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(100));
    while bed.figure(counted) < 0.5 {
        assert_eq!(ask(&sender, &other).await, (200, other.clone()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(&sender, &other).await, (200, other.clone()), "the connection is there for others");
    let end = soon(async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    });
    assert_eq!(end.await.unwrap().unwrap_err().reason(), Some(h2::Reason::CANCEL));
    bed.settled().await;
}

/// A client that does not even take bytes off its socket is given up as a whole.
#[tokio::test]
async fn a_client_that_takes_nothing_at_all_is_given_up() {
    let engine = Engine::new(|_, mut wire| async move {
        wire.message().await;
        wire.send(STREAM).await;
        let event = chunk(&format!("data: {}\n\n", "x".repeat(60_000)));
        while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, event.as_bytes()).await.is_ok() {}
    })
    .await;
    let settings = Settings { write_timeout: Duration::from_millis(300), ..settings() };
    let bed = Bed::with(&settings, &[engine.address]);
    let stream = soon(TcpStream::connect(bed.workers.address())).await.unwrap();
    let (gate, mut gated) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)), stream);
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let open = gate.clone();
    // Between this client and its socket: what comes is passed on until the gate is shut.
    tokio::spawn(async move {
        let mut some = vec![0; 16 * 1024];
        let mut more = vec![0; 16 * 1024];
        loop {
            let reading = open.load(std::sync::atomic::Ordering::SeqCst);
            tokio::select! {
                Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut near, &mut some) => {
                    if tokio::io::AsyncWriteExt::write_all(&mut gated, &some[..count]).await.is_err() { return }
                }
                Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut gated, &mut more), if reading => {
                    if tokio::io::AsyncWriteExt::write_all(&mut near, &more[..count]).await.is_err() { return }
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    let window = 1 << 30;
    let handshake =
        client::Builder::new().initial_window_size(window).initial_connection_window_size(window).handshake(far);
    let (sender, connection): (SendRequest<Bytes>, _) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    let mut ready = soon(sender.ready()).await.unwrap();
    let (answer, mut out) = ready.send_request(asking(), false).unwrap();
    out.send_data(ASK.into(), true).unwrap();
    let mut body = soon(answer).await.unwrap().into_body();
    soon(body.data()).await.unwrap().unwrap();
    gate.store(false, std::sync::atomic::Ordering::SeqCst);
    let counted =
        |reason: &str| bed.figure(&format!(r#"quartermaster_router_closed_connections_total{{reason="{reason}"}}"#));
    until("it is given up", || counted("write_timeout") + counted("stream_write_timeout") > 0.5).await;
    bed.settled().await;
}

#[tokio::test]
async fn a_connection_that_rests_is_closed() {
    let settings = Settings { keep_alive_timeout: Duration::from_millis(200), ..settings() };
    let bed = Bed::with(&settings, &[]);
    let (sender, connection) = connect(&bed).await;
    assert_eq!(ask(&sender, "{").await.0, 400);
    let _ = soon(connection).await.unwrap();
}

#[tokio::test]
async fn a_drain_lets_streams_finish() {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let gate = go.clone();
    let engine = Engine::new(move |_, mut wire| {
        let gate = gate.clone();
        async move {
            wire.message().await;
            wire.send(format!("{STREAM}{}", chunk("data: a\n\n"))).await;
            gate.notified().await;
            wire.send(chunk("data: [DONE]\n\n") + "0\r\n\r\n").await;
        }
    })
    .await;
    let bed = Bed::with(&settings(), &[engine.address]);
    let (sender, connection) = connect(&bed).await;
    let mut ready = soon(sender.ready()).await.unwrap();
    let (answer, mut out) = ready.send_request(asking(), false).unwrap();
    out.send_data(ASK.into(), true).unwrap();
    let mut body = soon(answer).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "data: a\n\n");
    bed.workers.close();
    go.notify_one();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "data: [DONE]\n\n");
    assert!(soon(body.data()).await.is_none());
    soon(connection).await.unwrap().unwrap();
}
