//! What the data plane is told once at its start.

use std::time::Duration;

use crate::request_log::LineFormat;

/// Limits and deadlines of the data plane. The defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// Most client connections of one worker; further ones are told 503 and closed.
    pub max_connections: usize,
    /// How long the head of a request may take, and how long a connection may rest between two requests.
    pub header_timeout: Duration,
    /// How long the body of a request may take as a whole.
    pub body_timeout: Duration,
    /// How long a connection to an engine may take.
    pub connect_timeout: Duration,
    /// How long an engine may take until its answer begins. A plain answer begins when it is finished.
    pub first_byte_timeout: Duration,
    /// How long an engine may be silent within its answer.
    pub silence_timeout: Duration,
    /// How long a connection to an engine is kept for reuse. vLLM closes its side after 5 seconds.
    pub idle_timeout: Duration,
    /// Whether streams are made to tell the count of their tokens, which is then kept from clients that have not asked.
    pub count_stream_tokens: bool,
    /// How the log line of each request looks.
    pub request_lines: LineFormat,
    /// How many of a hundred requests that end well have a line; all others have one.
    pub request_lines_percent: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body: 16 * 1024 * 1024,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(300),
            silence_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(4),
            count_stream_tokens: true,
            request_lines: LineFormat::Json,
            request_lines_percent: 100,
        }
    }
}
