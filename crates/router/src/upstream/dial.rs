//! Connections to hosts by their names. Each is resolved here, every address that comes of it is judged, and one of those
//! same addresses is connected to: a name that changes its mind gains nothing (DNS rebinding).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use router_core::{Api, RemoteInput};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::conn::{Conn, Home};
use super::stream::Stream;
use super::tcp;
use crate::outbound::Outbound;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Its address is none that a policy may name.
    #[error("it has {0}, which --allow-targets does not name")]
    Forbidden(&'static str),
    /// It took too long.
    #[error("no connection in time")]
    Late,
    /// No address answers, or TLS failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where kept connections to this host lie.
pub(crate) fn home(remote: &RemoteInput) -> Home {
    Home::Host { secure: remote.secure, authority: Arc::from(remote.authority.as_str()) }
}

/// A connection to this host, over TLS if it is to be, by the time `until`.
pub(crate) async fn dial(remote: &RemoteInput, outbound: &Outbound, until: Instant) -> Result<Conn, DialError> {
    timeout_at(until, dial_all(remote, outbound, until)).await.unwrap_or(Err(DialError::Late))
}

async fn dial_all(remote: &RemoteInput, outbound: &Outbound, until: Instant) -> Result<Conn, DialError> {
    let addresses = addresses(remote).await?;
    for address in &addresses {
        judge(remote, outbound, address.ip())?;
    }
    let stream = connect(&addresses, until).await?;
    let stream = if remote.secure {
        let name = ServerName::try_from(remote.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&outbound.tls));
        Stream::Tls(Box::new(connector.connect(name, stream).await?))
    } else {
        Stream::Plain(stream)
    };
    Ok(Conn::new(stream, home(remote)))
}

async fn addresses(remote: &RemoteInput) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = remote.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, remote.port)]);
    }
    let addresses: Vec<_> = lookup_host((remote.host.as_str(), remote.port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

fn judge(remote: &RemoteInput, outbound: &Outbound, address: IpAddr) -> Result<(), DialError> {
    let reach = &outbound.reach;
    let forbidden = match remote.api {
        Api::Engine => reach.forbids_service(address),
        // What goes over the Internet in clear text can be read and changed by many.
        _ if !remote.secure && !reach.lets(&remote.host, address) => Some("a URL in clear text"),
        _ => reach.forbids(&remote.host, address),
    };
    forbidden.map_or(Ok(()), |why| Err(DialError::Forbidden(why)))
}

/// One address after the other; none but the last may take all the time that is left.
async fn connect(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for (at, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let part = if at + 1 == addresses.len() { until } else { now + until.saturating_duration_since(now) / 2 };
        match timeout_at(part, tcp::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}
