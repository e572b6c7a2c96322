//! What policies have had today, counted over several routers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::Registry;
use router::metrics::Metrics;
use router::peers::{Exchange, PAGE};
use router::volume::Volumes;
use serde_json::json;
use telemetry::admin::{self, Readiness};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bed::{Engine, calm, plain, until};
use crate::rules::{Bed, ask, spec};

/// A router of several, with the page that it tells the others on.
struct Router {
    bed: Bed,
    volumes: Volumes,
    at: SocketAddr,
    stop: CancellationToken,
}

impl Router {
    /// The first four requests of a day go to `b`, as do all until 100 tokens; others to `a`.
    async fn new(volumes: Volumes) -> Self {
        let rules = json!([
            {"name": "few", "when": "request.requestsToday < 4 && request.tokensToday < 100", "use": {"ordered": ["b"]}},
            {"name": "many", "use": {"ordered": ["a"]}},
        ]);
        let answer =
            |name: &str| plain(&json!({"by": name, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).to_string());
        let engines = vec![("a", Engine::answering(answer("a")).await), ("b", Engine::answering(answer("b")).await)];
        let bed = Bed::with(&spec(&rules), &calm(), engines, &volumes);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let told = volumes.clone();
        let page: admin::Page = (PAGE, Arc::new(move || told.page()));
        tokio::spawn(admin::serve_with(listener, Registry::new(), Readiness::default(), page, stop.clone()));
        Self { bed, volumes, at, stop }
    }

    /// Begins to ask another router.
    fn hear(&self, other: SocketAddr) {
        let exchange = Exchange { peers: Some(other.to_string()), folder: None, volumes: self.volumes.clone() };
        let metrics: Metrics = self.bed.metrics.clone();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(exchange.run(metrics)));
    }

    async fn ask(&self) -> String {
        let answer = self.bed.ask("", &ask("hi")).await.1;
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["by"].as_str().unwrap().to_owned()
    }

    fn today(&self, what: &str) -> u64 {
        let name = format!("policy_{what}_today{{policy=\"ml/route\"}}");
        self.bed.metric(&name).map_or(0, |figure| figure.parse().unwrap())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests of what a day is look at the same clock")]
fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// At midnight counts begin anew, also those of a test.
pub(crate) async fn away_from_midnight() {
    let left = || 86_400 - seconds_since_1970() % 86_400;
    while left() < 60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_threshold_holds_over_all_routers_and_their_restarts() {
    away_from_midnight().await;
    let (one, two) = (Router::new(Volumes::default()).await, Router::new(Volumes::default()).await);
    one.hear(two.at);
    two.hear(one.at);
    assert_eq!([one.ask().await, one.ask().await, two.ask().await], ["b", "b", "b"]);
    until("both know of all", || one.today("requests") == 3 && two.today("requests") == 3).await;
    until("both know of the tokens", || one.today("tokens") == 30 && two.today("tokens") == 30).await;
    assert_eq!([two.ask().await, two.ask().await], ["b", "a"], "the fourth is the last that is few");
    until("the other one knows", || one.today("requests") == 5).await;
    assert_eq!(one.ask().await, "a");
    until("all is told", || two.today("requests") == 6).await;
    assert_eq!(one.bed.metric("volume_peers").as_deref(), Some("1"));

    // One that begins anew has counted nothing itself, and learns all from the other.
    drop(one);
    let again = Router::new(Volumes::default()).await;
    again.hear(two.at);
    until("it has learned", || again.today("requests") == 6 && again.today("tokens") == 60).await;
    assert_eq!(again.ask().await, "a");
}

#[tokio::test]
async fn tokens_have_a_threshold_too() {
    away_from_midnight().await;
    let router = Router::new(Volumes::default()).await;
    let other = Volumes::default();
    let big = json!({"router": "far", "day": 0, "policies": {"ml/route": {"far": [1, 95]}}});
    // A page of another day says nothing of this one.
    assert!(other.learn(big.to_string().as_bytes()).unwrap());
    let day = seconds_since_1970() / 86_400;
    let mut today = big.clone();
    today["day"] = json!(day);
    assert!(router.volumes.learn(big.to_string().as_bytes()).unwrap());
    assert_eq!(router.today("tokens"), 0);
    assert!(router.volumes.learn(today.to_string().as_bytes()).unwrap());
    assert_eq!((router.today("tokens"), router.today("requests")), (95, 1));
    assert_eq!(router.ask().await, "b");
    until("its tokens are counted", || router.today("tokens") == 105).await;
    assert_eq!(router.ask().await, "a");
    assert!(router.volumes.learn(b"<html>").is_err());
    assert!(!router.volumes.learn(&router.volumes.page()).unwrap(), "what it says itself is nothing new");
}

#[tokio::test]
async fn what_was_counted_outlives_the_process_in_its_folder() {
    away_from_midnight().await;
    let folder = std::env::temp_dir().join(format!("router-volumes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let first = Router::new(Volumes::default()).await;
    assert_eq!(first.ask().await, "b");
    until("its tokens are counted", || first.today("tokens") == 10).await;
    let exchange = Exchange { peers: None, folder: Some(folder.clone()), volumes: first.volumes.clone() };
    exchange.keep().await;
    let volumes = Volumes::default();
    volumes.restore(&folder);
    let second = Router::new(volumes.clone()).await;
    assert_eq!((second.today("requests"), second.today("tokens")), (1, 10));
    std::fs::write(folder.join("volumes.json"), "{").unwrap();
    volumes.restore(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    volumes.restore(&folder);
    assert_eq!(second.today("requests"), 1, "a file that cannot be read takes nothing away");
}
