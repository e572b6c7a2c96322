//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use router_core::{Allowed, Reach};
use telemetry::log::LogFormat;

use crate::outbound::{Outbound, OutboundError};
use crate::request_log::LineFormat;
use crate::settings::Settings;
use crate::tls::TlsFiles;
use crate::traces::Collector;

/// Passes OpenAI-shaped requests to the replicas of InferencePools, as RoutePolicies say.
///
/// The cluster is the one of KUBECONFIG, or the one that the router runs in; with --config there is none. Each option can also be set by the
/// environment variable that its help names.
#[derive(Clone, Debug, Parser)]
#[command(name = "quartermaster-router", version)]
pub struct Args {
    /// Address that clients send to.
    #[arg(long, env = "QUARTERMASTER_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of the pages /healthz, /readyz and /metrics, for kubelet and Prometheus. The chart opens it to the pod network.
    #[arg(long, env = "QUARTERMASTER_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
    /// Address of the pages /debug/config and /debug/endpoints, which show the routing table and what each replica carries.
    /// In a pod: kubectl port-forward POD 9091.
    #[arg(long, env = "QUARTERMASTER_DEBUG_LISTEN", default_value = "127.0.0.1:9091")]
    pub debug_listen: SocketAddr,
    /// Serve without a cluster, from the objects in the files of this folder: *.yaml, *.yml, *.json. They are read again when
    /// they change. docs/standalone.md tells more.
    #[arg(long, env = "QUARTERMASTER_CONFIG", value_name = "FOLDER")]
    pub config: Option<PathBuf>,
    /// Only say whether the folder of --config can be used, with every mistake in it.
    #[arg(long, requires = "config")]
    pub check: bool,
    /// Follow the objects of this namespace only. Default: all namespaces. With --config it is also the namespace of objects
    /// that name none; without it, that is default.
    #[arg(long, env = "QUARTERMASTER_NAMESPACE")]
    pub namespace: Option<String>,
    /// Folder in which the routing table is kept for a start while the API server is away, and with or without a cluster what
    /// policies have had today, for rules that ask. Default: nothing is kept.
    #[arg(long, env = "QUARTERMASTER_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// How old the routing table in that folder may be to be used: how long ago the API server was last followed.
    #[arg(long, env = "QUARTERMASTER_CACHE_MAX_AGE", default_value = "24h", value_parser = duration)]
    pub cache_max_age: Duration,
    /// Host and port of the admin pages of all routers that serve the same policies, this one too: a name with an address for
    /// each. They tell each other what policies have had today, for rules that ask. Default: this router is alone.
    #[arg(long, env = "QUARTERMASTER_PEERS")]
    pub peers: Option<String>,
    /// Threads that serve requests. Default: as many as there are processors.
    #[arg(long, env = "QUARTERMASTER_WORKERS")]
    pub workers: Option<usize>,
    /// Most bytes of a request's body.
    #[arg(long, env = "QUARTERMASTER_MAX_BODY_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub max_body_bytes: usize,
    /// Most client connections of one worker; further ones are told 503 and closed.
    #[arg(long, env = "QUARTERMASTER_MAX_CONNECTIONS", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Most requests under way at once; further ones are told 503 before their body is read.
    #[arg(long, env = "QUARTERMASTER_MAX_IN_FLIGHT", default_value_t = 8192)]
    pub max_in_flight: usize,
    /// Milliseconds that a worker may be behind with its work before it refuses new requests; 0 for any.
    #[arg(long, env = "QUARTERMASTER_MAX_LAG_MILLISECONDS", default_value_t = 5)]
    pub max_lag_milliseconds: u64,
    /// Most bytes of requests' bodies held at once; who brings more is told 503.
    #[arg(long, env = "QUARTERMASTER_MAX_HELD_BODY_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub max_held_body_bytes: usize,
    /// File with this server's certificate, and those that lead to a root, as PEM. With it, clients are served over TLS.
    /// It is read again when it changes.
    #[arg(long, env = "QUARTERMASTER_TLS_CERT_FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// File with the key of the certificate, as PEM.
    #[arg(long, env = "QUARTERMASTER_TLS_KEY_FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Whether clients may speak HTTP/2: by agreement over TLS, and without asking in clear text.
    #[arg(long, env = "QUARTERMASTER_HTTP2", default_value_t = false, action = clap::ArgAction::Set)]
    pub http2: bool,
    /// How long a new connection may take to send its first byte, and with TLS to agree on that before.
    #[arg(long, env = "QUARTERMASTER_OPENING_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub opening_timeout: Duration,
    /// How long the head of a request may take from its first byte.
    #[arg(long, env = "QUARTERMASTER_HEADER_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests. Keep it above the time for which a load balancer in front
    /// reuses its own.
    #[arg(long, env = "QUARTERMASTER_KEEP_ALIVE_TIMEOUT", default_value = "75s", value_parser = duration)]
    pub keep_alive_timeout: Duration,
    /// How long the body of a request may take as a whole.
    #[arg(long, env = "QUARTERMASTER_BODY_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub body_timeout: Duration,
    /// Bytes in a second that a body must bring on average, after its first 10 seconds; 0 for any.
    #[arg(long, env = "QUARTERMASTER_MIN_BODY_RATE", default_value_t = 1024)]
    pub min_body_rate: u64,
    /// How long a client may take nothing of an answer that is there for it.
    #[arg(long, env = "QUARTERMASTER_WRITE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,
    /// Where this router runs, for the rules of policies that ask for `request.region`.
    #[arg(long, env = "QUARTERMASTER_REGION", default_value = "")]
    pub region: String,
    /// What the tokens of ServiceAccounts must be made for (their audience) by which callers say who they are. Empty: they are
    /// not taken.
    #[arg(long, env = "QUARTERMASTER_TOKEN_AUDIENCE", default_value = "quartermaster")]
    pub token_audience: String,
    /// Ranges of addresses (10.0.0.0/8), hosts and domains (*.example.com), with commas between them, that the providers of
    /// policies may be at although they are not public, or may be spoken to in clear text. Default: none.
    #[arg(long, env = "QUARTERMASTER_ALLOW_TARGETS", value_delimiter = ',')]
    pub allow_targets: Vec<Allowed>,
    /// File with the certificates of authorities, as PEM, that providers and issuers of tokens may be certified by beside the usual
    /// ones. It is read again when it changes.
    #[arg(long, env = "QUARTERMASTER_PROVIDER_CA_FILE")]
    pub provider_ca_file: Option<PathBuf>,
    /// How long a connection to a replica may take.
    #[arg(long, env = "QUARTERMASTER_CONNECT_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// How long a replica may take until its answer begins. A plain answer begins when it is finished.
    #[arg(long, env = "QUARTERMASTER_FIRST_BYTE_TIMEOUT", default_value = "5m", value_parser = duration)]
    pub first_byte_timeout: Duration,
    /// How long a replica may be silent within its answer.
    #[arg(long, env = "QUARTERMASTER_SILENCE_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub silence_timeout: Duration,
    /// How long an answer may take as a whole, however much it says.
    #[arg(long, env = "QUARTERMASTER_TOTAL_TIMEOUT", default_value = "30m", value_parser = duration)]
    pub total_timeout: Duration,
    /// How long a replica that has become ready is given less than its part of the requests. 0s: its full part at once.
    #[arg(long, env = "QUARTERMASTER_SLOW_START", default_value = "10s", value_parser = duration)]
    pub slow_start: Duration,
    /// How long requests are still accepted after SIGTERM, while those who send here learn of it.
    #[arg(long, env = "QUARTERMASTER_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub drain_delay: Duration,
    /// How long requests under way may take after that.
    #[arg(long, env = "QUARTERMASTER_DRAIN_TIMEOUT", default_value = "120s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Whether engines are asked for the count of a stream's tokens when the client has not asked. It is for metrics and
    /// the log; the client does not see it.
    #[arg(long, env = "QUARTERMASTER_COUNT_STREAM_TOKENS", default_value_t = true, action = clap::ArgAction::Set)]
    pub count_stream_tokens: bool,
    /// Whether each request writes a line to the log. Bodies and keys are never written.
    #[arg(long, env = "QUARTERMASTER_LOG_REQUESTS", default_value_t = true, action = clap::ArgAction::Set)]
    pub log_requests: bool,
    /// How many of a hundred requests that end well write a line; every other request writes one.
    #[arg(long, env = "QUARTERMASTER_LOG_REQUESTS_PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub log_requests_percent: u8,
    /// Collector that gets a trace of each request, by OTLP over HTTP: http://HOST:4318. Default: none.
    #[arg(long, env = "QUARTERMASTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Collector>,
    /// How many of a hundred requests begin a trace where the client has not; one that the client records always goes on.
    #[arg(long, env = "QUARTERMASTER_OTLP_PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub otlp_percent: u8,
    /// How log lines look: json or text.
    #[arg(long, env = "QUARTERMASTER_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// What is logged: a level such as info, or a list such as router=debug,info.
    #[arg(long, env = "QUARTERMASTER_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Args {
    fn request_lines(&self) -> LineFormat {
        match self.log_format {
            _ if !self.log_requests => LineFormat::Off,
            LogFormat::Json => LineFormat::Json,
            LogFormat::Text => LineFormat::Text,
        }
    }

