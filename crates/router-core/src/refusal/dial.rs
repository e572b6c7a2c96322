//! Why no connection to a target could be made, in words that can follow "could not be reached:".

use std::fmt;

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDial {
    /// The name of the host leads to no address.
    Name,
    /// No address answered in time, or TLS was not agreed on in time.
    Late,
    /// Each address refused the connection, or cannot be reached.
    Refused,
    /// TLS was not agreed on.
    Tls(BadTls),
}

/// Why TLS was not agreed on. Nothing of the request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTls {
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not begun.
    Early,
    /// The certificate is for another host.
    WrongName,
    /// The certificate is by nobody who is trusted.
    Untrusted,
    /// The certificate cannot be used for another reason.
    BadCertificate,
    /// No version or cipher of TLS is known on both sides.
    Versions,
    /// What came is no TLS.
    NotTls,
    /// The connection ended, or the other side refused.
    Broken,
}

impl NoDial {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Name,
        Self::Late,
        Self::Refused,
        Self::Tls(BadTls::Expired),
        Self::Tls(BadTls::Early),
        Self::Tls(BadTls::WrongName),
        Self::Tls(BadTls::Untrusted),
        Self::Tls(BadTls::BadCertificate),
        Self::Tls(BadTls::Versions),
        Self::Tls(BadTls::NotTls),
        Self::Tls(BadTls::Broken),
    ];

    /// Whether another attempt soon after could fare better. A certificate that does not verify is the same a second later.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Name | Self::Late | Self::Refused | Self::Tls(BadTls::Broken))
    }

    /// The label of metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Tls(BadTls::Expired) => "certificate_expired",
            Self::Tls(BadTls::Early) => "certificate_early",
            Self::Tls(BadTls::WrongName) => "certificate_other_host",
            Self::Tls(BadTls::Untrusted) => "certificate_untrusted",
            Self::Tls(BadTls::BadCertificate) => "certificate_unusable",
            Self::Tls(BadTls::Versions) => "tls_version",
            Self::Tls(BadTls::NotTls) => "no_tls",
            Self::Tls(BadTls::Broken) => "tls_broken",
        }
    }

    /// The exact case, as a word that is stable across versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Name | Self::Late | Self::Refused => "upstream_unreachable",
            Self::Tls(_) => "upstream_tls",
        }
    }
}

impl fmt::Display for NoDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name of its host leads to no address",
            Self::Late => "it did not take a connection in time",
            Self::Refused => "it takes no connections",
            Self::Tls(BadTls::Expired) => "its certificate has expired",
            Self::Tls(BadTls::Early) => "its certificate is not valid yet",
            Self::Tls(BadTls::WrongName) => "its certificate is for another host",
            Self::Tls(BadTls::Untrusted) => "its certificate is by nobody whom this router trusts",
            Self::Tls(BadTls::BadCertificate) => "its certificate cannot be used",
            Self::Tls(BadTls::Versions) => "it speaks no version of TLS that is still safe",
            Self::Tls(BadTls::NotTls) => "it does not speak TLS at this port",
            Self::Tls(BadTls::Broken) => "it broke off while TLS was agreed on",
        })
    }
}
