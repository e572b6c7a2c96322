//! Reads what a request asks for.

use super::{GROUP, Kind, Metric, Selector, VERSIONS, Version};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether the server is up.
    Health,
    /// The groups that this server has.
    Groups,
    /// The versions of the one group.
    Group,
    /// What a version offers.
    Resources(Version),
    /// Figures of pools or pods.
    Figures(Query),
}

/// Which figures are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// In which shape to answer.
    pub version: Version,
    /// Namespace of the pools or pods.
    pub namespace: String,
    /// Of what.
    pub kind: Kind,
    /// Of which ones.
    pub which: Which,
    /// What is asked.
    pub metric: Metric,
}

/// Which objects are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Named(String),
    /// Those that are selected, in paths written `*`.
    Selected(Selector),
}

/// Why a request cannot be answered, whatever the pools do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path leads nowhere.
    #[error("there is no such page")]
    NoPage,
    /// There are no figures of this resource.
    #[error("there are no metrics of {0:?}, only of inferencepools.quartermaster.dev and pods, each in its namespace")]
    NoResource(String),
    /// There is no such metric.
    #[error("there is no metric {name:?}, only {known}", known = names())]
    NoMetric {
        /// What was asked for.
        name: String,
    },
    /// The objects are not well selected.
    #[error("labelSelector is {0:?}, which is no label selector")]
    BadSelector(String),
    /// The series are to be chosen by their labels.
    #[error("metricLabelSelector is {0:?}, but the metrics have no labels to choose by; leave it out")]
    MetricSelector(String),
}

impl Refusal {
    /// The status code and its reason as Kubernetes words it.
    #[must_use]
    pub fn code(&self) -> (u16, &'static str) {
        match self {
            Self::NoPage | Self::NoResource(_) | Self::NoMetric { .. } => (404, "NotFound"),
            Self::BadSelector(_) | Self::MetricSelector(_) => (400, "BadRequest"),
        }
    }
}

/// Reads a request's path and query, as they came: percent-encoded.
///
/// # Errors
/// When the path leads nowhere, or the query cannot be honoured.
pub fn ask(path: &str, query: &str) -> Result<Ask, Refusal> {
    let path: Option<Vec<String>> = path.trim_matches('/').split('/').map(decoded).collect();
    let path = path.ok_or(Refusal::NoPage)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["healthz" | "livez" | "readyz"] => Ok(Ask::Health),
        ["apis"] => Ok(Ask::Groups),
        ["apis", GROUP] => Ok(Ask::Group),
        ["apis", GROUP, text, ref rest @ ..] => {
            let version = VERSIONS.into_iter().find(|known| known.as_str() == text).ok_or(Refusal::NoPage)?;
            match *rest {
                [] => Ok(Ask::Resources(version)),
                ["namespaces", namespace, resource, name, metric] => {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.resource() == resource);
                    let kind = kind.ok_or_else(|| Refusal::NoResource(resource.to_owned()))?;
                    let metric = known(metric)?;
                    let which = which(name, query)?;
                    Ok(Ask::Figures(Query { version, namespace: namespace.to_owned(), kind, which, metric }))
                }
                // Figures of a namespace, and of objects in none.
                ["namespaces", _, "metrics", _] => Err(Refusal::NoResource("namespaces".to_owned())),
                [resource, _, _] => Err(Refusal::NoResource(resource.to_owned())),
                _ => Err(Refusal::NoPage),
            }
        }
        _ => Err(Refusal::NoPage),
    }
}

fn known(metric: &str) -> Result<Metric, Refusal> {
    let found = Metric::ALL.into_iter().find(|known| known.name() == metric);
    found.ok_or_else(|| Refusal::NoMetric { name: metric.to_owned() })
}

