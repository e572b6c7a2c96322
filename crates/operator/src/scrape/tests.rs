use super::*;
use kube::runtime::{reflector, watcher};
use prometheus::Registry;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    client().unwrap()
}

/// A server on every loopback address that answers every request with `answer`, and its port.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                while stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
                // Without an answer the connection stays open until the client gives up.
                let _ = stream.read(&mut head).await;
            });
        }
    });
    port
}

const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 68\r\n\r\n\
                    vllm:num_requests_running 3\nvllm:num_requests_waiting{engine=\"0\"} 4\n";

async fn check(answer: &'static str, want: Result<(), &str>) {
    let got = page(&http(), "127.0.0.1", server(answer).await).await;
    assert_eq!(got.map(|_| ()).map_err(|error| error.outcome()), want, "{answer}");
}

#[tokio::test]
async fn only_a_whole_good_page_counts() {
    check(PAGE, Ok(())).await;
    check("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", Err("unreachable")).await;
    check("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", Ok(())).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\nabc", Err("timeout")).await;
    check("", Err("timeout")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let got = page(&http(), "127.0.0.1", port).await;
    assert_eq!(got.map_err(|error| error.outcome()), Err("unreachable"));
}

#[tokio::test]
async fn a_page_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'#'; 65536]).await.is_ok() {}
    });
    let got = page(&http(), "127.0.0.1", port).await;
    assert_eq!(got.map_err(|error| error.outcome()), Err("unreadable"));
}

#[tokio::test]
async fn the_load_of_a_pool_is_known_while_its_replicas_answer() {
    let (store, mut writer) = reflector::store::<Pod>();
    let pod = json!({
        "metadata": {"namespace": "ml", "name": "llama-1", "uid": "u", "labels": {"quartermaster.dev/pool": "llama"}},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    writer.apply_watcher_event(&watcher::Event::Apply(pod.clone()));
    let (loads, (changed, mut changes)) = (Arc::new(Loads::default()), mpsc::channel(8));
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let port = server(PAGE).await;
    let stop = CancellationToken::new();
    let scraper = Scraper { pods: store, loads: Arc::clone(&loads), http: http(), metrics, port, changed };
    let running = tokio::spawn(scraper.run(stop.clone()));

    let until = |known: bool| {
        let loads = Arc::clone(&loads);
        async move {
            while loads.of("ml", "llama", Instant::now()).is_ok() != known {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, until(true)).await.unwrap();
    assert_eq!(loads.of("ml", "llama", Instant::now()).unwrap().in_flight(), 7);
    let named = tokio::time::timeout(PATIENCE, changes.recv()).await.unwrap();
    assert_eq!(named, Some(("ml".to_owned(), "llama".to_owned())));
    assert!(loads.of("ml", "other", Instant::now()).is_err());

    writer.apply_watcher_event(&watcher::Event::Delete(pod));
    tokio::time::timeout(PATIENCE, until(false)).await.unwrap();
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
}

/// How old the figures of a pool of 200 replicas are, each with a page as long as a real engine's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for docs/performance.md"]
async fn age_of_the_figures_of_200_replicas() {
    let filler = "# HELP a line that is read over, as most lines of a page are\n".repeat(1600);
    let page = format!("vllm:num_requests_running 3\n{filler}vllm:num_requests_waiting{{engine=\"0\"}} 4\n");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", page.len());
    let port = server(Box::leak((head + &page).into_boxed_str())).await;
    let (store, mut writer) = reflector::store();
    for number in 1..=200 {
        let pod = json!({
            "metadata": {"namespace": "ml", "name": format!("llama-{number}"), "uid": format!("u{number}"),
                         "labels": {"quartermaster.dev/pool": "llama"}},
            "status": {"podIP": format!("127.0.1.{number}"), "conditions": [{"type": "Ready", "status": "True"}]},
        });
        writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(pod).unwrap()));
    }
    let (loads, (changed, _changes)) = (Arc::new(Loads::default()), mpsc::channel(8));
    let (metrics, stop) = (Metrics::new(&Registry::new()).unwrap(), CancellationToken::new());
    let scraper = Scraper { pods: store, loads: Arc::clone(&loads), http: http(), metrics, port, changed };
    let running = tokio::spawn(scraper.run(stop.clone()));
    let (mut ages, mut looks) = (Vec::new(), tokio::time::interval(Duration::from_millis(5)));
    while ages.len() < 6000 {
        looks.tick().await;
        let now = Instant::now();
        if let Ok(load) = loads.of("ml", "llama", now) {
            ages.push(now.saturating_duration_since(load.oldest));
        }
    }
    stop.cancel();
    running.await.unwrap();
    ages.sort_unstable();
    println!("p50 {:?}, p99 {:?}, most {:?}", ages[3000], ages[5940], ages[5999]);
}
