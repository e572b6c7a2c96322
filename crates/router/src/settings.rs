//! What the data plane is told once at its start.

use std::time::Duration;

use router_core::EjectionRules;

use crate::outbound::Outbound;
use crate::request_log::LineFormat;
use crate::reviews::Reviews;
use crate::tls::Tls;
use crate::traces::Traces;

/// Limits and deadlines of the data plane. The defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// Most client connections of one worker; further ones are told 503 and closed.
    pub max_connections: usize,
    /// Most requests under way in this process; further ones are told 503 before their body is read.
    pub max_in_flight: usize,
    /// How long a worker may be behind with its work before it refuses new requests; zero for any.
    pub max_lag: Duration,
    /// Most bytes of requests' bodies held in this process; who brings more is told 503.
    pub max_held_bytes: usize,
    /// Certificate and key for clients; `None` for clear text.
    pub tls: Option<Tls>,
    /// Whether clients may speak HTTP/2: by agreement over TLS, and by its preface in clear text.
    pub http2: bool,
    /// How long a new connection may take to send its first byte, and with TLS to agree on that before.
    pub opening_timeout: Duration,
    /// How long the head of a request may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests. Load balancers reuse theirs for about a minute, and one that
    /// is closed under them costs a request.
    pub keep_alive_timeout: Duration,
    /// How long the body of a request may take as a whole.
    pub body_timeout: Duration,
    /// Bytes in a second that a body must bring on average once [`Settings::body_grace`] is over; 0 for any.
    pub min_body_rate: u64,
    /// How long a body may take before its rate counts.
    pub body_grace: Duration,
    /// How long a client may take nothing of an answer that is there for it.
    pub write_timeout: Duration,
    /// Where the router runs, for rules that ask.
    pub region: String,
    /// Who knows whose the tokens of ServiceAccounts are; `None`: they are not taken.
    pub reviews: Option<Reviews>,
    /// How providers and services are reached.
    pub outbound: Outbound,
    /// How long a connection to an engine may take.
    pub connect_timeout: Duration,
    /// How long an engine may take until its answer begins. A plain answer begins when it is finished.
    pub first_byte_timeout: Duration,
    /// How long an engine may be silent within its answer.
    pub silence_timeout: Duration,
    /// How long an answer may take as a whole, from when its request was read.
    pub total_timeout: Duration,
    /// How long a new replica is given less than its part of the requests.
    pub slow_start: Duration,
    /// When a failing replica is left alone, and for how long.
    pub ejection: EjectionRules,
    /// How long a connection to an engine is kept for reuse. vLLM closes its side after 5 seconds.
    pub idle_timeout: Duration,
    /// Whether streams are made to tell the count of their tokens, which is then kept from clients that have not asked.
    pub count_stream_tokens: bool,
    /// How the log line of each request looks.
    pub request_lines: LineFormat,
    /// How many of a hundred requests that end well have a line; all others have one.
    pub request_lines_percent: u8,
    /// Where requests leave their traces, if anywhere.
    pub traces: Option<Traces>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body: 16 * 1024 * 1024,
            max_connections: 10_000,
            max_in_flight: 8192,
            max_lag: Duration::from_millis(5),
            max_held_bytes: 256 * 1024 * 1024,
            tls: None,
            http2: false,
            opening_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            min_body_rate: 1024,
            body_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            region: String::new(),
            reviews: None,
            outbound: Outbound::default(),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(300),
            silence_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(1800),
            slow_start: Duration::from_secs(10),
            ejection: EjectionRules::default(),
            idle_timeout: Duration::from_secs(4),
            count_stream_tokens: true,
            request_lines: LineFormat::Json,
            request_lines_percent: 100,
            traces: None,
        }
    }
}
