//! What a stand-in can be told.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// How the stand-ins behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys that are let in: bearer tokens, values of `x-api-key` and `api-key`, ids of AWS access keys. They can be
    /// replaced while it runs, at `/sim/keys`.
    pub keys: Vec<String>,
    /// The secret that belongs to each AWS access key.
    pub aws_secret: String,
    /// Time between two tokens of an answer. Zero: no pacing.
    pub token_gap: Duration,
    /// Time from a request's last byte to the first of its answer, beside the tokens of a plain one.
    pub first_token: Duration,
    /// Certificate and key, where it serves over TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Settings {
    /// One key, `sim-key`, whose AWS secret is `sim-secret`; answers come at once.
    fn default() -> Self {
        Self {
            keys: vec!["sim-key".to_owned()],
            aws_secret: "sim-secret".to_owned(),
            token_gap: Duration::ZERO,
            first_token: Duration::ZERO,
            tls: None,
        }
    }
}