/// `labelSelector` says which objects are meant where the name is `*`; `metricLabelSelector` would say which of several
/// series of an object, of which each metric has one.
fn which(name: &str, query: &str) -> Result<Which, Refusal> {
    let mut selector = Selector::default();
    for pair in query.split('&') {
        let (key, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(&raw.replace('+', " "));
        let bad = || Refusal::BadSelector(raw.to_owned());
        match key {
            "labelSelector" => selector = value.as_deref().and_then(Selector::parse).ok_or_else(bad)?,
            "metricLabelSelector" if !raw.is_empty() => {
                return Err(Refusal::MetricSelector(value.unwrap_or_else(|| raw.to_owned())));
            }
            _ => {}
        }
    }
    Ok(if name == "*" { Which::Selected(selector) } else { Which::Named(name.to_owned()) })
}

/// Undoes percent-encoding. `None` when what is encoded is not text.
fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(rest.next())? * 16 + digit(rest.next())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn names() -> String {
    Metric::ALL.map(Metric::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(version: Version, which: Which, metric: Metric) -> Result<Ask, Refusal> {
        Ok(Ask::Figures(Query { version, namespace: "ml".to_owned(), kind: Kind::Pool, which, metric }))
    }

    fn pods(which: Which) -> Result<Ask, Refusal> {
        let (version, namespace) = (Version::V1Beta2, "ml".to_owned());
        Ok(Ask::Figures(Query { version, namespace, kind: Kind::Pod, which, metric: Metric::CacheUsage }))
    }

    #[test]
    fn finds_the_page() {
        let named = |name: &str| Which::Named(name.to_owned());
        let selected = |text: &str| Which::Selected(Selector::parse(text).unwrap());
        let table = [
            ("/healthz", Ok(Ask::Health)),
            ("/apis", Ok(Ask::Groups)),
            ("/apis/", Ok(Ask::Groups)),
            ("/apis/custom.metrics.k8s.io", Ok(Ask::Group)),
            ("/apis/custom.metrics.k8s.io/v1beta2", Ok(Ask::Resources(Version::V1Beta2))),
            ("/apis/custom.metrics.k8s.io/v1", Err(Refusal::NoPage)),
            ("/openapi/v2", Err(Refusal::NoPage)),
            ("/", Err(Refusal::NoPage)),
            ("/%ff", Err(Refusal::NoPage)),
            (
                "v1beta2/namespaces/ml/inferencepools.quartermaster.dev/llama/vllm_inflight_requests",
                pools(Version::V1Beta2, named("llama"), Metric::InFlight),
            ),
            (
                "v1beta1/namespaces/ml/inferencepools.quartermaster.dev/llama/vllm_requests_waiting?metricLabelSelector=",
                pools(Version::V1Beta1, named("llama"), Metric::Waiting),
            ),
            (
                "v1beta2/namespaces/ml/inferencepools.quartermaster.dev/%2A/vllm_requests_running?labelSelector=a%3Db",
                pools(Version::V1Beta2, selected("a=b"), Metric::Running),
            ),
            (
                "v1beta2/namespaces/ml/pods/*/vllm_kv_cache_usage?labelSelector=a+in+%28b%2Cc%29&limit=500",
                pods(selected("a in (b,c)")),
            ),
            ("v1beta2/namespaces/ml/pods/*/vllm_kv_cache_usage", pods(selected(""))),
            ("v1beta2/namespaces/ml/pods/llama-1/vllm_kv_cache_usage", pods(named("llama-1"))),
            (
                "v1beta2/namespaces/ml/inferencepools.inference.networking.k8s.io/llama/vllm_inflight_requests",
                Err(Refusal::NoResource("inferencepools.inference.networking.k8s.io".to_owned())),
            ),
            ("v1beta2/nodes/a/vllm_kv_cache_usage", Err(Refusal::NoResource("nodes".to_owned()))),
            ("v1beta2/namespaces/ml/metrics/x", Err(Refusal::NoResource("namespaces".to_owned()))),
            ("v1beta2/namespaces/ml/pods/a/cpu", Err(Refusal::NoMetric { name: "cpu".to_owned() })),
            (
                "v1beta2/namespaces/ml/pods/*/vllm_kv_cache_usage?labelSelector=a%3E1",
                Err(Refusal::BadSelector("a%3E1".to_owned())),
            ),
            (
                "v1beta2/namespaces/ml/pods/*/vllm_kv_cache_usage?metricLabelSelector=a%3D1",
                Err(Refusal::MetricSelector("a=1".to_owned())),
            ),
        ];
        for (page, want) in table {
            let page = if page.starts_with('/') { page.to_owned() } else { format!("/apis/{GROUP}/{page}") };
            let (path, query) = page.split_once('?').unwrap_or((&page, ""));
            assert_eq!(ask(path, query), want, "{page}");
        }
    }

    #[test]
    fn says_what_there_is() {
        let says = |refusal: Refusal| (refusal.code().0, refusal.to_string());
        let (code, message) = says(Refusal::NoMetric { name: "cpu".to_owned() });
        assert_eq!(code, 404);
        assert_eq!(
            message,
            "there is no metric \"cpu\", only vllm_inflight_requests, vllm_requests_running, vllm_requests_waiting, \
             vllm_kv_cache_usage"
        );
        assert_eq!(says(Refusal::BadSelector("a>1".to_owned())).0, 400);
    }
}
