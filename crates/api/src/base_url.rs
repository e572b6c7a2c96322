//! Where a provider's API is: a URL, read strictly, so that no two readers can differ on its host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Provider, ProviderKind};

/// A URL that an API's paths follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Over TLS.
    pub secure: bool,
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// The port, also where the URL leaves it to the scheme.
    pub port: u16,
    /// What stands before the API's paths: empty, or a slash and more, without a slash at its end.
    pub path: String,
}

/// Why a text is no [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUrl {
    /// It begins with neither `https://` nor `http://`.
    Scheme,
    /// It names a user.
    User,
    /// Its host is no name and no plainly written address.
    Host,
    /// Its port is no number from 1 to 65535.
    Port,
    /// Its path has a query, a fragment, a step up, or a character that no path has.
    Path,
    /// There is no URL, and no region that one could be made of.
    Region,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with https:// or http://",
            Self::User => "must not name a user; credentials come from a Secret",
            Self::Host => "must name a host: a DNS name, or an address such as 192.0.2.1 or [2001:db8::1]",
            Self::Port => "must have a port from 1 to 65535, or none",
            Self::Path => "must have a plain path, without '..', query and fragment",
            Self::Region => {
                "cannot be told without spec.targets[].provider.region: set it, for example to eu-central-1"
            }
        })
    }
}

impl BaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When any part of it can be read in two ways, or has no place in such a URL.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(BadUrl::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadUrl::User);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(BadUrl::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| BadUrl::Host)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BadUrl::Host)?) };
                (address.to_string(), port)
            }
            None => {
                let (host, port) =
                    authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
                (name_or_v4(host)?, port)
            }
        };
        let port = match port {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => number(port).ok_or(BadUrl::Port)?,
        };
        Ok(Self { secure, host, port, path: plain_path(path)?.to_owned() })
    }

    /// The host and the port as `Host` and logs have them: without a port that goes without saying.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The address that the host is, where it is no name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// A name in lower case, or four plain numbers. A host whose last part is a number is an address to some readers whatever
