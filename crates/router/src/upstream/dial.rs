//! Connections to hosts by their names. Each is resolved here, every address that comes of it is judged, and one of those
//! same addresses is connected to: a name that changes its mind gains nothing (DNS rebinding).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use router_core::{Api, BadTls, NoDial, RemoteInput};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use super::conn::{Conn, Home};
use super::stream::Stream;
use super::tcp;
use crate::outbound::Outbound;

/// How long one address may stay silent before the next one is tried beside it: the recommendation of RFC 8305.
const HEAD_START: Duration = Duration::from_millis(250);

/// Where a connection is to lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Over TLS.
    pub(crate) secure: bool,
    /// It is a Service of the cluster, which may have the cluster's own addresses.
    pub(crate) service: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Its address is none that a policy may name.
    #[error("it has {0}, which --allow-targets does not name")]
    Forbidden(&'static str),
    /// It took too long.
    #[error("no connection in time")]
    Late,
    /// The name has no address.
    #[error("its name cannot be resolved: {0}")]
    Name(io::Error),
    /// No address answers.
    #[error("{0}")]
    Connect(io::Error),
    /// TLS was not agreed on.
    #[error("TLS: {0}")]
    Tls(io::Error),
}

impl DialError {
    /// What a client is told; `None` for what is forbidden.
    pub(crate) fn told(&self) -> Option<NoDial> {
        Some(match self {
            Self::Forbidden(_) => return None,
            Self::Late => NoDial::Late,
            Self::Name(_) => NoDial::Name,
            Self::Connect(_) => NoDial::Refused,
            Self::Tls(error) => NoDial::Tls(bad_tls(error)),
        })
    }
}

fn bad_tls(error: &io::Error) -> BadTls {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => BadTls::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => BadTls::Early,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => BadTls::WrongName,
            // One whose authority has the name of ours, and not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => BadTls::Untrusted,
            _ => BadTls::BadCertificate,
        },
        Some(TlsError::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure))
        | Some(TlsError::PeerIncompatible(_)) => BadTls::Versions,
        Some(TlsError::InvalidMessage(_)) => BadTls::NotTls,
        _ => BadTls::Broken,
    }
}

/// Whether the target is a Service of its policy's namespace.
fn is_service(remote: &RemoteInput) -> bool {
    matches!(remote.api, Api::Engine)
}

/// Where kept connections to this host lie.
pub(crate) fn home(remote: &RemoteInput) -> Home {
    Home::Host { secure: remote.secure, service: is_service(remote), authority: Arc::from(remote.authority.as_str()) }
}

/// A connection to this host, over TLS if it is to be, by the time `until`.
pub(crate) async fn dial(remote: &RemoteInput, outbound: &Outbound, until: Instant) -> Result<Conn, DialError> {
    timeout_at(until, dial_all(remote, outbound)).await.unwrap_or(Err(DialError::Late))
}

async fn dial_all(remote: &RemoteInput, outbound: &Outbound) -> Result<Conn, DialError> {
    let place = Place { host: &remote.host, port: remote.port, secure: remote.secure, service: is_service(remote) };
    Ok(Conn::new(reach(&place, outbound).await?, home(remote)))
}

/// A socket that leads to this place, over TLS if it is to be.
pub(crate) async fn reach(place: &Place<'_>, outbound: &Outbound) -> Result<Stream, DialError> {
    let addresses = addresses(place, outbound).await.map_err(DialError::Name)?;
    for address in &addresses {
        judge(place, outbound, address.ip())?;
    }
    let stream = connect(&addresses).await.map_err(DialError::Connect)?;
    if !place.secure {
        return Ok(Stream::Plain(stream));
    }
    let name = ServerName::try_from(place.host.to_owned()).map_err(|error| DialError::Tls(io::Error::other(error)))?;
    let connector = TlsConnector::from(outbound.tls.load_full());
    Ok(Stream::Tls(Box::new(connector.connect(name, stream).await.map_err(DialError::Tls)?)))
}

async fn addresses(place: &Place<'_>, outbound: &Outbound) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = place.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, place.port)]);
    }
    let addresses = (outbound.resolver)(place.host.to_owned(), place.port).await?;
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

fn judge(place: &Place<'_>, outbound: &Outbound, address: IpAddr) -> Result<(), DialError> {
    let reach = &outbound.reach;
    let forbidden = match place.service {
        true => reach.forbids_service(address),
        // What goes over the Internet in clear text can be read and changed by many.
        false if !place.secure && !reach.lets(place.host, address) => Some("a URL in clear text"),
        false => reach.forbids(place.host, address),
    };
    forbidden.map_or(Ok(()), |why| Err(DialError::Forbidden(why)))
}

/// The first address that answers. One that fails or stays silent is followed by the next, of the other family where there is one:
/// a network that loses all of IPv6 costs a connection a quarter of a second.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut rest = in_turns(addresses).into_iter();
    let mut tries = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    loop {
        match rest.next() {
            Some(address) => tries.push(tcp::connect(address)),
            None if tries.is_empty() => return Err(failed),
            None => {}
        }
        let more = rest.len() > 0;
        tokio::select! {
            Some(outcome) = tries.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
}

/// The same addresses, with the families in turns; the first one stays first.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<SocketAddr>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut turns: Vec<SocketAddr> =
        same.into_iter().flat_map(|address| [Some(address), other.next()].into_iter().flatten()).collect();
    turns.extend(other);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let all = |texts: &str| texts.split(' ').map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (given, want) in [
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"),
            ("1.1.1.1:1 [::1]:1 [::2]:1", "1.1.1.1:1 [::1]:1 [::2]:1"),
            ("1.1.1.1:1", "1.1.1.1:1"),
        ] {
            assert_eq!(in_turns(&all(given)), all(want), "{given}");
        }
    }
}
