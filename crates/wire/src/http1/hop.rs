//! Which headers belong to one connection only, and so never pass through a proxy.

use http::HeaderMap;
use http::header::{self, HeaderName};

/// Headers about the connection itself, by RFC 9110 §7.6.1 and by custom. `Transfer-Encoding` and `Trailer` are among
/// them because each side of the proxy frames its own messages.
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether this header is about one connection whatever `Connection` says.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// What a message's `Connection` headers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConnectionTokens {
    /// The sender closes the connection after this message.
    pub close: bool,
    /// The sender keeps it open (said by HTTP/1.0 peers only).
    pub keep_alive: bool,
    /// Further headers that the sender wants dropped at the next hop, in lower case.
    pub named: Vec<String>,
}

impl ConnectionTokens {
    /// Reads all `Connection` headers of a message. Values that are not text name nothing.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut tokens = Self::default();
        for value in headers.get_all(header::CONNECTION) {
            let Ok(text) = value.to_str() else { continue };
            for token in text.split(',').map(str::trim).filter(|t| !t.is_empty()) {
                if token.eq_ignore_ascii_case("close") {
                    tokens.close = true;
                } else if token.eq_ignore_ascii_case("keep-alive") {
                    tokens.keep_alive = true;
                } else {
                    tokens.named.push(token.to_ascii_lowercase());
                }
            }
        }
        tokens
    }

    /// Whether this header must stay on its own side of the proxy.
    #[must_use]
    pub fn stops(&self, name: &HeaderName) -> bool {
        is_hop_by_hop(name) || self.named.iter().any(|n| n == name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn names_what_stops_here() {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("Keep-Alive, X-Secret ,, close"));
        headers.append("connection", HeaderValue::from_static("x-other"));
        let tokens = ConnectionTokens::of(&headers);
        assert!(tokens.close && tokens.keep_alive);
        let cases = [
            ("x-secret", true),
            ("x-other", true),
            ("keep-alive", true),
            ("proxy-connection", true),
            ("te", true),
            ("upgrade", true),
            ("transfer-encoding", true),
            ("content-length", false),
            ("x-third", false),
        ];
        for (name, stops) in cases {
            assert_eq!(tokens.stops(&HeaderName::from_static(name)), stops, "{name}");
        }
    }
}
