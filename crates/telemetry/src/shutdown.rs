//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled when the process is asked to stop by SIGTERM or SIGINT. A second signal ends the process at
/// once, for people who press Ctrl-C twice.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        let name = next(&mut signals).await;
        tracing::info!(signal = name, "stopping");
        asked.cancel();
        let name = next(&mut signals).await;
        tracing::warn!(signal = name, "stopping at once");
        crate::log::flush();
        std::process::exit(130);
    });
    Ok(token)
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