    /// Where certificate and key are, if clients are served over TLS.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.tls_cert_file.clone()?, self.tls_key_file.clone()?);
        Some(TlsFiles { certificate, key })
    }

    /// Which addresses policies may have requests sent to.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach::new(self.allow_targets.clone())
    }

    /// How providers and services are reached.
    ///
    /// # Errors
    ///
    /// When the file of authorities cannot be used.
    pub fn outbound(&self) -> Result<Outbound, OutboundError> {
        let reach = self.reach();
        match &self.provider_ca_file {
            Some(file) => Outbound::read(reach, file),
            None => Outbound::new(reach, Vec::new()),
        }
    }

    /// What the data plane needs of it, but for what must be read from files.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            max_body: self.max_body_bytes,
            max_connections: self.max_connections,
            max_in_flight: self.max_in_flight,
            max_lag: Duration::from_millis(self.max_lag_milliseconds),
            max_held_bytes: self.max_held_body_bytes,
            http2: self.http2,
            opening_timeout: self.opening_timeout,
            header_timeout: self.header_timeout,
            keep_alive_timeout: self.keep_alive_timeout,
            body_timeout: self.body_timeout,
            min_body_rate: self.min_body_rate,
            write_timeout: self.write_timeout,
            region: self.region.clone(),
            connect_timeout: self.connect_timeout,
            first_byte_timeout: self.first_byte_timeout,
            silence_timeout: self.silence_timeout,
            count_stream_tokens: self.count_stream_tokens,
            total_timeout: self.total_timeout,
            slow_start: self.slow_start,
            request_lines: self.request_lines(),
            request_lines_percent: self.log_requests_percent,
            ..Settings::default()
        }
    }
}

/// A duration as Kubernetes writes it: 90s, 10m.
fn duration(text: &str) -> Result<Duration, api::BadDuration> {
    let seconds = text.parse::<api::Duration>()?.seconds();
    Ok(Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn defaults_are_those_of_the_settings() {
        Args::command().debug_assert();
        let args = Args::parse_from(["router"]);
        assert_eq!(format!("{:?}", args.settings()), format!("{:?}", Settings::default()));
        let args = Args::parse_from(["router", "--log-requests=false", "--drain-delay=0s", "--drain-timeout=2m"]);
        assert_eq!(args.settings().request_lines, LineFormat::Off);
        assert_eq!((args.drain_delay, args.drain_timeout), (Duration::ZERO, Duration::from_secs(120)));
    }
}
