//! How loaded a pool is: reading a replica's metrics page, adding up, and not trusting old figures.
//!
//! A figure that is not known is never taken for zero: an autoscaler that reads zero removes the replicas of a pool whose
//! engines are too busy to answer.

mod page;

use std::time::{Duration, Instant};

use api::POOL_LABEL;
use k8s_openapi::api::core::v1::Pod;

pub use page::{BadPage, parse};

/// Figures older than this are not used. Replicas are asked once a second, so four questions in a row went unanswered.
pub const FRESH_FOR: Duration = Duration::from_secs(5);

/// What one replica said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that it is computing.
    pub running: i64,
    /// Requests in its queue.
    pub waiting: i64,
    /// How full its KV cache is, in thousandths. Not every engine says so.
    pub cache_millis: Option<i64>,
}

/// A sample and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The sample.
    pub sample: Sample,
    /// When it came in.
    pub at: Instant,
}

/// Why a replica's last answer was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It took too long.
    TooSlow,
    /// There was no connection, or it answered with an error.
    Unreachable,
    /// It answered something that is no page of metrics.
    Unreadable,
}

/// All that is known from asking one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its last good answer.
    pub reading: Option<Reading>,
    /// What went wrong the last time, if it did.
    pub trouble: Option<Trouble>,
}

/// The load of a pool, or of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that are being computed.
    pub running: i64,
    /// Requests in the engines' queues.
    pub waiting: i64,
    /// How full the KV caches are on average, in thousandths. Unknown when one of the replicas does not say so.
    pub cache_millis: Option<i64>,
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
    /// A ready replica has not answered yet, or no longer does.
    #[error("replica {replica}{} told its load {}{}", and(*.others), lately(*.since), because(*.trouble))]
    Silent {
        /// The pod, or the first of several.
        replica: String,
        /// How many others are silent too.
        others: usize,
        /// Age of its last answer.
        since: Option<Duration>,
        /// What went wrong the last time, if that is known.
        trouble: Option<Trouble>,
    },
}

impl Load {
    /// Requests running and waiting.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.running.saturating_add(self.waiting)
    }
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

/// The load of a pool at `now`, from its ready replicas: their names, and what was heard from them. A replica that is still
/// starting is not among them: it has no load, and counts for nothing.
///
/// # Errors
/// When there is none, or one has not answered within [`FRESH_FOR`].
pub fn of_pool<'a>(ready: impl IntoIterator<Item = (&'a str, Heard)>, now: Instant) -> Result<Load, Unknown> {
    let (mut sum, mut count, mut silent): (Option<Load>, i64, Option<Unknown>) = (None, 0, None);
    for (name, heard) in ready {
        match fresh(heard, now) {
            Ok(reading) => {
                sum = Some(add(sum, reading));
                count += 1;
            }
            Err(since) => match &mut silent {
                Some(Unknown::Silent { others, .. }) => *others += 1,
                _ => {
                    let replica = name.to_owned();
                    silent = Some(Unknown::Silent { replica, others: 0, since, trouble: heard.trouble });
                }
            },
        }
    }
    match (silent, sum) {
        (Some(silent), _) => Err(silent),
        (None, None) => Err(Unknown::NoReadyReplica),
        (None, Some(sum)) => Ok(Load { cache_millis: sum.cache_millis.map(|of_all| of_all / count), ..sum }),
    }
}

/// The reading if it can still be trusted, else its age.
fn fresh(heard: Heard, now: Instant) -> Result<Reading, Option<Duration>> {
    let reading = heard.reading.ok_or(None)?;
    let age = now.saturating_duration_since(reading.at);
    if age > FRESH_FOR { Err(Some(age)) } else { Ok(reading) }
}

fn add(sum: Option<Load>, Reading { sample, at }: Reading) -> Load {
    let Some(sum) = sum else {
        let Sample { running, waiting, cache_millis } = sample;
        return Load { running, waiting, cache_millis, oldest: at };
    };
    Load {
        running: sum.running.saturating_add(sample.running),
        waiting: sum.waiting.saturating_add(sample.waiting),
        cache_millis: sum.cache_millis.zip(sample.cache_millis).map(|(a, b)| a.saturating_add(b)),
        oldest: sum.oldest.min(at),
    }
}

fn and(count: usize) -> String {
    match count {
        0 => " has not".to_owned(),
        1 => " and 1 other have not".to_owned(),
        n => format!(" and {n} others have not"),
    }
}

fn lately(age: Option<Duration>) -> String {
    age.map_or_else(|| "yet".to_owned(), |age| format!("for {} s", age.as_secs()))
}

fn because(trouble: Option<Trouble>) -> &'static str {
    match trouble {
        None => "",
        Some(Trouble::TooSlow) => ": it does not answer in time",
        Some(Trouble::Unreachable) => ": its metrics page cannot be reached",
        Some(Trouble::Unreadable) => ": its metrics page cannot be understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let heard = |running, cache_millis, seconds| {
            let sample = Sample { running, waiting: 1, cache_millis };
            Heard { reading: Some(Reading { sample, at: at(seconds) }), trouble: None }
        };
        let never = Heard { reading: None, trouble: Some(Trouble::Unreachable) };
        let check = |replicas: &[(&'static str, Heard)], now, want: Result<(i64, Option<i64>), &str>| {
            let load = of_pool(replicas.iter().copied(), at(now));
            let got = load.map(|load| (load.in_flight(), load.cache_millis)).map_err(|unknown| unknown.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{replicas:?} at {now}");
        };
        let (a, b) = (heard(2, Some(200), 10), heard(0, Some(437), 14));
        check(&[("a", a), ("b", heard(0, Some(401), 11))], 12, Ok((4, Some(300))));
        check(&[("a", a), ("b", b)], 15, Ok((4, Some(318))));
        check(&[("a", a), ("b", heard(0, None, 14))], 15, Ok((4, None)));
        check(&[("a", a), ("b", b)], 16, Err("replica a has not told its load for 6 s"));
        check(&[("a", a), ("b", b)], 30, Err("replica a and 1 other have not told its load for 20 s"));
        check(
            &[("b", b), ("c", never)],
            15,
            Err("replica c has not told its load yet: its metrics page cannot be reached"),
        );
        check(&[], 10, Err("no replica of the pool is ready"));
    }
}