/// its form (`127.1`, `0x7f000001`), so every other form of one is refused.
fn name_or_v4(host: &str) -> Result<String, BadUrl> {
    let is_label = |label: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(BadUrl::Host);
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().map(|address| address.to_string()).map_err(|_| BadUrl::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// A number from 1 to 65535, without a sign and without a zero in front.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

fn plain_path(path: &str) -> Result<&str, BadUrl> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&()*+,;=:@/".contains(&b);
    let up = |step: &str| step == "." || step == "..";
    if !path.bytes().all(fits) || path.split('/').any(up) {
        return Err(BadUrl::Path);
    }
    Ok(path.trim_end_matches('/'))
}

impl Provider {
    /// Where the API is.
    ///
    /// # Errors
    ///
    /// When `baseUrl` cannot be read, or is missing where there is no other, or Bedrock's region is missing; an object from
    /// before the kind's rules can be so.
    pub fn base(&self) -> Result<BaseUrl, BadUrl> {
        let (usual, path) = match self.kind {
            ProviderKind::Anthropic => ("api.anthropic.com".to_owned(), ""),
            ProviderKind::OpenAI => ("api.openai.com".to_owned(), "/v1"),
            ProviderKind::OpenAICompatible => (String::new(), ""),
            ProviderKind::Bedrock => (bedrock_host(self.region.as_deref().ok_or(BadUrl::Region)?)?, ""),
        };
        match &self.base_url {
            Some(url) => BaseUrl::parse(url),
            None if usual.is_empty() => Err(BadUrl::Scheme),
            None => Ok(BaseUrl { secure: true, host: usual, port: 443, path: path.to_owned() }),
        }
    }
}

/// The host of Bedrock in a region. A region is one label of it, so nothing else may stand in one.
fn bedrock_host(region: &str) -> Result<String, BadUrl> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if region.is_empty() || region.len() > 32 || !region.bytes().all(plain) {
        return Err(BadUrl::Region);
    }
    // China's regions are a world of their own.
    let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    name_or_v4(&format!("bedrock-runtime.{region}.{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_urls() {
        let cases = [
            ("https://api.example.com", (true, "api.example.com", 443, ""), "api.example.com"),
            ("https://API.Example.com/v1/", (true, "api.example.com", 443, "/v1"), "api.example.com"),
            ("http://ollama.ml.svc:11434/v1", (false, "ollama.ml.svc", 11434, "/v1"), "ollama.ml.svc:11434"),
            ("http://10.0.0.1:80", (false, "10.0.0.1", 80, ""), "10.0.0.1"),
            ("https://[2001:DB8::1]:8443/a/b", (true, "2001:db8::1", 8443, "/a/b"), "[2001:db8::1]:8443"),
            ("https://[::1]", (true, "::1", 443, ""), "[::1]"),
            (
                "https://x.openai.azure.com/openai/deployments/d",
                (true, "x.openai.azure.com", 443, "/openai/deployments/d"),
                "x.openai.azure.com",
            ),
        ];
        for (text, (secure, host, port, path), authority) in cases {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!(
                (url.secure, url.host.as_str(), url.port, url.path.as_str()),
                (secure, host, port, path),
                "{text}"
            );
            assert_eq!(url.authority(), authority, "{text}");
        }
    }

    #[test]
    fn bedrock_is_where_its_region_is() {
        let base = |region: Option<&str>, url: Option<&str>| {
            let provider = Provider {
                kind: ProviderKind::Bedrock,
                model: "m".to_owned(),
                base_url: url.map(str::to_owned),
                credentials_secret_ref: None,
                region: region.map(str::to_owned),
                api_version: None,
                organization: None,
                project: None,
            };
            provider.base().map(|base| base.authority())
        };
        assert_eq!(base(Some("eu-central-1"), None).unwrap(), "bedrock-runtime.eu-central-1.amazonaws.com");
        assert_eq!(base(Some("us-gov-west-1"), None).unwrap(), "bedrock-runtime.us-gov-west-1.amazonaws.com");
        assert_eq!(base(Some("cn-north-1"), None).unwrap(), "bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(base(Some("eu-central-1"), Some("https://vpce-1.example")).unwrap(), "vpce-1.example");
        for bad in [None, Some(""), Some("evil.example/"), Some("a.b"), Some("EU-1"), Some("-")] {
            assert_eq!(base(bad, None), Err(if bad == Some("-") { BadUrl::Host } else { BadUrl::Region }), "{bad:?}");
        }
    }

    /// S21: whatever two readers could read in two ways.
    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        let scheme =
            ["", "api.example.com", "ftp://a", "HTTPS://a", "//a", "file:///etc/passwd", "gopher://a", " https://a"];
        let user = ["https://user@a", "https://user:pass@a", "https://a@b@c", "https://:@a"];
        let host = [
            "https://",
            "https:///v1",
            "https://a..b",
            "https://.a",
            "https://a.",
            "https://localhost.",
            "https://-a",
            "https://a_b",
            "https://a b",
            "https://a%2eb",
            "https://ä.example",
            "https://a\u{0}b",
            "https://a\tb",
            "https://0",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0x7f.0.0.1",
            "https://0177.0.0.1",
            "https://127.0.0.01",
            "https://127.0.0.1.",
            "https://256.0.0.1",
            "https://1.2.3.4.5",
            "https://a.0x1",
            "https://[::1",
            "https://::1",
            "https://[::1]x",
            "https://[fe80::1%25eth0]",
            "https://[1.2.3.4]",
            "https://[::ffff:1.2.3.4.5]",
            "https://①.example",
        ];
        let port = [
            "https://a:",
            "https://a:0",
            "https://a:080",
            "https://a:65536",
            "https://a:x",
            "https://a:+1",
            "https://a:1:2",
        ];
        let path = [
            "https://a?x=1",
            "https://a#x",
            "https://a/?x",
            "https://a/#x",
            "https://a\\b",
            "https://a/b\\c",
            "https://a/..",
            "https://a/../b",
            "https://a/./b",
            "https://a/b c",
            "https://a/\u{7f}",
            "https://a/é",
            "https://a/<b>",
            "https://a/\r\nx",
        ];
        let all = [
            (&scheme[..], BadUrl::Scheme),
            (&user, BadUrl::User),
            (&host, BadUrl::Host),
            (&port, BadUrl::Port),
            (&path, BadUrl::Path),
        ];
        for (texts, why) in all {
            for text in texts {
                assert_eq!(BaseUrl::parse(text), Err(why), "{text:?}");
            }
        }
    }
}
