//! The loads of pools as figures for Prometheus, for those who scale or watch by it.
//!
//! They are made when somebody asks. A pool whose load is not known has none, and one that is gone leaves none behind, so
//! there are never more than four for each pool that has a ready replica.

use std::sync::Arc;
use std::time::Instant;

use operator_core::metrics_api::Metric;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};

use super::Loads;

const LABELS: [&str; 2] = ["namespace", "pool"];

/// The loads of all pools.
pub(crate) struct LoadFigures {
    loads: Arc<Loads>,
    /// Tells the registry what is collected; never filled.
    empty: [GaugeVec; 4],
}

impl LoadFigures {
    /// Adds the figures to a registry.
    pub(crate) fn register(loads: Arc<Loads>, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Self { loads, empty: gauges()? }))
    }
}

impl Collector for LoadFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew each time, so that two who ask at once do not empty each other's.
        let Ok(gauges) = gauges() else { return Vec::new() };
        for ((namespace, pool), load) in self.loads.all(Instant::now()) {
            let Ok(load) = load else { continue };
            for (metric, gauge) in Metric::ALL.into_iter().zip(&gauges) {
                if let Some(millis) = metric.millis_of(&load) {
                    #[expect(clippy::cast_precision_loss, reason = "requests are far fewer than a float can count")]
                    gauge.with_label_values(&[&namespace, &pool]).set(millis as f64 / 1000.0);
                }
            }
        }
        gauges.iter().flat_map(Collector::collect).collect()
    }
}

/// One for each of [`Metric::ALL`], in its order.
fn gauges() -> Result<[GaugeVec; 4], prometheus::Error> {
    let gauge =
        |name: &str, help: &str| GaugeVec::new(Opts::new(format!("quartermaster_operator_pool_{name}"), help), &LABELS);
    Ok([
        gauge("inflight_requests", "Requests running and waiting in the ready replicas of a pool.")?,
        gauge("requests_running", "Requests that the ready replicas of a pool compute.")?,
        gauge("requests_waiting", "Requests in the queues of the ready replicas of a pool.")?,
        gauge("kv_cache_usage", "How full the KV caches of a pool are, from 0 to 1: the mean of its ready replicas.")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator_core::load::{Replica, Sample};
    use prometheus::TextEncoder;

    #[test]
    fn known_loads_are_figures_and_unknown_ones_are_not() {
        let (loads, registry) = (Arc::new(Loads::default()), Registry::new());
        LoadFigures::register(Arc::clone(&loads), &registry).unwrap();
        let replica = |pool: &str| Replica {
            namespace: "ml".to_owned(),
            pool: pool.to_owned(),
            name: format!("{pool}-1"),
            uid: pool.to_owned(),
            ip: String::new(),
        };
        let check = |pools: &[&str], want: &[&str]| {
            loads.keep(&pools.iter().map(|pool| replica(pool)).collect::<Vec<_>>());
            let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            assert_eq!(page.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(), want, "{pools:?}");
        };
        check(&["a", "silent"], &[]);
        loads.put("a".to_owned(), Sample { running: 3, waiting: 4, cache_millis: Some(437) }, Instant::now());
        loads.put("b".to_owned(), Sample { running: 1, waiting: 0, cache_millis: None }, Instant::now());
        let a = [
            "quartermaster_operator_pool_inflight_requests{namespace=\"ml\",pool=\"a\"} 7",
            "quartermaster_operator_pool_kv_cache_usage{namespace=\"ml\",pool=\"a\"} 0.437",
            "quartermaster_operator_pool_requests_running{namespace=\"ml\",pool=\"a\"} 3",
            "quartermaster_operator_pool_requests_waiting{namespace=\"ml\",pool=\"a\"} 4",
        ];
        check(&["a", "silent"], &a);
        check(&["silent"], &[]);
    }
}
