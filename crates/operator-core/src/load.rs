//! How loaded a pool is: reading a replica's metrics page, adding up, and not trusting old figures.
//!
//! A figure that is not known is never taken for zero: an autoscaler that reads zero removes the replicas of a pool whose
//! engines are too busy to answer.

use std::time::{Duration, Instant};

use api::POOL_LABEL;
use k8s_openapi::api::core::v1::Pod;

/// Figures older than this are not used.
pub const FRESH_FOR: Duration = Duration::from_secs(5);

const RUNNING: &str = "vllm:num_requests_running";
const WAITING: &str = "vllm:num_requests_waiting";

/// What one replica said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Requests that it is computing.
    pub running: i64,
    /// Requests in its queue.
    pub waiting: i64,
}

/// A sample and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The sample.
    pub sample: Sample,
    /// When it came in.
    pub at: Instant,
}

/// The load of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests running and waiting in all ready replicas.
    pub in_flight: i64,
    /// When the oldest of the figures in it was taken.
    pub oldest: Instant,
}

/// A replica that takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Address of the pod.
    pub ip: String,
}

/// Why a load is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is nobody to ask.
    #[error("no replica of the pool is ready")]
    NoReadyReplica,
    /// A ready replica has not answered yet.
    #[error("replica {0} has not told its load yet")]
    NoAnswer(String),
    /// A ready replica has stopped answering.
    #[error("a replica has not told its load for {} s", .0.as_secs())]
    Stale(Duration),
}

/// Why a page was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPage {
    /// The page lacks a metric.
    #[error("the page has no {0}")]
    Missing(&'static str),
    /// A metric's value is not a number of requests.
    #[error("{metric} is {value:?}, which is no number of requests")]
    NotANumber {
        /// The metric.
        metric: &'static str,
        /// What stands in the place of its value.
        value: String,
    },
}

/// The replica that a pod is, if it is one that takes requests: ready, and not on its way out.
#[must_use]
pub fn replica(pod: &Pod) -> Option<Replica> {
    let (meta, status) = (&pod.metadata, pod.status.as_ref()?);
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready || meta.deletion_timestamp.is_some() {
        return None;
    }
    Some(Replica {
        namespace: meta.namespace.clone()?,
        pool: meta.labels.as_ref()?.get(POOL_LABEL)?.clone(),
        name: meta.name.clone()?,
        uid: meta.uid.clone()?,
        ip: status.pod_ip.clone()?,
    })
}

/// Reads a page in Prometheus' text format. Series of one metric are added up, because an engine with data parallelism has
/// one for each of its cores.
///
/// # Errors
/// When one of the two metrics is missing or not a number; half a figure would look like little load.
pub fn parse(page: &str) -> Result<Sample, BadPage> {
    Ok(Sample { running: sum(page, RUNNING)?, waiting: sum(page, WAITING)? })
}

/// The load of a pool, from its ready replicas: their names, and what they said last.
///
/// # Errors
/// When there is none, or one has not said anything yet.
pub fn of_pool<'a>(ready: impl IntoIterator<Item = (&'a str, Option<Reading>)>) -> Result<Load, Unknown> {
    let mut load: Option<Load> = None;
    for (name, reading) in ready {
        let reading = reading.ok_or_else(|| Unknown::NoAnswer(name.to_owned()))?;
        let own = reading.sample.running.saturating_add(reading.sample.waiting);
        load = Some(match load {
            None => Load { in_flight: own, oldest: reading.at },
            Some(sum) => Load { in_flight: sum.in_flight.saturating_add(own), oldest: sum.oldest.min(reading.at) },
        });
    }
    load.ok_or(Unknown::NoReadyReplica)
}

/// `load` if it can still be trusted at `now`.
///
/// # Errors
/// When it is unknown, or one of its figures is older than [`FRESH_FOR`].
pub fn fresh(load: Result<Load, Unknown>, now: Instant) -> Result<Load, Unknown> {
    let load = load?;
    let age = now.saturating_duration_since(load.oldest);
    if age > FRESH_FOR { Err(Unknown::Stale(age)) } else { Ok(load) }
}

