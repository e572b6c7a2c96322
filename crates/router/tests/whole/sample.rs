//! The share of requests that have a log line, as somebody sees who reads the log.

use std::time::Duration;

use router::live::Live;
use router::metrics::Metrics;
use router::settings::Settings;
use router::workers::Workers;
use router_core::Table;
use telemetry::log::{LogFormat, flush, init};
use tokio::net::TcpStream;

use crate::alone::alone;
use crate::bed::{Wire, calm, soon, status, table};

const GOOD: usize = 2000;
const BAD: usize = 100;

/// One test for each share, as each needs a process of its own, where logging is on.
fn lines(test: &str, percent: u8) -> Option<(usize, usize)> {
    let log = alone(test, || async move {
        init(LogFormat::Json, "info").unwrap();
        let metrics = Metrics::new().unwrap();
        let live = Live::new(table(&[], &Table::default()), &metrics).shared();
        let settings = Settings { request_lines_percent: percent, ..calm() };
        let listen = "127.0.0.1:0".parse().unwrap();
        let workers = Workers::start(listen, 1, &settings, &live, &metrics, Duration::from_secs(1)).unwrap();
        let mut client = Wire::new(TcpStream::connect(workers.address()).await.unwrap());
        for (path, count, code) in [("/v1/models", GOOD, 200), ("/nowhere", BAD, 404)] {
            for _ in 0..count {
                client.send(format!("GET {path} HTTP/1.1\r\nhost: router\r\n\r\n")).await;
                assert_eq!(status(&soon(client.message()).await.0), code);
            }
        }
        // A worker that ends writes its last lines.
        workers.close();
        tokio::task::spawn_blocking(move || workers.join()).await.unwrap();
        flush();
    })?;
    let of =
        |code: &str| log.lines().filter(|line| line.contains("\"message\":\"request\"") && line.contains(code)).count();
    Some((of("\"status\":200"), of("\"status\":404")))
}

#[test]
fn every_request_has_a_line_unless_asked_otherwise() {
    if let Some(seen) = lines("sample::every_request_has_a_line_unless_asked_otherwise", 100) {
        assert_eq!(seen, (GOOD, BAD));
    }
}

#[test]
fn a_share_of_the_ordinary_ones_has_a_line_and_all_others_have() {
    if let Some((good, bad)) = lines("sample::a_share_of_the_ordinary_ones_has_a_line_and_all_others_have", 20) {
        // A fifth of 2,000 is 400; a drawing is off by more than 120, seven times its deviation, once in 10^11 runs.
        assert!(good.abs_diff(400) <= 120, "{good}");
        assert_eq!(bad, BAD);
    }
}

#[test]
fn with_a_share_of_none_only_the_others_have_a_line() {
    if let Some(seen) = lines("sample::with_a_share_of_none_only_the_others_have_a_line", 0) {
        assert_eq!(seen, (0, BAD));
    }
}
