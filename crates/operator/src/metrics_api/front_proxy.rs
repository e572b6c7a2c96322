//! Who may ask the metrics API: the API server, by the certificate that the cluster publishes for it.

use std::collections::BTreeMap;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

/// Where every cluster publishes it.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Name of the ConfigMap.
pub(crate) const CONFIG_MAP: &str = "extension-apiserver-authentication";

const AUTHORITY: &str = "requestheader-client-ca-file";
const NAMES: &str = "requestheader-allowed-names";

/// How API servers prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrontProxy {
    /// The authority that signs their client certificates, as PEM. Empty: the cluster has no aggregation.
    pub(crate) authority: String,
    /// The names in them. Empty: any.
    pub(crate) names: Vec<String>,
}

/// The names whose requests are answered.
#[derive(Debug)]
pub(crate) struct Callers {
    names: Vec<String>,
}

impl FrontProxy {
    /// Reads the ConfigMap's data.
    pub(crate) fn read(data: &BTreeMap<String, String>) -> Self {
        let names = data.get(NAMES).and_then(|names| serde_json::from_str::<Vec<String>>(names).ok());
        Self { authority: data.get(AUTHORITY).cloned().unwrap_or_default(), names: names.unwrap_or_default() }
    }

    /// The authority's certificates. Those that cannot be used are left out.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(self.authority.as_bytes()).flatten());
        roots
    }

    /// The names whose requests are answered.
    pub(crate) fn callers(&self) -> Callers {
        Callers { names: self.names.clone() }
    }
}

impl Callers {
    /// Whether the bearer of this certificate, which has been verified, is answered.
    pub(crate) fn allow(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return false };
        let mut names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        self.names.is_empty() || names.any(|name| self.names.iter().any(|allowed| allowed == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_cluster_publishes() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let table = [
            (map(&[(AUTHORITY, "pem"), (NAMES, "[\"front-proxy-client\"]")]), "pem", vec!["front-proxy-client"]),
            (map(&[(AUTHORITY, "pem"), (NAMES, "[]")]), "pem", vec![]),
            (map(&[]), "", vec![]),
        ];
        for (data, authority, names) in table {
            let read = FrontProxy::read(&data);
            assert_eq!(
                (read.authority.as_str(), read.names),
                (authority, names.into_iter().map(str::to_owned).collect())
            );
        }
    }
}