fn sum(page: &str, metric: &'static str) -> Result<i64, BadPage> {
    let mut total = None;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(metric) else { continue };
        // The name must end here: there are metrics whose names begin with that of another.
        let value = if rest.starts_with('{') {
            // Label values may hold braces; what follows the last one cannot.
            rest.rsplit_once('}').map_or("", |(_, value)| value)
        } else if rest.starts_with(' ') {
            rest
        } else {
            continue;
        };
        let value = value.split_whitespace().next().unwrap_or_default();
        let requests = requests(value).ok_or_else(|| BadPage::NotANumber { metric, value: value.to_owned() })?;
        total = Some(total.unwrap_or(0_i64).saturating_add(requests));
    }
    total.ok_or(BadPage::Missing(metric))
}

fn requests(value: &str) -> Option<i64> {
    const MOST: f64 = 1e12;
    let value: f64 = value.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range has been checked")]
    (0.0..=MOST).contains(&value).then(|| value.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pages() {
        let bad = |metric, value: &str| Err(BadPage::NotANumber { metric, value: value.to_owned() });
        let table = [
            ("vllm:num_requests_running 2\nvllm:num_requests_waiting 3.0\n", Ok((2, 3))),
            (
                "# TYPE vllm:num_requests_running gauge\n\
                 vllm:num_requests_running{engine=\"0\",model_name=\"a} b\"} 4.0\n\
                 vllm:num_requests_running{engine=\"1\",model_name=\"a} b\"} 5.0 1763000000000\n\
                 vllm:num_requests_waiting{engine=\"0\"} 1e1\n\
                 vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 700.0\n",
                Ok((9, 10)),
            ),
            ("vllm:num_requests_running 2\nvllm:num_requests_waiting_by_reason 3\n", Err(BadPage::Missing(WAITING))),
            ("", Err(BadPage::Missing(RUNNING))),
            ("vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n", bad(RUNNING, "NaN")),
            ("vllm:num_requests_running 0\nvllm:num_requests_waiting -1\n", bad(WAITING, "-1")),
            ("vllm:num_requests_running{engine=\"0\"\nvllm:num_requests_waiting 0\n", bad(RUNNING, "")),
        ];
        for (page, want) in table {
            assert_eq!(parse(page), want.map(|(running, waiting)| Sample { running, waiting }), "{page}");
        }
    }

    #[test]
    fn only_ready_pods_that_stay_are_asked() {
        let check = |change: serde_json::Value, want: bool| {
            let mut pod = serde_json::json!({
                "metadata": {"namespace": "ml", "name": "llama-1", "uid": "u", "labels": {"quartermaster.dev/pool": "llama"}},
                "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
            });
            for (part, fields) in change.as_object().unwrap() {
                pod[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(replica(&pod).is_some(), want, "{change}");
        };
        check(serde_json::json!({}), true);
        check(serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}), false);
        check(serde_json::json!({"status": {"conditions": null}}), false);
        check(serde_json::json!({"status": {"podIP": null}}), false);
        check(serde_json::json!({"metadata": {"deletionTimestamp": "2026-11-21T10:00:00Z"}}), false);
        check(serde_json::json!({"metadata": {"labels": {}}}), false);
    }

    #[test]
    fn adds_up_only_what_is_known_and_fresh() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let reading = |running, seconds| Some(Reading { sample: Sample { running, waiting: 1 }, at: at(seconds) });
        let check = |replicas: &[(&'static str, Option<Reading>)], now, want: Result<i64, Unknown>| {
            let load = fresh(of_pool(replicas.iter().copied()), at(now));
            assert_eq!(load.map(|load| load.in_flight), want, "{replicas:?} at {now}");
        };
        check(&[("a", reading(2, 10)), ("b", reading(0, 11))], 12, Ok(4));
        check(&[("a", reading(2, 10)), ("b", reading(0, 14))], 15, Ok(4));
        check(&[("a", reading(2, 10)), ("b", reading(0, 14))], 16, Err(Unknown::Stale(Duration::from_secs(6))));
        check(&[("a", reading(2, 10)), ("b", None)], 10, Err(Unknown::NoAnswer("b".to_owned())));
        check(&[], 10, Err(Unknown::NoReadyReplica));
    }
}
