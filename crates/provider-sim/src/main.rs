//! The stand-ins' process: arguments, the clock, signals.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use provider_sim::serve::serve;
use provider_sim::settings::Settings;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "usage: provider-sim [OPTIONS]

Stand-ins for the APIs of Anthropic, OpenAI, Azure, Bedrock and a server compatible with OpenAI. There is no model behind
them: text is made up. See the README of provider-sim for the routes, what can be asked for, and what can go wrong.

  --listen ADDRESS           where it serves (default 127.0.0.1:8090; port 0: any free one)
  --key KEY                  a key that is let in; once for each (default sim-key)
  --aws-secret SECRET        the secret of all AWS access keys (default sim-secret)
  --tokens-per-second N      speed of each answer (default 0: everything at once)
  --first-token-ms N         time to the first token (default 0)
  --tls-cert-file FILE       serve over TLS, with this certificate, as PEM
  --tls-key-file FILE        and its key
";

fn main() -> ExitCode {
    let (listen, settings) = match read(std::env::args().skip(1)) {
        Ok(Some(read)) => read,
        Ok(None) => {
            // Standard output may be closed; then nobody wants to know.
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("provider-sim: error: {problem}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(&listen, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("provider-sim: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments; `None` when help is asked for.
fn read(mut words: impl Iterator<Item = String>) -> Result<Option<(String, Settings)>, String> {
    let (mut listen, mut settings, mut keys) = ("127.0.0.1:8090".to_owned(), Settings::default(), Vec::new());
    let (mut certificate, mut key) = (None, None);
    while let Some(word) = words.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if name == "--help" {
            return Ok(None);
        }
        let value = given.or_else(|| words.next()).ok_or_else(|| format!("{name} needs a value"))?;
        let number = |least: u32, most: u32| {
            let read = value.parse().ok().filter(|number| (least..=most).contains(number));
            read.ok_or_else(|| format!("{name} needs a whole number from {least} to {most}, not {value:?}"))
        };
        match name.as_str() {
            "--listen" => listen = value,
            "--key" => keys.push(value),
            "--aws-secret" => settings.aws_secret = value,
            "--tokens-per-second" => {
                settings.token_gap = Duration::from_secs(1).checked_div(number(0, 1_000_000)?).unwrap_or_default();
            }
            "--tls-cert-file" => certificate = Some(PathBuf::from(value)),
            "--tls-key-file" => key = Some(PathBuf::from(value)),
            "--first-token-ms" => settings.first_token = Duration::from_millis(number(0, 3_600_000)?.into()),
            _ => return Err(format!("there is no argument {name}")),
        }
    }
    if !keys.is_empty() {
        settings.keys = keys;
    }
    settings.tls = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(tls(&certificate, &key)?),
        _ => return Err("--tls-cert-file and --tls-key-file go together".to_owned()),
    };
    Ok(Some((listen, settings)))
}

/// What serves over TLS with this certificate, and those behind it in its file.
fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let of = |file: &Path, problem: &dyn std::fmt::Display| format!("{}: {problem}", file.display());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(|error| of(certificate, &error))?.collect();
    let chain = chain.map_err(|error| of(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let config = config.with_no_client_auth().with_single_cert(chain, secret);
    config.map(Arc::new).map_err(|error| of(certificate, &error))
}

fn run(listen: &str, settings: Settings) -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "the edge of the binary, where the wall clock enters")]
    let started = SystemTime::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let listener = TcpListener::bind(listen).await.map_err(|error| format!("--listen {listen}: {error}"))?;
        eprintln!("provider-sim: stand-ins, no provider: all text is made up; serving on {}", listener.local_addr()?);
        serve(listener, settings, started, stop).await?;
        eprintln!("provider-sim: stopped");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(text: &str) -> Result<Option<(String, Settings)>, String> {
        read(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let (listen, settings) = read_of("--listen=[::1]:0 --key a --key b --tokens-per-second 50").unwrap().unwrap();
        assert_eq!((listen.as_str(), settings.keys.join(" ").as_str()), ("[::1]:0", "a b"));
        assert_eq!(settings.token_gap, Duration::from_millis(20));
        assert!(read_of("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("--port 1", "there is no argument --port"),
            ("--key", "--key needs a value"),
            ("--tls-key-file k", "--tls-cert-file and --tls-key-file go together"),
            ("--first-token-ms soon", "--first-token-ms needs a whole number from 0 to 3600000, not \"soon\""),
        ] {
            assert_eq!(read_of(text).unwrap_err(), problem);
        }
    }
}
